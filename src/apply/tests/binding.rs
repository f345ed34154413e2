//! A plan binds: what moved since is asked about again.

use std::sync::Arc;

use serde_json::{Value, json};

use super::bench::{plan, roll_out};
use super::*;
use crate::apply::{Outcome, ResultOf, RunEvent};
use crate::cluster::fake::Fake;
use crate::graph::late::Late;
use crate::plan::{Action, Change};

#[tokio::test(start_paused = true)]
async fn a_create_that_finds_the_same_object_adopts_it() {
    let bench = Bench::new(Fake::new());
    let change = bench.change(Action::Create, &config_map("a", "1"), &[]);
    bench.fake.put(config_map("a", "1"));
    let (report, events) = bench.run(vec![change]).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    assert!(events.iter().any(|event| matches!(event, RunEvent::Applied { adopted: true, .. })));
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_object_only_got_a_new_status_goes_on() {
    let bench = Bench::new(Fake::new().with_controller(roll_out));
    bench.run(vec![bench.change(Action::Create, &deployment("origin", "srs:4"), &[])]).await.unwrap();
    let body = deployment("origin", "srs:5");
    let change = planned(&bench, &body).await;
    bench.fake.edit(&id(&body), |object| object["status"]["noise"] = json!(1));
    let (report, _) = bench.run(vec![change]).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert_eq!(
        bench.writes()[1..],
        ["apply Deployment origin 409".to_owned(), "apply Deployment origin 200".to_owned()]
    );
    let live = bench.fake.state().objects[&id(&body)].clone();
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "srs:5");
}

