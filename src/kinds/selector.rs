//! Label selectors in the form that the API's `labelSelector` parameter takes.

use serde_json::Value;

use super::json::{list, text};

/// The selector of a workload's `spec.selector` (`matchLabels` and `matchExpressions`); `None` if it selects nothing in particular.
pub(crate) fn label_selector(selector: Option<&Value>) -> Option<String> {
    let selector = selector?;
    let mut terms = equalities(selector.get("matchLabels"));
    terms.extend(list(selector, "/matchExpressions").iter().filter_map(expression));
    (!terms.is_empty()).then(|| terms.join(","))
}

/// The selector of a Service's or ReplicationController's `spec.selector`, a plain map.
pub(crate) fn map_selector(selector: Option<&Value>) -> Option<String> {
    let terms = equalities(selector);
    (!terms.is_empty()).then(|| terms.join(","))
}

fn equalities(labels: Option<&Value>) -> Vec<String> {
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect()
}

fn expression(expression: &Value) -> Option<String> {
    let key = text(expression, "/key");
    let values =
        || list(expression, "/values").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    match text(expression, "/operator") {
        _ if key.is_empty() => None,
        "In" => Some(format!("{key} in ({})", values())),
        "NotIn" => Some(format!("{key} notin ({})", values())),
        "Exists" => Some(key.to_owned()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors() {
        for (selector, expected) in [
            (json!({"matchLabels": {"app": "srs", "tier": "edge"}}), Some("app=srs,tier=edge")),
            (
                json!({"matchLabels": {"app": "srs"}, "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["edge", "origin"]},
                    {"key": "zone", "operator": "NotIn", "values": ["a"]},
                    {"key": "live", "operator": "Exists"},
                    {"key": "old", "operator": "DoesNotExist"}]}),
                Some("app=srs,tier in (edge,origin),zone notin (a),live,!old"),
            ),
            (json!({}), None),
            (json!({"matchLabels": {}}), None),
            (json!("nonsense"), None),
        ] {
            assert_eq!(label_selector(Some(&selector)).as_deref(), expected, "{selector}");
        }
        assert_eq!(label_selector(None), None);
        assert_eq!(map_selector(Some(&json!({"app": "srs"}))).as_deref(), Some("app=srs"));
    }
}
