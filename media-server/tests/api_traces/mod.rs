//! The shapes of SRS 4.0.271's answers and hooks, recorded from a running one: each scalar is the empty value of its
//! type, lists have one element, `code` is the recorded one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a part of several test programs")]
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// `answers`, `heads` or `hooks`.
pub fn shapes(kind: &str) -> Map<String, Value> {
    let all: Value = serde_json::from_str(include_str!("shapes.json")).unwrap();
    all[kind].as_object().unwrap().clone()
}

/// The recordings themselves, where they are.
pub fn recordings() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/traces");
    path.is_dir().then_some(path)
}

/// The shape of a value.
pub fn shape(key: &str, value: &Value) -> Value {
    match value {
        _ if key == "code" => value.clone(),
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.clone(), shape(key, value))).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.first().map(|first| shape("", first)).into_iter().collect(),
        Value::Bool(_) => true.into(),
        Value::Number(_) => 0.into(),
        Value::String(_) => "".into(),
        Value::Null => Value::Null,
    }
}

/// Every key that SRS has, with a value of the same type; more keys are allowed.
pub fn assert_has(place: &str, srs: &Value, ours: &Value) {
    match (srs, ours) {
        (Value::Object(srs), Value::Object(ours)) => {
            for (key, value) in srs {
                let own = ours.get(key).unwrap_or_else(|| panic!("{place}: {key} is missing"));
                assert_has(&format!("{place} {key}"), value, own);
            }
        }
        (Value::Array(srs), Value::Array(ours)) => {
            for value in srs {
                let own = ours.first().unwrap_or_else(|| panic!("{place} is empty"));
                assert_has(place, value, own);
            }
        }
        _ => {
            let (theirs, own) = (shape("", srs), shape("", ours));
            assert_eq!(
                std::mem::discriminant(&theirs),
                std::mem::discriminant(&own),
                "{place}: SRS {srs}, ours {ours}"
            );
            if place.ends_with(" code") {
                assert_eq!(srs, ours, "{place}");
            }
        }
    }
}
