//! Deletions: members of the stack that the program no longer declares, and the whole stack for `down`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compare::Target;
use super::planner::{Inputs, owner};
use super::{Change, Note, Plan, Severity, arrange, guard};
use crate::graph::{Gvk, ObjectId, stack_label};

/// Members of the stack that the program no longer declares. What hurts stays, with a note (rule 6).
pub(super) fn prunes(inputs: &Inputs, notes: &mut Vec<Note>) -> Vec<Change> {
    let wanted: BTreeSet<&ObjectId> = inputs.graph.resources.iter().map(|resource| &resource.id).collect();
    let mut prunes = Vec::new();
    for (id, gvk, live) in members(inputs).filter(|(id, ..)| !wanted.contains(id)) {
        match guard::keeps_from_pruning(&gvk, live) {
            Some(why) => notes.push(Note {
                severity: Severity::Warning,
                id: Some(id.clone()),
                message: format!("{id} is no longer declared, and stays: {why}"),
            }),
            None => prunes.push(Target { gvk: &gvk, id, resource: None }.delete(live)),
        }
    }
    prunes
}

/// The plan that takes the whole stack away: every member, what needs others first.
pub fn down(inputs: Inputs) -> Plan {
    let mut changes = Vec::new();
    let mut notes = Vec::new();
    for (id, gvk, live) in members(&inputs) {
        if guard::is_protected(live) {
            notes.push(Note {
                severity: Severity::Warning,
                id: Some(id.clone()),
                message: format!("{id} is protected, and stays"),
            });
        } else {
            changes.push(Target { gvk: &gvk, id, resource: None }.delete(live));
        }
    }
    arrange::reverse(&mut changes, &inputs.graph);
    Plan {
        stack: inputs.graph.stack,
        namespace: inputs.graph.namespace,
        cluster: inputs.cluster,
        changes,
        unchanged: Vec::new(),
        notes,
        refusals: Vec::new(),
    }
}

/// The live objects that carry our label, without those that a controller made (Endpoints copy the labels of their Service).
fn members(inputs: &Inputs) -> impl Iterator<Item = (&ObjectId, Gvk, &Value)> {
    let label = stack_label(&inputs.graph.namespace, &inputs.graph.stack);
    inputs.observation.live.iter().filter_map(move |(id, live)| {
        let text = |name: &str| live.get(name).and_then(Value::as_str);
        let gvk = Gvk::from_api_version(text("apiVersion")?, text("kind")?);
        (owner(live) == Some(label.as_str()) && !guard::is_owned(live)).then_some((id, gvk, live))
    })
}
