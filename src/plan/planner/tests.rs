//! What the planner asks, and what it makes of the answers of a server in memory.

mod bench;
mod deletions;
mod load_balancers;

use serde_json::json;

use self::bench::{Bench, config_map, rejection, with_immutable};
use crate::graph::{Gvk, ObjectId, OnConflict, PROTECT_ANNOTATION, Stack};
use crate::plan::{Action, Checked, Plan, RefusalCode, Severity};

/// `+ ConfigMap a` and so on, in the plan's order.
fn actions(plan: &Plan) -> Vec<String> {
    let sign = |action| match action {
        Action::Create => "+",
        Action::Update => "~",
        Action::Replace => "-/+",
        Action::Delete => "-",
    };
    plan.changes.iter().map(|change| format!("{} {}", sign(change.action), change.id)).collect()
}

fn codes(plan: &Plan) -> Vec<RefusalCode> {
    plan.refusals.iter().map(|refusal| refusal.code).collect()
}

fn stack() -> Stack {
    Stack::new("media", "live")
}

fn of(bodies: &[serde_json::Value]) -> Stack {
    let mut stack = stack();
    for body in bodies {
        stack.object(body.clone());
    }
    stack
}

#[tokio::test]
async fn what_is_missing_is_created_as_the_server_says() {
    let mut bench = Bench::new();
    let plan = bench.plan(of(&[config_map("a", "1")])).await;
    assert_eq!(actions(&plan), ["+ ConfigMap a"]);
    let change = &plan.changes[0];
    assert_eq!(change.checked, Checked::Server);
    assert_eq!((change.uid.as_ref(), change.resource_version.as_ref()), (None, None));
    assert!(change.diff.iter().any(|field| field.path == "data.key" && field.after == Some(json!("1"))));
    let question = &bench.asked[0];
    assert!(question.force, "a create is asked about with force, to see all of it");
    assert_eq!(question.id, change.id);
}

#[tokio::test]
async fn an_update_carries_what_it_was_made_from() {
    let mut bench = Bench::new();
    bench.up(of(&[config_map("a", "1")])).await;
    let plan = bench.plan(of(&[config_map("a", "2")])).await;
    assert_eq!(actions(&plan), ["~ ConfigMap a"]);
    let change = &plan.changes[0];
    let live = bench.live(&change.id);
    assert_eq!(change.uid.as_deref(), live["metadata"]["uid"].as_str());
    assert_eq!(change.resource_version.as_deref(), live["metadata"]["resourceVersion"].as_str());
    assert_eq!(change.diff.len(), 1, "{:?}", change.diff);
    assert_eq!((&change.diff[0].before, &change.diff[0].after), (&Some(json!("1")), &Some(json!("2"))));
}

#[tokio::test]
async fn what_is_proven_unchanged_is_not_asked_about_unless_all_is() {
    let mut bench = Bench::new();
    let bodies = [config_map("a", "1"), config_map("b", "1")];
    bench.up(of(&bodies)).await;
    let plan = bench.plan(of(&bodies)).await;
    assert!(plan.changes.is_empty() && bench.asked.is_empty(), "{:?}", bench.asked);
    assert_eq!(plan.unchanged.len(), 2);
    bench.full = true;
    let plan = bench.plan(of(&bodies)).await;
    assert_eq!((plan.changes.len(), plan.unchanged.len(), bench.asked.len()), (0, 2, 2));
    // The proof is of the object that was there, not of another one of its name.
    bench.full = false;
    let id = ObjectId::of(&bodies[0]).unwrap();
    bench.fake.edit(&id, |object| object["metadata"]["uid"] = json!("another"));
    bench.plan(of(&bodies)).await;
    assert_eq!(bench.asked.len(), 1);
}

#[tokio::test]
async fn in_a_namespace_that_is_only_made_the_server_is_asked_elsewhere() {
    let mut bench = Bench::new();
    let mut new = Stack::new("media", "new");
    new.object(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}),
    );
    let plan = bench.plan(new).await;
    assert_eq!(actions(&plan), ["+ Namespace new", "+ ConfigMap a"]);
    assert_eq!(plan.changes[0].checked, Checked::Server);
    assert_eq!(plan.changes[1].checked, Checked::Probe { namespace: "default".to_owned() });
    assert_eq!(plan.changes[1].after.get(&0), Some(&true), "the namespace first");
    assert_eq!(plan.changes[1].body["metadata"]["namespace"], "new");
    let probe = bench.asked.iter().find(|question| question.id.kind == "ConfigMap").unwrap();
    assert_eq!(probe.id.namespace.as_deref(), Some("default"));
    assert!(probe.id.name.starts_with("stackctl-probe-") && !probe.force, "{probe:?}");
    assert!(
        !plan.changes[1].diff.iter().any(|field| field
            .after
            .as_ref()
            .is_some_and(|after| { after.as_str().is_some_and(|after| after.contains("probe")) })),
        "the probe's name is not shown"
    );
}

