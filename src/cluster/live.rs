//! The live cluster: [`Cluster`] over HTTP.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join;
use futures::stream::BoxStream;
use http::{Method, StatusCode};
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::{Call, Connection, Repeat, parse};
use super::diagnosis::{Peer, credentials};
use super::discovery::Discovery;
use super::kubeconfig::{self, ConnectOptions, Entry};
use super::path::{self, Query};
use super::transport::{self, SetupError};
use super::{
    Applied, ApplyOptions, Cluster, ClusterError, ClusterStore, DeleteOptions, Selection, Watched, list,
    watch,
};
use crate::graph::{Gvk, ObjectId};
use crate::observation::{ClusterIdentity, KindInfo};

/// The first answer must be there by then: names, TCP, TLS and the request together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of a container's last words, in bytes.
const LOG_LIMIT: &str = "65536";

/// A Kubernetes API server, reached over the network.
pub struct Live {
    connection: Arc<Connection>,
    discovery: Discovery,
    identity: ClusterIdentity,
}

impl Live {
    /// Reads the kubeconfig, connects, and asks the cluster who it is.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ClusterError> {
        let Entry { context, config, certificate } = kubeconfig::load(options).await?;
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let peer = Peer { server, certificate };
        let client = transport::client(&config).map_err(|error| unusable(&context, error))?;
        Self::with_client(client, context, peer).await
    }

    pub(super) async fn with_client(
        client: Client,
        context: String,
        peer: Peer,
    ) -> Result<Self, ClusterError> {
        let connection = Arc::new(Connection::new(client, peer));
        let version =
            Call { repeat: Repeat::Never, ..Call::get("read", "the server's version", "/version".into()) };
        let namespace = Call {
            repeat: Repeat::Never,
            ..Call::get(
                "get",
                "Namespace kube-system, whose uid is the cluster's identity",
                "/api/v1/namespaces/kube-system".into(),
            )
        };
        let asked = try_join(connection.json::<Version>(&version), connection.json::<Namespace>(&namespace));
        let (version, namespace) = tokio::time::timeout(CONNECT_TIMEOUT, asked).await.map_err(|_| {
            connection.peer().timed_out(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))
        })??;
        let identity = ClusterIdentity {
            context,
            server: connection.peer().server.clone(),
            uid: namespace.metadata.uid,
            version: version.git_version,
        };
        Ok(Self { connection, discovery: Discovery::default(), identity })
    }

    /// The place in this cluster where state is kept. Nothing is read or made yet.
    pub fn store(&self) -> ClusterStore {
        ClusterStore::new(&self.connection, self.identity.uid.clone())
    }

    /// What the server remarked in `Warning` headers since the last time (deprecated versions, for example), each once.
    pub fn take_warnings(&self) -> Vec<String> {
        self.connection.take_warnings()
    }
}

#[async_trait]
impl Cluster for Live {
    fn identity(&self) -> &ClusterIdentity {
        &self.identity
    }

    async fn discover(&self, kinds: &[Gvk]) -> Result<Vec<KindInfo>, ClusterError> {
        self.discovery.find(&self.connection, kinds).await
    }

    fn forget_discovery(&self) {
        self.discovery.forget();
    }

    async fn list(&self, kind: &KindInfo, selection: &Selection) -> Result<Vec<Value>, ClusterError> {
        Ok(list::list(&self.connection, kind, selection).await?.items)
    }

