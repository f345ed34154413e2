//! ReplicaSet (apps) and its ancestor, ReplicationController.

use serde_json::Value;

use super::common::{self, noise};
use super::json::{count, number};
use super::pods::plural;
use super::workload::{self, Rollout, conclude};
use super::{Context, KindRules, Missing, Related, Verdict};

/// The rules of `apps/v1 ReplicaSet`.
pub(super) struct ReplicaSet;

/// The rules of `v1 ReplicationController`.
pub(super) struct ReplicationController;

impl KindRules for ReplicaSet {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        judge(object, context)
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        workload::related(object)
    }

    fn immutable(&self) -> &'static [&'static str] {
        &["spec.selector"]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "metadata.annotations.deployment.kubernetes.io/desired-replicas",
            "metadata.annotations.deployment.kubernetes.io/max-replicas",
            "metadata.annotations.deployment.kubernetes.io/revision",
            "spec.template.metadata.creationTimestamp",
        ]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        workload::loses_pods(count(live, "/status/replicas"))
    }
}

impl KindRules for ReplicationController {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        judge(object, context)
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        workload::related_by_map(object)
    }

    fn noise(&self) -> &'static [&'static str] {
        noise!["spec.template.metadata.creationTimestamp"]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        workload::loses_pods(count(live, "/status/replicas"))
    }
}

fn judge(object: &Value, context: &Context<'_>) -> Verdict {
    if let Some(verdict) = common::never_observed(object) {
        return verdict;
    }
    let spec = number(object, "/spec/replicas").unwrap_or(1);
    let status = |field| count(object, &format!("/status/{field}"));
    let (replicas, available) = (status("replicas"), status("availableReplicas"));
    let labeled = status("fullyLabeledReplicas");
    let failure = workload::replica_failure(object);
    let (code, reason) = if available < spec {
        ("PodsNotAvailable", format!("{available} of {spec} replicas available"))
    } else if labeled < spec {
        ("PodsNotLabeled", format!("{labeled} of {spec} replicas have the template's labels"))
    } else if replicas > spec {
        ("SurplusPods", format!("{} beyond {spec} still to end", plural(replicas - spec, "pod")))
    } else if failure.is_some() {
        ("ReplicaFailure", "its last pod could not be created or deleted".to_owned())
    } else {
        return Verdict::ready();
    };
    let rollout = Rollout::new(object, context, Some(object), |_| true);
    let [ready, stages, pulling] = rollout.progress();
    let progress =
        vec![status("observedGeneration"), available.min(spec), ready, spec.min(replicas), stages, pulling];
    let mut findings = rollout.findings();
    findings.extend(failure.or_else(|| rollout.refused_pods(object).filter(|_| replicas < spec)));
    conclude(Missing::new(code, reason).progress(progress), findings)
}
