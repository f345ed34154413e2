//! The audit log: every request with its user.

use cluster::{Tier, testing::TestCluster};

#[test]
fn every_request_is_recorded_with_its_user() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("audited").unwrap();
    let other = cluster.namespace("other").unwrap();
    let config = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#;
    namespace.kubectl(["get", "pods"]).unwrap();
    other.apply(config).unwrap();
    assert!(namespace.requests().unwrap().iter().all(|request| !request.is_write()));

    namespace.kubectl(["create", "configmap", "b", "--dry-run=server"]).unwrap();
    let requests = namespace.requests().unwrap();
    let dry_run = requests.iter().find(|request| request.is_dry_run()).unwrap();
    assert_eq!(
        (dry_run.verb.as_str(), dry_run.resource.as_str(), dry_run.code),
        ("create", "configmaps", Some(201))
    );
    assert!(requests.iter().all(|request| !request.is_write()));

    namespace.apply(config).unwrap();
    let requests = namespace.requests().unwrap();
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write()).collect();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(writes[0].namespace, namespace.name());
    assert_eq!(writes[0].user, namespace.user());
    assert!(writes[0].user_agent.starts_with("kubectl"));
    assert_eq!(other.requests().unwrap().iter().filter(|request| request.is_write()).count(), 1);
}

#[test]
fn an_answer_in_hand_is_in_the_log() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("at-once").unwrap();
    for number in 1..=20 {
        namespace.kubectl(["create", "configmap", &format!("a{number}")]).unwrap();
        let requests = namespace.requests().unwrap();
        assert_eq!(requests.iter().filter(|request| request.is_write()).count(), number);
    }
}

#[test]
fn a_user_without_a_group_may_nothing() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("forbids").unwrap();
    let user = format!("test:nobody-{}", namespace.name());
    let kubeconfig = cluster.user(&user, None, namespace.name()).unwrap();
    let output = cluster.kubectl().env("KUBECONFIG", kubeconfig).args(["get", "pods"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Forbidden"));
    let requests = cluster.requests_of(&user).unwrap();
    assert!(requests.iter().any(|request| request.code == Some(403)));
}
