//! Changes that the server takes and the cloud would not, and settings that stay in the cloud.

use serde_json::{Value, json};

use super::bench::Bench;
use super::{actions, codes, of, stack};
use crate::graph::{ObjectId, Stack};
use crate::plan::{RefusalCode, Severity};

const PREFIX: &str = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-";

fn service(annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(suffix, value)| (format!("{PREFIX}{suffix}"), json!(value))).collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lb", "namespace": "live", "annotations": annotations},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "rtmp", "port": 1935, "protocol": "TCP"}]}})
}

fn allowing(body: Value) -> Stack {
    let mut stack = stack();
    let handle = stack.object(body);
    stack.policy(&handle).allow_replace = true;
    stack
}

/// A load balancer that CCM has made.
async fn made(annotations: &[(&str, &str)]) -> (Bench, ObjectId) {
    let mut bench = Bench::new();
    let body = service(annotations);
    let id = ObjectId::of(&body).unwrap();
    bench.up(of(&[body])).await;
    bench.fake.edit(&id, |object| {
        object["metadata"]["finalizers"] = json!(["service.k8s.alibaba/resources"]);
        object["metadata"]["labels"]["service.k8s.alibaba/loadbalancer-id"] = json!("lb-made");
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    });
    (bench, id)
}

#[tokio::test]
async fn what_the_cloud_would_not_change_is_a_replacement_that_the_program_must_agree_to() {
    let (mut bench, _) = made(&[("address-type", "internet")]).await;
    let plan = bench.plan(of(&[service(&[("address-type", "intranet")])])).await;
    assert!(plan.changes.is_empty());
    assert_eq!(codes(&plan), [RefusalCode::Replacement]);
    let message = &plan.refusals[0].message;
    assert!(message.contains("address-type can't change from internet to intranet"), "{message}");
    assert!(message.contains("192.0.2.1"), "what is lost is said: {message}");

    let plan = bench.plan(allowing(service(&[("address-type", "intranet")]))).await;
    assert_eq!(actions(&plan), ["-/+ Service lb"]);
    let change = &plan.changes[0];
    assert_eq!(change.reasons, ["address-type can't change from internet to intranet"]);
    assert!(change.guard.is_some() && change.removals.is_empty());
    assert_eq!(change.diff.len(), 1, "{:?}", change.diff);

    // What the cloud does change stays an update.
    let plan = bench.plan(of(&[service(&[("address-type", "internet"), ("bandwidth", "10")])])).await;
    assert_eq!(actions(&plan), ["~ Service lb"]);
}

#[tokio::test]
async fn without_a_load_balancer_everything_is_an_update() {
    let mut bench = Bench::new();
    bench.up(of(&[service(&[("address-type", "internet")])])).await;
    let plan = bench.plan(of(&[service(&[("address-type", "intranet")])])).await;
    assert_eq!((actions(&plan), codes(&plan)), (vec!["~ Service lb".to_owned()], vec![]));
}

#[tokio::test]
async fn a_removed_annotation_is_written_with_its_default_and_then_nothing_changes_any_more() {
    let (mut bench, id) = made(&[("scheduler", "wrr"), ("address-type", "internet")]).await;
    let after = || of(&[service(&[("address-type", "internet")])]);
    let plan = bench.up(after()).await;
    assert_eq!(actions(&plan), ["~ Service lb"]);
    let diff = &plan.changes[0].diff;
    assert_eq!(diff.len(), 1, "{diff:?}");
    assert!(diff[0].path.contains("scheduler"));
    assert_eq!((&diff[0].before, &diff[0].after), (&Some(json!("wrr")), &Some(json!("rr"))));
    let said = |note: &crate::plan::Note| {
        note.severity == Severity::Info && note.message.contains("its default rr is written")
    };
    assert!(plan.notes.iter().any(said), "{:?}", plan.notes);
    for full in [false, true] {
        bench.full = full;
        let plan = bench.up(after()).await;
        assert!(plan.changes.is_empty() && plan.notes.is_empty(), "{:?} {:?}", actions(&plan), plan.notes);
    }
    assert_eq!(bench.live(&id)["metadata"]["annotations"][format!("{PREFIX}scheduler")], "rr");
    // Declared again, the program's word counts.
    let plan = bench.up(of(&[service(&[("address-type", "internet"), ("scheduler", "wrr")])])).await;
    assert_eq!(actions(&plan), ["~ Service lb"]);
    assert_eq!(bench.live(&id)["metadata"]["annotations"][format!("{PREFIX}scheduler")], "wrr");
}

#[tokio::test]
async fn annotations_of_others_are_not_undone() {
    let (mut bench, id) = made(&[("address-type", "internet")]).await;
    let path = format!("{PREFIX}scheduler");
    bench.fake.edit(&id, |object| {
        object["metadata"]["annotations"][&path] = json!("wrr");
    });
    bench.full = true;
    let plan = bench.plan(of(&[service(&[("address-type", "internet")])])).await;
    assert!(plan.changes.is_empty(), "{:?}", plan.changes);
}

#[tokio::test]
async fn remarks_are_notes_and_no_reasons() {
    let mut bench = Bench::new();
    let plan = bench.plan(of(&[service(&[("preserve-lb-on-delete", "true")])])).await;
    assert!(plan.changes[0].reasons.is_empty());
    let notes: Vec<_> = plan.notes.iter().map(|note| (note.severity, note.message.as_str())).collect();
    let expected = "preserve-lb-on-delete needs CCM 2.10.0 or newer; an older one ignores it";
    assert_eq!(notes, [(Severity::Info, expected)]);
    // Every supported cluster's CCM knows these.
    let plan = bench.plan(of(&[service(&[("address-type", "intranet")])])).await;
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    // What is only doubtful is a warning; CCM doesn't know this one.
    let plan = bench.plan(of(&[service(&[("something-quite-else", "1")])])).await;
    assert_eq!(plan.notes.len(), 1);
    assert_eq!(plan.notes[0].severity, Severity::Warning);
}
