//! Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob.

use serde_json::{Value, json};

use super::*;
use crate::kinds::Related;

fn deployment(over: Value) -> Value {
    let base = object(
        "apps/v1",
        "Deployment",
        json!({
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "srs"}},
            "template": {"metadata": {"labels": {"app": "srs"}}, "spec": {"containers": [{"name": "srs", "image": "srs:5"}]}}},
        "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
            "conditions": [condition("Available", "True", "MinimumReplicasAvailable", ""),
                condition("Progressing", "True", "NewReplicaSetAvailable", "")]}}),
    );
    with(&base, over)
}

fn replica_set(uid: &str, hash: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("srs-{hash}"), "uid": uid, "labels": {"app": "srs", "pod-template-hash": hash},
            "ownerReferences": [{"kind": "Deployment", "uid": "uid"}]},
        "spec": {"selector": {"matchLabels": {"app": "srs", "pod-template-hash": hash}}, "template": {
            "metadata": {"creationTimestamp": null, "labels": {"app": "srs", "pod-template-hash": hash}},
            "spec": {"containers": [{"name": "srs", "image": image}]}}}})
}

fn crashing_pod(owner: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "srs-x", "uid": "pod", "labels": labels, "ownerReferences": [{"uid": owner}]},
        "spec": {"containers": [{"name": "srs", "image": "srs:5"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "srs", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": at(5)}}}]}})
}

#[test]
fn deployments() {
    for (over, expected) in [
        (json!({}), "ready"),
        (json!({"status": null}), "progressing NotObserved"),
        (json!({"metadata": {"generation": 3}}), "progressing NotObserved"),
        (json!({"status": {"updatedReplicas": 1}}), "progressing PodsNotUpdated"),
        (json!({"status": {"replicas": 4}}), "progressing OldPodsRunning"),
        (json!({"status": {"availableReplicas": 2}}), "progressing PodsNotAvailable"),
        (
            json!({"status": {"conditions": [condition("Available", "False", "MinimumReplicasUnavailable", "")]}}),
            "progressing NotAvailable",
        ),
        (
            json!({"status": {"availableReplicas": 2, "conditions": [
                condition("Progressing", "False", "ProgressDeadlineExceeded", "has timed out")]}}),
            "failed ProgressDeadlineExceeded",
        ),
        // A rollout that is complete is complete, whatever an old condition says.
        (
            json!({"status": {"conditions": [condition("Available", "True", "", ""),
                condition("Progressing", "False", "ProgressDeadlineExceeded", "")]}}),
            "ready",
        ),
        (
            json!({"status": {"replicas": 2, "updatedReplicas": 2, "conditions": [condition("ReplicaFailure", "True", "FailedCreate",
                "pods \"srs-1\" is forbidden: exceeded quota: q")]}}),
            "stuck QuotaExceeded",
        ),
        (json!({"spec": {"paused": true}}), "ready (its rollouts are paused (spec.paused))"),
        (json!({"spec": {"paused": true}, "status": {"updatedReplicas": 0}}), "suspended"),
        (json!({"spec": {"replicas": 0}}), "progressing SurplusReplicas"),
        (
            json!({"spec": {"replicas": 0}, "status": {"replicas": 0, "updatedReplicas": 0, "conditions": []}}),
            "ready",
        ),
        (json!({"spec": {"replicas": 1}}), "progressing SurplusReplicas"),
    ] {
        assert_eq!(short(&assess_after(&deployment(over.clone()), 30.0, &[])), expected, "{over}");
    }
}

#[test]
fn pods_of_an_earlier_revision_give_no_reason() {
    let object = deployment(json!({"status": {"availableReplicas": 2}}));
    let (current, earlier) = (replica_set("new", "a", "srs:5"), replica_set("old", "b", "srs:nope"));
    let broken =
        |owner: &str, hash: &str| crashing_pod(owner, &json!({"app": "srs", "pod-template-hash": hash}));
    let verdict = |pod: Value| short(&assess_after(&object, 30.0, &[earlier.clone(), current.clone(), pod]));
    assert_eq!(verdict(broken("old", "b")), "progressing PodsNotAvailable");
    assert_eq!(verdict(broken("new", "a")), "failed CrashLoopBackOff");
    // Before the ReplicaSet of the new template is seen, nobody's pods are its pods.
    let alone = assess_after(&object, 30.0, &[earlier.clone(), broken("old", "b")]);
    assert_eq!(short(&alone), "progressing PodsNotAvailable");
}

#[test]
fn quota_is_named_from_the_replica_sets_events() {
    let object = deployment(json!({"status": {"replicas": 2, "updatedReplicas": 2}}));
    let set = replica_set("new", "a", "srs:5");
    let refused = event(&set, "FailedCreate", "pods \"srs-a-1\" is forbidden: exceeded quota: pods", 4, 2);
    let denied = event(&set, "FailedCreate", "admission webhook \"x\" denied the request: no", 4, 2);
    let healed = event(&set, "SuccessfulCreate", "Created pod: srs-a-1", 1, 3);
    let verdict =
        |events: &[Value]| assess_after(&object, 30.0, &[std::slice::from_ref(&set), events].concat());
    let found = verdict(std::slice::from_ref(&refused));
    assert_eq!(short(&found), "stuck QuotaExceeded");
    assert!(missing(&found).evidence[0].message.contains("exceeded quota"));
    assert_eq!(short(&verdict(&[denied])), "stuck AdmissionDenied");
    assert_eq!(short(&verdict(&[refused, healed])), "progressing PodsNotUpdated");
}

#[test]
fn a_deadline_exceeded_before_our_apply_is_not_a_failure_now() {
    // The apply changed nothing, and the condition is from before it.
    let old = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": at(-900)});
    let object = deployment(json!({"status": {"availableReplicas": 0, "conditions": [old]}}));
    let verdict = assess_changed(&object, Some(&object), 1.0, &[], &Policy::default());
    assert_eq!(short(&verdict), "progressing PodsNotAvailable");
}

#[test]
fn what_a_deployment_wants_to_see() {
    let related = rules(&Gvk::new("apps", "v1", "Deployment")).related(&deployment(json!({})));
    let selector = || "app=srs".to_owned();
    assert!(related.contains(&Related::Pods { selector: selector() }));
    assert!(related.contains(&Related::ReplicaSets { selector: selector() }));
    assert!(related.contains(&Related::Events));
}

fn stateful_set(over: Value) -> Value {
    let base = object(
        "apps/v1",
        "StatefulSet",
        json!({
        "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate"}, "selector": {"matchLabels": {"app": "srs"}}},
        "status": {"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "updatedReplicas": 3,
            "currentRevision": "srs-1", "updateRevision": "srs-1"}}),
    );
    with(&base, over)
}

