//! What holds an object that is being deleted.

use std::time::Duration;

use serde_json::Value;

use crate::kinds::Missing;

/// The finalizers of an object that is being deleted; `None` if it isn't.
pub(crate) fn finalizers_if_deleted(object: &Value) -> Option<Vec<String>> {
    object.pointer("/metadata/deletionTimestamp").filter(|time| !time.is_null())?;
    Some(finalizers(object))
}

/// What is missing until it is gone. Progress: finalizers done, and for a Namespace, objects gone out of it.
pub(crate) fn missing(object: &Value) -> Missing {
    let finalizers = finalizers(object);
    let remains: Vec<&str> = remaining_conditions(object).collect();
    let reason = match (finalizers.as_slice(), remains.as_slice()) {
        ([], []) => "being deleted".to_owned(),
        ([only], []) if only == "foregroundDeletion" => "being deleted, after what it owns".to_owned(),
        (finalizers, []) => format!("being deleted; held by {}", finalizers.join(", ")),
        (_, remains) => format!("being deleted; {}", remains.join("; ")),
    };
    let left = i64::try_from(finalizers.len()).unwrap_or(i64::MAX);
    let inside = remains.iter().map(|message| numbers(message)).fold(0, i64::saturating_add);
    Missing {
        code: "Deleting".to_owned(),
        reason,
        progress: vec![left.saturating_neg(), inside.saturating_neg()],
        ..Missing::default()
    }
}

/// Why a wait for readiness ends when somebody else deletes the object.
pub(crate) fn deleted_by_others(finalizers: &[String]) -> Missing {
    let held =
        if finalizers.is_empty() { String::new() } else { format!("; held by {}", finalizers.join(", ")) };
    Missing {
        code: "Terminating".to_owned(),
        reason: format!("somebody is deleting it{held}"),
        ..Missing::default()
    }
}

/// How long its pods may take to end, which shows as no progress.
pub(crate) fn grace(object: &Value) -> Duration {
    let seconds =
        ["/spec/template/spec/terminationGracePeriodSeconds", "/spec/terminationGracePeriodSeconds"]
            .into_iter()
            .find_map(|pointer| object.pointer(pointer).and_then(Value::as_u64));
    Duration::from_secs(seconds.unwrap_or_default().min(86_400))
}

/// Every Namespace has the finalizer `kubernetes` in its spec: that is not worth naming.
fn finalizers(object: &Value) -> Vec<String> {
    let names = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A terminating Namespace says in its conditions what is left in it.
fn remaining_conditions(object: &Value) -> impl Iterator<Item = &str> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().filter_map(|condition| {
        let text = |key: &str| condition.get(key).and_then(Value::as_str);
        let told = matches!(
            text("type"),
            Some(
                "NamespaceContentRemaining"
                    | "NamespaceFinalizersRemaining"
                    | "NamespaceDeletionContentFailure"
                    | "NamespaceDeletionDiscoveryFailure"
            )
        );
        (told && text("status") == Some("True")).then(|| text("message")).flatten()
    })
}

/// The sum of the numbers in a text such as `pods. has 12 resource instances`.
fn numbers(text: &str) -> i64 {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter_map(|word| word.parse::<i64>().ok()).fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_says_what_is_left_in_it() {
        let message = "Some resources are remaining: pods. has 12 resource instances";
        let namespace = json!({
            "kind": "Namespace",
            "metadata": {"name": "live", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"conditions": [
                {"type": "NamespaceContentRemaining", "status": "True", "message": message},
                {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all found"},
            ]},
        });
        let missing = missing(&namespace);
        assert_eq!(missing.reason, format!("being deleted; {message}"));
        assert_eq!(missing.progress, [0, -12]);
    }

    #[test]
    fn finalizers_are_named() {
        let object = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["service.k8s.alibaba/resources"]}});
        assert_eq!(missing(&object).reason, "being deleted; held by service.k8s.alibaba/resources");
        assert_eq!(finalizers_if_deleted(&json!({"metadata": {"finalizers": ["a"]}})), None);
    }
}
