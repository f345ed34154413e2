//! Kubernetes: the trait that everything above talks to, and the live cluster behind it.

mod certificate;
mod connection;
mod diagnosis;
mod discovery;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod kubeconfig;
mod list;
mod live;
mod observe;
mod path;
mod selector;
mod store;
#[cfg(test)]
mod test_server;
mod transport;
mod watch;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;

pub use error::ClusterError;
pub use kubeconfig::ConnectOptions;
pub use live::Live;
pub use observe::{Wanted, observe};
pub use selector::LabelSelector;
pub use store::{ClusterStore, STATE_NAMESPACE};

use crate::graph::{Gvk, ObjectId};
use crate::observation::{ClusterIdentity, KindInfo};

/// How an object is applied.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// `fieldManager`.
    pub manager: String,
    /// `dryRun=All`: the server computes the result and stores nothing.
    pub dry_run: bool,
    /// `force=true`: fields of other managers are taken.
    pub force: bool,
}

/// What the server made of an apply.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The object after the apply (after a dry-run: as it would be).
    pub object: Value,
    /// 201: it was not there before.
    pub created: bool,
}

/// One step of a watch.
#[derive(Clone, Debug)]
pub enum Watched {
    /// The complete list; comes first, and again after a gap.
    Restarted(Vec<Value>),
    /// An object is there, new or changed.
    Applied(Value),
    /// An object is gone; its last state.
    Deleted(Value),
}

/// What a list or watch selects.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selection {
    /// `None`: cluster-scoped, or every namespace.
    pub namespace: Option<String>,
    /// `labelSelector`.
    pub labels: Option<String>,
    /// `fieldSelector`.
    pub fields: Option<String>,
}

/// What a deletion insists on.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only this version of it.
    pub resource_version: Option<String>,
    /// `dryRun=All`.
    pub dry_run: bool,
    /// `true`: the object stays until what it owns is gone (`propagationPolicy: Foreground`); else `Background`.
    pub foreground: bool,
}

/// A Kubernetes API server. Requests that only read are `identity`, `discover`, `list`, `get`, `watch`, `logs` and every dry-run.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Which cluster this is.
    fn identity(&self) -> &ClusterIdentity;

    /// Looks these kinds up by aggregated discovery; a kind that the server doesn't know is left out. Of a kind that is
    /// served in other versions only, the preferred one of those is given, under its own [`Gvk`].
    async fn discover(&self, kinds: &[Gvk]) -> Result<Vec<KindInfo>, ClusterError>;

    /// Forgets what discovery said: a CRD has come.
    fn forget_discovery(&self);

    /// Reads every selected object, page by page.
    async fn list(&self, kind: &KindInfo, selection: &Selection) -> Result<Vec<Value>, ClusterError>;

    /// Reads one object; `None` if it isn't there.
    async fn get(&self, kind: &KindInfo, id: &ObjectId) -> Result<Option<Value>, ClusterError>;

    /// Server-side apply. A `metadata.resourceVersion` in the body makes it conditional.
    async fn apply(
        &self,
        kind: &KindInfo,
        body: &Value,
        options: &ApplyOptions,
    ) -> Result<Applied, ClusterError>;

    /// A JSON patch (RFC 6902); the caller puts a `test` on `/metadata/resourceVersion` first. `manager` becomes the `fieldManager`.
    async fn patch(
        &self,
        kind: &KindInfo,
        id: &ObjectId,
        operations: &[Value],
        manager: &str,
    ) -> Result<Value, ClusterError>;

    /// Deletes an object; `Ok(false)` if it was already gone.
    async fn delete(
        &self,
        kind: &KindInfo,
        id: &ObjectId,
        options: &DeleteOptions,
    ) -> Result<bool, ClusterError>;

    /// Watches the selected objects, reconnecting by itself with a bounded back-off; the stream ends with an error that can't heal.
    fn watch(
        &self,
        kind: &KindInfo,
        selection: &Selection,
    ) -> BoxStream<'static, Result<Watched, ClusterError>>;

    /// The last `lines` lines a container said; `previous`: of its last life.
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: u32,
    ) -> Result<String, ClusterError>;
}
