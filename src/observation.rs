//! What was read from the cluster, once, before planning. Pure data: the room `cluster` fills it, the room `plan` reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::{Gvk, ObjectId, Scope};

/// Which cluster this is. It stands in every plan and prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterIdentity {
    /// The kubeconfig context that led here; `in-cluster` inside a pod.
    pub context: String,
    /// The API server's address.
    pub server: String,
    /// `metadata.uid` of the namespace `kube-system`: the cluster's identity.
    pub uid: String,
    /// The API server's `gitVersion`, such as `v1.34.4`.
    pub version: String,
}

/// How the API server serves a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindInfo {
    /// Group, version, kind.
    pub gvk: Gvk,
    /// Lower-case plural used in paths, such as `deployments`.
    pub plural: String,
    /// Namespaced or not.
    pub scope: Scope,
    /// Verbs the server offers, such as `list`.
    pub verbs: Vec<String>,
}

/// What is live, read once.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The kinds of the graph and of the inventory that the server knows.
    pub kinds: BTreeMap<Gvk, KindInfo>,
    /// Members of the stack (by label) and desired objects (by GET), as the server gave them, `managedFields` included.
    pub live: BTreeMap<ObjectId, Value>,
    /// Those of the namespaces in question that exist and are not being deleted.
    pub namespaces: BTreeSet<String>,
    /// Namespaces in question that are being deleted.
    pub terminating_namespaces: BTreeSet<String>,
    /// ResourceQuotas of the namespaces in question.
    pub quotas: Vec<Value>,
}

/// The API server's answer «no», with everything it says about why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// HTTP status.
    pub code: u16,
    /// `Status.reason`, such as `Invalid`, `Forbidden`, `Conflict`, `NotFound`.
    pub reason: String,
    /// `Status.message`.
    pub message: String,
    /// `Status.details.causes`.
    pub causes: Vec<RejectionCause>,
}

/// One entry of `Status.details.causes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionCause {
    /// Path of the field, such as `spec.template.spec.containers[0].image`; may be empty.
    pub field: String,
    /// Such as `FieldValueInvalid`, `FieldManagerConflict`.
    pub reason: String,
    /// For the reader.
    pub message: String,
}