#[tokio::test]
async fn a_namespace_is_the_stacks_own_only_if_the_stack_made_it() {
    let mut bench = Bench::new();
    let new = || {
        let mut stack = Stack::new("media", "new");
        stack.object(config_map_in("new"));
        stack
    };
    bench.up(new()).await;
    let namespace = ObjectId::new(&Gvk::new("", "v1", "Namespace"), None, "new");
    assert_eq!(bench.live(&namespace)["metadata"]["labels"]["stackctl.dev/stack"], "new.media");
    let plan = bench.plan(new()).await;
    assert!(plan.changes.is_empty() && plan.notes.is_empty(), "{:?} {:?}", actions(&plan), plan.notes);
    assert_eq!(plan.unchanged.len(), 2, "the namespace is still ours");
    // One that somebody else made is used, and left alone.
    let mut bench = Bench::new();
    bench.fake.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}));
    assert_eq!(actions(&bench.plan(new()).await), ["+ ConfigMap a"]);
}

fn config_map_in(namespace: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}})
}

#[tokio::test]
async fn what_needs_no_server_is_refused_at_sight() {
    let mut bench = Bench::new();
    bench.terminating.insert("dying".to_owned());
    let mut other = config_map("b", "1");
    other["metadata"]["labels"] = json!({"stackctl.dev/stack": "live.other"});
    bench.fake.put(other);
    for (body, code) in [
        (config_map_in("stackctl-system"), RefusalCode::StateNamespace),
        (config_map_in("dying"), RefusalCode::TerminatingNamespace),
        (config_map_in("nowhere"), RefusalCode::RefusedByServer),
        (config_map("b", "1"), RefusalCode::OtherStack),
        (
            json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "a", "namespace": "live"}}),
            RefusalCode::UnknownKind,
        ),
    ] {
        let plan = bench.plan(of(std::slice::from_ref(&body))).await;
        assert_eq!(codes(&plan), [code], "{body}: {:?}", plan.refusals);
        assert!(plan.changes.is_empty() && bench.asked.is_empty(), "{body}");
        assert!(plan.refusals[0].location.is_some() && plan.refusals[0].hint.is_some());
    }
}

#[tokio::test]
async fn a_kind_that_the_plan_brings_is_not_checked_by_the_server() {
    let mut bench = Bench::new();
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"}}});
    let thing = json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "a"}});
    let plan = bench.plan(of(&[thing, crd])).await;
    assert_eq!(actions(&plan), ["+ CustomResourceDefinition things.example.org", "+ Thing a"]);
    assert!(matches!(plan.changes[1].checked, Checked::Offline { .. }));
    assert_eq!(plan.changes[1].after.get(&0), Some(&true));
}

#[tokio::test]
async fn the_servers_no_is_told_apart() {
    for (code, message, expected) in [
        (422, "ConfigMap \"a\" is invalid: data: too long", RefusalCode::RefusedByServer),
        (403, "admission webhook \"x\" denied the request: no", RefusalCode::DeniedByAdmission),
        (
            403,
            "configmaps \"a\" is forbidden: User \"u\" cannot patch resource \"configmaps\"",
            RefusalCode::Forbidden,
        ),
        (403, "configmaps \"a\" is forbidden: exceeded quota: q", RefusalCode::Quota),
    ] {
        for exists in [false, true] {
            let mut bench = Bench::new();
            if exists {
                bench.up(of(&[config_map("a", "1")])).await;
            }
            bench.reject("a", rejection(code, message, &[]));
            let plan = bench.plan(of(&[config_map("a", "2")])).await;
            assert_eq!(codes(&plan), [expected], "{message}");
            assert!(plan.changes.is_empty(), "{message}");
        }
    }
}

#[tokio::test]
async fn an_immutable_field_is_a_replacement_by_the_table_without_a_probe() {
    let mut bench = Bench::new();
    let job = |image: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "live"},
            "spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}})
    };
    bench.up(of(&[job("1")])).await;
    let no = rejection(
        422,
        "Job.batch \"a\" is invalid: spec.template: field is immutable",
        &[("spec.template", "Invalid value: {}: field is immutable")],
    );
    bench.reject("a", no.clone());
    let plan = bench.plan(of(&[job("2")])).await;
    assert_eq!(actions(&plan), ["-/+ Job a"], "{:?}", plan.refusals);
    assert_eq!(bench.rounds, 1);
    assert!(plan.changes[0].reasons[0].contains("field is immutable"));
    assert_eq!(plan.changes[0].body["spec"]["template"]["spec"]["containers"][0]["image"], "2");
    // What the program protects is not replaced.
    bench.reject("a", no);
    let mut protected = stack();
    let handle = protected.object(job("2"));
    protected.policy(&handle).protect = true;
    assert_eq!(codes(&bench.plan(protected).await), [RefusalCode::Replacement]);
}

