//! What pods say: images, crashes, scheduling, probes, volumes.

use serde_json::{Value, json};

use super::*;

fn pod(over: Value) -> Value {
    let base = object(
        "v1",
        "Pod",
        json!({
        "metadata": {"creationTimestamp": at(0), "managedFields": [{"manager": "stackctl.live", "time": at(0)}]},
        "spec": {"containers": [{"name": "srs", "image": "registry.example/srs:nope", "resources": {"limits": {"memory": "2Gi"}}}]},
        "status": {"phase": "Pending", "conditions": [condition("PodScheduled", "True", "", "")]}}),
    );
    with(&base, over)
}

fn container(state: Value) -> Value {
    with(
        &json!({"name": "srs", "ready": false, "restartCount": 0, "image": "registry.example/srs:nope"}),
        state,
    )
}

fn waiting(reason: &str, message: &str) -> Value {
    pod(
        json!({"status": {"containerStatuses": [container(json!({"state": {"waiting": {"reason": reason, "message": message}}}))]}}),
    )
}

fn container_event(about: &Value, reason: &str, message: &str, count: i64, seconds: i64) -> Value {
    with(
        &event(about, reason, message, count, seconds),
        json!({"involvedObject": {"fieldPath": "spec.containers{srs}"}}),
    )
}

#[test]
fn phases_and_conditions() {
    for (over, seconds, expected) in [
        (json!({}), 1.0, "progressing PodStarting"),
        (json!({"status": {"phase": "Succeeded"}}), 1.0, "ready (it has run to its end)"),
        (
            json!({"status": {"phase": "Running", "conditions": [condition("Ready", "True", "", "")]}}),
            1.0,
            "ready",
        ),
        (
            json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}}),
            1.0,
            "failed Evicted",
        ),
        (
            json!({"status": {"conditions": [condition("PodScheduled", "False", "Unschedulable", "0/3 nodes")]}}),
            14.0,
            "progressing Unschedulable",
        ),
        (
            json!({"status": {"conditions": [condition("PodScheduled", "False", "Unschedulable", "0/3 nodes")]}}),
            16.0,
            "stuck Unschedulable",
        ),
        (
            json!({"status": {"conditions": [condition("PodScheduled", "False", "SchedulingGated", "")]}}),
            99.0,
            "progressing SchedulingGated",
        ),
        (
            json!({"spec": {"readinessGates": [{"conditionType": "service.readiness.alibabacloud.com/srs"}]},
                "status": {"phase": "Running", "conditions": [condition("ContainersReady", "True", "", "")],
                    "containerStatuses": [{"name": "srs", "ready": true, "state": {"running": {}}}]}}),
            1.0,
            "progressing ReadinessGate",
        ),
        (
            json!({"status": {"initContainerStatuses": [{"name": "copy", "state": {"running": {}}}]}}),
            1.0,
            "progressing PodInitializing",
        ),
        (
            json!({"status": {"initContainerStatuses": [{"name": "copy", "restartCount": 5,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 2}}}]}}),
            1.0,
            "failed CrashLoopBackOff",
        ),
    ] {
        assert_eq!(short(&assess_after(&pod(over.clone()), seconds, &[])), expected, "{over} {seconds}");
    }
}

#[test]
fn an_image_that_is_not_there_ends_the_wait_at_the_second_failure() {
    let words = "Failed to pull image \"registry.example/srs:nope\": not found";
    let failed = |pod: &Value, count| container_event(pod, "Failed", words, count, 3);
    let back_off = waiting("ImagePullBackOff", "Back-off pulling image \"registry.example/srs:nope\"");
    let first = assess_after(&back_off, 4.0, &[failed(&back_off, 1)]);
    assert_eq!(short(&first), "progressing ImagePullBackOff");
    let second = assess_after(&back_off, 16.0, &[failed(&back_off, 2)]);
    assert_eq!(short(&second), "failed ImagePullBackOff");
    let evidence = &missing(&second).evidence[0];
    assert_eq!(evidence.object, "Pod srs");
    assert_eq!(evidence.container.as_deref(), Some("srs"));
    assert_eq!(evidence.image.as_deref(), Some("registry.example/srs:nope"));
    assert_eq!(evidence.message, words);
    // Words that differ from try to try (a port number, say) make an event each.
    let other = container_event(
        &back_off,
        "Failed",
        "Failed to pull image \"registry.example/srs:nope\": timeout 2",
        1,
        13,
    );
    assert_eq!(
        short(&assess_after(&back_off, 16.0, &[failed(&back_off, 1), other])),
        "failed ImagePullBackOff"
    );
    // Neither another container's failures nor the kubelet's other words count.
    let elsewhere =
        with(&failed(&back_off, 5), json!({"involvedObject": {"fieldPath": "spec.containers{nginx}"}}));
    let error = container_event(&back_off, "Failed", "Error: ErrImagePull", 5, 3);
    assert_eq!(short(&assess_after(&back_off, 16.0, &[elsewhere, error])), "progressing ImagePullBackOff");
}

#[test]
fn failures_from_before_an_apply_that_changed_nothing_do_not_end_the_wait() {
    let pod = waiting("ImagePullBackOff", "");
    let words = "Failed to pull image \"registry.example/srs:nope\": not found";
    let old = container_event(&pod, "Failed", words, 9, -60);
    let verdict = |events: &[Value]| assess_changed(&pod, Some(&pod), 5.0, events, &Policy::default());
    assert_eq!(short(&verdict(std::slice::from_ref(&old))), "progressing ImagePullBackOff");
    let again = with(&old, json!({"count": 10, "lastTimestamp": at(4)}));
    assert_eq!(short(&verdict(&[again])), "failed ImagePullBackOff");
}

