//! What a failed or impatient run left behind is waited for by the next one, which writes nothing.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{plane, writes};

/// A claim that nobody binds, beside something that is always ready.
const UNBOUND: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {srs.conf: 'listen 1935;'}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: hls}
spec: {accessModes: [ReadWriteMany], storageClassName: nobody-has-this, resources: {requests: {storage: 1Gi}}}
";

const FILE: &str = "file=m.yaml";

#[test]
fn the_next_up_waits_for_it_and_says_what_is_missing() {
    let (namespace, stackctl) = plane("still-unready");
    stackctl.write("m.yaml", UNBOUND);
    let up = ["up", "manifests", "--set", FILE, "--set", "no_progress_seconds=1", "--yes"];
    let first = stackctl.run(&up);
    assert_eq!(first.code, 6, "{}", first.stderr);
    let before = writes(&namespace).len();

    let second = stackctl.run(&up);
    assert_eq!(second.code, 6, "{}", second.stderr);
    for told in [
        "No changes. 2 resources are as declared.\n1 of them is not ready yet:\n  PersistentVolumeClaim hls: ",
        "failed: PersistentVolumeClaim hls is not ready in time: ",
        "1 unchanged and not ready",
    ] {
        assert!(second.stderr.contains(told), "{told}\n--- in\n{}", second.stderr);
    }
    let no_wait: Vec<&str> = up.iter().copied().chain(["--no-wait"]).collect();
    stackctl.ok(&no_wait);
    let after = writes(&namespace);
    assert_eq!(after.len(), before, "{:?}", after.get(before..));
}

#[test]
fn once_it_works_it_is_done_and_costs_nothing_more() {
    let (namespace, stackctl) = plane("gets-ready");
    stackctl.write("m.yaml", UNBOUND);
    let up = ["up", "manifests", "--set", FILE, "--yes"];
    stackctl.ok(&[&up[..], &["--no-wait"]].concat());
    // The volume is made by kubectl.
    let own = || {
        let writes = writes(&namespace);
        writes.into_iter().filter(|write| write.user_agent.starts_with("stackctl/")).count()
    };
    let before = own();
    assert!(before > 0);

    let mut child =
        stackctl.command(&[&up[..], &["--json"]].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told: Vec<Value> = Vec::new();
    for line in lines {
        let document: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if document["event"] == "waiting" && !told.iter().any(|told| told["event"] == "waiting") {
            bind(&namespace);
        }
        told.push(document);
    }
    assert!(child.wait().unwrap().success(), "{told:#?}");
    let report = told.last().unwrap();
    assert_eq!(report["unchanged"][0]["id"]["name"], "hls", "{report}");
    assert_eq!((&report["outcome"], &report["writes"]), (&"done".into(), &0.into()), "{report}");
    assert_eq!(own(), before);

    let watches = || namespace.requests().unwrap().iter().filter(|request| request.verb == "watch").count();
    let before = watches();
    stackctl.ok(&up);
    assert_eq!(watches(), before, "everything is ready at first look");
    let volume = format!("{}-hls", namespace.name());
    namespace.kubectl(["delete", "persistentvolume", &volume, "--wait=false"]).unwrap();
}

/// Gives the claim a volume, as a provisioner would.
fn bind(namespace: &cluster::testing::TestNamespace) {
    let name = namespace.name();
    namespace
        .apply(&format!(
            "\
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}-hls}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteMany]
  storageClassName: nobody-has-this
  persistentVolumeReclaimPolicy: Retain
  claimRef: {{namespace: {name}, name: hls}}
  hostPath: {{path: /nonexistent}}
"
        ))
        .unwrap();
}
