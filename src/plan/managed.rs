//! Who set which fields: an object's `metadata.managedFields`.

use serde_json::{Map, Value};

use super::fields::FieldSet;

/// One entry of `metadata.managedFields`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The field manager, such as `stackctl.quick-start` or `kube-controller-manager`.
    pub manager: &'a str,
    /// By server-side apply; else by an update or create of any form.
    pub apply: bool,
    /// Through which subresource, such as `status` or `scale`; none: the object itself.
    pub subresource: Option<&'a str>,
    /// When, RFC 3339 in whole seconds, as the server noted it.
    pub time: Option<&'a str>,
    /// The `fieldsV1` as it came.
    pub fields_v1: &'a Value,
}

impl<'a> Entry<'a> {
    /// The fields it is about.
    pub fn fields(&self) -> FieldSet<'a> {
        FieldSet::parse(self.fields_v1)
    }

    /// Whether it is the server-side apply entry of `manager` for the object itself.
    pub fn is_apply_of(&self, manager: &str) -> bool {
        self.apply && self.subresource.is_none() && self.manager == manager
    }
}

/// The entries of an object, in its order. What is not in the format is left out.
pub fn entries(object: &Value) -> impl Iterator<Item = Entry<'_>> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default().iter().filter_map(|entry| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        Some(Entry {
            manager: text("manager").unwrap_or_default(),
            apply: text("operation") == Some("Apply"),
            subresource: text("subresource"),
            time: text("time"),
            fields_v1: entry.get("fieldsV1")?,
        })
    })
}

/// What `manager` has applied, as the server keeps it; `None` if it never applied this object.
pub fn applied<'a>(object: &'a Value, manager: &str) -> Option<Entry<'a>> {
    entries(object).find(|entry| entry.is_apply_of(manager))
}

/// Only the owned fields of `object`. Lists stay in the object's own order; a field that the object hasn't is left out.
pub fn project(object: &Value, fields: &FieldSet<'_>) -> Value {
    if fields.is_leaf() {
        return object.clone();
    }
    match object {
        Value::Object(map) => {
            let owned = fields.fields().filter_map(|(name, inner)| {
                let value = map.get(name)?;
                (!inner.is_empty()).then(|| (name.to_owned(), project(value, inner)))
            });
            Value::Object(owned.collect::<Map<_, _>>())
        }
        Value::Array(list) => {
            fields.select(list).map(|(index, inner)| project(&list[index], inner)).collect()
        }
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fields::tests::any_json;
    use super::*;

    #[test]
    fn projects_by_key_value_and_index_in_the_objects_order() {
        let object = json!({
            "metadata": {"name": "a", "labels": {"app": "srs", "other": "x"}, "finalizers": ["a", "b"]},
            "spec": {"containers": [{"name": "z", "image": "1"}, {"name": "b", "image": "2", "tty": true}, {"name": "a"}],
                     "args": ["x", "y"]},
        });
        let fields = json!({
            "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {"v:\"b\"": {}}},
            "f:spec": {
                "f:containers": {r#"k:{"name":"b"}"#: {".": {}, "f:image": {}}, r#"k:{"name":"z"}"#: {}, r#"k:{"name":"gone"}"#: {}},
                "f:args": {"i:1": {}},
                "f:gone": {},
            },
        });
        assert_eq!(
            project(&object, &FieldSet::parse(&fields)),
            json!({
                "metadata": {"labels": {"app": "srs"}, "finalizers": ["b"]},
                "spec": {"containers": [{"name": "z", "image": "1"}, {"image": "2"}], "args": ["y"]},
            })
        );
    }

    #[test]
    fn finds_our_entry_among_others() {
        let object = json!({"metadata": {"managedFields": [
            {"manager": "us", "operation": "Apply", "subresource": "status", "fieldsV1": {}},
            {"manager": "us", "operation": "Update", "fieldsV1": {}},
            {"manager": "us", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}},
            7,
        ]}});
        assert_eq!(applied(&object, "us").unwrap().time, Some("2026-01-01T00:00:00Z"));
        assert!(applied(&object, "them").is_none());
        assert_eq!(entries(&object).count(), 3);
    }

    /// A managedFields entry for every other field of `object`.
    fn some_fields(object: &Value, turn: &mut bool) -> Value {
        match object {
            Value::Object(map) => {
                let fields = map.iter().filter_map(|(name, value)| {
                    *turn = !*turn;
                    (*turn || name == "name").then(|| (format!("f:{name}"), some_fields(value, turn)))
                });
                Value::Object(fields.collect())
            }
            Value::Array(list) if list.iter().all(|item| item.get("name").is_some()) => {
                let items = list
                    .iter()
                    .map(|item| (format!("k:{}", json!({"name": item["name"]})), some_fields(item, turn)));
                Value::Object(items.collect())
            }
            _ => json!({}),
        }
    }

    proptest! {
        #[test]
        fn projection_is_idempotent(object in any_json()) {
            let fields = some_fields(&object, &mut false);
            let fields = FieldSet::parse(&fields);
            let once = project(&object, &fields);
            prop_assert_eq!(project(&once, &fields), once);
        }

        #[test]
        fn any_json_is_projected(object in any_json(), fields in any_json()) {
            let projection = project(&object, &FieldSet::parse(&fields));
            prop_assert!(projection.to_string().len() <= object.to_string().len());
            prop_assert!(entries(&object).count() <= object.to_string().len());
        }
    }
}
