//! Annotations on their way to a Service, by suffix; and what both families say alike.

use std::collections::BTreeMap;

use serde_json::json;

use super::annotation::{Family, NLB_CLASS, PREFIX};
use super::lint::lint;
use crate::graph::build::Port;

/// Values by suffix. The typed builders write them; the table checks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// Sets one value.
    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike, without a & at every call")]
    pub(super) fn set(&mut self, suffix: &'static str, value: impl ToString) {
        self.0.insert(suffix, value.to_string());
    }

    /// Sets an on/off value.
    pub(super) fn switch(&mut self, suffix: &'static str, on: bool) {
        self.set(suffix, if on { "on" } else { "off" });
    }

    /// Takes all of `other` over.
    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.clone());
    }

    /// Under their full keys.
    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(suffix, value)| (format!("{PREFIX}{suffix}"), value.clone())).collect()
    }
}

/// What is wrong with these annotations on a Service with these ports, in words for the reader.
pub(super) fn problems(
    family: Family,
    annotations: &BTreeMap<String, String>,
    ports: &[Port],
) -> Vec<String> {
    let ports: Vec<_> =
        ports.iter().map(|port| json!({"port": port.number(), "protocol": port.protocol()})).collect();
    let mut service =
        json!({"metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer", "ports": ports}});
    if family == Family::Nlb {
        service["spec"]["loadBalancerClass"] = NLB_CLASS.into();
    }
    lint(&service).iter().map(ToString::to_string).collect()
}

/// Who makes the listeners of a load balancer that is not CCM's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// CCM, for the Service's ports; a listener that is already there on the same port and protocol is taken over and changed.
    Managed,
    /// Somebody else: CCM makes the groups of servers only, and traffic flows once a listener uses them.
    Unmanaged,
}

impl Listeners {
    /// The value of `force-override-listeners`: the unmanaged case is written, too, since leaving it out is a common mistake.
    pub(super) fn value(self) -> &'static str {
        match self {
            Self::Managed => "true",
            Self::Unmanaged => "false",
        }
    }
}

/// How connections are distributed over servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Round robin; weights count for nothing.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Consistent hash of the source address (layer 4 only).
    Sch,
    /// Consistent hash of source, target and ports (layer 4 only).
    Tch,
    /// Fewest connections by weight (NLB only).
    Wlc,
}

impl Scheduler {
    pub(super) fn value(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Sch => "sch",
            Self::Tch => "tch",
            Self::Wlc => "wlc",
        }
    }
}

/// `k=v,k2=v2`, in the given order.
pub(super) fn pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    let pairs = pairs.into_iter().map(|(key, value)| format!("{}={}", key.into(), value.into()));
    pairs.collect::<Vec<_>>().join(",")
}

/// `a,b,c`.
pub(super) fn list<T: Into<String>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(Into::into).collect::<Vec<_>>().join(",")
}
