//! The proof that nothing changes, without asking the server (rule 3 of the design).
//!
//! After each apply three hashes are kept, made from the body sent and from the answer: of the body, of our managedFields
//! entry without its time, and of the live object projected on that entry. When all three come out the same later, an
//! apply of the same body would change nothing: the program says the same, nobody took a field from us, and every
//! field of ours still has the value and the place in its list that the server gave it then. Equality of values is no proof:
//! the server writes `1000m` as `1`, and a foreign manager can reorder a keyed list without touching our entry.

use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::additions::additions;
use super::fields::FieldSet;
use super::managed;
use super::noise::Noise;

/// A keyed hash of bytes: the form in which Secrets are compared and shown (rule 10).
pub type Fingerprint<'a> = &'a dyn Fn(&[u8]) -> [u8; 16];

/// What the inventory keeps of an object's last apply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// Of the body sent.
    pub sent: [u8; 16],
    /// Of our managedFields entry, without its time.
    pub managed: [u8; 16],
    /// Of the live object projected on our managedFields entry.
    pub live: [u8; 16],
}

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |hash: &[u8; 16]| u128::from_be_bytes(*hash);
        write!(f, "{:032x} {:032x} {:032x}", hex(&self.sent), hex(&self.managed), hex(&self.live))
    }
}

/// The hash of a body to send. Secrets are hashed with the key only.
pub fn sent(body: &Value, fingerprint: Fingerprint<'_>) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(4096);
    write(&mut bytes, body);
    finish(&bytes, body, fingerprint)
}

/// The hashes of a body and of the object that the server made of it; `None` if `manager` has no apply entry in it.
pub fn hashes(body: &Value, object: &Value, manager: &str, fingerprint: Fingerprint<'_>) -> Option<Hashes> {
    let entry = managed::applied(object, manager)?;
    let mut bytes = Vec::with_capacity(4096);
    write(&mut bytes, body);
    let sent = finish(&bytes, body, fingerprint);
    bytes.clear();
    write(&mut bytes, entry.fields_v1);
    let entry_hash = finish(&bytes, body, fingerprint);
    bytes.clear();
    write_projection(&mut bytes, object, &entry.fields());
    // The API version is what the entry is expressed in.
    write(&mut bytes, object.get("apiVersion").unwrap_or(&Value::Null));
    let live = finish(&bytes, object, fingerprint);
    Some(Hashes { sent, managed: entry_hash, live })
}

/// Whether there is nothing to do: an apply of `body` would change nothing of ours in `live`, by the hashes recorded after
/// the last one, and no human added fields that would be taken out.
pub fn unchanged(
    recorded: &Hashes,
    body: &Value,
    live: &Value,
    manager: &str,
    noise: &Noise,
    fingerprint: Fingerprint<'_>,
) -> bool {
    hashes(body, live, manager, fingerprint).as_ref() == Some(recorded)
        && additions(live, body, manager, noise).is_empty()
}

/// Whether an object is a Secret, whose values are never shown and never hashed without the key.
pub fn is_secret(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str) == Some("Secret")
        && object.get("apiVersion").and_then(Value::as_str).is_none_or(|version| version == "v1")
}

fn finish(bytes: &[u8], object: &Value, fingerprint: Fingerprint<'_>) -> [u8; 16] {
    if is_secret(object) {
        return fingerprint(bytes);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(bytes)[..16]);
    half
}

/// Writes a value so that two values give the same bytes only if they are the same JSON, whatever the order of its keys.
fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(false) => out.push(b'f'),
        Value::Bool(true) => out.push(b't'),
        Value::Number(number) => write_text(out, b'd', &number.to_string()),
        Value::String(text) => write_text(out, b's', text),
        Value::Array(list) => {
            write_length(out, b'[', list.len());
            for item in list {
                write(out, item);
            }
        }
        Value::Object(map) => {
            write_length(out, b'{', map.len());
            for (name, value) in sorted(map) {
                write_text(out, b'k', name);
                write(out, value);
            }
        }
    }
}

/// Writes [`managed::project`]'s result, without making it.
fn write_projection(out: &mut Vec<u8>, object: &Value, fields: &FieldSet<'_>) {
    if fields.is_leaf() {
        return write(out, object);
    }
    match object {
        Value::Object(map) => {
            out.push(b'o');
            for (name, inner) in fields.fields() {
                if let Some(value) = map.get(name) {
                    write_text(out, b'k', name);
                    write_projection(out, value, inner);
                }
            }
        }
        Value::Array(list) => {
            out.push(b'a');
            for (index, inner) in fields.select(list) {
                out.push(b'i');
                write_projection(out, &list[index], inner);
            }
        }
        scalar => return write(out, scalar),
    }
    out.push(b'.');
}

