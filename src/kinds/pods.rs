//! Why a pod doesn't work yet: what the scheduler, the kubelet, the registry and the container itself say.
//!
//! The rules that end a wait early are here: an image that can't be pulled twice, a container that crashes for the third time, a configuration
//! that names what doesn't exist. Whatever may still heal stays a reason to show.

use serde_json::Value;

use super::events::Event;
use super::json::{Condition, count, entry, flag, list, name, text, time};
use super::{Evidence, Missing, Verdict};

/// The kubelet fetches configuration lazily; a Secret may still be on its way (readiness v1).
const CONFIG_GRACE_SECONDS: f64 = 10.0;
/// An autoscaler may save an unschedulable pod, but after this the reader should know (readiness v1, kstatus).
const UNSCHEDULABLE_GRACE_SECONDS: f64 = 15.0;
/// Pulls that failed before a wait ends: the second failure is no accident.
const PULL_FAILURES: i64 = 2;
/// If events can't be read, pull failures can't be counted; the kubelet's second try is long over by then.
const PULL_GRACE_SECONDS: f64 = 60.0;
/// Restarts in CrashLoopBackOff before a wait ends (readiness v1).
const CRASH_RESTARTS: i64 = 3;
/// Kubelet's retries (mounts, sandboxes) that are still ordinary.
const ORDINARY_RETRIES: i64 = 3;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gravity {
    /// On its way.
    Progressing,
    /// Something else must help.
    Stuck,
    /// It will not heal.
    Failed,
}

/// What is wrong with one pod.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) gravity: Gravity,
    pub(super) missing: Missing,
}

/// What a pod is judged by, beside itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// Seconds since the epoch.
    pub(super) now: f64,
    /// Reports from before are of an earlier state; seconds since the epoch.
    pub(super) since: f64,
    /// Events about the pods, the latest first.
    pub(super) events: &'a [Event<'a>],
    /// The owner has its own limit of retries (a Job): a crash is not the end.
    pub(super) owner_retries: bool,
}

impl Finding {
    fn new(gravity: Gravity, code: &str, reason: impl Into<String>) -> Self {
        Self { gravity, missing: Missing::new(code, reason) }
    }

    fn evidence(self, evidence: Evidence) -> Self {
        Self { missing: self.missing.evidence(evidence), ..self }
    }

    fn look_again_at(self, time: f64) -> Self {
        Self { missing: self.missing.look_again_at(time), ..self }
    }

    /// The finding as a verdict of its own.
    pub(super) fn verdict(self) -> Verdict {
        match self.gravity {
            Gravity::Progressing => Verdict::Progressing(self.missing),
            Gravity::Stuck => Verdict::Stuck(self.missing),
            Gravity::Failed => Verdict::Failed(self.missing),
        }
    }
}

/// Whether a pod is Ready and not being deleted.
pub(super) fn is_ready(pod: &Value) -> bool {
    !is_terminating(pod) && Condition::of(pod, "Ready").is_some_and(|condition| condition.is_true())
}

/// Whether a pod is being deleted.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// How far a pod has come: scheduled, init containers done, containers started, containers ready, pod ready. Only grows while it starts.
pub(super) fn stage(pod: &Value) -> i64 {
    if is_terminating(pod) {
        return 0;
    }
    let truth = |yes: bool| i64::from(yes);
    let inits: i64 = list(pod, "/status/initContainerStatuses")
        .iter()
        .map(|status| {
            truth(text(status, "/state/terminated/reason") == "Completed" || flag(status, "/started"))
        })
        .sum();
    let containers: i64 = list(pod, "/status/containerStatuses")
        .iter()
        .map(|status| truth(status.pointer("/state/running").is_some()) + truth(flag(status, "/ready")))
        .sum();
    let scheduled = Condition::of(pod, "PodScheduled").is_some_and(|condition| condition.is_true());
    truth(scheduled) + inits + containers + truth(is_ready(pod))
}

