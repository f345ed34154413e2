use proptest::prelude::*;
use serde_json::json;

use super::super::additions::{additions, without};
use super::super::change::Cause;
use super::super::conflict::{conflicts, yielded};
use super::super::fields::tests::any_json;
use super::super::proof::{hashes, unchanged};
use super::super::wanted::differences;
use super::*;
use crate::graph::late::Late;
use crate::graph::{ObjectId, Policy};

struct Case {
    body: Value,
    sent: Sent,
    noise: Noise,
}

impl Case {
    fn new(body: Value) -> Self {
        Self { body, sent: Sent::Same, noise: Noise::default() }
    }

    fn sent(mut self, sent: Sent) -> Self {
        self.sent = sent;
        self
    }

    fn diff(&self, live: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
        self.diff_with(live, after, &[])
    }

    fn diff_with(
        &self,
        live: Option<&Value>,
        after: Option<&Value>,
        additions: &[Addition],
    ) -> Vec<FieldChange> {
        let context = DiffContext {
            body: &self.body,
            manager: "us",
            sent: self.sent,
            noise: &self.noise,
            additions,
            fingerprint: &|bytes| [u8::try_from(bytes.len() % 256).unwrap(); 16],
        };
        diff(live, after, &context)
    }
}

/// `~ path: before -> after (cause)`
fn lines(changes: &[FieldChange]) -> Vec<String> {
    let line = |change: &FieldChange| {
        let mark = match change.op {
            FieldOp::Add => "+",
            FieldOp::Remove => "-",
            FieldOp::Change => "~",
        };
        let show = |value: &Option<Value>| value.as_ref().map_or_else(String::new, Value::to_string);
        let cause = match &change.cause {
            Cause::Intent => "intent".to_owned(),
            Cause::Drift { manager, .. } => format!("drift {manager}"),
            Cause::Default => "default".to_owned(),
            Cause::Admission => "admission".to_owned(),
            Cause::KnownAfterApply { of } => format!("after {of}"),
        };
        format!("{mark} {}: {} -> {} ({cause})", change.path, show(&change.before), show(&change.after))
    };
    changes.iter().map(line).collect()
}

fn deployment(containers: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": containers}}}})
}

fn owned(mut object: Value, manager: &str, operation: &str, fields: &Value) -> Value {
    let entry = json!({"manager": manager, "operation": operation, "time": "2026-01-01T00:00:00Z", "fieldsV1": fields});
    let entries = &mut object["metadata"]["managedFields"];
    match entries.as_array_mut() {
        Some(entries) => entries.push(entry),
        None => *entries = json!([entry]),
    }
    object
}

