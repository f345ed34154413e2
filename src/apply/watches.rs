//! One watch per kind and selection, shared by every wait, with what it has shown so far.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use serde_json::Value;

use crate::cluster::{Cluster, ClusterError, Selection, Watched};
use crate::graph::Gvk;
use crate::observation::KindInfo;

/// Which watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WatchKey {
    pub(crate) gvk: Gvk,
    pub(crate) selection: Selection,
}

/// Namespace and name of an object in a watch.
pub(crate) type Place = (Option<String>, String);

/// One thing that a watch has shown.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) key: Arc<WatchKey>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The object there is new or changed.
    Changed(Place),
    /// The object there is gone; its uid.
    Gone(Place, String),
    /// The complete list has arrived.
    Synced,
    /// The watch has ended for good.
    Broken,
}

/// What a watch has shown so far.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    objects: BTreeMap<Place, Value>,
    /// For Events: where those about the object of a uid are.
    about: HashMap<String, Vec<Place>>,
    synced: bool,
    broken: Option<String>,
    keeps_managers: bool,
}

impl Cache {
    pub(crate) fn get(&self, place: &Place) -> Option<&Value> {
        self.objects.get(place)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Value> {
        self.objects.values()
    }

    /// The Events about the object of this uid.
    pub(crate) fn about(&self, uid: &str) -> impl Iterator<Item = &Value> {
        self.about.get(uid).into_iter().flatten().filter_map(|place| self.objects.get(place))
    }

    /// The complete list has arrived, or never will.
    pub(crate) fn is_settled(&self) -> bool {
        self.synced || self.broken.is_some()
    }

    /// Why the watch has ended for good, if it has.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    fn insert(&mut self, mut object: Value) -> Option<Place> {
        let place = place(&object)?;
        if !self.keeps_managers
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        {
            // The larger half of a Pod, and no rule asks for it.
            metadata.remove("managedFields");
        }
        if let Some(uid) = involved_uid(&object) {
            let places = self.about.entry(uid.to_owned()).or_default();
            if !places.contains(&place) {
                places.push(place.clone());
            }
        }
        self.objects.insert(place.clone(), object);
        Some(place)
    }

    fn remove(&mut self, place: Place) -> Option<What> {
        let object = self.objects.remove(&place)?;
        if let Some(places) = involved_uid(&object).and_then(|uid| self.about.get_mut(uid)) {
            places.retain(|p| *p != place);
        }
        Some(What::Gone(place, uid(&object).unwrap_or_default().to_owned()))
    }
}

type Step = (Arc<WatchKey>, Option<Result<Watched, ClusterError>>);

/// Every watch of a run. They stay open until its end: what was waited for once is likely to be again.
pub(crate) struct Watches {
    cluster: Arc<dyn Cluster>,
    streams: SelectAll<BoxStream<'static, Step>>,
    caches: HashMap<Arc<WatchKey>, Cache>,
}

impl Watches {
    pub(crate) fn new(cluster: Arc<dyn Cluster>) -> Self {
        Self { cluster, streams: SelectAll::new(), caches: HashMap::new() }
    }

    /// Opens the watch if it isn't open. `keeps_managers`: `managedFields` are kept.
    pub(crate) fn open(
        &mut self,
        kind: &KindInfo,
        selection: Selection,
        keeps_managers: bool,
    ) -> Arc<WatchKey> {
        let key = Arc::new(WatchKey { gvk: kind.gvk.clone(), selection });
        if let Some((known, _)) = self.caches.get_key_value(&key) {
            return Arc::clone(known);
        }
        self.caches.insert(Arc::clone(&key), Cache { keeps_managers, ..Cache::default() });
        let watch = if kind.verbs.is_empty() || kind.verbs.iter().any(|verb| verb == "watch") {
            self.cluster.watch(kind, &key.selection)
        } else {
            poll(Arc::clone(&self.cluster), kind.clone(), key.selection.clone())
        };
        let of = Arc::clone(&key);
        let end = stream::once(async { None });
        self.streams.push(watch.map(Some).chain(end).map(move |step| (Arc::clone(&of), step)).boxed());
        key
    }

    pub(crate) fn cache(&self, key: &WatchKey) -> Option<&Cache> {
        self.caches.get(key)
    }

    /// What the watches show next, and everything else that is already there. Never ends while no watch is open.
    pub(crate) async fn next(&mut self) -> Vec<Seen> {
        /// After so many steps the waits get their turn, however busy the watches are.
        const AT_ONCE: usize = 1_000;
        if self.streams.is_empty() {
            return std::future::pending().await;
        }
        let mut seen = Vec::new();
        let mut step = self.streams.next().await;
        for _ in 0..AT_ONCE {
            let Some((key, what)) = step else { break };
            self.take(&key, what, &mut seen);
            step = self.streams.next().now_or_never().flatten();
        }
        if let Some((key, what)) = step {
            self.take(&key, what, &mut seen);
        }
        seen
    }

    fn take(
        &mut self,
        key: &Arc<WatchKey>,
        step: Option<Result<Watched, ClusterError>>,
        seen: &mut Vec<Seen>,
    ) {
        let Some(cache) = self.caches.get_mut(key) else { return };
        let mut show = |what| seen.push(Seen { key: Arc::clone(key), what });
        match step {
            Some(Ok(Watched::Applied(object))) => {
                if let Some(place) = cache.insert(object) {
                    show(What::Changed(place));
                }
            }
            Some(Ok(Watched::Deleted(object))) => {
                if let Some(gone) = place(&object).and_then(|place| cache.remove(place)) {
                    show(gone);
                }
            }
            Some(Ok(Watched::Restarted(objects))) => {
                let mut old = std::mem::take(&mut cache.objects);
                cache.about.clear();
                for object in objects {
                    if let Some(place) = cache.insert(object) {
                        old.remove(&place);
                        show(What::Changed(place));
                    }
                }
                for (place, object) in old {
                    show(What::Gone(place, uid(&object).unwrap_or_default().to_owned()));
                }
                cache.synced = true;
                show(What::Synced);
            }
            Some(Err(error)) => {
                cache.broken = Some(error.to_string());
                show(What::Broken);
            }
            None if cache.broken.is_none() => {
                cache.broken = Some(format!("the watch of {} ended", key.gvk.kind));
                show(What::Broken);
            }
            None => {}
        }
    }
}

/// Stands in for the watch of a kind that the server can only list.
fn poll(
    cluster: Arc<dyn Cluster>,
    kind: KindInfo,
    selection: Selection,
) -> BoxStream<'static, Result<Watched, ClusterError>> {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(10);
    stream::unfold((Duration::ZERO, false), move |(pause, ended)| {
        let (cluster, kind, selection) = (Arc::clone(&cluster), kind.clone(), selection.clone());
        async move {
            if ended {
                return None;
            }
            tokio::time::sleep(pause).await;
            let next = (pause * 2).clamp(FIRST, LONGEST);
            match cluster.list(&kind, &selection).await {
                Ok(objects) => Some((Ok(Watched::Restarted(objects)), (next, false))),
                Err(error) => Some((Err(error), (next, true))),
            }
        }
    })
    .boxed()
}

pub(crate) fn place(object: &Value) -> Option<Place> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some((text("/metadata/namespace"), text("/metadata/name")?))
}

pub(crate) fn uid(object: &Value) -> Option<&str> {
    object.pointer("/metadata/uid").and_then(Value::as_str)
}

fn involved_uid(object: &Value) -> Option<&str> {
    object.pointer("/involvedObject/uid").and_then(Value::as_str)
}
