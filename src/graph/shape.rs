//! The places that the graph itself writes into: whatever stands there in a body, nothing is lost and nothing panics.

use serde_json::{Map, Value, json};

use super::{GraphError, Location};

/// Where pod templates stand.
const POD_TEMPLATES: &[(&str, &[&str])] = &[
    ("Deployment", &["spec", "template"]),
    ("StatefulSet", &["spec", "template"]),
    ("DaemonSet", &["spec", "template"]),
    ("ReplicaSet", &["spec", "template"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template"]),
];

/// The path of the pod template of a kind whose pods roll.
pub(super) fn pod_template(kind: &str) -> Option<&'static [&'static str]> {
    POD_TEMPLATES.iter().find(|(name, _)| *name == kind).map(|(_, path)| *path)
}

/// The object at `path`, made where nothing or null stands; `None` if something else is in the way.
pub(super) fn object_at<'a>(body: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut place = body;
    for name in path {
        place = fields(place)?.entry(*name).or_insert(Value::Null);
    }
    fields(place)
}

fn fields(place: &mut Value) -> Option<&mut Map<String, Value>> {
    if place.is_null() {
        *place = json!({});
    }
    place.as_object_mut()
}

/// Complains about everything that must be an object and is not, and empties it so that the other checks can go on.
pub(super) fn settle(kind: &str, body: &mut Value, location: &Location) -> Vec<GraphError> {
    let mut wrong = Vec::new();
    let error = |field: &str, what: &str| GraphError {
        location: location.clone(),
        message: format!("this {kind} can't be right: {field} is not {what}"),
        hint: None,
    };
    let template = pod_template(kind).unwrap_or_default();
    for end in (1..=template.len()).rev() {
        empty_unless_object(body, &template[..end], &mut wrong);
    }
    for end in [&["metadata"][..], &["metadata", "labels"], &["metadata", "annotations"]] {
        empty_unless_object(body, end, &mut wrong);
        if !template.is_empty() {
            empty_unless_object(body, &[template, end].concat(), &mut wrong);
        }
    }
    let mut errors: Vec<GraphError> = wrong.iter().map(|field| error(field, "an object")).collect();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        match metadata.get("namespace") {
            None => {}
            Some(Value::String(namespace)) if !namespace.is_empty() => {}
            Some(empty) => {
                if !(empty.is_null() || empty.is_string()) {
                    errors.push(error("metadata.namespace", "a string"));
                }
                metadata.remove("namespace");
            }
        }
    }
    errors
}

/// Takes away what stands at `path` unless it is an object, and names it in `wrong` unless it is null.
fn empty_unless_object(body: &mut Value, path: &[&str], wrong: &mut Vec<String>) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(body, |place, name| place.get_mut(*name));
    if let Some(fields) = parent.and_then(Value::as_object_mut)
        && let Some(found) = fields.get(*last)
        && !found.is_object()
    {
        if !found.is_null() {
            wrong.push(path.join("."));
        }
        fields.remove(*last);
    }
}