#[test]
fn a_changed_image_is_one_change() {
    let live = deployment(
        &json!([{"name": "b", "image": "x"}, {"name": "srs", "image": "1", "env": [{"name": "A", "value": "1"}]}]),
    );
    let after = deployment(
        &json!([{"name": "b", "image": "x"}, {"name": "srs", "image": "2", "env": [{"name": "A", "value": "1"}]}]),
    );
    let case = Case::new(after.clone()).sent(Sent::Changed);
    assert_eq!(
        lines(&case.diff(Some(&live), Some(&after))),
        [r#"~ spec.template.spec.containers[name=srs].image: "1" -> "2" (intent)"#]
    );
}

#[test]
fn a_moved_item_is_a_change_only_where_order_means_something() {
    let ports = |ports: &Value| json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports}});
    let (live, after) = (
        ports(&json!([{"port": 1, "protocol": "TCP"}, {"port": 1, "protocol": "UDP"}])),
        ports(&json!([{"port": 1, "protocol": "UDP"}, {"port": 1}])),
    );
    let found = Case::new(json!({})).diff(Some(&live), Some(&after));
    assert_eq!(lines(&found), [r#"- spec.ports[port=1,protocol=TCP].protocol: "TCP" ->  (admission)"#]);
    let env = |names: &[&str]| {
        let env: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        deployment(&json!([{"name": "srs", "env": env}]))
    };
    let (live, after) = (env(&["A", "B", "C"]), env(&["B", "A", "D"]));
    let path = "spec.template.spec.containers[name=srs].env";
    assert_eq!(
        lines(&Case::new(after.clone()).sent(Sent::Changed).diff(Some(&live), Some(&after))),
        [
            format!(r#"~ {path}: ["A","B","C"] -> ["B","A","D"] (intent)"#),
            format!(r#"- {path}[name=C]: {{"name":"C"}} ->  (admission)"#),
            format!(r#"+ {path}[name=D].name:  -> "D" (intent)"#),
        ]
    );
}

#[test]
fn creates_tell_intent_from_default_and_admission() {
    let web = ObjectId {
        group: String::new(),
        kind: "Service".to_owned(),
        namespace: None,
        name: "web".to_owned(),
    };
    let late = Late::<String>::new(web, "/spec/clusterIP", "192.0.2.1").to_string();
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"app": "x"}},
        "spec": {"template": {"spec": {"containers": [{"name": "srs", "image": "1", "resources": {"limits": {"cpu": "1000m"}}}]}},
                 "host": late, "paused": true}});
    let mut after = body.clone();
    after["metadata"] =
        json!({"name": "a", "uid": "7", "labels": {"app": "x", "team": "video"}, "managedFields": []});
    after["status"] = json!({"replicas": 0});
    after["spec"]["replicas"] = json!(1);
    after["spec"]["paused"] = json!(false);
    after["spec"]["host"] = json!("192.0.2.1");
    after["spec"]["template"]["spec"]["containers"] = json!([
        {"name": "srs", "image": "1", "resources": {"limits": {"cpu": "1"}}, "imagePullPolicy": "Always"}, {"name": "sidecar", "image": "s"}]);
    let c = "spec.template.spec.containers";
    assert_eq!(
        lines(&Case::new(body).sent(Sent::Never).diff(None, Some(&after))),
        [
            r#"+ metadata.labels.app:  -> "x" (intent)"#.to_owned(),
            r#"+ metadata.labels.team:  -> "video" (admission)"#.to_owned(),
            r#"+ spec.host:  -> "192.0.2.1" (after Service web)"#.to_owned(),
            "+ spec.paused:  -> false (admission)".to_owned(),
            "+ spec.replicas:  -> 1 (default)".to_owned(),
            format!(r#"+ {c}[name=sidecar].image:  -> "s" (admission)"#),
            format!(r#"+ {c}[name=srs].image:  -> "1" (intent)"#),
            format!(r#"+ {c}[name=srs].imagePullPolicy:  -> "Always" (default)"#),
            format!(r#"+ {c}[name=srs].resources.limits.cpu:  -> "1" (intent)"#),
        ]
    );
}

#[test]
fn drift_names_the_manager() {
    let object = |replicas: i64| json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": replicas}});
    let live = owned(object(5), "kubectl", "Update", &json!({"f:spec": {"f:replicas": {}}}));
    let shown = |sent| lines(&Case::new(object(3)).sent(sent).diff(Some(&live), Some(&object(3)))).join("");
    assert_eq!(shown(Sent::Same), "~ spec.replicas: 5 -> 3 (drift kubectl)");
    assert_eq!(shown(Sent::Changed), "~ spec.replicas: 5 -> 3 (drift kubectl)");
    assert_eq!(shown(Sent::Never), "~ spec.replicas: 5 -> 3 (intent)");
    let live = owned(object(5), "keda", "Update", &json!({"f:spec": {"f:replicas": {}}}));
    let shown = |sent| lines(&Case::new(object(3)).sent(sent).diff(Some(&live), Some(&object(3)))).join("");
    assert_eq!(shown(Sent::Same), "~ spec.replicas: 5 -> 3 (drift keda)");
    assert_eq!(shown(Sent::Changed), "~ spec.replicas: 5 -> 3 (intent)");
}

#[test]
fn a_removed_field_is_drift_of_who_wrote_last() {
    let with = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "1", "b": "2"}});
    let without = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "1"}});
    let live = owned(without, "us", "Apply", &json!({"f:data": {"f:a": {}}}));
    let live = owned(live, "kubectl-edit", "Update", &json!({"f:data": {}}));
    assert_eq!(
        lines(&Case::new(with.clone()).diff(Some(&live), Some(&with))),
        [r#"+ data.b:  -> "2" (drift kubectl-edit)"#]
    );
}

