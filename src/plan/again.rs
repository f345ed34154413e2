//! A change whose object moved between plan and apply: it is asked again, and goes on only if it is still the same change.

use serde_json::Value;

use super::compare::Target;
use super::owners::Sent;
use super::{Action, Answer, Change, Environment, Question};

/// What became of a change.
#[derive(Debug)]
pub enum Again {
    /// The same as agreed to, made from the object as it is now.
    Same(Box<Change>),
    /// There is nothing left to do.
    Nothing,
    /// It would be another change now: the plan is stale.
    Moved {
        /// What is different.
        message: String,
    },
}

/// What to ask the server: the dry-run of the change on the object as it is now. Late values must be filled in.
pub fn question(change: &Change) -> Question {
    Question {
        resource: change.resource.unwrap_or_default(),
        gvk: change.gvk.clone(),
        id: change.id.clone(),
        body: change.body.clone(),
        force: true,
    }
}

/// Judges the answer.
pub fn judge(change: &Change, live: Option<Value>, answer: Answer, environment: &Environment) -> Again {
    let after = match answer {
        Answer::Accepted(after) => after,
        Answer::Rejected(rejection) => {
            return Again::Moved { message: format!("the server refuses it now: {}", rejection.message) };
        }
    };
    match (change.action, live) {
        (Action::Create, None) | (Action::Delete, _) => Again::Same(Box::new(change.clone())),
        (Action::Create, Some(_)) => {
            Again::Moved { message: format!("{} was created by somebody else", change.id) }
        }
        (Action::Update | Action::Replace, None) => {
            Again::Moved { message: format!("{} is gone", change.id) }
        }
        (Action::Update | Action::Replace, Some(live)) => {
            let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
            if uid != change.uid.as_deref() {
                return Again::Moved {
                    message: format!("{} was deleted and created again by somebody else", change.id),
                };
            }
            let target = Target { gvk: &change.gvk, id: &change.id, resource: None };
            let Some(now) = target.update(environment, &change.body, &live, &after, Sent::Changed) else {
                return Again::Nothing;
            };
            if now.action != change.action {
                let message = if now.action == Action::Replace {
                    format!(
                        "{} can now only be deleted and created again: {}",
                        change.id,
                        now.reasons.join("; ")
                    )
                } else {
                    format!("{} no longer has to be replaced", change.id)
                };
                return Again::Moved { message };
            }
            match difference(change, &now) {
                None => Again::Same(Box::new(Change {
                    uid: now.uid,
                    resource_version: now.resource_version,
                    removals: now.removals,
                    live: now.live,
                    ..change.clone()
                })),
                Some(message) => Again::Moved { message },
            }
        }
    }
}

/// What differs between the change agreed to and the one that would be made now. Fields whose value was not known at plan time
/// may differ, and a drift that somebody took back in the meantime is no surprise.
fn difference(agreed: &Change, now: &Change) -> Option<String> {
    if agreed.diff_hash == now.diff_hash {
        return None;
    }
    for field in &now.diff {
        let known = agreed.diff.iter().find(|known| known.path == field.path);
        match known {
            Some(known) if known.after == field.after && known.before == field.before => {}
            Some(known) if matches!(known.cause, super::Cause::KnownAfterApply { .. }) => {}
            Some(_) => return Some(format!("{} of {} has changed since the plan", field.path, agreed.id)),
            None => {
                return Some(format!(
                    "{} of {} would change too, which the plan did not say",
                    field.path, agreed.id
                ));
            }
        }
    }
    None
}
