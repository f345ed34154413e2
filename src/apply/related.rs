//! The other objects that a verdict wants to see: which watch shows them, and which of its objects are meant.

use std::sync::Arc;

use serde_json::Value;

use super::watches::{Cache, WatchKey, Watches, uid};
use crate::cluster::{LabelSelector, Selection};
use crate::graph::{Gvk, Scope};
use crate::kinds::Related;
use crate::observation::KindInfo;

/// One [`Related`] of one wait, with the watch that serves it.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) key: Arc<WatchKey>,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Labelled(LabelSelector),
    About,
    Named(String),
    DefaultStorageClass,
}

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The kind that is meant, and the namespace to look in.
fn place(related: &Related, namespace: Option<&str>) -> (KindInfo, Option<String>) {
    let (group, version, kind, plural) = match related {
        Related::Pods { .. } => ("", "v1", "Pod", "pods"),
        Related::ReplicaSets { .. } => ("apps", "v1", "ReplicaSet", "replicasets"),
        Related::EndpointSlices { .. } => ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
        Related::Events => ("", "v1", "Event", "events"),
        Related::StorageClass { .. } => ("storage.k8s.io", "v1", "StorageClass", "storageclasses"),
    };
    let scope = if kind == "StorageClass" { Scope::Cluster } else { Scope::Namespaced };
    // Events about objects without a namespace are in `default`.
    let namespace = (scope == Scope::Namespaced).then(|| namespace.unwrap_or("default").to_owned());
    (
        KindInfo { gvk: Gvk::new(group, version, kind), plural: plural.to_owned(), scope, verbs: Vec::new() },
        namespace,
    )
}

/// What to list to see `related` of `object` once, without a watch. Events: those about the object itself.
pub(crate) fn selection(related: &Related, object: &Value) -> (KindInfo, Selection) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (info, namespace) = place(related, text("/metadata/namespace"));
    let mut selection = Selection { namespace, ..Selection::default() };
    match related {
        Related::Pods { selector } | Related::ReplicaSets { selector } => {
            selection.labels = Some(selector.clone());
        }
        Related::EndpointSlices { service } => selection.labels = Some(format!("{SERVICE_NAME}={service}")),
        Related::Events => {
            selection.fields = text("/metadata/uid").map(|uid| format!("involvedObject.uid={uid}"));
        }
        Related::StorageClass { name } => {
            selection.fields = name.as_ref().map(|name| format!("metadata.name={name}"));
        }
    }
    (info, selection)
}

impl Subscription {
    /// Opens the watch for `related` of an object in `namespace`. It is one for the whole namespace, whatever the selector: a thousand
    /// waits for Pods cost one watch.
    pub(crate) fn open(related: &Related, namespace: Option<&str>, watches: &mut Watches) -> Self {
        let wanted = match related {
            Related::Pods { selector } | Related::ReplicaSets { selector } => {
                Wanted::Labelled(LabelSelector::parse(selector))
            }
            Related::EndpointSlices { service } => {
                Wanted::Labelled(LabelSelector::parse(&format!("{SERVICE_NAME}={service}")))
            }
            Related::Events => Wanted::About,
            Related::StorageClass { name } => name.clone().map_or(Wanted::DefaultStorageClass, Wanted::Named),
        };
        let (info, namespace) = place(related, namespace);
        let selection = Selection { namespace, ..Selection::default() };
        Self { key: watches.open(&info, selection, false), wanted }
    }

    /// Whether it asks for Events.
    pub(crate) fn is_events(&self) -> bool {
        matches!(self.wanted, Wanted::About)
    }

    /// Whether `object` is meant. For Events see [`Subscription::events`].
    pub(crate) fn wants(&self, object: &Value) -> bool {
        match &self.wanted {
            Wanted::Labelled(selector) => selector.matches(object),
            Wanted::Named(name) => object.pointer("/metadata/name").and_then(Value::as_str) == Some(name),
            Wanted::DefaultStorageClass => {
                let annotations = object.pointer("/metadata/annotations");
                let default =
                    annotations.and_then(|all| all.get("storageclass.kubernetes.io/is-default-class"));
                default.and_then(Value::as_str) == Some("true")
            }
            Wanted::About => false,
        }
    }

    /// The Events about `object` and about the `others` that were found for it.
    pub(crate) fn events(&self, cache: &Cache, object: &Value, others: &[Value]) -> Vec<Value> {
        if !self.is_events() {
            return Vec::new();
        }
        let uids = others.iter().chain([object]).filter_map(uid);
        uids.flat_map(|uid| cache.about(uid)).cloned().collect()
    }
}