#[test]
fn additions_show_as_removed_drift_and_dropped_fields_as_intent() {
    let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"ours": "1", "old": "2", "theirs": "3"}});
    let live = owned(live, "us", "Apply", &json!({"f:data": {"f:ours": {}, "f:old": {}}}));
    let live = owned(live, "kubectl-edit", "Update", &json!({"f:data": {"f:theirs": {}}}));
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"ours": "1"}});
    let found = additions(&live, &body, "us", &Noise::default());
    let mut dry_run = live.clone();
    dry_run["data"].as_object_mut().unwrap().remove("old");
    let after = without(&dry_run, &found);
    let case = Case::new(body).sent(Sent::Changed);
    assert_eq!(
        lines(&case.diff_with(Some(&live), Some(&after), &found)),
        [r#"- data.old: "2" ->  (intent)"#, r#"- data.theirs: "3" ->  (drift kubectl-edit)"#]
    );
}

#[test]
fn noise_is_left_out_unless_the_program_sets_it() {
    let object = |ip: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"resourceVersion": ip}, "spec": {"clusterIP": ip}, "status": ip});
    let mut case = Case::new(json!({"metadata": {"resourceVersion": "x"}}));
    case.noise = Noise::new(["spec.clusterIP"]);
    assert_eq!(case.diff(Some(&object("a")), Some(&object("b"))), []);
    case.body = json!({"spec": {"clusterIP": "b"}});
    assert_eq!(case.diff(Some(&object("a")), Some(&object("b"))).len(), 1);
}

#[test]
fn no_secret_is_shown() {
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": value}}, "data": {"p": value}, "stringData": {"q": value}})
    };
    let (live, after) = (secret("hunter2"), secret("swordfish"));
    for (live, after) in [(Some(&live), Some(&after)), (None, Some(&after)), (Some(&live), None)] {
        let body = after.cloned().unwrap_or_default();
        let changes = Case::new(body).diff(live, after);
        assert!(!changes.is_empty());
        let text = serde_json::to_string(&changes).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("swordfish"), "{text}");
    }
}

#[test]
fn atomic_lists_change_as_one_and_lists_of_objects_where_they_differ() {
    let live = deployment(&json!([{"name": "a", "args": ["x", "y"]}]));
    let after = deployment(&json!([{"name": "a", "args": ["x", "z"]}]));
    assert_eq!(
        lines(&Case::new(after.clone()).sent(Sent::Changed).diff(Some(&live), Some(&after))),
        [r#"~ spec.template.spec.containers[name=a].args: ["x","y"] -> ["x","z"] (intent)"#]
    );
    let role = |verbs: &[&str]| {
        let rules: Vec<_> =
            verbs.iter().map(|verb| json!({"resources": ["pods"], "verbs": [verb]})).collect();
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules})
    };
    let (live, after) = (role(&["get", "list"]), role(&["watch", "get", "list"]));
    assert_eq!(
        lines(&Case::new(after.clone()).sent(Sent::Changed).diff(Some(&live), Some(&after))),
        [r#"+ rules[0].resources:  -> ["pods"] (intent)"#, r#"+ rules[0].verbs:  -> ["watch"] (intent)"#]
    );
}

