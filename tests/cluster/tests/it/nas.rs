//! NAS by its CSI driver: ACK's PersistentVolumes and claims as they are, on the real kubelet.

use std::{fs, time::Duration};

use cluster::{
    Tier, nas,
    testing::{TestCluster, TestNamespace, wait_for},
};
use serde_json::{Value, json};

use crate::{
    inside::Inside,
    node::{IMAGE, busybox},
};

const SOON: Duration = Duration::from_mins(2);

/// A mount target that no other test has.
fn server(namespace: &TestNamespace) -> String {
    format!("{}.cn-beijing.nas.aliyuncs.com", namespace.name())
}

/// A PersistentVolume of these attributes and a claim of the same name for it. Volumes have no namespace: its name
/// has the test's. Deleted when dropped.
struct Volume<'a> {
    namespace: &'a TestNamespace,
    name: String,
}

impl<'a> Volume<'a> {
    fn new(namespace: &'a TestNamespace, name: &str, attributes: &Value, mount_options: &[&str]) -> Self {
        let unique = format!("{}-{name}", namespace.name());
        let volume = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": { "name": unique, "labels": { "alicloud-pvname": unique } },
            "spec": {
                "capacity": { "storage": "100Gi" },
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "nas",
                "mountOptions": mount_options,
                "csi": { "driver": nas::DRIVER, "volumeHandle": unique, "volumeAttributes": attributes },
            },
        });
        let claim = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": { "name": name },
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "nas",
                "resources": { "requests": { "storage": "100Gi" } },
                "selector": { "matchLabels": { "alicloud-pvname": unique } },
            },
        });
        for object in [volume, claim] {
            namespace.apply(&object.to_string()).unwrap();
        }
        Self { namespace, name: unique }
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        // What is left goes with the cluster.
        let _ = self.namespace.kubectl(["delete", "persistentvolume", &self.name, "--wait=false"]);
    }
}

/// A pod that sleeps, with a claim mounted at /data.
fn pod(namespace: &TestNamespace, name: &str, claim: &str, read_only: bool) {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim, "readOnly": read_only } }],
            "containers": [{
                "name": "main",
                "image": IMAGE,
                "command": ["sleep", "10000"],
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
        },
    });
    namespace.apply(&pod.to_string()).unwrap();
}

fn ready(namespace: &TestNamespace, name: &str) {
    namespace.kubectl(["wait", "--for=condition=Ready", "--timeout=120s", &format!("pod/{name}")]).unwrap();
}

fn sh(namespace: &TestNamespace, pod: &str, script: &str) -> cluster::Result<String> {
    namespace.kubectl(["exec", pod, "--", "sh", "-c", script])
}

#[test]
fn pods_that_name_a_folder_share_it_and_data_outlives_them() {
    let cluster = TestCluster::shared(Tier::Node).unwrap();
    busybox(&cluster);
    let namespace = cluster.namespace("nas-shares").unwrap();
    let server = server(&namespace);
    let attributes = json!({
        "server": server, "path": "/k8s/live", "vers": "3", "options": "nolock,tcp,noresvport", "mode": "0755",
    });
    let volume = Volume::new(&namespace, "by-attributes", &attributes, &[]);
    // The same folder by another volume, the way ACK writes the options today.
    let mount_options = ["nolock,tcp,noresvport", "vers=3"];
    let root = Volume::new(&namespace, "root", &json!({ "server": server, "path": "/" }), &mount_options);
    pod(&namespace, "writer", "by-attributes", false);
    pod(&namespace, "reader", "by-attributes", true);
    pod(&namespace, "other", "root", false);
    for name in ["writer", "reader", "other"] {
        ready(&namespace, name);
    }
    sh(&namespace, "writer", "echo it-is-me > /data/file").unwrap();
    assert_eq!(sh(&namespace, "reader", "cat /data/file").unwrap(), "it-is-me\n");
    assert_eq!(sh(&namespace, "other", "cat /data/k8s/live/file").unwrap(), "it-is-me\n");
    let refused = sh(&namespace, "reader", "echo no > /data/file").unwrap_err().to_string();
    assert!(refused.contains("Read-only file system"), "{refused}");

    // The pods and the volumes go; their mounts go with them; the data stays.
    namespace.kubectl(["delete", "pod", "writer", "reader", "other"]).unwrap();
    namespace.kubectl(["delete", "persistentvolumeclaim", "--all"]).unwrap();
    let mounts = format!("/proc/{}/mountinfo", Inside::of(&cluster).init);
    for name in [&volume.name, &root.name] {
        wait_for(&format!("the end of the mounts of {name}"), SOON, || {
            let mounts = fs::read_to_string(&mounts).unwrap();
            Ok((!mounts.contains(name.as_str())).then_some(()))
        })
        .unwrap();
    }
    let names = [volume.name.clone(), root.name.clone()];
    drop((volume, root));
    for name in names {
        let gone = ["wait", "--for=delete", "--timeout=60s", &format!("persistentvolume/{name}")];
        namespace.kubectl(gone).unwrap();
    }
    let file = cluster.dir().nas().join(&server).join("k8s/live/file");
    assert_eq!(fs::read_to_string(file).unwrap(), "it-is-me\n");
    // Who names the folder again finds it.
    let again = Volume::new(&namespace, "again", &json!({ "server": server, "path": "/k8s" }), &[]);
    pod(&namespace, "again", "again", false);
    ready(&namespace, "again");
    assert_eq!(sh(&namespace, "again", "cat /data/live/file").unwrap(), "it-is-me\n");
    drop(again);
}

