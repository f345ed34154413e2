//! Annotations that left the program but not the cloud: they stay in what is sent, with their default.

use serde_json::{Value, json};

use crate::graph::Gvk;
use crate::kinds::rules;
use crate::plan::owners::Owners;
use crate::plan::path::Path;

/// Puts the annotations that must stay into `body`; gives a remark for each whose value changes by that.
///
/// The first plan after the program dropped an annotation changes it to its default. From then on the live object has the default, by our
/// hand, and the same body comes out again: nothing to do, nothing to take out.
pub(super) fn undo_removed(gvk: &Gvk, live: &Value, body: &mut Value, manager: &str) -> Vec<String> {
    let rules = rules(gvk);
    let ours = with_our_annotations(live, manager);
    let kept = rules.kept_annotations(&ours, body);
    let mut remarks = Vec::new();
    for (key, value) in kept {
        let before = live.pointer("/metadata/annotations").and_then(|annotations| annotations.get(&key));
        if before.and_then(Value::as_str) != Some(value.as_str()) {
            remarks.push(format!(
                "{key} is no longer declared; leaving it out would undo nothing, so its default {value} is written"
            ));
        }
        body["metadata"]["annotations"][key] = json!(value);
    }
    remarks
}

/// The live object without annotations that somebody else wrote, alone or with us: those don't leave with the program.
fn with_our_annotations(live: &Value, manager: &str) -> Value {
    let owners = Owners::of(live, manager);
    let mut ours = live.clone();
    if let Some(annotations) = ours.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        let all = Path::of_fields(["metadata", "annotations"]);
        annotations.retain(|key, _| {
            let path = all.field(key);
            owners.is_ours(&path) && owners.other(&path).is_none()
        });
    }
    ours
}
