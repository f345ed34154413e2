//! Readiness: what is watched, what is told, and when a wait ends.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::bench::{STACK_LABEL_VALUE, roll_out};
use super::*;
use crate::apply::{Outcome, ResultOf, RunEvent};
use crate::cluster::fake::Fake;
use crate::graph::Gvk;
use crate::kinds::{Context, KindRules, Missing, Verdict};
use crate::observation::KindInfo;
use crate::plan::Action;

#[tokio::test(start_paused = true)]
async fn what_is_ready_at_first_look_opens_no_watch() {
    let bench = Bench::new(Fake::new());
    let changes = (0..50).map(|n| bench.change(Action::Create, &config_map(&format!("c{n}"), "1"), &[]));
    let (report, events) = bench.run(changes.collect()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(events.iter().filter(|event| matches!(event, RunEvent::Ready { .. })).count(), 50);
    assert!(bench.fake.state().watches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_waits_share_one_watch_of_each_kind() {
    let bench = Bench::new(Fake::new());
    let names: Vec<_> = (0..200).map(|n| format!("d{n}")).collect();
    let changes =
        names.iter().map(|name| bench.change(Action::Create, &deployment(name, "srs:5"), &[])).collect();
    let (run, mut told) = bench.prepare(changes);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        while let Some(event) = told.recv().await {
            if let RunEvent::Waiting { id, .. } = event {
                roll_out(&mut fake.state(), &id);
            }
        }
    };
    let (report, ()) = tokio::join!(run.run(), controller);
    assert_eq!(report.unwrap().outcome, Outcome::Done);
    let watches = bench.fake.state().watches.clone();
    let deployments: Vec<_> = watches.iter().filter(|(gvk, _)| gvk.kind == "Deployment").collect();
    assert_eq!(deployments.len(), 1);
    assert_eq!(deployments[0].1.labels, Some(format!("stackctl.dev/stack={STACK_LABEL_VALUE}")));
    let kinds: std::collections::BTreeSet<_> = watches.iter().map(|(gvk, _)| &gvk.kind).collect();
    assert_eq!(kinds.len(), watches.len(), "{watches:?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_without_the_label_is_watched_by_its_name() {
    let bench = Bench::new(Fake::new().with_latency(Duration::from_millis(10)));
    let mut body = deployment("origin", "srs:5");
    body["metadata"].as_object_mut().unwrap().remove("labels");
    let (run, mut told) = bench.prepare(vec![bench.change(Action::Create, &body, &[])]);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        while !matches!(told.recv().await, Some(RunEvent::Waiting { .. })) {}
        roll_out(&mut fake.state(), &id(&body));
    };
    let (report, ()) = tokio::join!(run.run(), controller);
    assert_eq!(report.unwrap().outcome, Outcome::Done);
    let watches = bench.fake.state().watches.clone();
    assert!(watches.iter().any(|(_, selection)| selection.fields.as_deref() == Some("metadata.name=origin")));
}

#[tokio::test(start_paused = true)]
async fn without_progress_a_wait_ends_after_four_minutes_or_what_the_policy_says() {
    for (policy, seconds) in
        [(None, 240.0), (Some(Duration::from_secs(90)), 90.0), (Some(Duration::from_hours(1)), 3600.0)]
    {
        let bench = Bench::new(Fake::new());
        let mut change = bench.change(Action::Create, &deployment("origin", "srs:5"), &[]);
        change.policy.no_progress = policy;
        let (report, _) = bench.run(vec![change]).await.unwrap();
        assert_eq!(report.outcome, Outcome::NotReady);
        assert!(matches!(&report.results[0].2, ResultOf::NotReady { terminal: false, .. }));
        assert!((seconds..seconds + 1.0).contains(&report.seconds), "{}", report.seconds);
    }
}

/// Rules that go by `status.ready` of `spec.replicas` alone.
struct Counting;

impl KindRules for Counting {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let ready = object["status"]["ready"].as_i64().unwrap_or_default();
        if Some(ready) == object["spec"]["replicas"].as_i64() {
            return Verdict::Ready { note: None };
        }
        let missing = Missing {
            code: "NotReady".to_owned(),
            reason: format!("{ready} ready"),
            progress: vec![ready],
            ..Missing::default()
        };
        Verdict::Progressing(missing)
    }
}

/// Every three minutes one more replica is ready; after the third nothing more.
#[tokio::test(start_paused = true)]
async fn progress_starts_the_deadline_again_but_no_other_event_does() {
    let bench = Bench { rules: |_| &Counting, ..Bench::new(Fake::new()) };
    let mut body = deployment("origin", "srs:5");
    body["spec"]["replicas"] = json!(9);
    let (run, _told) = bench.prepare(vec![bench.change(Action::Create, &body, &[])]);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        for minute in 1..40_u32 {
            tokio::time::sleep(Duration::from_mins(1)).await;
            let ready = (minute / 3).min(3);
            fake.state().edit(&id(&body), |object| {
                object["status"] = json!({"observedGeneration": 1, "ready": ready, "noise": minute});
            });
        }
    };
    let report = tokio::select! {
        report = run.run() => report.unwrap(),
        () = controller => panic!("the run did not end"),
    };
    assert_eq!(report.outcome, Outcome::NotReady);
    let expected = f64::from(9 * 60 + 240);
    assert!((expected..expected + 1.0).contains(&report.seconds), "{}", report.seconds);
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_is_the_end_whatever_the_progress() {
    let bench = Bench { rules: |_| &Counting, ..Bench::new(Fake::new()) };
    let mut body = deployment("origin", "srs:5");
    body["spec"]["replicas"] = json!(1000);
    let (run, _told) = bench.prepare(vec![bench.change(Action::Create, &body, &[])]);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        for ready in 1..60_u32 {
            tokio::time::sleep(Duration::from_mins(1)).await;
            fake.state().edit(&id(&body), |object| {
                object["status"] = json!({"observedGeneration": 1, "ready": ready});
            });
        }
    };
    let report = tokio::select! {
        report = run.run() => report.unwrap(),
        () = controller => panic!("the run did not end"),
    };
    assert!((1800.0..1801.0).contains(&report.seconds), "{}", report.seconds);
}

