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

impl Subscription {
    /// Opens the watch for `related` of an object in `namespace`. It is one for the whole namespace, whatever the selector: a thousand
    /// waits for Pods cost one watch.
    pub(crate) fn open(related: &Related, namespace: Option<&str>, watches: &mut Watches) -> Self {
        let (group, version, kind, plural, wanted) = match related {
            Related::Pods { selector } => {
                ("", "v1", "Pod", "pods", Wanted::Labelled(LabelSelector::parse(selector)))
            }
            Related::ReplicaSets { selector } => {
                ("apps", "v1", "ReplicaSet", "replicasets", Wanted::Labelled(LabelSelector::parse(selector)))
            }
            Related::EndpointSlices { service } => {
                let selector = LabelSelector::parse(&format!("kubernetes.io/service-name={service}"));
                ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", Wanted::Labelled(selector))
            }
            Related::Events => ("", "v1", "Event", "events", Wanted::About),
            Related::StorageClass { name } => {
                let wanted = name.clone().map_or(Wanted::DefaultStorageClass, Wanted::Named);
                ("storage.k8s.io", "v1", "StorageClass", "storageclasses", wanted)
            }
        };
        let namespaced = kind != "StorageClass";
        let info = KindInfo {
            gvk: Gvk::new(group, version, kind),
            plural: plural.to_owned(),
            scope: if namespaced { Scope::Namespaced } else { Scope::Cluster },
            verbs: Vec::new(),
        };
        // Events about objects without a namespace are in `default`.
        let namespace = namespaced.then(|| namespace.unwrap_or("default").to_owned());
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