/// Minutes that the longest of the pulls going on has taken; the container runtime itself ends a pull that stands still.
pub(super) fn pulling_minutes(pods: &[&Value], view: &View<'_>) -> i64 {
    pods.iter()
        .filter_map(|pod| pulling_since(pod, view))
        .map(|since| whole_minutes(view.now - since))
        .max()
        .unwrap_or(0)
}

/// Whole minutes in so many seconds, never negative.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and years of minutes are no progress anyway"
)]
pub(super) fn whole_minutes(seconds: f64) -> i64 {
    (seconds / 60.0).clamp(0.0, 1e6) as i64
}

/// When the pull that is going on in this pod began.
fn pulling_since(pod: &Value, view: &View<'_>) -> Option<f64> {
    let waits =
        list(pod, "/status/containerStatuses").iter().chain(list(pod, "/status/initContainerStatuses")).any(
            |status| matches!(text(status, "/state/waiting/reason"), "ContainerCreating" | "PodInitializing"),
        );
    let about_images = ["Pulling", "Pulled", "Failed", "BackOff"];
    let latest =
        view.events.iter().find(|event| event.is_about(pod) && about_images.contains(&event.reason))?;
    (waits && latest.reason == "Pulling" && latest.happened_since(view.since))
        .then_some(latest.last)
        .flatten()
}

/// The worst of what is wrong with `pod`; `None` if it is ready, done or on its way out.
pub(super) fn diagnose(pod: &Value, view: &View<'_>) -> Option<Finding> {
    if is_terminating(pod) || is_ready(pod) || text(pod, "/status/phase") == "Succeeded" {
        return None;
    }
    if text(pod, "/status/phase") == "Failed" {
        return Some(failed_pod(pod));
    }
    if let Some(finding) = unscheduled(pod, view) {
        return Some(finding);
    }
    let worst = containers(pod, view).max_by_key(|finding| finding.gravity);
    if let Some(finding) = worst.as_ref()
        && finding.gravity > Gravity::Progressing
    {
        return worst;
    }
    let finding = node_trouble(pod, view).or(worst).or_else(|| readiness_gate(pod));
    Some(finding.unwrap_or_else(|| starting(pod, view)))
}

/// Nothing is wrong; it takes its time.
fn starting(pod: &Value, view: &View<'_>) -> Finding {
    let Some(since) = pulling_since(pod, view) else {
        return Finding::new(Gravity::Progressing, "PodStarting", format!("pod {} is starting", name(pod)));
    };
    let what = format!("pod {} is pulling its image", name(pod));
    // Minutes of pulling count as progress, so the verdict changes with each of them.
    let minutes = f64::from(i32::try_from(whole_minutes(view.now - since)).unwrap_or(i32::MAX));
    Finding::new(Gravity::Progressing, "PullingImage", what).look_again_at(since + (minutes + 1.0) * 60.0)
}

/// `Pod srs-deploy-7c9f-x2x4z`.
fn title(pod: &Value) -> String {
    format!("Pod {}", name(pod))
}

fn failed_pod(pod: &Value) -> Finding {
    let (reason, message) = (text(pod, "/status/reason"), text(pod, "/status/message"));
    let code = if reason.is_empty() { "PodFailed" } else { reason };
    let finding = Finding::new(Gravity::Progressing, code, format!("pod {} has failed", name(pod)));
    let broken = list(pod, "/status/initContainerStatuses")
        .iter()
        .chain(list(pod, "/status/containerStatuses"))
        .find(|status| count(status, "/state/terminated/exitCode") != 0);
    match broken {
        Some(status) => finding.evidence(crash_evidence(pod, status, &status["state"]["terminated"])),
        None if message.is_empty() => finding.evidence(Evidence::new(title(pod), code)),
        None => finding.evidence(Evidence::new(title(pod), message)),
    }
}

