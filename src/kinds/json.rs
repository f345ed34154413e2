//! Reading Kubernetes objects out of JSON. Total: what is missing or of another type reads as empty, so no rule can panic on it.

use jiff::Timestamp;
use serde_json::Value;

/// Kubernetes' counters are 32 bit; what is further out is nonsense, and clamped so that arithmetic on it can't overflow.
const COUNTER_LIMIT: i64 = 1 << 40;

/// The string at a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer.
pub(crate) fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer)?.as_i64().map(|number| number.clamp(-COUNTER_LIMIT, COUNTER_LIMIT))
}

/// The counter at a JSON pointer; controllers leave counters of zero out.
pub(crate) fn count(value: &Value, pointer: &str) -> i64 {
    number(value, pointer).unwrap_or_default()
}

/// Whether `true` stands at a JSON pointer.
pub(crate) fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The list at a JSON pointer.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The names in an object's `metadata.labels`, `metadata.annotations` or another map, looked up without pointer escapes.
pub(crate) fn entry<'a>(value: &'a Value, map: &str, key: &str) -> &'a str {
    value.pointer(map).and_then(|map| map.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`.
pub(crate) fn name(value: &Value) -> &str {
    text(value, "/metadata/name")
}

/// The RFC 3339 time at a JSON pointer, in seconds since the epoch.
pub(crate) fn time(value: &Value, pointer: &str) -> Option<f64> {
    text(value, pointer).parse::<Timestamp>().ok().map(|time| time.as_duration().as_secs_f64())
}

/// A quantity such as `10Gi`, `100m` or `1e3`, as a number; `None` if it is none.
pub(crate) fn quantity(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_f64() {
        return Some(number);
    }
    let text = value.as_str()?;
    let split = text.find(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')).unwrap_or(text.len());
    // `1E` is an exa, `1E3` an exponent.
    let (digits, suffix) = match text.strip_suffix('E') {
        Some(digits) => (digits, "E"),
        None if text[split..].starts_with('i') && text[..split].ends_with('E') => text.split_at(split - 1),
        None => text.split_at(split),
    };
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

/// One entry of `status.conditions`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'a> {
    /// `True`, `False` or `Unknown`.
    pub(crate) status: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    /// Seconds since the epoch: `lastTransitionTime`.
    pub(crate) since: Option<f64>,
    /// Seconds since the epoch: `lastUpdateTime`, where a kind has it, else `lastTransitionTime`.
    pub(crate) updated: Option<f64>,
    pub(crate) observed_generation: Option<i64>,
}

impl<'a> Condition<'a> {
    /// The condition `name` of `object`, from `status.conditions`.
    pub(crate) fn of(object: &'a Value, name: &str) -> Option<Self> {
        Self::among(list(object, "/status/conditions"), name)
    }

    /// The condition `name` in a list of conditions.
    pub(crate) fn among(conditions: &'a [Value], name: &str) -> Option<Self> {
        let condition = conditions.iter().find(|condition| text(condition, "/type") == name)?;
        let since = time(condition, "/lastTransitionTime");
        Some(Self {
            status: text(condition, "/status"),
            reason: text(condition, "/reason"),
            message: text(condition, "/message"),
            since,
            updated: time(condition, "/lastUpdateTime").or(since),
            observed_generation: number(condition, "/observedGeneration"),
        })
    }

    /// Whether it is `True`.
    pub(crate) fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Whether it is `False`.
    pub(crate) fn is_false(&self) -> bool {
        self.status == "False"
    }

    /// Reason and message in one line, as far as there are any.
    pub(crate) fn words(&self) -> String {
        match (self.reason, self.message) {
            ("", message) => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

/// An object's kind: what it says, or, for items of a list (which say none), what its shape says.
pub(crate) fn kind(object: &Value) -> &str {
    let has = |pointer: &str| object.pointer(pointer).is_some();
    match text(object, "/kind") {
        "" if has("/involvedObject") || has("/regarding") => "Event",
        "" if has("/spec/containers") => "Pod",
        "" if has("/spec/template") && has("/spec/selector") => "ReplicaSet",
        "" if has("/endpoints") || has("/addressType") => "EndpointSlice",
        "" if has("/provisioner") => "StorageClass",
        kind => kind,
    }
}

/// Those of `objects` that are of `kind`.
pub(crate) fn of_kind<'a>(objects: &'a [Value], wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| kind(object) == wanted)
}

/// Whether `object` belongs to the object with this uid.
pub(crate) fn owned_by(object: &Value, uid: &str) -> bool {
    !uid.is_empty()
        && list(object, "/metadata/ownerReferences").iter().any(|owner| text(owner, "/uid") == uid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities() {
        for (quantity_text, expected) in [
            (json!("10Gi"), Some(10_737_418_240.0)),
            (json!("1"), Some(1.0)),
            (json!("1000m"), Some(1.0)),
            (json!("1k"), Some(1e3)),
            (json!("1e3"), Some(1e3)),
            (json!("1E3"), Some(1e3)),
            (json!("1E"), Some(1e18)),
            (json!("1Ei"), Some(1_152_921_504_606_846_976.0)),
            (json!("2.5G"), Some(2.5e9)),
            (json!(3), Some(3.0)),
            (json!("ten"), None),
            (json!("10GiB"), None),
            (json!(""), None),
            (json!(null), None),
        ] {
            assert_eq!(quantity(&quantity_text), expected, "{quantity_text}");
        }
    }

    #[test]
    fn times_and_counters() {
        let object = json!({"t": "1970-01-01T00:01:00.5Z", "bad": "yesterday", "n": i64::MIN, "s": "5"});
        assert_eq!(time(&object, "/t"), Some(60.5));
        assert_eq!(time(&object, "/bad"), None);
        assert_eq!(number(&object, "/n"), Some(-COUNTER_LIMIT));
        assert_eq!(number(&object, "/s"), None);
    }

    #[test]
    fn items_of_a_list_are_known_by_their_shape() {
        for (object, expected) in [
            (json!({"kind": "Pod"}), "Pod"),
            (json!({"spec": {"containers": []}}), "Pod"),
            (json!({"involvedObject": {}}), "Event"),
            (json!({"spec": {"selector": {}, "template": {}}}), "ReplicaSet"),
            (json!({"endpoints": [], "addressType": "IPv4"}), "EndpointSlice"),
            (json!({"provisioner": "x"}), "StorageClass"),
            (json!({}), ""),
        ] {
            assert_eq!(kind(&object), expected, "{object}");
        }
    }
}
