//! Which rules a kind has: one line a kind.

use super::config::{Accepted, Secret};
use super::{KindRules, generic};
use crate::graph::Gvk;

/// The rules for a kind; kinds that are not known get the generic ones (conditions, observedGeneration).
#[expect(clippy::match_same_arms, reason = "a table: one line a kind, in the order of the groups")]
pub fn rules(gvk: &Gvk) -> &'static dyn KindRules {
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "ConfigMap") => &Accepted::CONFIG_MAP,
        ("", "Endpoints") => &Accepted::ENDPOINTS,
        ("", "LimitRange" | "PodTemplate") => &Accepted::PLAIN,
        ("", "Namespace") => &super::namespace::Namespace,
        ("", "PersistentVolume") => &super::persistent_volume::PersistentVolume,
        ("", "PersistentVolumeClaim") => &super::persistent_volume_claim::PersistentVolumeClaim,
        ("", "Pod") => &super::pod::Pod,
        ("", "ReplicationController") => &super::replica_set::ReplicationController,
        ("", "ResourceQuota") => &super::resource_quota::ResourceQuota,
        ("", "Secret") => &Secret,
        ("", "Service") => &crate::ack::Service,
        ("", "ServiceAccount") => &Accepted::SERVICE_ACCOUNT,
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => &Accepted::WEBHOOKS,
        ("admissionregistration.k8s.io", _) => &Accepted::PLAIN,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            &super::custom_resource_definition::CustomResourceDefinition
        }
        ("apiregistration.k8s.io", "APIService") => &super::api_service::ApiService,
        ("apps", "ControllerRevision") => &Accepted::PLAIN,
        ("apps", "DaemonSet") => &super::daemon_set::DaemonSet,
        ("apps", "Deployment") => &super::deployment::Deployment,
        ("apps", "ReplicaSet") => &super::replica_set::ReplicaSet,
        ("apps", "StatefulSet") => &super::stateful_set::StatefulSet,
        ("autoscaling", "HorizontalPodAutoscaler") => {
            &super::horizontal_pod_autoscaler::HorizontalPodAutoscaler
        }
        ("batch", "CronJob") => &super::job::CronJob,
        ("batch", "Job") => &super::job::Job,
        ("coordination.k8s.io", "Lease") => &Accepted::PLAIN,
        ("discovery.k8s.io", "EndpointSlice") => &Accepted::ENDPOINT_SLICE,
        ("gateway.networking.k8s.io", "Gateway") => &super::gateway::Gateway,
        ("gateway.networking.k8s.io", "GatewayClass") => &super::gateway::GatewayClass,
        ("gateway.networking.k8s.io", kind) if kind.ends_with("Route") => &super::gateway::Route,
        ("networking.k8s.io", "Ingress" | "NetworkPolicy") => &Accepted::PLAIN,
        ("networking.k8s.io", "IngressClass") => &Accepted::INGRESS_CLASS,
        ("node.k8s.io", "RuntimeClass") => &Accepted::RUNTIME_CLASS,
        ("policy", "PodDisruptionBudget") => &super::pod_disruption_budget::PodDisruptionBudget,
        ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => &Accepted::PLAIN,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding") => &Accepted::ROLE_BINDING,
        ("scheduling.k8s.io", "PriorityClass") => &Accepted::PRIORITY_CLASS,
        ("storage.k8s.io", "CSIDriver") => &Accepted::CSI_DRIVER,
        ("storage.k8s.io", "StorageClass") => &Accepted::STORAGE_CLASS,
        _ => &generic::Generic,
    }
}
