//! Whatever goes wrong ends with a clear message, the right exit code, and nothing half-known.

use cluster::Tier;
use stackctl_tests::stackctl::{Said, Stackctl};

use crate::harness::{FIXTURES, assert_only_reads, control_plane, plane};

const PLAN: [&str; 4] = ["plan", "manifests", "--set", "file=m.yaml"];
const UP: [&str; 6] = ["up", "manifests", "--set", "file=m.yaml", "--yes", "--no-wait"];

fn all(said: &Said) -> String {
    format!("{}\n{}", said.stdout, said.stderr)
}

/// Without the line breaks that the terminal's width asked for.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, code, "{}", all(said));
    for word in words {
        assert!(unwrapped(&all(said)).contains(word), "{word:?} is not in\n{}", all(said));
    }
}

#[test]
fn no_kubeconfig_and_no_cluster() {
    let (namespace, _) = plane("no-cluster");
    let folder = tempfile::tempdir().unwrap();
    let missing = Stackctl::with_kubeconfig(FIXTURES, &folder.path().join("none"));
    says(&missing.run(&["plan", "quick-start"]), 1, &["no kubeconfig", "KUBECONFIG"]);

    // An address where nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = std::fs::read_to_string(namespace.kubeconfig()).unwrap();
    let server = control_plane().server();
    let nobody = folder.path().join("nobody");
    std::fs::write(&nobody, text.replace(&server, &format!("https://127.0.0.1:{port}"))).unwrap();
    let nobody = Stackctl::with_kubeconfig(FIXTURES, &nobody);
    says(&nobody.run(&["plan", "quick-start"]), 1, &["cannot reach the cluster", &port.to_string()]);
    says(&nobody.run(&["plan", "quick-start", "--context", "nowhere"]), 1, &["nowhere is not a context"]);
}

#[test]
fn somebody_without_rights() {
    let (namespace, _) = plane("forbidden");
    let user = format!("nobody:{}", namespace.name());
    let kubeconfig = control_plane().user(&user, None, namespace.name()).unwrap();
    let stackctl = Stackctl::with_kubeconfig(FIXTURES, &kubeconfig);
    let said = stackctl.run(&["plan", "quick-start"]);
    says(&said, 4, &["forbidden", &user]);
}

#[test]
fn what_the_server_refuses() {
    let (namespace, stackctl) = plane("refused");
    stackctl.write(
        "m.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 99999}]}\n",
    );
    says(&stackctl.run(&PLAN), 1, &["m.yaml:1", "99999", "spec.ports[0].port"]);
    stackctl.write("m.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndatta: {a: b}\n");
    says(&stackctl.run(&UP), 1, &["datta"]);
    stackctl.write("m.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n");
    says(&stackctl.run(&PLAN), 1, &["Thing", "example.com/v1", "CustomResourceDefinition"]);
    stackctl.write("m.yaml", "kind: [");
    says(&stackctl.run(&PLAN), 1, &["m.yaml:1"]);
    assert_only_reads(&namespace.requests().unwrap());
}

#[test]
fn mistakes_in_the_program_are_found_before_any_request() {
    let (namespace, stackctl) = plane("mistakes");
    let port = stackctl.run(&["plan", "unknown-port"]);
    says(&port, 1, &["fixtures.rs:", "1985/TCP (api), which no container of Deployment srs has"]);
    let twice = stackctl.run(&["plan", "twice"]);
    says(&twice, 1, &["ConfigMap same is declared twice"]);
    assert_eq!(namespace.requests().unwrap(), []);
    says(&stackctl.run(&["plan", "quick-start", "--set", "imge=x"]), 64, &["imge", "image"]);
    says(&stackctl.run(&["plan", "quick-strat"]), 64, &["quick-start"]);
    says(&stackctl.run(&["plan", "quick-start", "--set", "replicas=many"]), 64, &["replicas", "many"]);
}

#[test]
fn an_object_of_another_stack() {
    let (_namespace, stackctl) = plane("other-stack");
    stackctl.write("m.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\ndata: {a: b}\n");
    stackctl.ok(&UP);
    says(
        &stackctl.run(&["plan", "other", "--set", "file=m.yaml"]),
        4,
        &["ConfigMap mine", "belongs to another stack"],
    );
}

