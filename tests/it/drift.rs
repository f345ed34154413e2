//! What people do by hand shows up with their program's name and is taken back; what the program changes is exactly that.

use serde_json::Value;

use crate::harness::{plane, writes};

const MANIFEST: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {srs.conf: 'listen 1935;'}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: srs}
spec:
  replicas: 2
  selector: {matchLabels: {app: srs}}
  template:
    metadata: {labels: {app: srs}}
    spec: {containers: [{name: srs, image: 'registry.invalid/srs:1', env: [{name: A, value: one}]}]}
";
const UP: [&str; 6] = ["up", "manifests", "--set", "file=m.yaml", "--yes", "--no-wait"];
const PLAN: [&str; 4] = ["plan", "manifests", "--set", "file=m.yaml"];

fn fields(plan: &Value) -> Vec<(String, Value)> {
    plan["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|change| change["diff"].as_array().into_iter().flatten())
        .map(|field| (field["path"].as_str().unwrap_or_default().to_owned(), field["cause"].clone()))
        .collect()
}

#[test]
fn changes_by_hand_are_shown_with_their_manager_and_taken_back() {
    let (namespace, stackctl) = plane("drift");
    stackctl.write("m.yaml", MANIFEST);
    stackctl.ok(&UP);
    // The API server notes whole seconds: what comes in the same second as our apply can't be told from before it.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    namespace.kubectl(["scale", "deployment/srs", "--replicas=5"]).unwrap();
    namespace.kubectl(["set", "env", "deployment/srs", "A=two", "B=new"]).unwrap();
    namespace.kubectl(["annotate", "configmap/conf", "note=by-hand"]).unwrap();

    let plan = stackctl.json(0, &PLAN);
    let fields = fields(&plan);
    let cause = |path: &str| {
        let found = fields.iter().find(|(name, _)| name.starts_with(path));
        found.map_or_else(|| panic!("{path} is not in {fields:#?}"), |(_, cause)| cause.clone())
    };
    for path in [
        "spec.replicas",
        "spec.template.spec.containers[name=srs].env[name=A]",
        "spec.template.spec.containers[name=srs].env[name=B]",
        "metadata.annotations",
    ] {
        let cause = cause(path);
        assert_eq!(cause["cause"], "drift", "{path}: {cause}");
        assert!(cause["manager"].as_str().unwrap().starts_with("kubectl"), "{path}: {cause}");
    }
    let shown = stackctl.ok(&PLAN).stdout;
    assert!(shown.contains("kubectl"), "{shown}");

    stackctl.ok(&UP);
    let replicas =
        namespace.kubectl(["get", "deployment/srs", "--output", "jsonpath={.spec.replicas}"]).unwrap();
    assert_eq!(replicas.trim(), "2");
    let env = "jsonpath={.spec.template.spec.containers[0].env[*].value}";
    assert_eq!(namespace.kubectl(["get", "deployment/srs", "--output", env]).unwrap().trim(), "one");
    let note = namespace
        .kubectl(["get", "configmap/conf", "--output", "jsonpath={.metadata.annotations.note}"])
        .unwrap();
    assert_eq!(note.trim(), "");
    assert!(stackctl.ok(&PLAN).stdout.contains("No changes"));
}

#[test]
fn a_changed_image_is_exactly_one_update() {
    let (_namespace, stackctl) = plane("image");
    stackctl.write("m.yaml", MANIFEST);
    stackctl.ok(&UP);
    stackctl.write("m.yaml", &MANIFEST.replace("srs:1", "srs:2"));
    let plan = stackctl.json(0, &PLAN);
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{plan}");
    assert_eq!(changes[0]["action"], "update");
    let fields = fields(&plan);
    assert_eq!(fields.len(), 1, "{fields:?}");
    assert_eq!(fields[0].0, "spec.template.spec.containers[name=srs].image");
    assert_eq!(fields[0].1["cause"], "intent");
}

#[test]
fn what_leaves_the_program_is_pruned_and_nothing_else() {
    let (namespace, stackctl) = plane("prune");
    stackctl.write("m.yaml", MANIFEST);
    stackctl.ok(&UP);
    namespace.kubectl(["create", "configmap", "somebody-elses"]).unwrap();
    let (_, deployment) = MANIFEST.split_once("---\n").unwrap();
    stackctl.write("m.yaml", deployment);
    let plan = stackctl.json(0, &PLAN);
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{plan}");
    assert_eq!((&changes[0]["action"], &changes[0]["id"]["name"]), (&"delete".into(), &"conf".into()));
    stackctl.ok(&UP);
    assert!(namespace.kubectl(["get", "configmap", "conf"]).is_err());
    namespace.kubectl(["get", "configmap", "somebody-elses"]).unwrap();

    stackctl.ok(&["down", "manifests", "--set", "file=m.yaml", "--yes"]);
    assert!(namespace.kubectl(["get", "deployment", "srs"]).is_err());
    namespace.kubectl(["get", "configmap", "somebody-elses"]).unwrap();
    let written = writes(&namespace);
    let touched = written
        .iter()
        .any(|write| write.name == "somebody-elses" && write.user_agent.starts_with("stackctl"));
    assert!(!touched, "{written:?}");
}

#[test]
fn a_field_that_was_never_ours_is_refused_until_the_program_decides() {
    let (namespace, stackctl) = plane("conflict");
    namespace.apply(&MANIFEST.replace("replicas: 2", "replicas: 7")).unwrap();
    stackctl.write("m.yaml", MANIFEST);
    let said = stackctl.run(&PLAN);
    assert_eq!(said.code, 4, "{}{}", said.stdout, said.stderr);
    assert!(
        format!("{}{}", said.stdout, said.stderr).contains("kubectl-client-side-apply"),
        "{}",
        said.stdout
    );
    let mut take = UP.to_vec();
    take.extend(["--set", "take=true"]);
    stackctl.ok(&take);
    let replicas =
        namespace.kubectl(["get", "deployment/srs", "--output", "jsonpath={.spec.replicas}"]).unwrap();
    assert_eq!(replicas.trim(), "2");
}

#[test]
fn secrets_are_never_shown_or_kept() {
    let (namespace, stackctl) = plane("secret");
    let manifest = |word: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: key}}\nstringData: {{password: {word}}}\n")
    };
    stackctl.write("m.yaml", &manifest("swordfish-one"));
    let mut said = vec![stackctl.ok(&PLAN), stackctl.ok(&UP)];
    stackctl.write("m.yaml", &manifest("swordfish-two"));
    let json: Vec<&str> = PLAN.iter().copied().chain(["--json"]).collect();
    said.extend([stackctl.ok(&PLAN), stackctl.ok(&json), stackctl.ok(&UP)]);
    for said in said {
        for text in [&said.stdout, &said.stderr] {
            assert!(!text.contains("swordfish"), "{text}");
            assert!(!text.contains("c3dvcmRmaXNo"), "{text}");
        }
    }
    let stored = "jsonpath={.items[*].data}";
    let state =
        namespace.kubectl(["get", "secrets", "--namespace", "stackctl-system", "--output", stored]).unwrap();
    assert!(!state.is_empty() && !state.contains("c3dvcmRmaXNo"));
    let live = namespace.kubectl(["get", "secret", "key", "--output", "jsonpath={.data.password}"]).unwrap();
    assert_eq!(live.trim(), "c3dvcmRmaXNoLXR3bw==");
    assert!(stackctl.ok(&PLAN).stdout.contains("No changes"));
}