#[tokio::test]
async fn what_the_table_does_not_know_is_probed() {
    let mut bench = Bench::new();
    bench.up(of(&[with_immutable(json!(1))])).await;
    // The server in memory refuses to change spec.immutable, and takes the same object under another name.
    let plan = bench.plan(of(&[with_immutable(json!(2))])).await;
    assert_eq!(actions(&plan), ["-/+ Deployment a"], "{:?}", plan.refusals);
    assert_eq!(bench.rounds, 2);
    assert!(bench.asked[1].id.name.starts_with("stackctl-probe-") && !bench.asked[1].force);
    // Not valid under any name: then it isn't the transition.
    let probe = bench.asked[1].id.name.clone();
    bench.reject(&probe, rejection(422, "it is invalid", &[("spec.immutable", "it is invalid")]));
    let plan = bench.plan(of(&[with_immutable(json!(3))])).await;
    assert_eq!((codes(&plan), plan.changes.len()), (vec![RefusalCode::RefusedByServer], 0));
}

#[tokio::test]
async fn what_is_no_longer_declared_goes_unless_it_hurts() {
    let mut bench = Bench::new();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lb", "namespace": "live"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "a", "port": 80}]}});
    let mut first = of(&[config_map("a", "1"), config_map("b", "1"), service]);
    let kept = first.object(config_map("kept", "1"));
    first.policy(&kept).protect = true;
    bench.up(first).await;
    let plan = bench.plan(of(&[config_map("a", "1"), config_map("c", "1")])).await;
    assert_eq!(actions(&plan), ["+ ConfigMap c", "- ConfigMap b"]);
    assert_eq!(plan.changes[1].after.get(&0), Some(&true), "deletions come last");
    let mut stays: Vec<_> = plan.notes.iter().map(|note| note.message.as_str()).collect();
    stays.sort_unstable();
    assert_eq!(stays.len(), 2, "{stays:?}");
    assert!(stays[0].starts_with("ConfigMap kept is no longer declared, and stays: it is protected"));
    assert!(
        stays[1].starts_with("Service lb is no longer declared, and stays") && stays[1].contains("address")
    );
    let kept = ObjectId::of(&config_map("kept", "1")).unwrap();
    assert_eq!(bench.live(&kept)["metadata"]["annotations"][PROTECT_ANNOTATION], "true");
}

#[tokio::test]
async fn an_object_that_is_there_already_is_adopted_with_a_warning() {
    let mut bench = Bench::new();
    bench.fake.put(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "live"}}),
    );
    let plan = bench.plan(of(&[config_map("a", "1")])).await;
    assert_eq!(actions(&plan), ["~ ConfigMap a"]);
    assert_eq!(plan.notes.len(), 1);
    assert_eq!(plan.notes[0].severity, Severity::Warning);
    assert_eq!(plan.notes[0].message, "ConfigMap a is there already, and is taken into the stack");
}

#[tokio::test]
async fn another_managers_field_is_refused_taken_or_left() {
    for (resolution, expected) in [
        (OnConflict::Refuse, vec![]),
        (OnConflict::Take, vec!["~ ConfigMap a"]),
        (OnConflict::Yield, vec!["~ ConfigMap a"]),
    ] {
        let mut bench = Bench::new();
        let body = config_map("a", "ours");
        let id = ObjectId::of(&body).unwrap();
        bench.fake.put(config_map_in("live"));
        bench.fake.edit_as("operator", &id, "data.key", json!("theirs"));
        let mut stack = stack();
        let handle = stack.object(body);
        stack.policy(&handle).fields.insert("data.key".to_owned(), resolution);
        let plan = bench.plan(stack).await;
        assert_eq!(actions(&plan), expected, "{resolution:?}");
        let conflicts = usize::from(resolution == OnConflict::Refuse);
        assert_eq!(codes(&plan), vec![RefusalCode::Conflict; conflicts]);
        let said = plan.notes.iter().any(|note| note.message.contains("operator"));
        assert_eq!(said, resolution != OnConflict::Refuse, "{:?}", plan.notes);
        let sent = plan.changes.first().map(|change| change.body.pointer("/data/key").is_some());
        assert_eq!(sent.unwrap_or_default(), resolution == OnConflict::Take);
    }
}

#[tokio::test]
async fn changes_follow_what_they_need() {
    let mut bench = Bench::new();
    let deployment = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "live"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "a", "image": image}],
                    "volumes": [{"name": "conf", "configMap": {"name": "conf"}}]}}}})
    };
    let plan = bench.plan(of(&[deployment("1"), config_map("conf", "1")])).await;
    assert_eq!(actions(&plan), ["+ ConfigMap conf", "+ Deployment a"]);
    assert_eq!(plan.changes[1].after.get(&0), Some(&false), "applied is enough for a mounted ConfigMap");
    bench.up(of(&[deployment("1"), config_map("conf", "1")])).await;
    let plan = bench.plan(of(&[deployment("2"), config_map("conf", "1")])).await;
    assert_eq!(actions(&plan), ["~ Deployment a"]);
    assert!(plan.changes[0].after.is_empty(), "what does not change is not waited for");
}
