//! Reads and writes of single objects in the state's namespace, with the API server's own compare-and-swap.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::STATE_NAMESPACE;
use crate::cluster::connection::{Call, Connection};
use crate::cluster::path::{self, Query};
use crate::cluster::{ClusterError, Selection, list};
use crate::graph::{Gvk, ObjectId, Scope};
use crate::observation::KindInfo;

const MANAGER: &str = "stackctl";
const JSON: &str = "application/json";

/// The Secrets or the Leases of the state's namespace.
pub(super) struct Objects {
    connection: Arc<Connection>,
    kind: KindInfo,
}

impl Objects {
    pub(super) fn secrets(connection: Arc<Connection>) -> Self {
        Self { connection, kind: kind(Gvk::new("", "v1", "Secret"), "secrets", Scope::Namespaced) }
    }

    pub(super) fn leases(connection: Arc<Connection>) -> Self {
        let gvk = Gvk::new("coordination.k8s.io", "v1", "Lease");
        Self { connection, kind: kind(gvk, "leases", Scope::Namespaced) }
    }

    /// `None` also if the namespace is not there.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Value>, ClusterError> {
        let id = self.id(name);
        let call = Call::get("get", id.to_string(), path::object("get", &self.kind, &id)?);
        match self.connection.json(&call).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_rejected_with(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object, and the namespace if it is the first one.
    pub(super) async fn create(&self, object: &Value) -> Result<Value, ClusterError> {
        let call = post(&self.kind, Some(STATE_NAMESPACE), object)?;
        match self.connection.json(&call).await {
            // A create finds nothing missing but its namespace.
            Err(error) if error.is_rejected_with(404) => {
                self.create_namespace().await?;
                self.connection.json(&call).await
            }
            result => result,
        }
    }

    /// Replaces the object if it has the `metadata.resourceVersion` of this one.
    pub(super) async fn replace(&self, name: &str, object: &Value) -> Result<Value, ClusterError> {
        let id = self.id(name);
        let target =
            Query::new(path::object("replace", &self.kind, &id)?).with("fieldManager", MANAGER).finish();
        let call = Call::send("replace", id.to_string(), Method::PUT, target, JSON, object)?;
        self.connection.json(&call).await
    }

    /// Deletes the object, if it still has this version; `false` if it was gone.
    pub(super) async fn delete(&self, name: &str, version: Option<&str>) -> Result<bool, ClusterError> {
        let id = self.id(name);
        let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
        if let Some(version) = version {
            options["preconditions"] = json!({ "resourceVersion": version });
        }
        let target = path::object("delete", &self.kind, &id)?;
        let call = Call::send("delete", id.to_string(), Method::DELETE, target, JSON, &options)?;
        match self.connection.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_rejected_with(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The metadata of the objects that have these labels, without their contents.
    pub(super) async fn metadata(&self, labels: &str) -> Result<Vec<Value>, ClusterError> {
        let selection = Selection {
            namespace: Some(STATE_NAMESPACE.to_owned()),
            labels: Some(labels.to_owned()),
            fields: None,
        };
        list::metadata(&self.connection, &self.kind, &selection).await
    }

    async fn create_namespace(&self) -> Result<(), ClusterError> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": STATE_NAMESPACE,
                "labels": { "app.kubernetes.io/managed-by": "stackctl" },
            },
        });
        let kind = kind(Gvk::new("", "v1", "Namespace"), "namespaces", Scope::Cluster);
        match self.connection.send(&post(&kind, None, &object)?).await {
            // Somebody else's first run.
            Err(error) if error.is_rejected_with(409) => Ok(()),
            result => result.map(drop),
        }
    }

    fn id(&self, name: &str) -> ObjectId {
        ObjectId::new(&self.kind.gvk, Some(STATE_NAMESPACE), name)
    }
}

fn post(kind: &KindInfo, namespace: Option<&str>, object: &Value) -> Result<Call, ClusterError> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let id = ObjectId::new(&kind.gvk, namespace, name);
    let target = Query::new(path::collection(kind, namespace)).with("fieldManager", MANAGER).finish();
    Call::send("create", id.to_string(), Method::POST, target, JSON, object)
}

fn kind(gvk: Gvk, plural: &str, scope: Scope) -> KindInfo {
    KindInfo { gvk, plural: plural.to_owned(), scope, verbs: Vec::new() }
}