#[test]
fn stateful_sets() {
    for (over, expected) in [
        (json!({}), "ready"),
        (json!({"status": null}), "progressing NotObserved"),
        (json!({"status": {"readyReplicas": 2}}), "progressing PodsNotReady"),
        (json!({"spec": {"replicas": 2}}), "progressing SurplusPods"),
        (json!({"status": {"updateRevision": "srs-2", "updatedReplicas": 1}}), "progressing PodsNotUpdated"),
        // The last pod is ready before the controller has made the update revision the current one.
        (json!({"status": {"updateRevision": "srs-2", "updatedReplicas": 3}}), "ready"),
        (
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}},
                "status": {"updateRevision": "srs-2", "updatedReplicas": 0}}),
            "progressing PodsNotUpdated",
        ),
        (
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}},
                "status": {"updateRevision": "srs-2", "updatedReplicas": 1}}),
            "ready (pods below ordinal 2 keep the earlier revision (partition))",
        ),
        (
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 9}}},
                "status": {"updateRevision": "srs-2", "updatedReplicas": 0}}),
            "ready (pods below ordinal 9 keep the earlier revision (partition))",
        ),
        (
            json!({"spec": {"updateStrategy": {"type": "OnDelete"}}, "status": {"updateRevision": "srs-2", "updatedReplicas": 0}}),
            "ready (pods of the earlier revision stay until somebody deletes them (OnDelete))",
        ),
        (
            json!({"spec": {"updateStrategy": {"type": "OnDelete"}}, "status": {"readyReplicas": 1}}),
            "progressing PodsNotReady",
        ),
        (
            json!({"spec": {"minReadySeconds": 10}, "status": {"availableReplicas": 2}}),
            "progressing PodsNotReady",
        ),
    ] {
        assert_eq!(short(&assess_after(&stateful_set(over.clone()), 30.0, &[])), expected, "{over}");
    }
}

#[test]
fn a_broken_pod_of_the_earlier_revision_blocks_an_ordered_stateful_set() {
    let object = stateful_set(
        json!({"status": {"readyReplicas": 2, "updateRevision": "srs-2", "updatedReplicas": 0}}),
    );
    let pod = crashing_pod("uid", &json!({"controller-revision-hash": "srs-1"}));
    let verdict = assess_after(&object, 30.0, std::slice::from_ref(&pod));
    assert_eq!(short(&verdict), "stuck OldRevisionBlocks");
    assert!(missing(&verdict).reason.contains("delete pod srs-x"), "{verdict:?}");
    let parallel = with(&object, json!({"spec": {"podManagementPolicy": "Parallel"}}));
    assert_eq!(short(&assess_after(&parallel, 30.0, &[pod])), "progressing PodsNotReady");
    let new = crashing_pod("uid", &json!({"controller-revision-hash": "srs-2"}));
    assert_eq!(short(&assess_after(&object, 30.0, &[new])), "failed CrashLoopBackOff");
}