fn write_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    write_length(out, tag, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn write_length(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    out.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
}

fn sorted(map: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    if !entries.is_sorted_by_key(|(name, _)| *name) {
        entries.sort_by_key(|(name, _)| *name);
    }
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fields::tests::any_json;
    use super::*;

    fn keyed(bytes: &[u8]) -> [u8; 16] {
        let mut out = [0; 16];
        out.copy_from_slice(&Sha256::digest([b"key".as_slice(), bytes].concat())[..16]);
        out
    }

    fn deployment() -> (Value, Value) {
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"template": {"spec": {"containers": [
                {"name": "x", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}}}});
        let live = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "resourceVersion": "7", "managedFields": [
                {"manager": "us", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
                 "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
                    "k:{\"name\":\"x\"}": {".": {}, "f:name": {}, "f:env": {
                        "k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}},
                        "k:{\"name\":\"B\"}": {".": {}, "f:name": {}, "f:value": {}}}}}}}}}},
                {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
                 "time": "2026-01-01T00:00:01Z", "fieldsV1": {"f:status": {}}}]},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "x", "tty": false, "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}}},
            "status": {"replicas": 1}});
        (body, live)
    }

    #[test]
    fn sees_what_matters_and_only_that() {
        let (body, live) = deployment();
        let recorded = hashes(&body, &live, "us", &keyed).unwrap();
        let same = |live: &Value| unchanged(&recorded, &body, live, "us", &Noise::default(), &keyed);
        let with = |pointer: &str, value: Value| {
            let mut live = live.clone();
            *live.pointer_mut(pointer).unwrap() = value;
            live
        };
        assert!(same(&live));
        assert!(same(&with("/metadata/resourceVersion", json!("8"))));
        assert!(same(&with("/metadata/managedFields/0/time", json!("2027-01-01T00:00:00Z"))));
        assert!(same(&with("/metadata/managedFields/1/time", json!("2027-01-01T00:00:00Z"))));
        assert!(same(&with("/spec/replicas", json!(2))), "not ours");
        assert!(same(&with("/status/replicas", json!(2))));
        let env = "/spec/template/spec/containers/0/env";
        assert!(!same(&with(&format!("{env}/0/value"), json!("9"))));
        assert!(
            !same(&with(env, json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]))),
            "order"
        );
        assert!(!same(&with(env, json!([{"name": "A", "value": "1"}]))), "an item is gone");
        assert!(
            same(&with(
                env,
                json!([{"name": "A", "value": "1"}, {"name": "C"}, {"name": "B", "value": "2"}])
            )),
            "another's item between ours leaves our order as it was"
        );
        assert!(!same(&with("/metadata/managedFields/0/manager", json!("them"))));
        assert!(!same(&with("/metadata/managedFields/0/fieldsV1/f:spec", json!({"f:paused": {}}))));
        assert!(!unchanged(
            &recorded,
            &json!({"kind": "Deployment"}),
            &live,
            "us",
            &Noise::default(),
            &keyed
        ));
    }

    #[test]
    fn secrets_are_hashed_with_the_key_only() {
        let (body, live) = (
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": "aHVudGVyMg=="}}),
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": "aHVudGVyMg=="}, "metadata": {"managedFields": [
                {"manager": "us", "operation": "Apply", "fieldsV1": {"f:data": {"f:p": {}}}}]}}),
        );
        let other = |_: &[u8]| [7; 16];
        let hashes = hashes(&body, &live, "us", &other).unwrap();
        assert_eq!(hashes, Hashes { sent: [7; 16], managed: [7; 16], live: [7; 16] });
        assert_eq!(sent(&body, &other), [7; 16]);
    }

    /// The object's keys in reverse order, at every depth, as text.
    fn reversed(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let fields =
                    map.iter().rev().map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), reversed(v)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
            Value::Array(list) => format!("[{}]", list.iter().map(reversed).collect::<Vec<_>>().join(",")),
            scalar => scalar.to_string(),
        }
    }

    proptest! {
        #[test]
        fn key_order_does_not_matter(value in any_json()) {
            let again: Value = serde_json::from_str(&reversed(&value)).unwrap();
            prop_assert_eq!(sent(&value, &keyed), sent(&again, &keyed));
        }

        #[test]
        fn different_values_have_different_hashes(a in any_json(), b in any_json()) {
            prop_assert_eq!(a == b, sent(&a, &keyed) == sent(&b, &keyed));
        }

        #[test]
        fn streamed_projection_tells_apart_what_the_built_one_does(a in any_json(), b in any_json(), fields in any_json()) {
            let fields = FieldSet::parse(&fields);
            let bytes = |object| {
                let mut bytes = Vec::new();
                write_projection(&mut bytes, object, &fields);
                bytes
            };
            if managed::project(&a, &fields) != managed::project(&b, &fields) {
                prop_assert_ne!(bytes(&a), bytes(&b));
            }
            let mut noted = a.clone();
            if let Some(map) = noted.as_object_mut() {
                map.insert("never a field of the set".to_owned(), json!(1));
                prop_assert_eq!(bytes(&a), bytes(&noted));
            }
        }
    }
}
