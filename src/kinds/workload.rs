//! What the workload kinds share: their pods give the reasons, the kind itself the counts.

use serde_json::Value;

use super::common::reports_since;
use super::events::Event;
use super::json::{Condition, entry, name, of_kind, owned_by, text};
use super::pods::{self, Finding, Gravity, View, plural};
use super::selector::{label_selector, map_selector};
use super::{Context, Evidence, Missing, Related, Verdict};

/// Evidence of more pods than this says nothing new.
const MOST_EVIDENCE: usize = 3;

/// The pods of the revision that a workload is rolling out, and what is reported about them.
pub(super) struct Rollout<'a> {
    pods: Vec<&'a Value>,
    events: Vec<Event<'a>>,
    since: f64,
    now: f64,
    owner_retries: bool,
}

impl<'a> Rollout<'a> {
    /// Of the workload `object`, whose pods `owner` controls (itself, or its ReplicaSet), with those of the pods that `is_current` picks.
    pub(super) fn new(
        object: &Value,
        context: &Context<'a>,
        owner: Option<&Value>,
        is_current: impl Fn(&Value) -> bool,
    ) -> Self {
        let mine = |pod: &&Value| owner.is_some_and(|owner| owned_by(pod, text(owner, "/metadata/uid")));
        Self {
            pods: of_kind(context.related, "Pod").filter(mine).filter(|pod| is_current(pod)).collect(),
            events: Event::all(context.related),
            since: reports_since(object, context),
            now: context.now,
            owner_retries: false,
        }
    }

    /// The owner has its own limit of retries (a Job): a crash is not the end of the wait.
    pub(super) fn owner_retries(self) -> Self {
        Self { owner_retries: true, ..self }
    }

    /// The pods of the revision, those being deleted left out.
    pub(super) fn pods(&self) -> impl Iterator<Item = &'a Value> + '_ {
        self.pods.iter().copied().filter(|pod| !pods::is_terminating(pod))
    }

    /// Pods of the revision that are ready, how far all of them have come, and the minutes of the longest pull.
    pub(super) fn progress(&self) -> [i64; 3] {
        let ready = self.pods().filter(|pod| pods::is_ready(pod)).count();
        let stages = self.pods().map(pods::stage).sum();
        [i64::try_from(ready).unwrap_or(i64::MAX), stages, pods::pulling_minutes(&self.pods, &self.view())]
    }

    /// What is wrong with each pod of the revision.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.pods().filter_map(|pod| pods::diagnose(pod, &self.view())).collect()
    }

    /// What is wrong with one pod of any revision.
    pub(super) fn diagnose(&self, pod: &Value) -> Option<Finding> {
        pods::diagnose(pod, &self.view())
    }

    /// The API server refuses the pods of `owner` (a quota, an admission policy, a missing ServiceAccount): the last thing heard is a `FailedCreate`.
    pub(super) fn refused_pods(&self, owner: &Value) -> Option<Finding> {
        let creations = ["FailedCreate", "SuccessfulCreate"];
        let last =
            self.events.iter().find(|event| event.is_about(owner) && creations.contains(&event.reason))?;
        (last.reason == "FailedCreate" && last.happened_since(self.since))
            .then(|| refusal(&format!("{} {}", text_or(owner, "/kind", "object"), name(owner)), last.message))
    }

    fn view(&self) -> View<'_> {
        View { now: self.now, since: self.since, events: &self.events, owner_retries: self.owner_retries }
    }
}

fn text_or<'a>(object: &'a Value, pointer: &str, default: &'a str) -> &'a str {
    match text(object, pointer) {
        "" => default,
        text => text,
    }
}

/// The API server doesn't let the controller create pods; a human can mend the quota or policy.
fn refusal(object: &str, words: &str) -> Finding {
    let code = if words.contains("exceeded quota") {
        "QuotaExceeded"
    } else if words.contains("admission webhook")
        || words.contains("ValidatingAdmissionPolicy")
        || words.contains("violates PodSecurity")
    {
        "AdmissionDenied"
    } else {
        "FailedCreate"
    };
    let missing =
        Missing::new(code, "the API server refuses its pods").evidence(Evidence::new(object, words));
    Finding { gravity: Gravity::Stuck, missing }
}

/// The condition `ReplicaFailure` of a Deployment or ReplicaSet, as a finding.
pub(super) fn replica_failure(object: &Value) -> Option<Finding> {
    let condition = Condition::of(object, "ReplicaFailure").filter(Condition::is_true)?;
    Some(refusal(&format!("{} {}", text_or(object, "/kind", "object"), name(object)), condition.message))
}

/// What is missing by the counts, made worse and explained by the findings.
pub(super) fn conclude(counts: Missing, findings: Vec<Finding>) -> Verdict {
    explain(counts, findings).verdict()
}

/// The same, not yet a verdict.
pub(super) fn explain(counts: Missing, findings: Vec<Finding>) -> Finding {
    let look_again =
        findings.iter().filter_map(|finding| finding.missing.look_again_at).min_by(f64::total_cmp);
    let mut missing = match look_again {
        Some(time) => counts.look_again_at(time),
        None => counts,
    };
    let gravity = findings.iter().map(|finding| finding.gravity).max().unwrap_or(Gravity::Progressing);
    let mut worst = findings.into_iter().filter(|finding| finding.gravity == gravity);
    if let Some(first) = worst.next() {
        missing.code = first.missing.code;
        missing.reason = format!("{}: {}", missing.reason, first.missing.reason);
        missing.evidence.extend(first.missing.evidence);
        let more = worst.flat_map(|finding| finding.missing.evidence);
        missing.evidence.extend(more.take(MOST_EVIDENCE.saturating_sub(missing.evidence.len())));
    }
    Finding { gravity, missing }
}

/// Pods of a workload by its `spec.selector`, and events about it and them.
pub(super) fn related(object: &Value) -> Vec<Related> {
    let mut related = vec![Related::Events];
    related
        .extend(label_selector(object.pointer("/spec/selector")).map(|selector| Related::Pods { selector }));
    related
}

/// The same for a ReplicationController, whose selector is a plain map.
pub(super) fn related_by_map(object: &Value) -> Vec<Related> {
    let mut related = vec![Related::Events];
    related.extend(map_selector(object.pointer("/spec/selector")).map(|selector| Related::Pods { selector }));
    related
}

/// Whether a pod has this label with this value.
pub(super) fn has_label(pod: &Value, key: &str, value: &str) -> bool {
    entry(pod, "/metadata/labels", key) == value
}

/// What is lost when a workload with `pods` pods is deleted and created again.
pub(super) fn loses_pods(pods: i64) -> Vec<String> {
    if pods <= 0 {
        return Vec::new();
    }
    vec![format!(
        "{} stopped, their connections cut; nothing serves until new ones are ready",
        plural(pods, "running pod")
    )]
}
