//! StatefulSet (apps).

use serde_json::Value;

use super::common::{self, noise};
use super::json::{count, list, name, number, of_kind, owned_by, text};
use super::pods::{self, Finding, Gravity};
use super::workload::{self, Rollout, conclude, has_label};
use super::{Context, KindRules, Missing, Related, Verdict};

/// Put on its pods by the StatefulSet controller; names the pod's revision.
const REVISION_HASH: &str = "controller-revision-hash";

/// The rules of `apps/v1 StatefulSet`.
pub(super) struct StatefulSet;

impl KindRules for StatefulSet {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        if let Some(verdict) = common::never_observed(object) {
            return verdict;
        }
        let spec = number(object, "/spec/replicas").unwrap_or(1);
        let status = |field| count(object, &format!("/status/{field}"));
        // With minReadySeconds a pod counts only once it has been ready for so long.
        let steady = count(object, "/spec/minReadySeconds") > 0;
        let (ready, ready_word) = if steady {
            (status("availableReplicas"), "available")
        } else {
            (status("readyReplicas"), "ready")
        };
        let (replicas, updated) = (status("replicas"), status("updatedReplicas"));
        let on_delete = text(object, "/spec/updateStrategy/type") == "OnDelete";
        let partition = count(object, "/spec/updateStrategy/rollingUpdate/partition");
        let update_revision = text(object, "/status/updateRevision");
        let same_revision = text(object, "/status/currentRevision") == update_revision;
        let wanted = if partition > 0 { (spec - partition).max(0) } else { spec };

        let (code, reason) = if ready < spec {
            ("PodsNotReady", format!("{ready} of {spec} replicas {ready_word}"))
        } else if on_delete {
            return if same_revision {
                Verdict::ready()
            } else {
                Verdict::ready_with(
                    "pods of the earlier revision stay until somebody deletes them (OnDelete)",
                )
            };
        } else if replicas > spec {
            (
                "SurplusPods",
                format!("{} beyond {spec} still to end", pods::plural(replicas - spec, "replica")),
            )
        } else if updated < wanted && !(partition == 0 && same_revision) {
            ("PodsNotUpdated", format!("{updated} of {wanted} pods updated"))
        } else if partition > 0 {
            return Verdict::ready_with(format!(
                "pods below ordinal {partition} keep the earlier revision (partition)"
            ));
        } else {
            return Verdict::ready();
        };

        let is_current = |pod: &Value| has_label(pod, REVISION_HASH, update_revision);
        let rollout = Rollout::new(object, context, Some(object), is_current);
        let [new_ready, stages, pulling] = rollout.progress();
        let progress =
            vec![status("observedGeneration"), updated, new_ready, ready.min(spec), stages, pulling];
        let missing = Missing::new(code, reason).progress(progress);
        let mut findings = rollout.findings();
        if replicas < spec {
            findings.extend(rollout.refused_pods(object));
        }
        if !on_delete && text(object, "/spec/podManagementPolicy") != "Parallel" {
            let earlier = of_kind(context.related, "Pod")
                .filter(|pod| owned_by(pod, text(object, "/metadata/uid")) && !is_current(pod));
            findings.extend(earlier.filter_map(|pod| blocking(pod, &rollout)));
        }
        conclude(missing, findings)
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        workload::related(object)
    }

    fn immutable(&self) -> &'static [&'static str] {
        &["spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt",
            "spec.template.metadata.creationTimestamp",
            "spec.volumeClaimTemplates.status",
            "spec.volumeClaimTemplates.metadata.creationTimestamp",
        ]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        let mut loses = workload::loses_pods(count(live, "/status/replicas"));
        let claims = list(live, "/spec/volumeClaimTemplates");
        if !claims.is_empty()
            && text(live, "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted") == "Delete"
        {
            let names: Vec<_> = claims.iter().map(name).collect();
            loses.push(format!("the data of its claims {} (whenDeleted: Delete)", names.join(", ")));
        }
        loses
    }
}

/// With `OrderedReady` the controller waits for a broken pod of the earlier revision for ever instead of replacing it (kubernetes#67250).
fn blocking(pod: &Value, rollout: &Rollout<'_>) -> Option<Finding> {
    let finding = rollout.diagnose(pod)?;
    if finding.gravity == Gravity::Progressing {
        return None;
    }
    let pod = name(pod);
    let mut missing = Missing::new(
        "OldRevisionBlocks",
        format!(
            "pod {pod} of the earlier revision is broken, and the controller waits for it before it updates: delete pod {pod}"
        ),
    );
    missing.evidence = finding.missing.evidence;
    Some(Finding { gravity: Gravity::Stuck, missing })
}
