//! Secrets are shown as keyed fingerprints only (rule 10 of the design).

use serde_json::{Map, Value, json};

use super::path::{Path, Step};
use super::proof::Fingerprint;

/// The annotation in which `kubectl apply` keeps a copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What may be shown of a Secret's `value` at `path`: values inside `data` and `stringData`, and copies of them, become
/// `{"fingerprint": "ab12cd34"}`.
pub fn masked(path: &Path, value: &Value, fingerprint: Fingerprint<'_>) -> Value {
    let names: Vec<&str> = path
        .0
        .iter()
        .filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Item(_) => None,
        })
        .collect();
    match (names.as_slice(), value) {
        ([] | ["metadata" | "data" | "stringData"] | ["metadata", "annotations"], Value::Object(map)) => map
            .iter()
            .map(|(name, value)| (name.clone(), masked(&path.field(name), value, fingerprint)))
            .collect::<Map<_, _>>()
            .into(),
        (["data" | "stringData", ..] | ["metadata", "annotations", LAST_APPLIED, ..], value) => {
            let bytes = match value {
                Value::String(text) => fingerprint(text.as_bytes()),
                other => fingerprint(other.to_string().as_bytes()),
            };
            let [a, b, c, d, ..] = bytes;
            json!({"fingerprint": format!("{:08x}", u32::from_be_bytes([a, b, c, d]))})
        }
        // Copies of fields in managedFields are names, not values.
        (_, value) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_comes_through() {
        let secret = json!({
            "metadata": {"annotations": {LAST_APPLIED: "{\"data\":{\"p\":\"aHVudGVyMg==\"}}", "note": "shown"}},
            "data": {"p": "aHVudGVyMg=="}, "stringData": {"q": "hunter2"}, "type": "Opaque",
        });
        let shown = masked(&Path::root(), &secret, &|_| [0xab; 16]);
        let text = shown.to_string();
        assert!(!text.contains("aHVudGVyMg") && !text.contains("hunter2"), "{text}");
        assert_eq!(shown["data"]["p"], json!({"fingerprint": "abababab"}));
        assert_eq!(shown["type"], "Opaque");
        assert_eq!(shown["metadata"]["annotations"]["note"], "shown");
        for broken in [json!({"data": "hunter2"}), json!({"data": ["hunter2"]})] {
            let text = masked(&Path::root(), &broken, &|_| [0; 16]).to_string();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
