//! The cluster, a namespace and a stackctl for one test.

use std::sync::OnceLock;

use cluster::Tier;
use cluster::audit::Request;
use cluster::testing::{TestCluster, TestNamespace};
use stackctl_tests::stackctl::Stackctl;

/// The stackctl with the tests' own stacks.
pub(crate) const FIXTURES: &str = env!("CARGO_BIN_EXE_fixtures");

/// A control plane that all tests of this binary share.
pub(crate) fn control_plane() -> &'static TestCluster {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| TestCluster::shared(Tier::ControlPlane).expect("a control plane"))
}

/// A cluster with a real node that all tests of this binary share.
pub(crate) fn node() -> &'static TestCluster {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| TestCluster::shared(Tier::Node).expect("a cluster with a node"))
}

/// A namespace of the shared control plane, and a stackctl that works in it under a user of its own.
pub(crate) fn plane(label: &str) -> (TestNamespace, Stackctl) {
    let namespace = control_plane().namespace(label).expect("a namespace");
    let stackctl = Stackctl::new(FIXTURES, &namespace);
    (namespace, stackctl)
}

/// The requests by which a user changed something.
pub(crate) fn writes(namespace: &TestNamespace) -> Vec<Request> {
    let requests = namespace.requests().expect("the audit log");
    requests.into_iter().filter(Request::is_write).collect()
}

/// Fails if a user changed anything.
pub(crate) fn assert_only_reads(requests: &[Request]) {
    let writes: Vec<String> = requests
        .iter()
        .filter(|request| request.is_write())
        .map(|write| format!("{} {}", write.verb, write.uri))
        .collect();
    assert!(!requests.is_empty(), "the audit log has no request of this user at all");
    assert!(writes.is_empty(), "it wrote:\n{}", writes.join("\n"));
}
