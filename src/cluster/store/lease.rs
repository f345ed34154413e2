//! The lock's record as a `coordination.k8s.io/v1` Lease, which every Kubernetes tool can read.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use stackctl_state::LeaseRecord;

/// The format that [`stackctl_state::lock`] writes.
const VERSION: u64 = 1;

/// Why a value is no lock.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    /// Not the JSON of a [`LeaseRecord`].
    #[error("only the record of a lock is kept as a Lease, and this is none")]
    NoRecord,
    /// `leaseTransitions` has 32 bits.
    #[error("the lock's number {0} is larger than a Lease can hold; delete the Lease")]
    TooManyHolders(u64),
}

/// The Lease's spec for a record.
pub(super) fn spec(record: &[u8]) -> Result<Value, LeaseError> {
    let record: LeaseRecord = serde_json::from_slice(record).map_err(|_| LeaseError::NoRecord)?;
    let fencing = i32::try_from(record.fencing).map_err(|_| LeaseError::TooManyHolders(record.fencing))?;
    let mut spec = json!({
        "acquireTime": micro_time(record.acquired),
        "renewTime": micro_time(record.renewed),
        // Of a 32-bit signed number the server takes the positive half.
        "leaseDurationSeconds": i32::try_from(record.ttl_seconds).unwrap_or(i32::MAX),
        "leaseTransitions": fencing,
    });
    if let Some(holder) = record.holder {
        spec["holderIdentity"] = holder.into();
    }
    Ok(spec)
}

/// The record that a Lease is. What somebody else took out of it reads as long ago.
pub(super) fn bytes(lease: &Value) -> Bytes {
    let empty = Map::new();
    let spec = lease.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    let text = |field: &str| spec.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let time = |field: &str| text(field).and_then(|time| time.parse::<Timestamp>().ok());
    let renewed = time("renewTime").unwrap_or(Timestamp::UNIX_EPOCH);
    let record = json!({
        "version": VERSION,
        "holder": text("holderIdentity"),
        "acquired": time("acquireTime").unwrap_or(renewed).to_string(),
        "renewed": renewed.to_string(),
        "ttlSeconds": spec.get("leaseDurationSeconds").and_then(Value::as_u64).unwrap_or(1),
        "fencing": spec.get("leaseTransitions").and_then(Value::as_u64).unwrap_or(0),
    });
    record.to_string().into()
}

/// `metav1.MicroTime`: RFC 3339 with exactly six digits of fraction.
fn micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_a_lease() {
        for holder in [Some("alice@host run 7f3a"), None] {
            let record = json!({
                "version": 1, "holder": holder, "acquired": "2026-11-22T20:00:00.123456Z",
                "renewed": "2026-11-22T20:00:10Z", "ttlSeconds": 30, "fencing": 7,
            });
            let spec = spec(record.to_string().as_bytes()).unwrap();
            assert_eq!(spec["renewTime"], "2026-11-22T20:00:10.000000Z");
            assert_eq!(spec["leaseTransitions"], 7);
            assert_eq!(spec.get("holderIdentity").and_then(Value::as_str), holder);
            let read: Value = serde_json::from_slice(&bytes(&json!({ "spec": spec }))).unwrap();
            assert_eq!(read, record);
        }
    }

    #[test]
    fn an_edited_lease_is_an_old_lock_not_an_error() {
        let record: LeaseRecord =
            serde_json::from_slice(&bytes(&json!({ "spec": { "holderIdentity": "x" } }))).unwrap();
        assert_eq!(record.holder.as_deref(), Some("x"));
        assert!(record.expires() < "1971-01-01T00:00:00Z".parse().unwrap());
        let record: LeaseRecord = serde_json::from_slice(&bytes(&json!({}))).unwrap();
        assert_eq!(record.holder, None);
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        assert!(matches!(spec(b"first\0"), Err(LeaseError::NoRecord)));
        let record = json!({
            "version": 1, "holder": null, "acquired": "2026-11-22T20:00:00Z", "renewed": "2026-11-22T20:00:00Z",
            "ttlSeconds": 30, "fencing": 5_000_000_000_u64,
        });
        assert!(matches!(
            spec(record.to_string().as_bytes()),
            Err(LeaseError::TooManyHolders(5_000_000_000))
        ));
    }
}
