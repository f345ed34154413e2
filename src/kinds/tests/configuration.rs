//! Configuration, definitions, quotas, autoscalers, and kinds nobody knows.

use serde_json::{Value, json};

use super::*;
use crate::kinds::Guard;

#[test]
fn kinds_with_a_status() {
    let conditions = |conditions: Value| json!({"status": {"conditions": conditions}});
    let crd = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let hpa = ("autoscaling/v2", "HorizontalPodAutoscaler");
    let api_service = ("apiregistration.k8s.io/v1", "APIService");
    let pdb = ("policy/v1", "PodDisruptionBudget");
    let accepted = || condition("NamesAccepted", "True", "NoConflicts", "");
    for ((api_version, kind), over, expected) in [
        (crd, json!({}), "progressing NotEstablished"),
        (crd, conditions(json!([accepted(), condition("Established", "True", "", "")])), "ready"),
        (
            crd,
            conditions(json!([accepted(), condition("Established", "False", "Installing", "")])),
            "progressing NotEstablished",
        ),
        (
            crd,
            conditions(json!([accepted(), condition("Established", "False", "Broken", "")])),
            "failed NotEstablished",
        ),
        (
            crd,
            conditions(json!([condition("NamesAccepted", "False", "PluralConflict", "taken")])),
            "failed NamesNotAccepted",
        ),
        (hpa, json!({}), "progressing NotObserved"),
        (hpa, conditions(json!([condition("AbleToScale", "True", "", "")])), "ready"),
        (
            hpa,
            conditions(json!([condition("AbleToScale", "False", "FailedGetScale", "gone")])),
            "stuck NotAbleToScale",
        ),
        (
            hpa,
            conditions(json!([
                condition("AbleToScale", "True", "", ""),
                condition("ScalingActive", "False", "NoMetrics", "")
            ])),
            "ready (it doesn't scale: NoMetrics)",
        ),
        (api_service, json!({}), "progressing NotAvailable"),
        (
            api_service,
            conditions(json!([condition("Available", "False", "MissingEndpoints", "")])),
            "progressing NotAvailable",
        ),
        (api_service, conditions(json!([condition("Available", "True", "", "")])), "ready"),
        (pdb, json!({}), "progressing NotObserved"),
        (pdb, json!({"status": {"observedGeneration": 2, "disruptionsAllowed": 1}}), "ready"),
        (
            pdb,
            json!({"status": {"observedGeneration": 2, "disruptionsAllowed": 0}}),
            "ready (it allows no disruption at the moment: a node with its pods can't be drained)",
        ),
        (("v1", "Namespace"), json!({"status": {"phase": "Active"}}), "ready"),
        (("v1", "Namespace"), json!({}), "progressing NamespacePending"),
        (("v1", "Namespace"), json!({"status": {"phase": "Terminating"}}), "stuck NamespaceTerminating"),
        (
            ("v1", "Namespace"),
            json!({"metadata": {"deletionTimestamp": at(0)}, "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Terminating", "conditions": [condition("NamespaceContentRemaining", "True", "", "pods. has 1")]}}),
            "terminating kubernetes,pods. has 1",
        ),
        (("v1", "ResourceQuota"), json!({"spec": {"hard": {"pods": "10"}}}), "progressing QuotaNotInForce"),
        (
            ("v1", "ResourceQuota"),
            json!({"spec": {"hard": {"cpu": "1000m"}}, "status": {"hard": {"cpu": "1"}}}),
            "ready",
        ),
        (
            ("v1", "ResourceQuota"),
            json!({"spec": {"hard": {"cpu": "2"}}, "status": {"hard": {"cpu": "1"}}}),
            "progressing QuotaNotInForce",
        ),
        (("v1", "ConfigMap"), json!({}), "ready"),
        (("v1", "ServiceAccount"), json!({}), "ready"),
        (("rbac.authorization.k8s.io/v1", "RoleBinding"), json!({}), "ready"),
        (("v1", "Secret"), json!({"type": "Opaque"}), "ready"),
        (("v1", "Secret"), json!({"type": "kubernetes.io/service-account-token"}), "progressing NoToken"),
        (
            ("v1", "Secret"),
            json!({"type": "kubernetes.io/service-account-token", "data": {"token": "eA=="}}),
            "ready",
        ),
    ] {
        assert_eq!(
            short(&assess_after(&object(api_version, kind, over.clone()), 1.0, &[])),
            expected,
            "{kind} {over}"
        );
    }
}

