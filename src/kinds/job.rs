//! Job and CronJob (batch).

use serde_json::Value;

use super::common::noise;
use super::json::{Condition, count, flag, list, number, time};
use super::pods::whole_minutes;
use super::workload::{self, Rollout, conclude, explain};
use super::{Context, KindRules, Missing, Related, Verdict};

/// The rules of `batch/v1 Job`.
pub(super) struct Job;

impl KindRules for Job {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        let condition = |name| Condition::of(object, name).filter(Condition::is_true);
        if condition("Complete").or_else(|| condition("SuccessCriteriaMet")).is_some() {
            return Verdict::ready();
        }
        let rollout = Rollout::new(object, context, Some(object), |_| true).owner_retries();
        if let Some(failed) = condition("Failed").or_else(|| condition("FailureTarget")) {
            let code = if failed.reason.is_empty() { "JobFailed" } else { failed.reason };
            let missing = explain(Missing::new(code, failed.words()), rollout.findings()).missing;
            return Verdict::Failed(Missing { code: code.to_owned(), ..missing });
        }
        if flag(object, "/spec/suspend") {
            return Verdict::Suspended { reason: "the Job is suspended (spec.suspend)".to_owned() };
        }
        let (active, succeeded) = (count(object, "/status/active"), count(object, "/status/succeeded"));
        let failed = count(object, "/status/failed");
        let wanted = number(object, "/spec/completions").unwrap_or(1);
        let reason = format!("{succeeded} of {wanted} completions, {active} active, {failed} failed");
        // A Job that runs shows nothing from outside, so the minutes of running are its progress; its own limits end it.
        let running =
            rollout.pods().filter_map(running_since).map(|since| context.now - since).max_by(f64::total_cmp);
        let minutes = running.map_or(0, whole_minutes);
        let [_, stages, pulling] = rollout.progress();
        let mut missing =
            Missing::new("JobRunning", reason).progress(vec![succeeded, stages, pulling, minutes]);
        if running.is_some() {
            missing = missing.look_again_at(context.now + 60.0);
        }
        let mut findings = rollout.findings();
        // A running container of a Job is as it should be, ready or not.
        findings.retain(|finding| finding.missing.code != "ContainerNotReady");
        if active == 0 {
            findings.extend(rollout.refused_pods(object));
        }
        conclude(missing, findings)
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        workload::related(object)
    }

    fn immutable(&self) -> &'static [&'static str] {
        &[
            "spec.backoffLimitPerIndex",
            "spec.completionMode",
            "spec.completions",
            "spec.managedBy",
            "spec.manualSelector",
            "spec.maxFailedIndexes",
            "spec.podFailurePolicy",
            "spec.podReplacementPolicy",
            "spec.selector",
            "spec.successPolicy",
            "spec.template",
        ]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "metadata.annotations.batch.kubernetes.io/job-tracking",
            "metadata.labels.batch.kubernetes.io/controller-uid",
            "metadata.labels.batch.kubernetes.io/job-name",
            "metadata.labels.controller-uid",
            "metadata.labels.job-name",
            "spec.selector.matchLabels.batch.kubernetes.io/controller-uid",
            "spec.selector.matchLabels.controller-uid",
            "spec.template.metadata.creationTimestamp",
            "spec.template.metadata.labels.batch.kubernetes.io/controller-uid",
            "spec.template.metadata.labels.batch.kubernetes.io/job-name",
            "spec.template.metadata.labels.controller-uid",
            "spec.template.metadata.labels.job-name",
        ]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        workload::loses_pods(count(live, "/status/active"))
    }
}

/// When the pod's containers began to run; none if none runs.
fn running_since(pod: &Value) -> Option<f64> {
    list(pod, "/status/containerStatuses")
        .iter()
        .filter_map(|status| time(status, "/state/running/startedAt"))
        .min_by(f64::total_cmp)
}

/// The rules of `batch/v1 CronJob`.
pub(super) struct CronJob;

impl KindRules for CronJob {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        if flag(object, "/spec/suspend") {
            return Verdict::ready_with("suspended: it starts no Jobs (spec.suspend)");
        }
        Verdict::ready()
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "spec.jobTemplate.metadata.creationTimestamp",
            "spec.jobTemplate.spec.template.metadata.creationTimestamp"
        ]
    }
}