#[tokio::test(start_paused = true)]
async fn a_crash_fails_early_with_the_last_words_of_the_life_that_crashed() {
    let bench = Bench::new(Fake::new());
    let body = deployment("origin", "srs:5");
    let (run, mut told) = bench.prepare(vec![bench.change(Action::Create, &body, &[])]);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        while !matches!(told.recv().await, Some(RunEvent::Waiting { .. })) {}
        crash(&fake, &body);
        let log: Vec<_> = (0..30).map(|line| format!("line {line}")).collect();
        let key = ("origin-1-x".to_owned(), "srs".to_owned(), true);
        fake.state().logs.insert(key, log.join("\n"));
        std::future::pending::<()>().await;
    };
    let report = tokio::select! {
        report = run.run() => report.unwrap(),
        () = controller => unreachable!(),
    };
    assert_eq!(report.outcome, Outcome::NotReady);
    let ResultOf::NotReady { missing, logs, terminal } = &report.results[0].2 else { panic!("{report:?}") };
    assert!(*terminal && report.seconds < 240.0, "{missing:?}");
    assert_eq!(missing.code, "CrashLoopBackOff");
    assert!(missing.evidence.iter().any(|one| one.object == "Pod origin-1-x"), "{missing:?}");
    assert_eq!(logs.len(), 1, "{missing:?}");
    assert_eq!(logs[0].0, "origin-1-x/srs");
    assert_eq!((logs[0].1.lines().count(), logs[0].1.lines().next()), (20, Some("line 10")));
}

/// The Deployment's controller has made a ReplicaSet and a Pod, whose container ends again and again.
fn crash(fake: &Fake, body: &Value) {
    let owner = |object: &Value| {
        json!([{
            "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
            "uid": object["metadata"]["uid"], "controller": true,
        }])
    };
    fake.edit(&id(body), |object| {
        object["status"] = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1});
    });
    let deployment = fake.state().objects[&id(body)].clone();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "origin-1", "namespace": "live", "labels": {"app": "origin"}, "ownerReferences": owner(&deployment)},
        "spec": {"replicas": 1, "template": body["spec"]["template"]},
        "status": {"replicas": 1},
    });
    fake.put(set.clone());
    let set = fake.state().objects[&id(&set)].clone();
    fake.put(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "origin-1-x", "namespace": "live", "labels": {"app": "origin"}, "ownerReferences": owner(&set)},
        "spec": {"containers": [{"name": "srs", "image": "srs:5"}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "srs", "image": "srs:5", "restartCount": 5, "ready": false, "started": false,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2099-01-01T00:00:00Z"}},
        }]},
    }));
}