fn unscheduled(pod: &Value, view: &View<'_>) -> Option<Finding> {
    let condition = Condition::of(pod, "PodScheduled").filter(Condition::is_false)?;
    let evidence = Evidence::new(title(pod), condition.message);
    if condition.reason == "SchedulingGated" {
        let reason = format!("pod {} is held by scheduling gates", name(pod));
        return Some(Finding::new(Gravity::Progressing, "SchedulingGated", reason).evidence(evidence));
    }
    let until = condition.since.unwrap_or(view.now) + UNSCHEDULABLE_GRACE_SECONDS;
    let gravity = if view.now > until { Gravity::Stuck } else { Gravity::Progressing };
    let finding =
        Finding::new(gravity, "Unschedulable", format!("no node takes pod {}", name(pod))).evidence(evidence);
    Some(if gravity == Gravity::Stuck { finding } else { finding.look_again_at(until + 0.001) })
}

/// What is wrong with each container that isn't ready, init containers first.
fn containers<'a>(pod: &'a Value, view: &'a View<'a>) -> impl Iterator<Item = Finding> + 'a {
    let init = list(pod, "/status/initContainerStatuses").iter().map(|status| (status, true));
    let main = list(pod, "/status/containerStatuses").iter().map(|status| (status, false));
    init.chain(main).filter_map(|(status, init)| container(pod, status, init, view))
}

fn container(pod: &Value, status: &Value, init: bool, view: &View<'_>) -> Option<Finding> {
    let container = text(status, "/name");
    if flag(status, "/ready") {
        return None;
    }
    match text(status, "/state/waiting/reason") {
        reason @ ("ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed") => Some(image_pull(pod, status, reason, view)),
        reason @ ("InvalidImageName" | "ErrImageNeverPull") => {
            let what = format!("image {:?} of pod {} can't be used", image(pod, status), name(pod));
            Some(Finding::new(Gravity::Failed, reason, what).evidence(waiting_evidence(pod, status)))
        }
        "CreateContainerConfigError" => Some(config_error(pod, status, view)),
        reason @ ("CreateContainerError"
        | "RunContainerError"
        | "PostStartHookError"
        | "PreStartHookError") => {
            let what = format!("container {container} of pod {} can't be started", name(pod));
            Some(Finding::new(Gravity::Stuck, reason, what).evidence(waiting_evidence(pod, status)))
        }
        "CrashLoopBackOff" => Some(crash_loop(pod, status, view)),
        _ => running_or_ended(pod, status, init, view),
    }
}

fn image_pull(pod: &Value, status: &Value, reason: &str, view: &View<'_>) -> Finding {
    let container = text(status, "/name");
    let about_pod = || view.events.iter().filter(|event| event.is_about(pod));
    let mut failures = about_pod().filter(|event| {
        event.reason == "Failed"
            && event.message.contains("Failed to pull image")
            && event.is_about_container(container)
            && event.happened_since(view.since)
    });
    let counted: i64 = failures.clone().map(|event| event.count).sum();
    let what = format!("image {:?} of pod {} can't be pulled", image(pod, status), name(pod));
    // The back-off's own message hides the registry's words on older kubelets; the event of the failure has them.
    let words = failures.next().map_or_else(|| text(status, "/state/waiting/message"), |event| event.message);
    let evidence = container_evidence(pod, status, words);
    let blind_until = scheduled_at(pod).unwrap_or(view.now) + PULL_GRACE_SECONDS;
    let blind = about_pod().next().is_none();
    if counted >= PULL_FAILURES || (blind && view.now > blind_until) {
        return Finding::new(Gravity::Failed, reason, what).evidence(evidence);
    }
    let finding = Finding::new(Gravity::Progressing, reason, format!("{what}; the kubelet tries again"))
        .evidence(evidence);
    if blind { finding.look_again_at(blind_until + 0.001) } else { finding }
}

fn config_error(pod: &Value, status: &Value, view: &View<'_>) -> Finding {
    let container = text(status, "/name");
    let first = view
        .events
        .iter()
        .filter(|event| event.is_about(pod) && event.is_about_container(container))
        .filter(|event| event.reason == "Failed" && event.message.starts_with("Error: "))
        .filter_map(|event| event.first)
        .min_by(f64::total_cmp);
    let until =
        first.or_else(|| scheduled_at(pod)).unwrap_or(view.now).max(view.since) + CONFIG_GRACE_SECONDS;
    let what = format!("container {container} of pod {} lacks configuration", name(pod));
    let failed = view.now > until;
    let gravity = if failed { Gravity::Failed } else { Gravity::Progressing };
    let finding =
        Finding::new(gravity, "CreateContainerConfigError", what).evidence(waiting_evidence(pod, status));
    if failed { finding } else { finding.look_again_at(until + 0.001) }
}

