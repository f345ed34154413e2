//! Merging of objects: lists of named objects by name, everything else as a whole.

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub(super) type Path = Vec<Segment>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    Field(String),
    /// An item of a list, by its name.
    Item(String),
}

/// The fields of a body that its manager owns, with their values. What identifies the object belongs to nobody.
pub(super) fn leaves(body: &Value) -> BTreeMap<Path, Value> {
    let mut leaves = BTreeMap::new();
    let mut body = body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("name");
        metadata.remove("namespace");
    }
    collect(&body, &mut Path::new(), &mut leaves);
    leaves
}

fn collect(value: &Value, path: &mut Path, leaves: &mut BTreeMap<Path, Value>) {
    let mut inner: Vec<(Segment, &Value)> = Vec::new();
    match value {
        Value::Object(fields) => {
            inner.extend(fields.iter().map(|(key, value)| (Segment::Field(key.clone()), value)));
        }
        Value::Array(items) if is_named(items) => {
            inner.extend(
                items.iter().map(|item| (Segment::Item(name(item).unwrap_or_default().to_owned()), item)),
            );
        }
        _ => {}
    }
    if inner.is_empty() && !path.is_empty() {
        leaves.insert(path.clone(), value.clone());
    }
    for (segment, value) in inner {
        path.push(segment);
        collect(value, path, leaves);
        path.pop();
    }
}

pub(super) fn at<'a>(value: &'a Value, path: &[Segment]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Field(key) => value.get(key),
        Segment::Item(wanted) => value.as_array()?.iter().find(|item| name(item) == Some(wanted)),
    })
}

/// Removes a field, and what is empty without it.
pub(super) fn remove(value: &mut Value, path: &[Segment]) {
    let Some((first, rest)) = path.split_first() else { return };
    let is_empty = |value: &Value| match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match (first, value) {
        (Segment::Field(key), Value::Object(fields)) => {
            if let Some(inner) = fields.get_mut(key) {
                remove(inner, rest);
                if rest.is_empty() || is_empty(inner) {
                    fields.remove(key);
                }
            }
        }
        (Segment::Item(wanted), Value::Array(items)) => {
            if let Some(at) = items.iter().position(|item| name(item) == Some(wanted)) {
                remove(&mut items[at], rest);
                if rest.is_empty() || is_empty(&items[at]) {
                    items.remove(at);
                }
            }
        }
        _ => {}
    }
}

pub(super) fn merge(live: &mut Value, body: &Value) {
    match (live, body) {
        (Value::Object(live), Value::Object(body)) => {
            for (key, value) in body {
                merge(live.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(live), Value::Array(body)) if is_named(body) && is_named(live) => {
            for item in body {
                match live.iter_mut().find(|other| name(other) == name(item)) {
                    Some(other) => merge(other, item),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, body) => *live = body.clone(),
    }
}

pub(super) fn show(path: &[Segment]) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Field(key) => format!(".{key}"),
            Segment::Item(name) => format!("[name={name:?}]"),
        })
        .collect()
}

/// `test`, `remove`, `add` and `replace` of RFC 6902, on objects' fields and lists' items.
pub(super) fn json_patch(object: &mut Value, operations: &[Value]) -> Result<(), String> {
    for operation in operations {
        let path = operation["path"].as_str().ok_or("an operation without path")?;
        let fails = || format!("the operation on {path} failed");
        if operation["op"] == json!("test") {
            if object.pointer(path) != Some(&operation["value"]) {
                return Err(fails());
            }
            continue;
        }
        let (parent, key) = path.rsplit_once('/').ok_or_else(fails)?;
        let key = key.replace("~1", "/").replace("~0", "~");
        let parent = object.pointer_mut(parent).ok_or_else(fails)?;
        match (operation["op"].as_str(), parent) {
            (Some("remove"), Value::Object(fields)) => drop(fields.remove(&key).ok_or_else(fails)?),
            (Some("remove"), Value::Array(items)) => {
                let at = key.parse::<usize>().ok().filter(|at| *at < items.len()).ok_or_else(fails)?;
                items.remove(at);
            }
            (Some("add" | "replace"), Value::Object(fields)) => {
                drop(fields.insert(key, operation["value"].clone()));
            }
            _ => return Err(fails()),
        }
    }
    Ok(())
}

fn is_named(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| name(item).is_some())
}

fn name(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}
