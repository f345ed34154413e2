//! Deployment (apps).

use serde_json::Value;

use super::common::{self, noise, reports_since};
use super::json::{Condition, count, flag, name, number, of_kind, owned_by, text};
use super::pods::{Gravity, plural};
use super::selector::label_selector;
use super::workload::{self, Rollout, explain};
use super::{Context, Evidence, KindRules, Missing, Related, Verdict};

/// Put on ReplicaSets and their pods by the Deployment controller.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The rules of `apps/v1 Deployment`.
pub(super) struct Deployment;

impl KindRules for Deployment {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        if let Some(verdict) = common::never_observed(object) {
            return verdict;
        }
        let spec = number(object, "/spec/replicas").unwrap_or(1);
        let status = |field| count(object, &format!("/status/{field}"));
        let (replicas, updated, available) =
            (status("replicas"), status("updatedReplicas"), status("availableReplicas"));
        let available_condition = Condition::of(object, "Available");

        let (code, reason) = if updated < spec {
            ("PodsNotUpdated", format!("{updated} of {spec} pods of the new revision created"))
        } else if replicas > updated {
            (
                "OldPodsRunning",
                format!("{} of the earlier revision still to end", plural(replicas - updated, "pod")),
            )
        } else if replicas > spec {
            ("SurplusReplicas", format!("{} beyond {spec} still to end", plural(replicas - spec, "pod")))
        } else if available < spec {
            ("PodsNotAvailable", format!("{available} of {spec} replicas available"))
        } else if spec > 0 && !available_condition.is_some_and(|condition| condition.is_true()) {
            (
                "NotAvailable",
                available_condition
                    .map_or_else(|| "not available yet".to_owned(), |condition| condition.words()),
            )
        } else if flag(object, "/spec/paused") {
            return Verdict::ready_with("its rollouts are paused (spec.paused)");
        } else {
            return Verdict::ready();
        };
        if flag(object, "/spec/paused") {
            return Verdict::Suspended { reason: format!("its rollouts are paused (spec.paused); {reason}") };
        }

        let current = current_replica_set(object, context.related);
        let rollout = Rollout::new(object, context, current, |_| true);
        let [ready, stages, pulling] = rollout.progress();
        let progress =
            vec![status("observedGeneration"), updated, ready, updated - replicas, stages, pulling];
        let missing = Missing::new(code, reason).progress(progress);

        let mut findings = rollout.findings();
        if replicas < spec || updated < spec {
            let refused = current.and_then(|set| rollout.refused_pods(set));
            findings.extend(refused.or_else(|| workload::replica_failure(object)));
        }
        let finding = explain(missing, findings);
        match deadline_exceeded(object, context) {
            Some(evidence) if finding.gravity < Gravity::Failed => {
                let missing = finding.missing.evidence(evidence);
                Verdict::Failed(Missing { code: "ProgressDeadlineExceeded".to_owned(), ..missing })
            }
            _ => finding.verdict(),
        }
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        let mut related = workload::related(object);
        related.extend(
            label_selector(object.pointer("/spec/selector"))
                .map(|selector| Related::ReplicaSets { selector }),
        );
        related
    }

    fn immutable(&self) -> &'static [&'static str] {
        &["spec.selector"]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "metadata.annotations.deployment.kubernetes.io/revision",
            "spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt",
            "spec.template.metadata.creationTimestamp",
        ]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        workload::loses_pods(count(live, "/status/replicas"))
    }
}

/// The controller has given up on this rollout, and not on an earlier one.
fn deadline_exceeded(object: &Value, context: &Context<'_>) -> Option<Evidence> {
    let condition = Condition::of(object, "Progressing")?;
    let recent = condition.updated.is_none_or(|updated| updated >= reports_since(object, context));
    (condition.is_false() && condition.reason == "ProgressDeadlineExceeded" && recent)
        .then(|| Evidence::new(format!("Deployment {}", name(object)), condition.message))
}

/// The ReplicaSet with the Deployment's own pod template, as the controller itself finds it: not by its revision annotation, which
/// others may write, and not by age, since a rollback takes an old one up again.
fn current_replica_set<'a>(object: &Value, related: &'a [Value]) -> Option<&'a Value> {
    let uid = text(object, "/metadata/uid");
    let template = object.pointer("/spec/template")?;
    of_kind(related, "ReplicaSet")
        .filter(|set| owned_by(set, uid))
        .find(|set| set.pointer("/spec/template").is_some_and(|other| same_template(template, other)))
}

/// Whether two pod templates are equal but for the label that the controller adds.
fn same_template(ours: &Value, theirs: &Value) -> bool {
    let mut theirs = theirs.clone();
    if let Some(labels) = theirs.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(POD_TEMPLATE_HASH);
    }
    without_empty_metadata(&mut theirs);
    let mut ours = ours.clone();
    without_empty_metadata(&mut ours);
    ours == theirs
}

/// `creationTimestamp: null` and empty maps come and go with the API server's version.
fn without_empty_metadata(template: &mut Value) {
    if let Some(metadata) = template.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()));
    }
    if template.pointer("/metadata").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
        && let Some(template) = template.as_object_mut()
    {
        template.remove("metadata");
    }
}