#[test]
fn a_mount_that_fails_on_ack_fails_with_the_event_of_ack() {
    let cluster = TestCluster::shared(Tier::Node).unwrap();
    busybox(&cluster);
    let namespace = cluster.namespace("nas-refuses").unwrap();
    let server = server(&namespace);
    let table = [
        ("no-server", json!({ "path": "/k8s" }), "Failed to resolve server"),
        (
            "no-nas",
            json!({ "server": "nas.example.com", "path": "/" }),
            "cannot connect to nas host nas.example.com",
        ),
        ("with-path", json!({ "server": format!("{server}:/k8s") }), "must be specified in the 'path' field"),
        ("relative", json!({ "server": server, "path": "k8s" }), "the path format is illegal"),
        ("version", json!({ "server": server, "vers": "4.2" }), "Protocol not supported"),
        (
            "option",
            json!({ "server": server, "options": "nolocks" }),
            "an incorrect mount option was specified",
        ),
    ];
    let volumes: Vec<Volume<'_>> = table
        .iter()
        .map(|(name, attributes, _)| {
            let volume = Volume::new(&namespace, name, attributes, &[]);
            pod(&namespace, name, name, false);
            volume
        })
        .collect();
    for ((name, _, words), volume) in table.iter().zip(&volumes) {
        let of_pod = format!("--field-selector=reason=FailedMount,involvedObject.name={name}");
        let message = wait_for(&format!("the event of {name}"), SOON, || {
            let events =
                namespace.kubectl(["get", "events", &of_pod, "--output=jsonpath={.items[*].message}"])?;
            Ok(Some(events).filter(|events| events.contains("rpc error")))
        })
        .unwrap();
        let begin = format!("MountVolume.SetUp failed for volume \"{}\"", volume.name);
        assert!(message.contains(&begin) && message.contains(words), "{name}: {message}");
    }
    namespace.kubectl(["delete", "pod", "--all", "--grace-period=0", "--force"]).unwrap();
}

#[test]
fn a_killed_driver_comes_back_and_down_leaves_no_mount() {
    let cluster = TestCluster::own(Tier::Node).unwrap();
    busybox(&cluster);
    let namespace = cluster.namespace("nas-killed").unwrap();
    let volume =
        Volume::new(&namespace, "data", &json!({ "server": server(&namespace), "path": "/k8s" }), &[]);
    pod(&namespace, "first", "data", false);
    ready(&namespace, "first");
    let inside = Inside::of(&cluster);
    let killed = inside.program("csi-plugin-nas");
    assert_eq!(killed.len(), 1);
    Inside::kill(&killed);
    sh(&namespace, "first", "echo still-here > /data/file").unwrap();
    pod(&namespace, "second", "data", false);
    ready(&namespace, "second");
    assert_eq!(sh(&namespace, "second", "cat /data/file").unwrap(), "still-here\n");
    assert!(!inside.program("csi-plugin-nas").contains(&killed[0]));
    // The second driver takes away what the first has mounted.
    namespace.kubectl(["delete", "pod", "first", "--timeout=60s"]).unwrap();
    // They go with the cluster.
    std::mem::forget(volume);
    std::mem::forget(namespace);
    drop(cluster);
    inside.assert_gone();
}