fn crash_loop(pod: &Value, status: &Value, view: &View<'_>) -> Finding {
    let restarts = count(status, "/restartCount");
    let last = &status["lastState"]["terminated"];
    let out_of_memory = text(last, "/reason") == "OOMKilled";
    let code = if out_of_memory { "OOMKilled" } else { "CrashLoopBackOff" };
    let what = format!(
        "container {} of pod {} {} ({})",
        text(status, "/name"),
        name(pod),
        if out_of_memory { "runs out of memory" } else { "crashes" },
        plural(restarts, "restart"),
    );
    // A pod of an earlier attempt may be in back-off for minutes; only a crash since our apply tells something about it.
    let recent = time(last, "/finishedAt").is_none_or(|finished| finished >= view.since);
    let failed = restarts >= CRASH_RESTARTS && recent && !view.owner_retries;
    let gravity = if failed { Gravity::Failed } else { Gravity::Progressing };
    let mut evidence = crash_evidence(pod, status, last);
    if let Some(probe) = probe_failure(pod, text(status, "/name"), view) {
        evidence.message = format!("{}; {}", evidence.message, probe.message);
    }
    Finding::new(gravity, code, what).evidence(evidence)
}

/// A container that waits for no special reason, runs without being ready, or has ended.
fn running_or_ended(pod: &Value, status: &Value, init: bool, view: &View<'_>) -> Option<Finding> {
    let container = text(status, "/name");
    let ended = &status["state"]["terminated"];
    if ended.is_object() {
        let exit = count(ended, "/exitCode");
        if exit == 0 {
            return None;
        }
        let code = if text(ended, "/reason") == "OOMKilled" { "OOMKilled" } else { "ContainerExited" };
        let what = format!("container {container} of pod {} has ended", name(pod));
        return Some(
            Finding::new(Gravity::Progressing, code, what).evidence(crash_evidence(pod, status, ended)),
        );
    }
    if !status.pointer("/state/running").is_some_and(Value::is_object) {
        return None;
    }
    if let Some(event) = probe_failure(pod, container, view) {
        let probe =
            ["Startup", "Liveness", "Readiness"].into_iter().find(|probe| event.message.starts_with(probe));
        let code = format!("{}ProbeFailed", probe.unwrap_or_default());
        let what = format!("container {container} of pod {} runs, but its probe fails", name(pod));
        let evidence = container_evidence(pod, status, event.message);
        return Some(Finding::new(Gravity::Progressing, &code, what).evidence(evidence));
    }
    let last = &status["lastState"]["terminated"];
    if last.is_object() {
        let restarts = plural(count(status, "/restartCount"), "restart");
        let what = format!("container {container} of pod {} has been started again ({restarts})", name(pod));
        let finding = Finding::new(Gravity::Progressing, "ContainerRestarted", what);
        return Some(finding.evidence(crash_evidence(pod, status, last)));
    }
    let (code, state) =
        if init { ("PodInitializing", "is running") } else { ("ContainerNotReady", "is not ready yet") };
    let kind = if init { "init container" } else { "container" };
    Some(Finding::new(Gravity::Progressing, code, format!("{kind} {container} of pod {} {state}", name(pod))))
}

fn probe_failure<'a>(pod: &Value, container: &str, view: &View<'a>) -> Option<&'a Event<'a>> {
    view.events.iter().find(|event| {
        event.is_about(pod)
            && matches!(event.reason, "Unhealthy" | "ProbeWarning")
            && event.is_about_container(container)
            && event.happened_since(view.since)
    })
}

