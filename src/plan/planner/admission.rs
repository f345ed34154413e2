//! What is refused before the server is asked: namespaces and kinds that can't be, other stacks' objects, other managers' fields.

use serde_json::Value;

use super::{Planner, Subject, owner};
use crate::graph::{Gvk, OnConflict, Resource, stack_label};
use crate::plan::conflict::conflicts;
use crate::plan::owners::Sent;
use crate::plan::{Note, Refusal, RefusalCode, Severity, refuse};

impl Planner {
    /// What needs no server to be refused.
    pub(super) fn refuse_at_sight(&self, resource: &Resource, all: &[Resource]) -> Option<Refusal> {
        let observation = &self.inputs.observation;
        let state = &self.inputs.state_namespace;
        let refuse = |code, message, hint| Some(refuse::refusal(resource, code, message, Some(hint)));
        if resource.id.namespace.as_ref() == Some(state)
            || (resource.id.kind == "Namespace" && resource.id.name == *state)
        {
            let message =
                format!("{} would be in {state}, where the state of all stacks is kept", resource.id);
            return refuse(RefusalCode::StateNamespace, message, "choose another namespace");
        }
        if !observation.kinds.contains_key(&resource.gvk) && !brings_kind(all, &resource.gvk) {
            let message =
                format!("the server knows no kind {} in {}", resource.gvk.kind, resource.gvk.api_version());
            let hint = "check apiVersion and kind, or add its CustomResourceDefinition to the stack";
            return refuse(RefusalCode::UnknownKind, message, hint);
        }
        if let Some(namespace) = &resource.id.namespace {
            if observation.terminating_namespaces.contains(namespace) {
                let message = format!("the namespace {namespace} of {} is being deleted", resource.id);
                return refuse(
                    RefusalCode::TerminatingNamespace,
                    message,
                    "wait until it is gone, then plan again",
                );
            }
            let made = all.iter().any(|other| other.id.kind == "Namespace" && other.id.name == *namespace);
            if !observation.namespaces.contains(namespace) && !made {
                let message = format!("the namespace {namespace} of {} is not there", resource.id);
                return refuse(RefusalCode::RefusedByServer, message, "add the Namespace to the stack");
            }
        }
        let other = owner(observation.live.get(&resource.id)?)?;
        if other == stack_label(&self.inputs.graph.namespace, &self.inputs.graph.stack) {
            return None;
        }
        let message = format!("{} belongs to another stack, {other} (namespace.name)", resource.id);
        refuse(
            RefusalCode::OtherStack,
            message,
            "give it another name here, or take it out of that stack first",
        )
    }

    /// Whether the resource can go on: refuses what nobody has decided, notes what is taken.
    pub(super) fn settle_conflicts(&mut self, resource: &Resource, subject: &Subject) -> bool {
        let Some(live) = self.inputs.observation.live.get(&resource.id) else { return true };
        let sent = match self.sent(resource, &subject.body) {
            // A run that was killed before it could note what it sent; the label says that the object is ours.
            Sent::Never if owner(live).is_some() => Sent::Changed,
            sent => sent,
        };
        let environment = &self.inputs.environment;
        let found = conflicts(
            live,
            &subject.asked,
            &environment.manager,
            sent,
            &resource.policy,
            &*environment.fingerprint,
        );
        let mut free = true;
        for conflict in found {
            if conflict.resolution == OnConflict::Refuse {
                free = false;
                self.refusals.push(refuse::conflict(resource, &conflict));
            } else {
                self.notes.push(Note {
                    severity: Severity::Info,
                    id: Some(resource.id.clone()),
                    message: format!(
                        "{} of {} is taken from {}",
                        conflict.path, resource.id, conflict.owner.manager
                    ),
                });
            }
        }
        free
    }
}

fn brings_kind(all: &[Resource], gvk: &Gvk) -> bool {
    all.iter().any(|resource| {
        let text = |pointer: &str| resource.body.pointer(pointer).and_then(Value::as_str);
        resource.gvk.kind == "CustomResourceDefinition"
            && text("/spec/group") == Some(&gvk.group)
            && text("/spec/names/kind") == Some(&gvk.kind)
    })
}