#[test]
fn kinds_nobody_knows_go_by_their_conditions() {
    let widget = |status: Value| object("example.org/v1", "Widget", json!({"status": status}));
    for (status, seconds, expected) in [
        (json!(null), 1.0, "progressing NoStatus"),
        (json!({}), 1.0, "progressing NoStatus"),
        (json!(null), 5.0, "ready (it has no status to go by)"),
        (json!({"conditions": [condition("Ready", "True", "", "")]}), 1.0, "ready"),
        (json!({"conditions": [condition("Ready", "False", "Booting", "")]}), 1.0, "progressing NotReady"),
        (json!({"conditions": [condition("Ready", "Unknown", "", "")]}), 1.0, "progressing NotReady"),
        (json!({"conditions": [condition("Available", "True", "", "")]}), 1.0, "ready"),
        (json!({"conditions": [condition("Succeeded", "False", "", "")]}), 1.0, "progressing NotSucceeded"),
        (
            json!({"conditions": [with(&condition("Ready", "True", "", ""), json!({"observedGeneration": 1}))]}),
            1.0,
            "progressing NotObserved",
        ),
        (json!({"phase": "Running"}), 1.0, "ready (its status has no condition to go by)"),
    ] {
        assert_eq!(
            short(&assess_after(&widget(status.clone()), seconds, &[])),
            expected,
            "{status} {seconds}"
        );
    }
}

#[test]
fn what_can_not_change_and_what_it_costs() {
    let of = |api_version: &str, kind: &str| rules(&Gvk::from_api_version(api_version, kind));
    for (api_version, kind, path) in [
        ("apps/v1", "Deployment", "spec.selector"),
        ("apps/v1", "DaemonSet", "spec.selector"),
        ("apps/v1", "StatefulSet", "spec.serviceName"),
        ("apps/v1", "StatefulSet", "spec.volumeClaimTemplates"),
        ("batch/v1", "Job", "spec.template"),
        ("v1", "Service", "spec.clusterIP"),
        ("v1", "PersistentVolumeClaim", "spec.accessModes"),
        ("v1", "PersistentVolume", "spec.csi"),
        ("v1", "Secret", "type"),
        ("storage.k8s.io/v1", "StorageClass", "parameters"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "roleRef"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "spec.scope"),
    ] {
        assert!(of(api_version, kind).immutable().contains(&path), "{kind} {path}");
    }
    for (api_version, kind, expected) in [
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", true),
        ("apiregistration.k8s.io/v1", "APIService", true),
        ("storage.k8s.io/v1", "CSIDriver", true),
        ("v1", "Namespace", true),
        ("apps/v1", "Deployment", false),
        ("scheduling.k8s.io/v1", "PriorityClass", false),
    ] {
        assert_eq!(of(api_version, kind).name_is_spec(), expected, "{kind}");
    }
    for (api_version, kind, expected) in [
        ("v1", "Namespace", Some(Guard::Namespaces)),
        ("v1", "PersistentVolume", Some(Guard::Volumes)),
        ("v1", "PersistentVolumeClaim", Some(Guard::Volumes)),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", Some(Guard::Crds)),
        ("apps/v1", "StatefulSet", None),
        ("v1", "ConfigMap", None),
    ] {
        assert_eq!(of(api_version, kind).guard(&json!({})), expected, "{kind}");
    }
    let claims = json!({"status": {"replicas": 2}, "spec": {"volumeClaimTemplates": [{"metadata": {"name": "hls"}}],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}});
    let loses = of("apps/v1", "StatefulSet").replacement_loses(&claims);
    assert_eq!(loses.len(), 2);
    assert!(loses[0].starts_with("2 running pods") && loses[1].contains("hls"), "{loses:?}");
}

#[test]
fn every_kind_leaves_the_servers_own_fields_out() {
    for (api_version, kind, path) in [
        ("apps/v1", "Deployment", "metadata.annotations.deployment.kubernetes.io/revision"),
        ("v1", "Service", "spec.ports.nodePort"),
        ("v1", "Service", "metadata.labels.service.beta.kubernetes.io/hash"),
        ("v1", "PersistentVolumeClaim", "spec.volumeName"),
        ("batch/v1", "Job", "spec.selector.matchLabels.batch.kubernetes.io/controller-uid"),
        ("example.org/v1", "Widget", "status"),
    ] {
        let noise = rules(&Gvk::from_api_version(api_version, kind)).noise();
        assert!(noise.contains(&path) && noise.contains(&"metadata.managedFields"), "{kind} {path}");
    }
}