#[tokio::test(start_paused = true)]
async fn an_object_deleted_while_it_is_waited_for_has_failed() {
    let bench = Bench::new(Fake::new());
    let body = deployment("origin", "srs:5");
    let (run, mut told) = bench.prepare(vec![bench.change(Action::Create, &body, &[])]);
    let fake = Arc::clone(&bench.fake);
    let somebody = async {
        while !matches!(told.recv().await, Some(RunEvent::Waiting { .. })) {}
        fake.remove(&id(&body));
    };
    let (report, ()) = tokio::join!(run.run(), somebody);
    let report = report.unwrap();
    assert!(
        matches!(&report.results[0].2, ResultOf::NotReady { missing, terminal: true, .. } if missing.code == "Deleted"),
        "{report:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_lost_the_label_is_still_waited_for() {
    let bench = Bench::new(Fake::new());
    let body = deployment("origin", "srs:5");
    let (run, mut told) = bench.prepare(vec![bench.change(Action::Create, &body, &[])]);
    let fake = Arc::clone(&bench.fake);
    let somebody = async {
        while !matches!(told.recv().await, Some(RunEvent::Waiting { .. })) {}
        let remove = |object: &mut Value| drop(object["metadata"].as_object_mut().unwrap().remove("labels"));
        fake.edit(&id(&body), remove);
        while !matches!(told.recv().await, Some(RunEvent::Waiting { .. })) {}
        roll_out(&mut fake.state(), &id(&body));
    };
    let (report, ()) = tokio::join!(run.run(), somebody);
    assert_eq!(report.unwrap().outcome, Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_watch_of_evidence_is_told_and_does_not_end_the_wait() {
    let bench = Bench::new(Fake::new());
    bench.fake.forbid_watching("Pod");
    let (report, _) =
        bench.run(vec![bench.change(Action::Create, &deployment("origin", "srs:5"), &[])]).await.unwrap();
    let ResultOf::NotReady { missing, terminal: false, .. } = &report.results[0].2 else {
        panic!("{report:?}")
    };
    assert!(missing.evidence.iter().any(|one| one.message.contains("forbidden")), "{missing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_watch_of_the_object_itself_is_an_error() {
    let bench = Bench::new(Fake::new());
    bench.fake.forbid_watching("Deployment");
    let (report, _) =
        bench.run(vec![bench.change(Action::Create, &deployment("origin", "srs:5"), &[])]).await.unwrap();
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(
        matches!(&report.results[0].2, ResultOf::Error { message } if message.contains("cannot be waited for")),
        "{report:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_waiting_only_what_others_need_ready_is_waited_for() {
    let mut bench = Bench::new(Fake::new());
    bench.options.wait = false;
    let changes = vec![
        bench.change(Action::Create, &deployment("origin", "srs:5"), &[]),
        bench.change(Action::Create, &deployment("edge", "srs:5"), &[(0, true)]),
    ];
    let (run, mut told) = bench.prepare(changes);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        loop {
            if let RunEvent::Waiting { id, .. } = told.recv().await.unwrap() {
                assert_eq!(id.name, "origin");
                roll_out(&mut fake.state(), &id);
                break;
            }
        }
    };
    let (report, ()) = tokio::join!(run.run(), controller);
    assert_eq!(report.unwrap().outcome, Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn a_crd_is_ready_once_discovery_lists_its_kind() {
    let bench = Bench::new(Fake::new());
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "streams.media.example"},
        "spec": {
            "group": "media.example", "scope": "Namespaced",
            "names": {"kind": "Stream", "plural": "streams"},
            "versions": [{"name": "v1", "served": true}, {"name": "v0", "served": false}],
        },
    });
    let stream = json!({
        "apiVersion": "media.example/v1", "kind": "Stream",
        "metadata": {"name": "a", "namespace": "live", "labels": {"stackctl.dev/stack": STACK_LABEL_VALUE}},
        "data": {},
    });
    let changes =
        vec![bench.change(Action::Create, &crd, &[]), bench.change(Action::Create, &stream, &[(0, true)])];
    let (run, mut told) = bench.prepare(changes);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        while !matches!(told.recv().await, Some(RunEvent::Waiting { .. })) {}
        fake.state().edit(&id(&crd), |object| {
            object["status"] = json!({"conditions": [
                {"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"},
            ]});
        });
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(bench.writes().len(), 1, "established is not served");
        fake.state().kinds.push(KindInfo {
            gvk: Gvk::new("media.example", "v1", "Stream"),
            plural: "streams".to_owned(),
            scope: crate::graph::Scope::Namespaced,
            verbs: Vec::new(),
        });
    };
    let (report, ()) = tokio::join!(run.run(), controller);
    assert_eq!(report.unwrap().outcome, Outcome::Done);
    assert_eq!(bench.writes().last().unwrap(), "apply Stream a 201");
}