/// A Deployment applied to a kube-apiserver 1.34.4, then edited by `kubectl set env`, `annotate`, `scale`, `rollout restart`,
/// `patch` and (as `keda`) another patch, then dry-run again with the same body.
#[test]
fn real_objects() {
    let object = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    let body = object(include_str!("../fixtures/deployment-body.json"));
    let applied = object(include_str!("../fixtures/deployment-applied.json"));
    let edited = object(include_str!("../fixtures/deployment-edited.json"));
    let dry_run = object(include_str!("../fixtures/deployment-dryrun.json"));
    let (manager, key) = ("stackctl.test", |_: &[u8]| [0; 16]);
    let rules = crate::kinds::rules(&crate::graph::Gvk::new("apps", "v1", "Deployment"));
    let noise = Noise::new(rules.noise().iter().copied());

    let recorded = hashes(&body, &applied, manager, &key).unwrap();
    assert!(unchanged(&recorded, &body, &applied, manager, &noise, &key));
    assert!(!unchanged(&recorded, &body, &edited, manager, &noise, &key));
    assert_eq!(additions(&applied, &body, manager, &noise), []);
    // What the server normalizes is no difference: `1000m` is `1`, `value: ""` is none.
    let differences = differences(&applied, &body, manager);
    assert_eq!(differences.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());

    let added = additions(&edited, &body, manager, &noise);
    let after = without(&dry_run, &added);
    let case = |sent| {
        let context =
            DiffContext { body: &body, manager, sent, noise: &noise, additions: &added, fingerprint: &key };
        lines(&diff(Some(&edited), Some(&after), &context))
    };
    let env = "spec.template.spec.containers[name=srs].env";
    assert_eq!(
        case(Sent::Same),
        [
            r#"- metadata.annotations["note/x"]: "hi" ->  (drift kubectl-annotate)"#.to_owned(),
            // Nobody owns a field that was removed: the person who wrote last is named.
            r#"+ metadata.labels.app:  -> "web" (drift kubectl-annotate)"#.to_owned(),
            "~ spec.replicas: 5 -> 3 (drift kubectl)".to_owned(),
            format!(r#"~ {env}[name=A].value: "9" -> "1" (drift kubectl-set)"#),
            format!(r#"- {env}[name=C]: {{"name":"C","value":"3"}} ->  (drift kubectl-set)"#),
        ]
    );
    let found = conflicts(&edited, &body, manager, Sent::Never, &Policy::default(), &key);
    let paths: Vec<_> = found.iter().map(|conflict| conflict.path.to_string()).collect();
    assert_eq!(paths, ["spec.replicas".to_owned(), format!("{env}[name=A].value")]);
    assert_eq!(conflicts(&edited, &body, manager, Sent::Changed, &Policy::default(), &key), []);
    let (rest, left) = yielded(&body, Some(&edited), manager, &Policy::default(), true);
    assert_eq!((rest["spec"].get("replicas"), left.len()), (None, 1));
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(object in any_json(), body in any_json()) {
        prop_assert_eq!(Case::new(body).diff(Some(&object), Some(&object)), vec![]);
    }

    #[test]
    fn any_json_is_compared(live in any_json(), after in any_json(), body in any_json()) {
        let case = Case::new(body).sent(Sent::Changed);
        case.diff(Some(&live), Some(&after));
        case.diff(None, Some(&after));
        case.diff(Some(&live), None);
        // A difference outside of noise is seen from both sides.
        let (live, after) = (json!({"spec": live}), json!({"spec": after}));
        let forth = case.diff(Some(&live), Some(&after));
        let back = case.diff(Some(&after), Some(&live));
        prop_assert_eq!(forth.is_empty(), back.is_empty());
        let paths: Vec<_> = forth.iter().filter(|change| change.op == FieldOp::Change).map(|change| &change.path).collect();
        let mut sorted = paths.clone();
        sorted.dedup();
        prop_assert_eq!(paths, sorted);
    }

    #[test]
    fn no_change_means_the_same_object(live in any_json(), after in any_json()) {
        // Spec only: what is outside may be noise.
        let (live, after) = (json!({"spec": {"x": live}}), json!({"spec": {"x": after}}));
        let case = Case::new(json!({}));
        let changes = case.diff(Some(&live), Some(&after));
        prop_assert_eq!(changes.is_empty(), without_nulls(&live) == without_nulls(&after));
    }
}

/// A field that is null is one that isn't there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        scalar => scalar.clone(),
    }
}
