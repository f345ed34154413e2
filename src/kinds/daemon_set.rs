//! DaemonSet (apps).

use serde_json::Value;

use super::common::{self, noise};
use super::json::{count, entry, text};
use super::workload::{self, Rollout, conclude, has_label};
use super::{Context, KindRules, Missing, Related, Verdict};

/// Which template the DaemonSet has now; its pods carry the same number in a label.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const POD_TEMPLATE_GENERATION: &str = "pod-template-generation";

/// The rules of `apps/v1 DaemonSet`.
pub(super) struct DaemonSet;

impl KindRules for DaemonSet {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        if let Some(verdict) = common::never_observed(object) {
            return verdict;
        }
        if text(object, "/spec/updateStrategy/type") == "OnDelete" {
            return Verdict::ready_with(
                "pods of an earlier revision stay until somebody deletes them (OnDelete)",
            );
        }
        let status = |field| count(object, &format!("/status/{field}"));
        let desired = status("desiredNumberScheduled");
        let (current, updated) = (status("currentNumberScheduled"), status("updatedNumberScheduled"));
        let available = status("numberAvailable");
        let (code, reason) = if current < desired {
            ("PodsNotScheduled", format!("{current} of {desired} nodes have a pod"))
        } else if updated < desired {
            ("PodsNotUpdated", format!("{updated} of {desired} pods updated"))
        } else if available < desired {
            ("PodsNotAvailable", format!("{available} of {desired} pods available"))
        } else if desired == 0 {
            return Verdict::ready_with("no node is to run it");
        } else {
            return Verdict::ready();
        };
        let generation = entry(object, "/metadata/annotations", TEMPLATE_GENERATION);
        let is_current =
            |pod: &Value| generation.is_empty() || has_label(pod, POD_TEMPLATE_GENERATION, generation);
        let rollout = Rollout::new(object, context, Some(object), is_current);
        let [new_ready, stages, pulling] = rollout.progress();
        let progress = vec![status("observedGeneration"), updated.min(desired), new_ready, stages, pulling];
        let mut findings = rollout.findings();
        if current < desired {
            findings.extend(rollout.refused_pods(object));
        }
        conclude(Missing::new(code, reason).progress(progress), findings)
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        workload::related(object)
    }

    fn immutable(&self) -> &'static [&'static str] {
        &["spec.selector"]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "metadata.annotations.deprecated.daemonset.template.generation",
            "spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt",
            "spec.template.metadata.creationTimestamp",
        ]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        workload::loses_pods(count(live, "/status/currentNumberScheduled"))
    }
}
