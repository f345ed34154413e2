//! Resources that a plan leaves as they are, and that don't work: what a failed, interrupted or impatient run left behind.

use std::collections::BTreeMap;

use serde_json::Value;

use super::event::ResultOf;
use super::gone;
use super::wait::{Awaited, Until};
use crate::graph::{Graph, Gvk, ObjectId, Policy};
use crate::kinds::{Context, Missing, Verdict, rules};
use crate::observation::KindInfo;
use crate::plan::Plan;

/// A resource that doesn't change and is not ready at first look.
#[derive(Clone, Debug)]
pub struct Unready {
    /// Which object.
    pub id: ObjectId,
    /// Its kind.
    pub kind: KindInfo,
    /// What the program says about it.
    pub policy: Policy,
    /// The live object, as the plan observed it.
    pub object: Value,
    /// What is missing at first look.
    pub missing: Missing,
}

/// Those that the plan leaves as they are and that don't work at `now` (seconds since the epoch). A look at the live object alone, so
/// it costs no request.
pub(crate) fn unready(
    graph: &Graph,
    plan: &Plan,
    kinds: &BTreeMap<Gvk, KindInfo>,
    live: &BTreeMap<ObjectId, Value>,
    now: f64,
) -> Vec<Unready> {
    let unchanged: std::collections::BTreeSet<_> = plan.unchanged.iter().collect();
    let found = graph
        .resources
        .iter()
        .filter(|resource| !resource.policy.no_wait && unchanged.contains(&resource.id));
    found
        .filter_map(|resource| {
            let object = live.get(&resource.id)?;
            Some(Unready {
                missing: missing(&resource.gvk, &resource.policy, object, now)?,
                id: resource.id.clone(),
                kind: kinds.get(&resource.gvk)?.clone(),
                policy: resource.policy.clone(),
                object: object.clone(),
            })
        })
        .collect()
}

/// `None`: it works, or is paused by intent.
fn missing(gvk: &Gvk, policy: &Policy, object: &Value, now: f64) -> Option<Missing> {
    // As for `status`: what was applied long ago has no grace left.
    let context = Context {
        now,
        applied_at: 0.0,
        applied_uid: None,
        applied_generation: None,
        before: None,
        policy,
        related: &[],
    };
    match rules(gvk).assess(object, &context) {
        Verdict::Ready { .. } | Verdict::Suspended { .. } => None,
        Verdict::Progressing(missing) | Verdict::Stuck(missing) | Verdict::Failed(missing) => Some(missing),
        Verdict::Terminating { .. } => Some(gone::missing(object)),
    }
}

/// The waits of a run for what it doesn't change. They begin once the changes are done: a change may be what was missing.
#[derive(Default)]
pub(crate) struct Standing {
    all: Vec<(Unready, Option<ResultOf>)>,
    /// Seconds since the epoch; once begun.
    pub(crate) began_at: Option<f64>,
}

impl Standing {
    pub(crate) fn new(unready: Vec<Unready>) -> Self {
        Self { all: unready.into_iter().map(|one| (one, None)).collect(), began_at: None }
    }

    /// What to wait for, from now on.
    pub(crate) fn begin(&mut self, now: f64) -> Vec<Awaited> {
        self.began_at = Some(now);
        let awaited = |one: &Unready| Awaited {
            id: one.id.clone(),
            kind: one.kind.clone(),
            policy: one.policy.clone(),
            object: one.object.clone(),
            // Nothing is applied: reports from before speak of an earlier attempt, and somebody may have mended the cause.
            before: Some(one.object.clone()),
            applied_at: now.floor(),
            until: Until::Ready,
        };
        self.all.iter().map(|(one, _)| awaited(one)).collect()
    }

    pub(crate) fn id(&self, at: usize) -> &ObjectId {
        &self.all[at].0.id
    }

    pub(crate) fn end(&mut self, at: usize, result: ResultOf) {
        self.all[at].1 = Some(result);
    }

    /// How each ended that was waited for.
    pub(crate) fn results(&mut self) -> Vec<(ObjectId, ResultOf)> {
        self.all.drain(..).filter_map(|(one, result)| Some((one.id, result?))).collect()
    }
}
