//! What stackctl knows about single kinds: when an object is ready, which of its fields can't change, what is noise in
//! a diff, and what a replacement loses. Pure: verdicts take the time as an argument and say when to look again.

mod verdict;

use serde_json::Value;

pub use verdict::{Evidence, Missing, Related, Verdict};

use crate::graph::{Gvk, Policy};

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
    /// The live objects that [`KindRules::related`] asked for: Pods, ReplicaSets, Events, EndpointSlices…
    pub related: &'a [Value],
}

/// The rules of one kind. Every method is pure and total: any JSON is accepted, none panics.
pub trait KindRules: Sync {
    /// Whether `object` works, and if not, what is missing.
    fn assess(&self, object: &Value, context: &Context<'_>) -> Verdict;

    /// Which other objects [`KindRules::assess`] wants to see beside `object`.
    fn related(&self, object: &Value) -> Vec<Related> {
        let _ = object;
        Vec::new()
    }

    /// Dotted paths, without list indices, that the API server never lets change on a live object; such a change is a replacement.
    fn immutable(&self) -> &'static [&'static str] {
        &[]
    }

    /// Dotted paths of server- or controller-owned fields that a diff leaves out.
    fn noise(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the name of an object is part of its meaning, so that it can't be probed under another name.
    fn name_is_spec(&self) -> bool {
        false
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

/// The rules for a kind; kinds that are not known get the generic ones (conditions, observedGeneration).
pub fn rules(gvk: &Gvk) -> &'static dyn KindRules {
    let _ = gvk;
    &Generic
}

struct Generic;

impl KindRules for Generic {
    fn assess(&self, _object: &Value, _context: &Context<'_>) -> Verdict {
        Verdict::Ready { note: None }
    }
}