#[tokio::test(start_paused = true)]
async fn an_update_that_would_be_another_one_now_is_stale() {
    let bench = Bench::new(Fake::new().with_controller(roll_out));
    bench.run(vec![bench.change(Action::Create, &deployment("origin", "srs:4"), &[])]).await.unwrap();
    let body = deployment("origin", "srs:5");
    let change = planned(&bench, &body).await;
    bench.fake.edit_as("kubectl-edit", &id(&body), "spec.replicas", json!(3));
    let (report, _) = bench.run(vec![change]).await.unwrap();
    assert_eq!(report.outcome, Outcome::Stale, "{report:?}");
    assert_eq!(bench.fake.state().objects[&id(&body)]["spec"]["replicas"], 3);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_somebody_made_already_has_nothing_to_do() {
    let bench = Bench::new(Fake::new());
    bench.run(vec![bench.change(Action::Create, &config_map("a", "1"), &[])]).await.unwrap();
    let body = config_map("a", "2");
    let change = planned(&bench, &body).await;
    // The same apply, by a run that was killed before it heard the answer.
    bench.run(vec![change.clone()]).await.unwrap();
    let before = bench.writes().len();
    let (report, _) = bench.run(vec![change]).await.unwrap();
    assert_eq!((report.outcome, report.writes), (Outcome::Done, 0));
    assert_eq!(bench.writes()[before..], ["apply ConfigMap a 409".to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_object_is_gone_is_stale_and_nothing_new_begins() {
    let bench = Bench::new(Fake::new());
    bench.run(vec![bench.change(Action::Create, &config_map("a", "1"), &[])]).await.unwrap();
    let changes = vec![
        planned(&bench, &config_map("a", "2")).await,
        bench.change(Action::Create, &config_map("b", "1"), &[(0, false)]),
    ];
    bench.fake.remove(&id(&config_map("a", "2")));
    let (report, _) = bench.run(changes).await.unwrap();
    assert_eq!(report.outcome, Outcome::Stale);
    assert!(matches!(&report.results[0].2, ResultOf::Stale { .. }), "{report:?}");
    assert!(matches!(&report.results[1].2, ResultOf::Skipped { .. }), "{report:?}");
    assert!(bench.fake.state().objects.is_empty(), "an update must not create");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_spares_an_object_that_is_another_one_now() {
    let bench = Bench::new(Fake::new());
    bench.fake.put(config_map("a", "1"));
    let change = bench.change(Action::Delete, &config_map("a", "1"), &[]);
    bench.fake.remove(&change.id);
    bench.fake.put(config_map("a", "theirs"));
    let (report, _) = bench.run(vec![change]).await.unwrap();
    assert_eq!(report.outcome, Outcome::Stale);
    assert_eq!(bench.fake.state().objects.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_deletes_waits_and_creates() {
    let fake = Fake::new();
    let mut old = config_map("a", "1");
    old["metadata"]["finalizers"] = json!(["example.org/hold"]);
    fake.put(old);
    let bench = Bench::new(fake);
    let change = bench.change(Action::Replace, &config_map("a", "2"), &[]);
    let (uid, id) = (change.uid.clone(), change.id.clone());
    let (run, mut told) = bench.prepare(vec![change]);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        while !matches!(told.recv().await, Some(RunEvent::Waiting { .. })) {}
        assert_eq!(bench.writes(), ["delete ConfigMap a 200"]);
        fake.state().remove_finalizer(&id, "example.org/hold");
    };
    let (report, ()) = tokio::join!(run.run(), controller);
    assert_eq!(report.unwrap().outcome, Outcome::Done);
    assert_eq!(bench.writes(), ["delete ConfigMap a 200", "apply ConfigMap a 201"]);
    let live = bench.fake.state().objects[&id].clone();
    assert_eq!(live["data"]["key"], "2");
    assert_ne!(live["metadata"]["uid"].as_str().map(str::to_owned), uid);
}

#[tokio::test(start_paused = true)]
async fn what_a_human_added_is_taken_out_first_even_if_the_status_moves_meanwhile() {
    let bench = Bench::new(Fake::new().with_controller(roll_out));
    bench.run(vec![bench.change(Action::Create, &deployment("origin", "srs:4"), &[])]).await.unwrap();
    let body = deployment("origin", "srs:5");
    bench.fake.edit_as("kubectl-edit", &id(&body), "spec.paused", json!(false));
    let change = planned(&bench, &body).await;
    assert!(!change.removals.is_empty());
    bench.fake.edit(&id(&body), |object| object["status"]["noise"] = json!(1));
    let before = bench.writes().len();
    let (report, _) = bench.run(vec![change]).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert_eq!(
        bench.writes()[before..],
        [
            "patch Deployment origin 422",
            "patch Deployment origin 200",
            // The controller wrote the new status in between.
            "apply Deployment origin 409",
            "apply Deployment origin 200"
        ]
    );
    let live = bench.fake.state().objects[&id(&body)].clone();
    assert_eq!(live["spec"].get("paused"), None);
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "srs:5");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_out_of_an_object_that_a_human_changed_since() {
    let bench = Bench::new(Fake::new().with_controller(roll_out));
    let body = deployment("origin", "srs:4");
    bench.run(vec![bench.change(Action::Create, &body, &[])]).await.unwrap();
    bench.fake.edit_as("kubectl-edit", &id(&body), "spec.paused", json!(false));
    let change = planned(&bench, &body).await;
    bench.fake.edit_as("kubectl-edit", &id(&body), "spec.replicas", json!(3));
    let (report, _) = bench.run(vec![change]).await.unwrap();
    assert_eq!(report.outcome, Outcome::Stale, "{report:?}");
    assert_eq!(bench.fake.state().objects[&id(&body)]["spec"]["paused"], false);
}

#[tokio::test(start_paused = true)]
async fn late_values_come_from_the_live_objects() {
    let address =
        |object: &mut Value| object["status"]["loadBalancer"] = json!({"ingress": [{"ip": "198.51.100.7"}]});
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "srs", "namespace": "live", "labels": {"stackctl.dev/stack": "live.test"}},
        "spec": {"type": "ClusterIP"},
    });
    let bench = Bench::new(Fake::new());
    let late: Late<String> = Late::new(id(&service), "/status/loadBalancer/ingress/0/ip", "192.0.2.1");
    bench.fake.put(service.clone());
    bench.fake.edit(&id(&service), address);
    let body = config_map("conf", &format!("candidate {late};"));
    let mut changes = vec![bench.change(Action::Create, &body, &[])];
    let (report, _) = bench.run(changes.clone()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    let conf = bench.fake.state().objects[&id(&body)].clone();
    assert_eq!(conf["data"]["key"], "candidate 198.51.100.7;");

    bench.fake.remove(&id(&body));
    bench.fake.edit(&id(&service), |object| drop(object.as_object_mut().unwrap().remove("status")));
    changes[0].live = None;
    let (report, _) = bench.run(changes).await.unwrap();
    assert!(
        matches!(&report.results[0].2, ResultOf::Error { message } if message.contains("has no value yet")),
        "{report:?}"
    );
}

/// The change of `body` as the planner makes it.
async fn planned(bench: &Bench, body: &Value) -> Change {
    let plan = plan(&bench.fake, vec![(body.clone(), Vec::new())]).await;
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    plan.changes.into_iter().find(|change| change.id == id(body)).unwrap()
}
