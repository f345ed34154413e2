//! Label selectors in the form that the API's `labelSelector` takes, matched on our side: one watch serves many of them.

use serde_json::Value;

/// A parsed label selector, such as `app=srs,role!=edge,tier in (a, b),!legacy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl LabelSelector {
    /// Parses a selector. What can't be parsed is a requirement that no label meets, so that a mistake selects nothing rather than
    /// everything; an empty text selects everything.
    pub fn parse(text: &str) -> Self {
        Self(split(text).map(str::trim).filter(|part| !part.is_empty()).map(requirement).collect())
    }

    /// Whether an object's `metadata.labels` meet every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|value| values.iter().any(|v| v == value)),
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|value| values.iter().all(|v| v != value))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        })
    }
}

/// At commas outside parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn requirement(part: &str) -> Requirement {
    let one = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    if let Some((key, value)) = part.split_once("!=") {
        let (key, values) = one(key, value);
        return Requirement::NotIn(key, values);
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        let (key, values) = one(key, value);
        return Requirement::In(key, values);
    }
    if let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => return Requirement::In(key.to_owned(), values),
            (Some(key), Some("notin"), None) => return Requirement::NotIn(key.to_owned(), values),
            _ => {}
        }
    }
    match part.strip_prefix('!') {
        Some(key) => Requirement::Absent(key.trim().to_owned()),
        None => Requirement::Exists(part.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_requirement() {
        let object = json!({"metadata": {"labels": {"app": "srs", "tier": "edge"}}});
        for (selector, expected) in [
            ("", true),
            ("app=srs", true),
            ("app==srs, tier = edge", true),
            ("app=srs,tier=origin", false),
            ("app!=srs", false),
            ("missing!=srs", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("tier in (origin, edge),app", true),
            ("tier notin (origin,edge)", false),
            ("missing notin (a)", true),
            ("tier within (edge)", false),
        ] {
            assert_eq!(LabelSelector::parse(selector).matches(&object), expected, "{selector}");
        }
        assert!(!LabelSelector::parse("a=b").matches(&json!(null)));
    }
}
