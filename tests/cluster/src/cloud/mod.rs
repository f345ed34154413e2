//! A stand-in for Alibaba Cloud's side of ACK: the cloud controller manager (CCM) that gives Services of type
//! LoadBalancer their SLB.
//!
//! It does to the Service what CCM does (read in its source, v2.14): finalizer, status, the labels
//! `service.beta.kubernetes.io/hash` and `service.k8s.alibaba/loadbalancer-id` after a successful sync and only then,
//! the events, the refusals. Behind it stands an account with load balancers (`account`), which lives as long as
//! the cluster. Tests make it slow or failing per namespace with [`CloudFaults`].
//!
//! * `annotations`: what CCM and the OpenAPI accept, pure.
//! * `account`: the load balancers, their listeners, what cannot be changed, pure.
//! * `controller`: watches Services and ConfigMaps and writes what CCM writes.

pub(crate) mod account;
pub(crate) mod annotations;
mod controller;
mod events;
mod faults;

pub(crate) use self::controller::Controller;
pub use self::faults::CloudFaults;
pub(crate) use self::faults::{CONFIG_MAP, NAMESPACE};

/// The user as whom CCM sends its requests.
pub(crate) const USER: &str = "system:serviceaccount:kube-system:cloud-controller-manager";
/// The name under which CCM's fields stand in managedFields, and that its events tell.
pub(crate) const MANAGER: &str = "cloud-controller-manager";
/// Set on every Service that has a load balancer of the classic kind (CLB).
pub(crate) const CLB_FINALIZER: &str = "service.k8s.alibaba/resources";
/// Set on every Service that has a network load balancer (NLB).
pub(crate) const NLB_FINALIZER: &str = "service.k8s.alibaba/nlb";
/// The digest of what was synced last.
pub(crate) const HASH_LABEL: &str = "service.beta.kubernetes.io/hash";
/// The load balancer's id.
pub(crate) const ID_LABEL: &str = "service.k8s.alibaba/loadbalancer-id";
