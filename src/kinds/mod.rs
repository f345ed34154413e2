//! What stackctl knows about single kinds: when an object is ready, which of its fields can't change, what is noise in
//! a diff, and what a replacement loses. Pure: verdicts take the time as an argument and say when to look again.

mod api_service;
pub(crate) mod common;
mod config;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
pub(crate) mod events;
mod gateway;
mod generic;
mod horizontal_pod_autoscaler;
mod job;
pub(crate) mod json;
mod namespace;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_disruption_budget;
mod pods;
mod replica_set;
mod resource_quota;
mod selector;
pub(crate) mod service;
mod stateful_set;
mod table;
mod verdict;
mod workload;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

pub use table::rules;
pub use verdict::{Evidence, Missing, Related, Verdict};

use crate::graph::Policy;

/// What a verdict is made from, beside the object.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// Seconds since the Unix epoch, with fractions.
    pub now: f64,
    /// When our apply was answered, on the same clock; events before it speak of an earlier state.
    pub applied_at: f64,
    /// `metadata.uid` in the answer to our apply.
    pub applied_uid: Option<&'a str>,
    /// `metadata.generation` in the answer to our apply.
    pub applied_generation: Option<i64>,
    /// The object as it was before our apply; `None` if this run created it.
    pub before: Option<&'a Value>,
    /// What the program says about the resource.
    pub policy: &'a Policy,
    /// The live objects that [`KindRules::related`] asked for: Pods, ReplicaSets, Events, EndpointSlices… A verdict without
    /// them (the first one, say, from the answer to the apply) is valid, but knows fewer reasons.
    pub related: &'a [Value],
}

/// The rules of one kind. Every method is pure and total: any JSON is accepted, none panics.
pub trait KindRules: Sync {
    /// Whether `object` works, and if not, what is missing: the questions that every kind shares, then [`KindRules::judge`].
    fn assess(&self, object: &Value, context: &Context<'_>) -> Verdict {
        let verdict = common::prefix(object, context).unwrap_or_else(|| self.judge(object, context));
        common::with_foreign_change(verdict, object, context)
    }

    /// The kind's own part of [`KindRules::assess`]: the object is ours, not being deleted, and its controller has seen it.
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict;

    /// Which other objects [`KindRules::assess`] wants to see beside `object`.
    fn related(&self, object: &Value) -> Vec<Related> {
        let _ = object;
        Vec::new()
    }

    /// Dotted paths, without list indices (the keys of maps as they are), that the API server doesn't let change on a live
    /// object; such a change is a replacement. They are consulted for what the server has refused; some are fixed only in certain states (an `immutable` ConfigMap).
    fn immutable(&self) -> &'static [&'static str] {
        &[]
    }

    /// Dotted paths of server- or controller-owned fields, those of all kinds included, that a diff leaves out unless
    /// the program itself sets them.
    fn noise(&self) -> &'static [&'static str] {
        common::noise![]
    }

    /// Whether the name of an object is part of its meaning, so that it can't be probed under another name.
    fn name_is_spec(&self) -> bool {
        false
    }

    /// Why going from `live` to `desired` needs a replacement although the API server would take the update (the cloud behind it
    /// would not); `None`: it doesn't.
    fn replaces(&self, live: &Value, desired: &Value) -> Option<String> {
        let _ = (live, desired);
        None
    }

    /// What is lost when `live` is deleted and created again, in words for the plan.
    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        let _ = live;
        Vec::new()
    }

    /// Remarks for the plan about going from `live` (none: a create) to `desired`.
    fn notes(&self, live: Option<&Value>, desired: &Value) -> Vec<String> {
        let _ = (live, desired);
        Vec::new()
    }

    /// What is doubtful about `desired`, in words for the plan.
    fn warnings(&self, desired: &Value) -> Vec<String> {
        let _ = desired;
        Vec::new()
    }

    /// Annotations by key that are written although `desired` has them no more, because leaving them out undoes nothing. `ours` is the live
    /// object with no other annotations than those that we wrote. What this says for an object that has them already must be what it has:
    /// else no plan would ever be empty.
    fn kept_annotations(&self, ours: &Value, desired: &Value) -> BTreeMap<String, String> {
        let _ = (ours, desired);
        BTreeMap::new()
    }

    /// Which guard protects `live` against deletion: it costs data, an address or other people's objects.
    fn guard(&self, live: &Value) -> Option<Guard> {
        let _ = live;
        None
    }
}

/// What a deletion must be confirmed for by name (`--delete load-balancers,namespaces,volumes,crds`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// A Service of type LoadBalancer: its address is gone with it.
    LoadBalancers,
    /// A Namespace: everything in it goes with it.
    Namespaces,
    /// A PersistentVolume or PersistentVolumeClaim: data.
    Volumes,
    /// A CustomResourceDefinition: every object of that kind goes with it.
    Crds,
}
