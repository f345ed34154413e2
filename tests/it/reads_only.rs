//! What the API server saw: a plan only reads, and what is as declared is not written again.

use crate::harness::{FIXTURES, assert_only_reads, control_plane, plane, writes};
use stackctl_tests::stackctl::Stackctl;

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
  replicas: 1
  selector: {matchLabels: {app: srs}}
  template:
    metadata: {labels: {app: srs}}
    spec:
      containers: [{name: srs, image: 'registry.invalid/srs:1', resources: {requests: {cpu: 1000m}}, env: [{name: EMPTY, value: ''}]}]
";

#[test]
fn a_plan_writes_nothing() {
    let (namespace, stackctl) = plane("plan-reads");
    let plan = stackctl.json(2, &["plan", "quick-start", "--detailed-exitcode"]);
    assert_eq!(plan["changes"].as_array().map(Vec::len), Some(2), "{plan}");
    let requests = namespace.requests().unwrap();
    assert_only_reads(&requests);
    assert!(requests.iter().any(cluster::audit::Request::is_dry_run), "creates are asked about too");
    assert!(requests.iter().all(|request| request.user == namespace.user()));
}

#[test]
#[should_panic(expected = "it wrote:\ncreate /api/v1/namespaces/plan-writes")]
fn the_test_above_can_fail() {
    let (namespace, stackctl) = plane("plan-writes");
    stackctl.ok(&["plan", "quick-start"]);
    namespace.kubectl(["create", "configmap", "written"]).unwrap();
    assert_only_reads(&namespace.requests().unwrap());
}

#[test]
fn a_second_up_sends_no_write_and_says_so() {
    let (namespace, stackctl) = plane("second-up");
    stackctl.write("m.yaml", MANIFEST);
    let up = ["up", "manifests", "--set", "file=m.yaml", "--yes", "--no-wait"];
    stackctl.ok(&up);
    let before = writes(&namespace).len();
    assert!(before > 0);
    let said = stackctl.ok(&up);
    assert!(said.stderr.contains("No changes"), "{}", said.stderr);
    let after = writes(&namespace);
    assert_eq!(after.len(), before, "{:?}", after.get(before..));
}

#[test]
fn what_is_proven_unchanged_is_not_even_asked_about() {
    let (namespace, stackctl) = plane("proven");
    stackctl.write("m.yaml", MANIFEST);
    stackctl.ok(&["up", "manifests", "--set", "file=m.yaml", "--yes", "--no-wait"]);
    let dry_runs = |namespace: &cluster::testing::TestNamespace| {
        namespace.requests().unwrap().iter().filter(|r| r.is_dry_run()).count()
    };
    let before = dry_runs(&namespace);
    let plan = ["plan", "manifests", "--set", "file=m.yaml"];
    assert!(stackctl.ok(&plan).stdout.contains("No changes"));
    assert_eq!(dry_runs(&namespace), before);
    let full: Vec<&str> = plan.iter().copied().chain(["--full"]).collect();
    assert!(stackctl.ok(&full).stdout.contains("No changes"));
    assert!(dry_runs(&namespace) > before);
}

#[test]
fn a_namespace_that_is_not_there_yet_is_planned_with_the_servers_help() {
    let (namespace, _) = plane("fresh");
    let fresh = format!("{}-made", namespace.name());
    let stackctl = Stackctl::new(FIXTURES, &namespace);
    let plan = stackctl.json(0, &["plan", "quick-start", "--namespace", &fresh]);
    let changes = plan["changes"].as_array().unwrap();
    let kinds: Vec<&str> = changes.iter().map(|change| change["id"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Namespace", "Service", "Deployment"]);
    assert_eq!(changes[0]["checked"]["by"], "server");
    assert_eq!(changes[1]["checked"]["by"], "probe", "{}", changes[1]["checked"]);
    assert_eq!(changes[2]["checked"]["by"], "probe");
    assert_only_reads(&namespace.requests().unwrap());

    // What the server would refuse there is refused in the plan.
    stackctl.write("m.yaml", &MANIFEST.replace("replicas: 1", "replicas: -1"));
    let said = stackctl.run(&["plan", "manifests", "--set", "file=m.yaml", "--namespace", &fresh]);
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(
        format!("{}{}", said.stdout, said.stderr).contains("spec.replicas"),
        "{}{}",
        said.stdout,
        said.stderr
    );

    let up = ["up", "quick-start", "--namespace", &fresh, "--yes", "--no-wait"];
    stackctl.ok(&up);
    assert!(stackctl.ok(&up).stderr.contains("No changes"));
    let down = ["down", "quick-start", "--namespace", &fresh, "--yes"];
    let refused = stackctl.run(&down);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("load-balancers") && refused.stderr.contains("namespaces"),
        "{}",
        refused.stderr
    );
    let agreed: Vec<&str> = down.iter().copied().chain(["--delete", "load-balancers,namespaces"]).collect();
    stackctl.ok(&agreed);
    let gone = control_plane().kubectl().args(["get", "namespace", &fresh]).output().unwrap();
    assert!(!gone.status.success());
}
