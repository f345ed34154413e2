//! What CCM doesn't change on a load balancer that exists, and what a removed annotation leaves behind.

use std::collections::BTreeMap;

use serde_json::Value;

use super::annotation::{LEGACY_PREFIX, Mutability, PREFIX, Settings, TABLE, annotations, find};
use super::ccm;

/// Why going from `live` to `desired` needs another load balancer: CCM would take the change and fail on it for ever (or, for `id`, move
/// the Service and leave listeners behind). `None` if it doesn't, or if there is no load balancer yet.
pub fn immutable_change(live: &Value, desired: &Value) -> Option<String> {
    if !ccm::has_load_balancer(live) {
        return None;
    }
    let (before, after) = (Settings::of(live)?, Settings::of(desired)?);
    if before.family != after.family {
        return Some("a CLB can't become an NLB, nor the other way round".to_owned());
    }
    let fixed =
        TABLE.iter().filter(|row| row.family == after.family && row.mutability == Mutability::Immutable);
    let mut reasons: Vec<String> = fixed
        .filter_map(|row| {
            let (old, new) = (before.effective(row.suffix), after.get(row.suffix));
            let changed = match row.suffix {
                // CCM finds its own load balancer without an id, and another one with it.
                "id" => before.get("id") != new,
                // The one setting that counts as its default when it is not written.
                "ip-version" => old != after.effective("ip-version"),
                // Only values that are written are compared with what is there.
                _ => new.is_some_and(|new| old != Some(new)),
            };
            changed.then(|| match (old, new) {
                (Some(old), Some(new)) => format!("{} can't change from {old} to {new}", row.suffix),
                (None, Some(new)) => {
                    format!("{} can't be set to {new} on a load balancer that exists", row.suffix)
                }
                _ => format!("{} can't be removed while there is a load balancer", row.suffix),
            })
        })
        .collect();
    let charge = "instance-charge-type";
    if before.get(charge) == Some("PayByCLCU") && after.get(charge) == Some("PayBySpec") {
        reasons.push(format!("{charge} can change from PayBySpec to PayByCLCU, but not back"));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// The annotations to write with their default, by key, because `desired` has them no more: CCM only looks at what is written, so removing
/// one leaves the load balancer as it is. Once the default is live there is nothing left to undo. Those without a default that can be
/// written are not among them; a note of the plan names those.
pub fn undo_removed(live: &Value, desired: &Value) -> BTreeMap<String, String> {
    let changed = removed(live, desired).into_iter().filter(|removed| removed.default != Some(removed.value));
    changed
        .filter_map(|removed| Some((format!("{PREFIX}{}", removed.suffix), removed.default?.to_owned())))
        .collect()
}

/// The annotations, by key, that have their default on `live` and stand no more in `desired`: they stay as they are. Taking one out would
/// change nothing, and CCM need not sync for it.
pub(super) fn kept_defaults(live: &Value, desired: &Value) -> BTreeMap<String, String> {
    let settled = removed(live, desired).into_iter().filter(|removed| removed.default == Some(removed.value));
    let here = annotations(live);
    settled
        .map(|removed| {
            let new = format!("{PREFIX}{}", removed.suffix);
            let old = format!("{LEGACY_PREFIX}{}", removed.suffix);
            let key = if here.contains_key(new.as_str()) { new } else { old };
            (key, removed.value.to_owned())
        })
        .collect()
}

/// The suffixes whose setting stays on the load balancer after they were removed, since nobody knows what to write to undo them.
pub(super) fn left_behind<'a>(live: &'a Value, desired: &Value) -> Vec<&'a str> {
    let lost = removed(live, desired).into_iter();
    lost.filter(|removed| removed.default.is_none()).map(|removed| removed.suffix).collect()
}

/// A setting of a live Service that the program doesn't name any more, and that stays on the load balancer.
struct Removed<'a> {
    suffix: &'a str,
    value: &'a str,
    default: Option<&'static str>,
}

fn removed<'a>(live: &'a Value, desired: &Value) -> Vec<Removed<'a>> {
    if !ccm::has_load_balancer(live) {
        return Vec::new();
    }
    let (Some(before), Some(after)) = (Settings::of(live), Settings::of(desired)) else { return Vec::new() };
    // With the load balancer goes what was set on it.
    if before.family != after.family || before.get("id") != after.get("id") {
        return Vec::new();
    }
    let gone = before
        .values
        .iter()
        .filter(|(suffix, value)| !value.is_empty() && !after.values.contains_key(*suffix));
    gone.filter_map(|(suffix, value)| {
        let row = find(before.family, suffix)?;
        let stays = row.mutability == Mutability::Mutable && !ON_ITS_OWN.contains(suffix);
        stays.then_some(Removed { suffix, value, default: row.default })
    })
    .collect()
}

/// Read anew at each sync or at deletion, from the Service alone: without them they are off.
const ON_ITS_OWN: [&str; 10] = [
    "force-override-listeners",
    "preserve-lb-on-delete",
    "external-ip-type",
    "hostname",
    "protocol-port",
    "backend-label",
    "remove-unscheduled-backend",
    "vgroup-port",
    "weight",
    "ignore-weight-update",
];
