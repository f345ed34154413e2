//! Makes the change of one object out of what is live and what the server said it would become.

use std::collections::BTreeMap;

use serde_json::Value;

use super::additions::{additions, removals, without};
use super::diff::{DiffContext, diff};
use super::environment::diff_hash;
use super::mask::masked;
use super::noise::Noise;
use super::owners::Sent;
use super::wanted::differences;
use super::{Action, Cause, Change, Checked, Environment, FieldChange, FieldOp, proof};
use crate::graph::{Gvk, ObjectId, Resource};
use crate::kinds::rules;

/// Whom a change is about.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) gvk: &'a Gvk,
    pub(super) id: &'a ObjectId,
    /// The resource and its number in the graph; none for what the program no longer declares.
    pub(super) resource: Option<(usize, &'a Resource)>,
}

/// The noise of a kind.
pub(super) fn noise(gvk: &Gvk) -> Noise {
    Noise::new(rules(gvk).noise().iter().copied())
}

impl Target<'_> {
    /// A creation: `after` is the server's answer, or the body if it could not be asked.
    pub(super) fn create(
        &self,
        environment: &Environment,
        body: &Value,
        after: &Value,
        checked: Checked,
    ) -> Change {
        let noise = noise(self.gvk);
        let context = context(environment, body, &noise, Sent::Never);
        let diff = diff(None, Some(after), &context);
        let mut change = self.change(Action::Create, diff, body, None);
        change.checked = checked;
        change
    }

    /// The update that leads from `live` to what the dry-run said, with people's additions taken out; `None` if nothing changes. If the
    /// server takes it, but what stands behind the object would not, it is a replacement.
    pub(super) fn update(
        &self,
        environment: &Environment,
        body: &Value,
        live: &Value,
        after: &Value,
        sent: Sent,
    ) -> Option<Change> {
        let noise = noise(self.gvk);
        let added = additions(live, body, &environment.manager, &noise);
        let after = without(after, &added);
        let context = DiffContext { additions: &added, ..context(environment, body, &noise, sent) };
        let diff = diff(Some(live), Some(&after), &context);
        if diff.is_empty() {
            return None;
        }
        if let Some(reason) = rules(self.gvk).replaces(live, &after) {
            return Some(self.replacement(diff, body, live, vec![reason]));
        }
        let mut change = self.change(Action::Update, diff, body, Some(live));
        change.removals = removals(live, &added);
        Some(change)
    }

    /// A replacement. The server refuses the update, so the diff is ours.
    pub(super) fn replace(
        &self,
        environment: &Environment,
        body: &Value,
        asked: &Value,
        live: &Value,
        reasons: Vec<String>,
    ) -> Change {
        let show = |path: &super::path::Path, value: Option<&Value>| {
            value.map(|value| {
                if proof::is_secret(live) {
                    masked(path, value, &*environment.fingerprint)
                } else {
                    value.clone()
                }
            })
        };
        let diff = differences(live, asked, &environment.manager)
            .into_iter()
            .map(|path| {
                let (before, after) = (show(&path, path.find(live)), show(&path, path.find(asked)));
                let op = match (&before, &after) {
                    (None, _) => FieldOp::Add,
                    (_, None) => FieldOp::Remove,
                    _ => FieldOp::Change,
                };
                FieldChange { path: path.to_string(), op, before, after, cause: Cause::Intent }
            })
            .collect();
        self.replacement(diff, body, live, reasons)
    }

    fn replacement(
        &self,
        diff: Vec<FieldChange>,
        body: &Value,
        live: &Value,
        reasons: Vec<String>,
    ) -> Change {
        let mut change = self.change(Action::Replace, diff, body, Some(live));
        change.reasons = reasons;
        change.loses = rules(self.gvk).replacement_loses(live);
        change.guard = rules(self.gvk).guard(live);
        change
    }

    /// A deletion.
    pub(super) fn delete(&self, live: &Value) -> Change {
        let mut change = self.change(Action::Delete, Vec::new(), &Value::Null, Some(live));
        change.loses = rules(self.gvk).replacement_loses(live);
        change.guard = rules(self.gvk).guard(live);
        change
    }

    fn change(&self, action: Action, diff: Vec<FieldChange>, body: &Value, live: Option<&Value>) -> Change {
        let text = |pointer: &str| live?.pointer(pointer)?.as_str().map(str::to_owned);
        Change {
            id: self.id.clone(),
            gvk: self.gvk.clone(),
            action,
            diff_hash: diff_hash(action, &diff),
            diff,
            location: self.resource.map(|(_, resource)| resource.location.clone()),
            uid: text("/metadata/uid"),
            resource_version: text("/metadata/resourceVersion"),
            checked: Checked::Server,
            reasons: Vec::new(),
            loses: Vec::new(),
            guard: None,
            after: BTreeMap::new(),
            body: body.clone(),
            removals: Vec::new(),
            live: live.cloned(),
            policy: self.resource.map(|(_, resource)| resource.policy.clone()).unwrap_or_default(),
            resource: self.resource.map(|(number, _)| number),
        }
    }
}

fn context<'a>(
    environment: &'a Environment,
    body: &'a Value,
    noise: &'a Noise,
    sent: Sent,
) -> DiffContext<'a> {
    DiffContext {
        body,
        manager: &environment.manager,
        sent,
        noise,
        additions: &[],
        fingerprint: &*environment.fingerprint,
    }
}
