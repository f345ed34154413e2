//! Deletions: members of the stack that the program no longer declares, and the whole stack for `down`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compare::Target;
use super::planner::{Inputs, owner};
use super::{Change, Note, Plan, Severity, arrange, guard, managed};
use crate::graph::{Gvk, ObjectId, stack_label};

/// Members of the stack that the program no longer declares. What hurts stays, with a note (rule 6).
pub(super) fn prunes(inputs: &Inputs, notes: &mut Vec<Note>) -> Vec<Change> {
    let wanted: BTreeSet<&ObjectId> = inputs.graph.resources.iter().map(|resource| &resource.id).collect();
    let mut prunes = Vec::new();
    let mut strangers = Vec::new();
    let members = members(inputs, &mut strangers);
    notes.extend(strangers.into_iter().filter(|note| note.id.as_ref().is_none_or(|id| !wanted.contains(id))));
    for (id, gvk, live) in members.into_iter().filter(|(id, ..)| !wanted.contains(id)) {
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

/// The plan that takes the whole stack away: every member, what needs others first. What is protected stays, and with it the
/// Namespace or CustomResourceDefinition that it would be lost with.
pub fn down(inputs: Inputs) -> Plan {
    let mut notes = Vec::new();
    let members = members(&inputs, &mut notes);
    let declared = |id: &ObjectId| {
        inputs.graph.position(id).is_some_and(|number| inputs.graph.resources[number].policy.protect)
    };
    let protected: Vec<&ObjectId> = members
        .iter()
        .filter(|(id, _, live)| guard::is_protected(live) || declared(id))
        .map(|(id, ..)| *id)
        .collect();
    let mut changes = Vec::new();
    for (id, gvk, live) in &members {
        let held = protected.iter().find(|other| holds(id, live, other));
        let why = match held {
            _ if protected.contains(id) => "it is protected".to_owned(),
            Some(other) => format!("{other} is protected, and would be lost with it"),
            None => {
                changes.push(Target { gvk, id, resource: None }.delete(live));
                continue;
            }
        };
        notes.push(Note {
            severity: Severity::Warning,
            id: Some((*id).clone()),
            message: format!("{id} stays: {why}"),
        });
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

/// Whether deleting `id` deletes `other` too.
fn holds(id: &ObjectId, live: &Value, other: &ObjectId) -> bool {
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str);
    match id.kind.as_str() {
        "Namespace" => other.namespace.as_ref() == Some(&id.name),
        "CustomResourceDefinition" => {
            text("/spec/group") == Some(&other.group) && text("/spec/names/kind") == Some(&other.kind)
        }
        _ => false,
    }
}

/// The live objects of the stack: those that the inventory knows by uid, and those with our label that we have applied (a run that
/// was killed could not note them). A copy that somebody made of one of ours has the label too; it is theirs. What a controller
/// made goes with its owner (Endpoints copy the labels of their Service).
fn members<'a>(inputs: &'a Inputs, notes: &mut Vec<Note>) -> Vec<(&'a ObjectId, Gvk, &'a Value)> {
    let label = stack_label(&inputs.graph.namespace, &inputs.graph.stack);
    let mut members = Vec::new();
    for (id, live) in &inputs.observation.live {
        let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str);
        let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else { continue };
        let known = inputs.recorded.get(id).is_some_and(|(uid, _)| text("/metadata/uid") == Some(uid));
        let labelled = owner(live) == Some(label.as_str());
        if guard::is_owned(live) || owner(live).is_some_and(|owner| owner != label) || !(known || labelled) {
            continue;
        }
        if known || managed::applied(live, &inputs.environment.manager).is_some() {
            members.push((id, Gvk::from_api_version(api_version, kind), live));
        } else {
            notes.push(Note {
                severity: Severity::Warning,
                id: Some(id.clone()),
                message: format!("{id} has the stack's label, but the stack never applied it; it stays"),
            });
        }
    }
    members
}
