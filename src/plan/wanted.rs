//! What a body asks for: its fields one by one, and which of them differ from what is live.

use serde_json::Value;

use super::merge_keys::{ListType, Lists};
use super::noise::Noise;
use super::owners::Owners;
use super::path::{Item, Path, Step};
use super::quantity::Quantity;

/// Every field of `body` that has a value of its own, in order: scalars, lists that are one value, empty maps and lists.
/// Bookkeeping and nulls are left out.
pub fn leaves<'v>(body: &'v Value, lists: &Lists) -> Vec<(Path, &'v Value)> {
    let mut leaves = Vec::new();
    visit(&Path::root(), body, lists, &mut leaves);
    leaves
}

fn visit<'v>(path: &Path, value: &'v Value, lists: &Lists, leaves: &mut Vec<(Path, &'v Value)>) {
    if path.0.len() <= 2 && Noise::is_bookkeeping(path) {
        return;
    }
    match value {
        Value::Null => {}
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                visit(&path.field(name), value, lists, leaves);
            }
        }
        Value::Array(list) if !list.is_empty() => match items(path, list, lists) {
            Some(items) => {
                for (item, value) in items.into_iter().zip(list) {
                    visit(&path.item(item), value, lists, leaves);
                }
            }
            None => leaves.push((path.clone(), value)),
        },
        value => leaves.push((path.clone(), value)),
    }
}

/// How the items of the list at `path` are named; `None` if the list is one value, or not as its type says.
pub(super) fn items(path: &Path, list: &[Value], lists: &Lists) -> Option<Vec<Item>> {
    let names: Vec<&str> = path
        .0
        .iter()
        .filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Item(_) => None,
        })
        .collect();
    let items: Vec<Item> = match lists.at(&names) {
        ListType::Keyed(keys) => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            list.iter().map(|item| Item::key_of(item, keys.iter().copied())).collect::<Option<_>>()?
        }
        ListType::Set => list.iter().map(|value| Item::Value(super::path::Atom(value.clone()))).collect(),
        ListType::Atomic => return None,
    };
    let mut unique: Vec<&Item> = items.iter().collect();
    unique.sort();
    unique.dedup();
    (unique.len() == items.len()).then_some(items)
}

/// Whether `wanted` asks for what `found` is. The server writes quantities in its own way (`1000m` as `1`) and fills items of
/// lists up with defaults.
pub fn satisfied(path: &Path, wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().all(|(name, wanted)| {
            wanted.is_null()
                || found.get(name).is_some_and(|found| satisfied(&path.field(name), wanted, found))
        }),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len()
                && wanted.iter().zip(found).all(|(wanted, found)| satisfied(path, wanted, found))
        }
        (wanted, found) => wanted == found || (is_quantity(path) && same_quantity(wanted, found)),
    }
}

/// Fields that hold quantities have such a field around them.
const QUANTITIES: &[&str] = &[
    "averageValue",
    "capacity",
    "default",
    "defaultRequest",
    "divisor",
    "hard",
    "limits",
    "max",
    "min",
    "overhead",
    "podFixed",
    "requests",
    "sizeLimit",
    "storage",
];

fn is_quantity(path: &Path) -> bool {
    path.0.iter().any(|step| matches!(step, Step::Field(name) if QUANTITIES.contains(&name.as_str())))
}

fn same_quantity(a: &Value, b: &Value) -> bool {
    let quantity = |value: &Value| Quantity::of(value);
    quantity(a).zip(quantity(b)).is_some_and(|(a, b)| a == b)
}

/// The fields that an apply of `body` would change in `live`, as far as can be seen from here: those with another value, and
/// those that we own and no longer ask for.
pub fn differences(live: &Value, body: &Value, manager: &str) -> Vec<Path> {
    let lists = Lists::of([live, body]);
    let mut paths: Vec<Path> = leaves(body, &lists)
        .into_iter()
        .filter(|(path, wanted)| match path.find(live) {
            Some(found) => !satisfied(path, wanted, found),
            // The server leaves out what is empty.
            None => !is_empty(wanted),
        })
        .map(|(path, _)| path)
        .collect();
    let owners = Owners::of(live, manager);
    paths.extend(owners.ours().leaves().into_iter().filter(|path| {
        path.find(live).is_some() && path.find(body).is_none() && !Noise::is_bookkeeping(path)
    }));
    paths.sort();
    paths.dedup();
    paths
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_changed_new_and_dropped_fields() {
        let live = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"labels": {"old": "1"}, "managedFields": [
                {"manager": "us", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {"f:old": {}}}}}]},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "a", "image": "1", "resources": {"limits": {"cpu": "1"}}, "args": ["x"]}]}}}});
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "x"},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "a", "image": "2", "resources": {"limits": {"cpu": "1000m"}}, "args": ["x", "y"]}, {"name": "b"}]}}}});
        let paths: Vec<_> = differences(&live, &body, "us").iter().map(ToString::to_string).collect();
        assert_eq!(
            paths,
            [
                "metadata.labels.old",
                "spec.template.spec.containers[name=a].args",
                "spec.template.spec.containers[name=a].image",
                "spec.template.spec.containers[name=b].name",
            ]
        );
    }
}
