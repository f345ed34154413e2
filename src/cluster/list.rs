//! Lists, page by page.

use serde::Deserialize;
use serde_json::Value;

use super::connection::{Call, Connection, parse};
use super::path::{self, Query};
use super::{ClusterError, Selection};
use crate::observation::KindInfo;

/// Objects per page: what kubectl asks for. The API server reads one page from etcd at a time.
const PAGE: &str = "500";

/// A complete list.
pub(super) struct List {
    pub(super) items: Vec<Value>,
    /// The moment it shows, from which a watch goes on.
    pub(super) resource_version: String,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: Metadata,
    /// `null` in an empty list of some aggregated APIs.
    items: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    r#continue: String,
}

/// Path and selectors of a list or watch.
pub(super) fn selected(kind: &KindInfo, selection: &Selection) -> Query {
    Query::new(path::collection(kind, selection.namespace.as_deref()))
        .with_some("labelSelector", selection.labels.as_deref())
        .with_some("fieldSelector", selection.fields.as_deref())
}

/// For messages: `Deployments in namespace default`.
pub(super) fn described(kind: &KindInfo, selection: &Selection) -> String {
    match &selection.namespace {
        Some(namespace) => format!("{} in namespace {namespace}", kind.plural),
        None => kind.plural.clone(),
    }
}

/// Reads every selected object.
pub(super) async fn list(
    connection: &Connection,
    kind: &KindInfo,
    selection: &Selection,
) -> Result<List, ClusterError> {
    retried(connection, kind, selection, None).await
}

/// Reads the metadata alone of every selected object (`PartialObjectMetadata`).
pub(super) async fn metadata(
    connection: &Connection,
    kind: &KindInfo,
    selection: &Selection,
) -> Result<Vec<Value>, ClusterError> {
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    Ok(retried(connection, kind, selection, Some(accept)).await?.items)
}

async fn retried(
    connection: &Connection,
    kind: &KindInfo,
    selection: &Selection,
    accept: Option<&'static str>,
) -> Result<List, ClusterError> {
    match pages(connection, kind, selection, accept, Some(PAGE)).await {
        // The continue token outlived what etcd keeps (five minutes): once more, and then in one piece.
        Err(error) if error.is_rejected_with(410) => pages(connection, kind, selection, accept, None).await,
        result => result,
    }
}

async fn pages(
    connection: &Connection,
    kind: &KindInfo,
    selection: &Selection,
    accept: Option<&'static str>,
    limit: Option<&str>,
) -> Result<List, ClusterError> {
    let mut items = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let query =
            selected(kind, selection).with_some("limit", limit).with_some("continue", next.as_deref());
        let call = Call { accept, ..Call::get("list", described(kind, selection), query.finish()) };
        let page: Page = parse(&call, &connection.send(&call).await?.body)?;
        let mut found = page.items.unwrap_or_default();
        for item in &mut found {
            identify(kind, item);
        }
        if items.is_empty() {
            items = found;
        } else {
            items.append(&mut found);
        }
        if page.metadata.r#continue.is_empty() {
            return Ok(List { items, resource_version: page.metadata.resource_version });
        }
        next = Some(page.metadata.r#continue);
    }
}

/// Objects in the list of a built-in kind come without `apiVersion` and `kind`: the list has them.
fn identify(kind: &KindInfo, item: &mut Value) {
    if let Value::Object(item) = item {
        item.entry("apiVersion").or_insert_with(|| kind.gvk.api_version().into());
        item.entry("kind").or_insert_with(|| kind.gvk.kind.as_str().into());
    }
}
