//! Order, parallelism, failures, interrupts and the books.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::bench::roll_out;
use super::*;
use crate::apply::{Outcome, ResultOf, RunError, RunEvent};
use crate::cluster::fake::Fake;
use crate::plan::{Action, Refusal, RefusalCode};

#[tokio::test(start_paused = true)]
async fn a_plan_without_changes_asks_and_records_nothing() {
    let bench = Bench::new(Fake::new());
    let (report, events) = bench.run(Vec::new()).await.unwrap();
    assert_eq!((report.outcome, report.writes), (Outcome::Done, 0));
    assert!(events.is_empty() && bench.told().is_empty());
    assert_eq!(bench.fake.state().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_plan_with_refusals_is_never_run() {
    let bench = Bench::new(Fake::new());
    let (mut run, _told) = bench.prepare(vec![bench.change(Action::Create, &config_map("a", "1"), &[])]);
    run.plan.refusals.push(Refusal {
        code: RefusalCode::Quota,
        id: None,
        location: None,
        message: String::new(),
        hint: None,
    });
    assert!(matches!(run.run().await, Err(RunError::Refused { count: 1 })));
    assert_eq!(bench.fake.state().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_needed_ready_is_waited_for_and_the_rest_goes_on() {
    let bench = Bench::new(Fake::new().with_controller(roll_out));
    let changes = vec![
        bench.change(Action::Create, &config_map("conf", "1"), &[]),
        bench.change(Action::Create, &deployment("origin", "srs:5"), &[(0, false)]),
        bench.change(Action::Create, &deployment("edge", "srs:5"), &[(1, true)]),
    ];
    let (report, events) = bench.run(changes).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(report.writes, 3);
    let at = |wanted: &dyn Fn(&RunEvent) -> bool| events.iter().position(wanted).unwrap();
    let ready = at(&|event| matches!(event, RunEvent::Ready { change: 1, .. }));
    let started = at(&|event| matches!(event, RunEvent::Started { change: 2, .. }));
    assert!(ready < started);
    assert_eq!(
        bench.told(),
        [
            "will touch 3",
            "begin",
            "applied ConfigMap conf",
            "applied Deployment origin",
            "applied Deployment edge",
            "finish"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn sixteen_requests_are_under_way_and_no_more() {
    let bench = Bench::new(Fake::new().with_latency(Duration::from_secs(1)));
    let changes =
        (0..64).map(|n| bench.change(Action::Create, &config_map(&format!("c{n}"), "1"), &[])).collect();
    let (report, _) = bench.run(changes).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    assert!((4.0..4.5).contains(&report.seconds), "{}", report.seconds);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_skips_its_dependents_and_nothing_else() {
    let bench = Bench::new(Fake::new());
    bench.fake.reject_next("apply", "a", 422, "data: Invalid value");
    let changes = vec![
        bench.change(Action::Create, &config_map("a", "1"), &[]),
        bench.change(Action::Create, &config_map("b", "1"), &[(0, false)]),
        bench.change(Action::Create, &config_map("c", "1"), &[(1, true)]),
        bench.change(Action::Create, &config_map("d", "1"), &[]),
    ];
    let (report, _) = bench.run(changes).await.unwrap();
    assert_eq!(report.outcome, Outcome::Failed);
    let results: Vec<_> = report.results.into_iter().map(|(_, _, result)| result).collect();
    assert_eq!(
        results,
        [
            ResultOf::Refused { message: "apply ConfigMap a: data: Invalid value".to_owned() },
            ResultOf::Skipped { because: "it needs ConfigMap a, which failed".to_owned() },
            ResultOf::Skipped {
                because: "it needs ConfigMap b, which needs ConfigMap a, which failed".to_owned()
            },
            ResultOf::Done,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again() {
    let bench = Bench::new(Fake::new());
    bench.fake.reject_next("apply", "a", 429, "too many requests");
    bench.fake.reject_next("apply", "a", 503, "unavailable");
    let changes = vec![bench.change(Action::Create, &config_map("a", "1"), &[])];
    let (report, _) = bench.run(changes).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(bench.writes(), ["apply ConfigMap a 429", "apply ConfigMap a 503", "apply ConfigMap a 201"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_interrupt_ends_waits_and_begins_nothing() {
    let bench = Bench::new(Fake::new());
    let changes = vec![
        bench.change(Action::Create, &deployment("origin", "srs:5"), &[]),
        bench.change(Action::Create, &config_map("later", "1"), &[(0, true)]),
    ];
    let (run, mut told) = bench.prepare(changes);
    let interrupter = async {
        while !matches!(told.recv().await, Some(RunEvent::Waiting { .. })) {}
        bench.interrupt.send(true).unwrap();
    };
    let (report, ()) = tokio::join!(run.run(), interrupter);
    let report = report.unwrap();
    assert_eq!(report.outcome, Outcome::Interrupted);
    assert!(
        matches!(&report.results[0].2, ResultOf::NotReady { missing, .. } if missing.code == "Interrupted")
    );
    assert!(matches!(&report.results[1].2, ResultOf::Skipped { .. }));
    assert_eq!(bench.writes(), ["apply Deployment origin 201"]);
    assert_eq!(bench.told().last().unwrap(), "finish");
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_ends_after_an_interrupt() {
    let bench = Bench::new(Fake::new().with_latency(Duration::from_secs(5)));
    let (run, mut told) = bench.prepare(vec![bench.change(Action::Create, &config_map("a", "1"), &[])]);
    let interrupter = async {
        while !matches!(told.recv().await, Some(RunEvent::Started { .. })) {}
        bench.interrupt.send(true).unwrap();
    };
    let (report, ()) = tokio::join!(run.run(), interrupter);
    let report = report.unwrap();
    assert_eq!((report.outcome, &report.results[0].2), (Outcome::Interrupted, &ResultOf::Done));
    assert_eq!(bench.writes(), ["apply ConfigMap a 201"]);
    assert_eq!(bench.told().last().unwrap(), "finish");
}

#[tokio::test(start_paused = true)]
async fn books_that_can_not_be_opened_keep_the_run_from_beginning() {
    let bench = Bench::new(Fake::new());
    *bench.books.fails.lock().unwrap() = Some("begin");
    let result = bench.run(vec![bench.change(Action::Create, &config_map("a", "1"), &[])]).await;
    assert_eq!(result.unwrap_err().to_string(), "nothing was changed: cannot begin");
    assert_eq!(bench.fake.state().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn books_are_written_every_two_seconds_and_a_failed_write_is_told() {
    let bench = Bench::new(Fake::new().with_latency(Duration::from_secs(1)));
    *bench.books.fails.lock().unwrap() = Some("flush");
    let chain = (0..6).map(|n: usize| {
        let after: Vec<_> = n.checked_sub(1).map(|before| (before, false)).into_iter().collect();
        bench.change(Action::Create, &config_map(&format!("c{n}"), "1"), &after)
    });
    let (report, events) = bench.run(chain.collect()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    let told = bench.told();
    let flushes = told.iter().filter(|told| *told == "flush").count();
    assert!((1..=2).contains(&flushes), "{told:?}");
    let unrecorded = events.iter().filter(|event| matches!(event, RunEvent::Unrecorded { .. })).count();
    assert_eq!(unrecorded, flushes);
}

#[tokio::test(start_paused = true)]
async fn down_deletes_in_its_order_and_waits_until_each_is_gone() {
    let finalizer = "service.k8s.alibaba/resources";
    let fake = Fake::new();
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "srs", "namespace": "live", "labels": {"stackctl.dev/stack": "live.test"}, "finalizers": [finalizer]},
    });
    fake.put(service.clone());
    fake.put(config_map("conf", "1"));
    let bench = Bench::new(fake);
    service["metadata"]["finalizers"] = json!([]);
    let changes = vec![
        bench.change(Action::Delete, &service, &[]),
        bench.change(Action::Delete, &config_map("conf", "1"), &[(0, true)]),
    ];
    let (run, mut told) = bench.prepare(changes);
    let fake = Arc::clone(&bench.fake);
    let controller = async {
        loop {
            if let RunEvent::Waiting { missing, id, .. } = told.recv().await.unwrap() {
                assert_eq!(missing.reason, format!("being deleted; held by {finalizer}"));
                assert_eq!(bench.writes(), ["delete Service srs 200"]);
                fake.state().remove_finalizer(&id, finalizer);
                break;
            }
        }
    };
    let (report, ()) = tokio::join!(run.run(), controller);
    assert_eq!(report.unwrap().outcome, Outcome::Done);
    assert_eq!(bench.writes(), ["delete Service srs 200", "delete ConfigMap conf 200"]);
    assert!(bench.told().contains(&"forget Service srs".to_owned()));
    assert!(bench.fake.state().objects.is_empty());
}
