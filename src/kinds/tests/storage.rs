//! PersistentVolumeClaim and PersistentVolume.

use serde_json::{Value, json};

use super::*;
use crate::kinds::Related;

fn claim(over: Value) -> Value {
    let base = object(
        "v1",
        "PersistentVolumeClaim",
        json!({
        "spec": {"storageClassName": "nas", "resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Pending"}}),
    );
    with(&base, over)
}

fn class(mode: &str) -> Value {
    json!({"kind": "StorageClass", "metadata": {"name": "nas"}, "provisioner": "x", "volumeBindingMode": mode})
}

#[test]
fn claims() {
    let plain = claim(json!({}));
    let resizing = json!({"spec": {"volumeName": "pv"}, "status": {"phase": "Bound", "capacity": {"storage": "5Gi"},
        "conditions": [condition("FileSystemResizePending", "True", "", "")]}});
    let user = |phase: &str| {
        json!({"kind": "Pod", "spec": {"containers": [], "volumes": [{"persistentVolumeClaim": {"claimName": "srs"}}]},
        "status": {"phase": phase}})
    };
    let deferred = "ready (it is bound when the first pod uses it (WaitForFirstConsumer))";
    let mounts_later = "ready (its file system grows when a pod mounts it next)";
    for (over, related, expected) in [
        (json!({}), vec![], "progressing ClaimPending"),
        (json!({"status": {"phase": "Bound", "capacity": {"storage": "10Gi"}}}), vec![], "ready"),
        (
            json!({"status": {"phase": "Bound", "capacity": {"storage": "5Gi"}}}),
            vec![],
            "progressing Resizing",
        ),
        (json!({"status": {"phase": "Bound", "capacity": {"storage": "10737418240"}}}), vec![], "ready"),
        (json!({"status": {"phase": "Lost"}}), vec![], "failed ClaimLost"),
        (json!({}), vec![class("WaitForFirstConsumer")], deferred),
        (json!({}), vec![class("Immediate")], "progressing ClaimPending"),
        (json!({}), vec![event(&plain, "WaitForFirstConsumer", "waiting", 1, 1)], deferred),
        (
            json!({"spec": {"volumeName": "pv"}}),
            vec![class("WaitForFirstConsumer")],
            "progressing ClaimPending",
        ),
        (
            json!({}),
            vec![event(&plain, "ProvisioningFailed", "no such file system", 1, 1)],
            "stuck ProvisioningFailed",
        ),
        (
            json!({}),
            vec![event(&plain, "FailedBinding", "no persistent volumes available", 1, 1)],
            "stuck FailedBinding",
        ),
        (
            json!({}),
            vec![event(&plain, "ProvisioningFailed", "of an earlier claim", 1, -9)],
            "progressing ClaimPending",
        ),
        (resizing.clone(), vec![], mounts_later),
        (resizing.clone(), vec![user("Succeeded")], mounts_later),
        (resizing.clone(), vec![user("Running")], "progressing Resizing"),
    ] {
        assert_eq!(
            short(&assess_after(&claim(over.clone()), 10.0, &related)),
            expected,
            "{over} {related:?}"
        );
    }
}

#[test]
fn what_a_claim_wants_to_see() {
    let rules = rules(&Gvk::new("", "v1", "PersistentVolumeClaim"));
    let named = Related::StorageClass { name: Some("nas".to_owned()) };
    assert_eq!(rules.related(&claim(json!({}))), [Related::Events, named]);
    let default = claim(json!({"spec": {"storageClassName": null}}));
    assert_eq!(rules.related(&default), [Related::Events, Related::StorageClass { name: None }]);
    assert_eq!(rules.related(&claim(json!({"spec": {"storageClassName": ""}}))), [Related::Events]);
    assert_eq!(rules.related(&claim(json!({"status": {"phase": "Bound"}}))), [Related::Events]);
}

#[test]
fn volumes() {
    let volume = |status: Value| {
        object(
            "v1",
            "PersistentVolume",
            json!({"status": status,
        "spec": {"claimRef": {"namespace": "live", "name": "hls", "uid": "7"}}}),
        )
    };
    for (status, expected) in [
        (json!({"phase": "Available"}), "ready"),
        (json!({"phase": "Bound"}), "ready"),
        (json!({"phase": "Pending"}), "progressing VolumePending"),
        (json!({}), "progressing VolumePending"),
        (json!({"phase": "Released"}), "stuck VolumeReleased"),
        (json!({"phase": "Failed", "message": "no plugin"}), "failed VolumeFailed"),
    ] {
        assert_eq!(short(&assess_after(&volume(status.clone()), 10.0, &[])), expected, "{status}");
    }
    let released = assess_after(&volume(json!({"phase": "Released"})), 10.0, &[]);
    assert!(missing(&released).reason.contains("live/hls (uid 7)"), "{released:?}");
}