#[test]
fn daemon_sets() {
    let base = object(
        "apps/v1",
        "DaemonSet",
        json!({
        "metadata": {"annotations": {"deprecated.daemonset.template.generation": "2"}},
        "status": {"observedGeneration": 2, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberReady": 3,
            "updatedNumberScheduled": 3, "numberAvailable": 3}}),
    );
    for (over, expected) in [
        (json!({}), "ready"),
        (json!({"status": null}), "progressing NotObserved"),
        (json!({"status": {"currentNumberScheduled": 2}}), "progressing PodsNotScheduled"),
        (json!({"status": {"updatedNumberScheduled": 2}}), "progressing PodsNotUpdated"),
        (json!({"status": {"numberAvailable": 2}}), "progressing PodsNotAvailable"),
        (json!({"status": {"desiredNumberScheduled": 0}}), "ready (no node is to run it)"),
        (
            json!({"spec": {"updateStrategy": {"type": "OnDelete"}}, "status": {"updatedNumberScheduled": 0}}),
            "ready (pods of an earlier revision stay until somebody deletes them (OnDelete))",
        ),
    ] {
        assert_eq!(short(&assess_after(&with(&base, over.clone()), 30.0, &[])), expected, "{over}");
    }
    let waiting = with(&base, json!({"status": {"numberAvailable": 2}}));
    let pod = |generation: &str| crashing_pod("uid", &json!({"pod-template-generation": generation}));
    assert_eq!(short(&assess_after(&waiting, 30.0, &[pod("1")])), "progressing PodsNotAvailable");
    assert_eq!(short(&assess_after(&waiting, 30.0, &[pod("2")])), "failed CrashLoopBackOff");
}

#[test]
fn replica_sets_and_replication_controllers() {
    for (api_version, kind) in [("apps/v1", "ReplicaSet"), ("v1", "ReplicationController")] {
        let base = object(
            api_version,
            kind,
            json!({"spec": {"replicas": 2},
            "status": {"observedGeneration": 2, "replicas": 2, "availableReplicas": 2, "fullyLabeledReplicas": 2}}),
        );
        for (over, expected) in [
            (json!({}), "ready"),
            (json!({"status": {"availableReplicas": 1}}), "progressing PodsNotAvailable"),
            (json!({"status": {"fullyLabeledReplicas": 1}}), "progressing PodsNotLabeled"),
            (json!({"status": {"replicas": 3}}), "progressing SurplusPods"),
            (
                json!({"status": {"replicas": 1, "availableReplicas": 1,
                    "conditions": [condition("ReplicaFailure", "True", "FailedCreate", "denied")]}}),
                "stuck FailedCreate",
            ),
        ] {
            assert_eq!(
                short(&assess_after(&with(&base, over.clone()), 30.0, &[])),
                expected,
                "{kind} {over}"
            );
        }
    }
}

#[test]
fn jobs() {
    let base = object(
        "batch/v1",
        "Job",
        json!({"spec": {"completions": 2}, "status": {"active": 1, "succeeded": 1}}),
    );
    for (over, expected) in [
        (json!({}), "progressing JobRunning"),
        (json!({"status": {"conditions": [condition("Complete", "True", "", "")]}}), "ready"),
        (json!({"status": {"conditions": [condition("SuccessCriteriaMet", "True", "", "")]}}), "ready"),
        (
            json!({"status": {"conditions": [condition("Failed", "True", "BackoffLimitExceeded", "too often")]}}),
            "failed BackoffLimitExceeded",
        ),
        (json!({"spec": {"suspend": true}}), "suspended"),
    ] {
        assert_eq!(short(&assess_after(&with(&base, over.clone()), 30.0, &[])), expected, "{over}");
    }
    // The Job's own limit of retries decides about crashes; a failed pod is the evidence.
    let crashing = assess_after(&base, 30.0, &[crashing_pod("uid", &json!({}))]);
    assert_eq!(short(&crashing), "progressing CrashLoopBackOff");
    let failed = with(
        &base,
        json!({"status": {"conditions": [condition("Failed", "True", "BackoffLimitExceeded", "")]}}),
    );
    let pod = json!({"kind": "Pod", "metadata": {"name": "srs-1", "ownerReferences": [{"uid": "uid"}]},
        "status": {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 7}}}]}});
    let verdict = assess_after(&failed, 30.0, &[pod]);
    assert_eq!(short(&verdict), "failed BackoffLimitExceeded");
    let evidence = &missing(&verdict).evidence[0];
    assert_eq!((evidence.message.as_str(), evidence.wants_logs), ("exit code 7", true));
}

#[test]
fn a_running_job_makes_progress_by_the_minute() {
    let job = object("batch/v1", "Job", json!({"status": {"active": 1}}));
    let pod = json!({"kind": "Pod", "metadata": {"name": "p", "ownerReferences": [{"uid": "uid"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {"startedAt": at(0)}}}]}});
    let after = |seconds| missing(&assess_after(&job, seconds, std::slice::from_ref(&pod))).clone();
    let (early, late) = (after(10.0), after(130.0));
    assert_eq!(early.progress.last(), Some(&0));
    assert_eq!(late.progress.last(), Some(&2));
    assert!(early.look_again_at.is_some());
}

#[test]
fn cron_jobs() {
    let job = |suspend| object("batch/v1", "CronJob", json!({"spec": {"suspend": suspend}}));
    assert_eq!(short(&assess_after(&job(false), 0.0, &[])), "ready");
    assert_eq!(
        short(&assess_after(&job(true), 0.0, &[])),
        "ready (suspended: it starts no Jobs (spec.suspend))"
    );
}