    async fn get(&self, kind: &KindInfo, id: &ObjectId) -> Result<Option<Value>, ClusterError> {
        let call = Call::get("get", id.to_string(), path::object("get", kind, id)?);
        match self.connection.json(&call).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_rejected_with(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn apply(
        &self,
        kind: &KindInfo,
        body: &Value,
        options: &ApplyOptions,
    ) -> Result<Applied, ClusterError> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").unwrap_or_default();
        let id = ObjectId::new(&kind.gvk, text("/metadata/namespace"), name);
        let target = Query::new(path::object("apply", kind, &id)?)
            .with("fieldManager", &options.manager)
            .with("fieldValidation", "Strict")
            .with_some("force", options.force.then_some("true"))
            .with_some("dryRun", options.dry_run.then_some("All"));
        // Every JSON is YAML.
        let content_type = "application/apply-patch+yaml";
        let mut call =
            Call::send("apply", id.to_string(), Method::PATCH, target.finish(), content_type, body)?;
        // With a resourceVersion the second of two gets a 409 at worst, and is asked again. Without one, it would
        // make an own create look like an object that was already there.
        if options.dry_run || text("/metadata/resourceVersion").is_some() {
            call.repeat = Repeat::Always;
        }
        let answer = self.connection.send(&call).await?;
        Ok(Applied { object: parse(&call, &answer.body)?, created: answer.status == StatusCode::CREATED })
    }

    async fn patch(
        &self,
        kind: &KindInfo,
        id: &ObjectId,
        operations: &[Value],
        manager: &str,
    ) -> Result<Value, ClusterError> {
        let target = Query::new(path::object("patch", kind, id)?)
            .with("fieldManager", manager)
            .with("fieldValidation", "Strict");
        let content_type = "application/json-patch+json";
        let call =
            Call::send("patch", id.to_string(), Method::PATCH, target.finish(), content_type, &operations)?;
        self.connection.json(&call).await
    }

    async fn delete(
        &self,
        kind: &KindInfo,
        id: &ObjectId,
        options: &DeleteOptions,
    ) -> Result<bool, ClusterError> {
        let propagation = if options.foreground { "Foreground" } else { "Background" };
        let mut body =
            json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation });
        let mut preconditions = serde_json::Map::new();
        preconditions.extend(options.uid.as_ref().map(|uid| ("uid".to_owned(), json!(uid))));
        let version = options.resource_version.as_ref();
        preconditions.extend(version.map(|version| ("resourceVersion".to_owned(), json!(version))));
        if !preconditions.is_empty() {
            body["preconditions"] = Value::Object(preconditions);
        }
        if options.dry_run {
            body["dryRun"] = json!(["All"]);
        }
        let target = path::object("delete", kind, id)?;
        let mut call =
            Call::send("delete", id.to_string(), Method::DELETE, target, "application/json", &body)?;
        // With its uid, an object is gone after one deletion or two. Without, the second could meet its successor.
        if options.dry_run || (options.uid.is_some() && options.resource_version.is_none()) {
            call.repeat = Repeat::Always;
        }
        match self.connection.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_rejected_with(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn watch(
        &self,
        kind: &KindInfo,
        selection: &Selection,
    ) -> BoxStream<'static, Result<Watched, ClusterError>> {
        watch::watch(Arc::clone(&self.connection), kind.clone(), selection.clone())
    }

    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: u32,
    ) -> Result<String, ClusterError> {
        let pods = Gvk::new("", "v1", "Pod");
        let id = ObjectId::new(&pods, Some(namespace), pod);
        let kind = KindInfo {
            gvk: pods,
            plural: "pods".to_owned(),
            scope: crate::graph::Scope::Namespaced,
            verbs: Vec::new(),
        };
        let target = Query::new(format!("{}/log", path::object("read the log of", &kind, &id)?))
            .with("container", container)
            .with("tailLines", &lines.to_string())
            .with("limitBytes", LOG_LIMIT)
            .with_some("previous", previous.then_some("true"));
        let object = format!("container {container} of {id}");
        // The log itself is plain text, a refusal is JSON.
        let call = Call { accept: Some("*/*"), ..Call::get("read the log of", object, target.finish()) };
        let answer = self.connection.send(&call).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

fn unusable(context: &str, error: SetupError) -> ClusterError {
    let message = match error {
        SetupError::Kube(kube::Error::Auth(error)) => credentials(&error),
        error => error.to_string(),
    };
    ClusterError::Config {
        message: format!("context {context} cannot be used: {message}"),
        hint: Some("check this context's cluster and user in the kubeconfig".to_owned()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

#[derive(Deserialize)]
struct Namespace {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
}

#[cfg(test)]
mod tests;