#[test]
fn without_events_time_decides_about_images() {
    let pod = waiting("ErrImagePull", "not found");
    let early = assess_after(&pod, 30.0, &[]);
    assert_eq!(short(&early), "progressing ErrImagePull");
    let look_again = missing(&early).look_again_at.unwrap();
    let late = assess_after(&pod, look_again - APPLIED, &[]);
    assert_eq!(short(&late), "failed ErrImagePull");
    assert_eq!(missing(&late).evidence[0].message, "not found");
}

#[test]
fn containers_that_cannot_start() {
    for (reason, seconds, expected) in [
        ("InvalidImageName", 0.0, "failed InvalidImageName"),
        ("ErrImageNeverPull", 0.0, "failed ErrImageNeverPull"),
        ("CreateContainerConfigError", 9.0, "progressing CreateContainerConfigError"),
        ("CreateContainerConfigError", 11.0, "failed CreateContainerConfigError"),
        ("CreateContainerError", 1.0, "stuck CreateContainerError"),
        ("RunContainerError", 1.0, "stuck RunContainerError"),
        ("ContainerCreating", 1.0, "progressing PodStarting"),
    ] {
        let verdict = assess_after(&waiting(reason, "secret \"s\" not found"), seconds, &[]);
        assert_eq!(short(&verdict), expected, "{reason} {seconds}");
    }
}

#[test]
fn crashes() {
    let crash = |restarts: i64, last: Value| {
        pod(
            json!({"status": {"phase": "Running", "containerStatuses": [container(json!({"restartCount": restarts,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, "lastState": {"terminated": last}}))]}}),
        )
    };
    let verdict = |restarts, last| assess_after(&crash(restarts, last), 60.0, &[]);
    assert_eq!(
        short(&verdict(2, json!({"exitCode": 1, "finishedAt": at(9)}))),
        "progressing CrashLoopBackOff"
    );
    let failed = verdict(3, json!({"exitCode": 1, "message": "bad config", "finishedAt": at(9)}));
    assert_eq!(short(&failed), "failed CrashLoopBackOff");
    let evidence = &missing(&failed).evidence[0];
    assert_eq!((evidence.message.as_str(), evidence.wants_logs), ("exit code 1: bad config", true));
    let killed = verdict(3, json!({"exitCode": 137, "reason": "OOMKilled", "finishedAt": at(9)}));
    assert_eq!(short(&killed), "failed OOMKilled");
    assert_eq!(missing(&killed).evidence[0].message, "OOMKilled at its memory limit of 2Gi, exit code 137");
    // A pod in back-off since before the apply may be mended by it.
    assert_eq!(
        short(&verdict(9, json!({"exitCode": 1, "finishedAt": at(-30)}))),
        "progressing CrashLoopBackOff"
    );
}

#[test]
fn probes_volumes_and_pulls_are_named() {
    let running = pod(
        json!({"status": {"phase": "Running", "containerStatuses": [container(json!({"state": {"running": {}}}))]}}),
    );
    let creating = waiting("ContainerCreating", "");
    let refused = "Readiness probe failed: connect: connection refused";
    let mount = "MountVolume.SetUp failed for volume \"hls\": mount failed: access denied";
    let pulling = "Pulling image \"registry.example/srs:nope\"";
    for (pod, event, expected) in [
        (&running, None, "progressing ContainerNotReady"),
        (
            &running,
            Some(container_event(&running, "Unhealthy", refused, 2, 5)),
            "progressing ReadinessProbeFailed",
        ),
        (
            &running,
            Some(container_event(&running, "Unhealthy", refused, 2, -5)),
            "progressing ContainerNotReady",
        ),
        (&creating, Some(event(&creating, "FailedMount", mount, 1, 5)), "progressing FailedMount"),
        (&creating, Some(event(&creating, "FailedMount", mount, 3, 5)), "stuck FailedMount"),
        (&creating, Some(event(&creating, "FailedMount", mount, 3, -5)), "progressing FailedMount"),
        (&creating, Some(event(&creating, "FailedAttachVolume", "busy", 3, 5)), "stuck FailedAttachVolume"),
        (
            &creating,
            Some(event(&creating, "FailedCreatePodSandBox", "cni", 3, 5)),
            "stuck FailedCreatePodSandBox",
        ),
        (&creating, Some(container_event(&creating, "Pulling", pulling, 1, 5)), "progressing PullingImage"),
    ] {
        let events: Vec<_> = event.into_iter().collect();
        let verdict = assess_after(pod, 20.0, &events);
        assert_eq!(short(&verdict), expected, "{events:?}");
        if let (Some(event), [evidence]) = (events.first(), missing(&verdict).evidence.as_slice()) {
            assert_eq!(evidence.message, event["message"], "the evidence is in the reporter's words");
        }
    }
    // Events of the newer API tell the same.
    let newer = json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "reason": "FailedMount", "note": mount,
        "regarding": {"uid": "uid"}, "eventTime": at(5), "series": {"count": 4, "lastObservedTime": at(9)}});
    assert_eq!(short(&assess_after(&creating, 20.0, &[newer])), "stuck FailedMount");
}

#[test]
fn a_long_pull_makes_progress_by_the_minute() {
    let pod = waiting("ContainerCreating", "");
    let pulling = container_event(&pod, "Pulling", "Pulling image", 1, 5);
    let after = |seconds| missing(&assess_after(&pod, seconds, std::slice::from_ref(&pulling))).clone();
    let (early, late) = (after(20.0), after(250.0));
    assert_eq!((early.progress.last(), late.progress.last()), (Some(&0), Some(&4)));
    assert_eq!(early.look_again_at, Some(APPLIED + 65.0));
    assert_eq!(late.look_again_at, Some(APPLIED + 305.0));
}