#[test]
fn an_admission_policy_that_freezes_changes_is_never_a_replacement() {
    let (namespace, stackctl) = plane("frozen");
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: one}\n";
    stackctl.write("m.yaml", manifest);
    stackctl.ok(&UP);
    let name = namespace.name();
    let policy = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n  failurePolicy: Fail\n  matchConstraints:\n    resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [UPDATE], resources: [configmaps]}}]\n  validations: [{{expression: 'object.data == oldObject.data', message: 'field is immutable until Monday'}}]\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {name}}}\nspec:\n  policyName: {name}\n  validationActions: [Deny]\n  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}}}\n"
    );
    namespace.apply(&policy).unwrap();
    stackctl.write("m.yaml", &manifest.replace("one", "two"));
    let result = std::panic::catch_unwind(|| {
        // The API server takes a moment until it enforces a new policy.
        let said = cluster::testing::wait_for("the policy", std::time::Duration::from_mins(1), || {
            let said = stackctl.run(&PLAN);
            Ok((said.code != 0).then_some(said))
        })
        .unwrap();
        says(&said, 4, &["immutable until Monday"]);
        assert!(!all(&said).contains("-/+"), "{}", all(&said));
    });
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        namespace.kubectl(["delete", kind, name]).unwrap();
    }
    result.unwrap();
}

#[test]
fn an_immutable_field_is_a_replacement_that_is_carried_out() {
    let (namespace, stackctl) = plane("replace");
    let manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: one}}\n  template: {metadata: {labels: {app: one}}, spec: {containers: [{name: c, image: 'registry.invalid/c:1'}]}}\n";
    stackctl.write("m.yaml", manifest);
    stackctl.ok(&UP);
    stackctl.write("m.yaml", &manifest.replace("one", "two"));
    let plan = stackctl.json(0, &PLAN);
    assert_eq!(plan["changes"][0]["action"], "replace", "{plan}");
    stackctl.ok(&UP);
    let label = namespace
        .kubectl(["get", "deployment/d", "--output", "jsonpath={.spec.selector.matchLabels.app}"])
        .unwrap();
    assert_eq!(label.trim(), "two");
    // An object that is wrong as such is never a replacement.
    stackctl.write("m.yaml", &manifest.replace("one", "three").replace("registry.invalid/c:1", ""));
    let said = stackctl.run(&PLAN);
    assert_eq!(said.code, 1, "{}", all(&said));
}

#[test]
fn a_pinned_environment_refuses_another_cluster() {
    let (namespace, stackctl) = plane("pinned");
    stackctl.write(
        "stackctl.toml",
        &format!(
            "[environments.live]\nnamespace = \"{}\"\ncluster = \"00000000-0000-0000-0000-000000000000\"\n",
            namespace.name()
        ),
    );
    let said = stackctl.run(&["plan", "quick-start", "--env", "live"]);
    says(&said, 4, &["00000000-0000-0000-0000-000000000000"]);
}

#[test]
fn a_second_run_at_the_same_time_is_locked_out() {
    let (namespace, stackctl) = plane("locked");
    stackctl.write("m.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: never, finalizers: [example.com/hold]}\nspec: {schedulingGates: [{name: example.com/wait}], containers: [{name: c, image: 'registry.invalid/c:1'}]}\n");
    let mut first = stackctl.command(&["up", "manifests", "--set", "file=m.yaml", "--yes"]);
    let mut first =
        first.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    cluster::testing::wait_for("the first run's pod", std::time::Duration::from_secs(30), || {
        Ok(namespace.kubectl(["get", "pod", "never"]).ok())
    })
    .unwrap();
    stackctl.write("n.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second}\n");
    let second = stackctl.run(&["up", "manifests", "--set", "file=n.yaml", "--yes"]);
    // Ctrl-C ends the first in order.
    let interrupt =
        std::process::Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let ended = first.wait().unwrap();
    namespace
        .kubectl(["patch", "pod", "never", "--type=merge", "--patch", "{\"metadata\":{\"finalizers\":null}}"])
        .unwrap();
    says(&second, 5, &["locked by"]);
    assert_eq!(ended.code(), Some(130));
    // And the lock is free again.
    stackctl.ok(&["up", "manifests", "--set", "file=n.yaml", "--yes", "--no-wait"]);
}

#[test]
fn an_expired_certificate_is_named_with_its_date() {
    let cluster = control_plane();
    assert_eq!(cluster.tier(), Tier::ControlPlane);
    let kubeconfig = cluster.expired_user("test:expired").unwrap();
    let stackctl = Stackctl::with_kubeconfig(FIXTURES, &kubeconfig);
    says(&stackctl.run(&["plan", "quick-start"]), 1, &["expired", "2021"]);
}