/// What the node can't give the pod: its volumes, its network.
fn node_trouble(pod: &Value, view: &View<'_>) -> Option<Finding> {
    let started = list(pod, "/status/containerStatuses")
        .iter()
        .any(|status| status.pointer("/state/running").is_some());
    let event = view.events.iter().find(|event| {
        event.is_about(pod)
            && matches!(
                event.reason,
                "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" | "FailedCreatePodSandBox"
            )
    })?;
    if started {
        return None;
    }
    // The kubelet tries at most every two minutes, so an older event is worth showing, but no proof that it still fails.
    let stuck = event.count >= ORDINARY_RETRIES && event.happened_since(view.since);
    let gravity = if stuck { Gravity::Stuck } else { Gravity::Progressing };
    let what = match event.reason {
        "FailedCreatePodSandBox" => format!("the node can't set up the network of pod {}", name(pod)),
        _ => format!("a volume of pod {} can't be mounted", name(pod)),
    };
    Some(Finding::new(gravity, event.reason, what).evidence(Evidence::new(title(pod), event.message)))
}

/// All containers are ready, but a condition that the pod asks for (a load balancer's, for instance) is not true.
fn readiness_gate(pod: &Value) -> Option<Finding> {
    Condition::of(pod, "ContainersReady").filter(Condition::is_true)?;
    let gates = list(pod, "/spec/readinessGates").iter().map(|gate| text(gate, "/conditionType"));
    let shut = gates
        .into_iter()
        .find(|gate| !Condition::of(pod, gate).is_some_and(|condition| condition.is_true()))?;
    let words = Condition::of(pod, shut)
        .map_or_else(|| "nobody has set it yet".to_owned(), |condition| condition.words());
    let what = format!("readiness gate {shut} of pod {} is not true", name(pod));
    Some(Finding::new(Gravity::Progressing, "ReadinessGate", what).evidence(Evidence::new(title(pod), words)))
}

fn scheduled_at(pod: &Value) -> Option<f64> {
    Condition::of(pod, "PodScheduled")
        .and_then(|condition| condition.since)
        .or_else(|| time(pod, "/status/startTime"))
}

/// The image as the pod names it; the status may show a resolved form.
fn image<'a>(pod: &'a Value, status: &'a Value) -> &'a str {
    let spec = list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers"));
    let named = spec.into_iter().find(|container| text(container, "/name") == text(status, "/name"));
    match named.map(|container| text(container, "/image")) {
        None | Some("") => text(status, "/image"),
        Some(image) => image,
    }
}

fn container_evidence(pod: &Value, status: &Value, words: &str) -> Evidence {
    Evidence {
        container: Some(text(status, "/name").to_owned()),
        image: Some(image(pod, status).to_owned()),
        ..Evidence::new(title(pod), words)
    }
}

fn waiting_evidence(pod: &Value, status: &Value) -> Evidence {
    container_evidence(pod, status, text(status, "/state/waiting/message"))
}

fn crash_evidence(pod: &Value, status: &Value, ended: &Value) -> Evidence {
    let exit = match (count(ended, "/exitCode"), count(ended, "/signal")) {
        (code, 0) => format!("exit code {code}"),
        (_, signal) => format!("signal {signal}"),
    };
    let spec = list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers"));
    let limit = spec
        .into_iter()
        .find(|container| text(container, "/name") == text(status, "/name"))
        .map(|container| entry(container, "/resources/limits", "memory"))
        .filter(|limit| !limit.is_empty());
    let mut message = match (text(ended, "/reason"), limit) {
        ("OOMKilled", Some(limit)) => format!("OOMKilled at its memory limit of {limit}, {exit}"),
        ("" | "Error" | "Completed", _) => exit,
        (reason, _) => format!("{reason}, {exit}"),
    };
    let words = text(ended, "/message").trim();
    if !words.is_empty() {
        message = format!("{message}: {words}");
    }
    Evidence { wants_logs: true, ..container_evidence(pod, status, &message) }
}

/// `1 restart`, `2 restarts`.
pub(super) fn plural(count: i64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
