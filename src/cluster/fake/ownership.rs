//! Which manager owns which field, in `managedFields`, and what an apply makes of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::merge::{self, Path, Segment};

type Owners = BTreeMap<(String, String), BTreeSet<Path>>;

/// `live` after an apply, or the fields that others own with other values, and who.
pub(super) fn apply(
    live: &Value,
    body: &Value,
    manager: &str,
    force: bool,
) -> Result<Value, Vec<(String, String)>> {
    let mut body = body.clone();
    if let Some(metadata) = body["metadata"].as_object_mut() {
        for of_the_server in ["resourceVersion", "uid", "managedFields", "generation", "creationTimestamp"] {
            metadata.remove(of_the_server);
        }
    }
    let mut owners = read(live);
    let ours = (manager.to_owned(), "Apply".to_owned());
    let wanted = merge::leaves(&body);
    let mut conflicts = Vec::new();
    for (path, value) in &wanted {
        if merge::at(live, path) == Some(value) {
            continue;
        }
        for (owner, paths) in &mut owners {
            if *owner != ours && paths.contains(path) {
                if force {
                    paths.remove(path);
                } else {
                    conflicts.push((merge::show(path), owner.0.clone()));
                }
            }
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let before = owners.insert(ours.clone(), wanted.keys().cloned().collect()).unwrap_or_default();
    let mut object = live.clone();
    for path in before.iter().filter(|path| !wanted.contains_key(*path)) {
        if !owners.values().any(|paths| paths.contains(path)) {
            merge::remove(&mut object, path);
        }
    }
    merge::merge(&mut object, &body);
    owners.retain(|_, paths| !paths.is_empty());
    if owners != read(live) || live["metadata"]["managedFields"].is_null() {
        object["metadata"]["managedFields"] = write(&owners, &body);
    }
    Ok(object)
}

/// Sets a field by an update, which takes it from those who own it with another value.
pub(super) fn set(object: &mut Value, manager: &str, path: &str, value: Value) {
    let path: Path = path.split('.').map(|name| Segment::Field(name.to_owned())).collect();
    let mut owners = read(object);
    if merge::at(object, &path) != Some(&value) {
        for paths in owners.values_mut() {
            paths.remove(&path);
        }
    }
    owners.entry((manager.to_owned(), "Update".to_owned())).or_default().insert(path.clone());
    owners.retain(|_, paths| !paths.is_empty());
    let mut at = &mut *object;
    for segment in &path {
        if let Segment::Field(name) = segment {
            at = &mut at[name];
        }
    }
    *at = value;
    object["metadata"]["managedFields"] = write(&owners, &object.clone());
}

fn read(object: &Value) -> Owners {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut owners = Owners::new();
    for entry in entries.into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let mut paths = BTreeSet::new();
        read_fields(&entry["fieldsV1"], &mut Path::new(), &mut paths);
        owners.insert((text("manager"), text("operation")), paths);
    }
    owners
}

fn read_fields(fields: &Value, path: &mut Path, paths: &mut BTreeSet<Path>) {
    for (key, inner) in fields.as_object().into_iter().flatten() {
        let segment = if let Some(name) = key.strip_prefix("f:") {
            Segment::Field(name.to_owned())
        } else if let Some(key) = key.strip_prefix("k:") {
            let key: Value = serde_json::from_str(key).unwrap_or_default();
            Segment::Item(key["name"].as_str().unwrap_or_default().to_owned())
        } else {
            continue;
        };
        path.push(segment);
        if inner.as_object().is_none_or(Map::is_empty) {
            paths.insert(path.clone());
        } else {
            read_fields(inner, path, paths);
        }
        path.pop();
    }
}

fn write(owners: &Owners, body: &Value) -> Value {
    let entries = owners.iter().map(|((manager, operation), paths)| {
        let mut fields = json!({});
        for path in paths {
            let mut at = &mut fields;
            for segment in path {
                let key = match segment {
                    Segment::Field(name) => format!("f:{name}"),
                    Segment::Item(name) => format!("k:{}", json!({ "name": name })),
                };
                at = &mut at[key];
                if at.is_null() {
                    *at = json!({});
                }
            }
        }
        json!({
            "manager": manager,
            "operation": operation,
            "apiVersion": body["apiVersion"],
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        })
    });
    Value::Array(entries.collect())
}
