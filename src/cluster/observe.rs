//! Reads what a plan needs to know, and no more: the stack's members by label, the wanted objects that are not among
//! them one by one, and the namespaces they live in.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, FutureExt as _, try_join3};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::{Cluster, ClusterError, Selection};
use crate::graph::{Gvk, ObjectId, Scope};
use crate::observation::{KindInfo, Observation};

/// Requests side by side: where the API server's throughput peaks.
const IN_FLIGHT: usize = 16;
/// In more namespaces than that a kind is listed in all of them at once.
const MAX_NAMESPACES: usize = 3;

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The graph's objects, each with the version of its API that the program chose.
    pub desired: Vec<(Gvk, ObjectId)>,
    /// The inventory's objects, each with the version that it was applied through.
    pub known: Vec<(Gvk, ObjectId)>,
    /// Selects the stack's members, such as `stackctl.dev/stack=quick-start`.
    pub label_selector: String,
    /// Namespaces to look into beside those of the objects: the stack's own.
    pub namespaces: Vec<String>,
}

/// Reads it, with requests side by side.
///
/// Kinds that the server does not serve are left out, and their objects with them. A kind served in other versions only
/// stands in [`Observation::kinds`] under the version it is served in, and its objects are read through that one. Where
/// listing is forbidden, the wanted objects are read one by one; members that nobody names then stay unseen, which is
/// logged as a warning.
pub async fn observe(cluster: &dyn Cluster, wanted: &Wanted) -> Result<Observation, ClusterError> {
    let served = Served::discover(cluster, wanted).await?;
    let names = namespaces(wanted);
    let (members, namespaces, quotas) = try_join3(
        side_by_side(served.lists(cluster, wanted)),
        side_by_side(names.iter().map(|name| namespace(cluster, name).boxed()).collect()),
        side_by_side(names.iter().map(|name| quotas(cluster, name).boxed()).collect()),
    )
    .await?;

    let mut observation = Observation {
        kinds: served.kinds.iter().map(|info| (info.gvk.clone(), info.clone())).collect(),
        quotas: quotas.into_iter().flatten().collect(),
        ..Observation::default()
    };
    for object in members.into_iter().flatten() {
        if let Some(id) = ObjectId::of(&object) {
            observation.live.insert(id, object);
        }
    }
    let mut read: BTreeMap<ObjectId, Value> = BTreeMap::new();
    for (name, found) in names.iter().zip(namespaces) {
        match found {
            Found::No => {}
            Found::Unknown => _ = observation.namespaces.insert(name.clone()),
            Found::Yes(object) => {
                let ending = object.pointer("/metadata/deletionTimestamp").is_some();
                let there = if ending {
                    &mut observation.terminating_namespaces
                } else {
                    &mut observation.namespaces
                };
                there.insert(name.clone());
                read.insert(ObjectId::new(&namespace_kind().gvk, None, name), object);
            }
        }
    }

    let missing: BTreeSet<&ObjectId> = wanted
        .desired
        .iter()
        .chain(&wanted.known)
        .map(|(_, id)| id)
        .filter(|id| !observation.live.contains_key(*id))
        .collect();
    let exists = |name: &String| {
        observation.namespaces.contains(name) || observation.terminating_namespaces.contains(name)
    };
    let mut gets: Vec<BoxFuture<'_, Result<Option<Value>, ClusterError>>> = Vec::new();
    let mut found = Vec::new();
    for id in missing {
        if let Some(object) = read.remove(id) {
            found.push(object);
        } else if let Some(kind) = served.of(id)
            && id.namespace.as_ref().is_none_or(exists)
            && id.namespace.is_some() == (kind.scope == Scope::Namespaced)
            // A Namespace that was asked for above and is not there.
            && !(kind.gvk == namespace_kind().gvk && names.contains(&id.name))
        {
            gets.push(cluster.get(kind, id).boxed());
        }
    }
    found.extend(side_by_side(gets).await?.into_iter().flatten());
    for object in found {
        if let Some(id) = ObjectId::of(&object) {
            observation.live.insert(id, object);
        }
    }
    Ok(observation)
}

/// The kinds in question that the server serves.
struct Served {
    kinds: Vec<KindInfo>,
    /// By group and kind: through which version its objects are read.
    through: BTreeMap<(String, String), KindInfo>,
}

impl Served {
    async fn discover(cluster: &dyn Cluster, wanted: &Wanted) -> Result<Self, ClusterError> {
        let mut gvks: Vec<Gvk> = Vec::new();
        for (gvk, _) in wanted.desired.iter().chain(&wanted.known) {
            if !gvks.contains(gvk) {
                gvks.push(gvk.clone());
            }
        }
        let kinds = if gvks.is_empty() { Vec::new() } else { cluster.discover(&gvks).await? };
        let mut through = BTreeMap::new();
        for info in &kinds {
            // The program's versions come first, so they are preferred to the inventory's.
            through.entry((info.gvk.group.clone(), info.gvk.kind.clone())).or_insert_with(|| info.clone());
        }
        Ok(Self { kinds, through })
    }

    fn of(&self, id: &ObjectId) -> Option<&KindInfo> {
        self.through.get(&(id.group.clone(), id.kind.clone()))
    }

    /// One list of members for each kind, or a few for a namespaced one.
    fn lists<'a>(
        &'a self,
        cluster: &'a dyn Cluster,
        wanted: &'a Wanted,
    ) -> Vec<BoxFuture<'a, Result<Vec<Value>, ClusterError>>> {
        let mut namespaces: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for (_, id) in wanted.desired.iter().chain(&wanted.known) {
            let of_kind = namespaces.entry((&id.group, &id.kind)).or_default();
            of_kind.extend(id.namespace.as_deref());
        }
        let mut lists = Vec::new();
        for kind in self.through.values().filter(|kind| kind.verbs.iter().any(|verb| verb == "list")) {
            if kind.scope == Scope::Cluster {
                lists.push(members(cluster, kind, None, wanted).boxed());
                continue;
            }
            let mut of_kind =
                namespaces.remove(&(kind.gvk.group.as_str(), kind.gvk.kind.as_str())).unwrap_or_default();
            of_kind.extend(wanted.namespaces.iter().map(String::as_str));
            if of_kind.len() > MAX_NAMESPACES {
                lists.push(members_everywhere(cluster, kind, of_kind, wanted).boxed());
            } else {
                lists.extend(
                    of_kind.into_iter().map(|name| members(cluster, kind, Some(name), wanted).boxed()),
                );
            }
        }
        lists
    }
}

/// One request for all namespaces; where that is forbidden, one for each.
async fn members_everywhere(
    cluster: &dyn Cluster,
    kind: &KindInfo,
    namespaces: BTreeSet<&str>,
    wanted: &Wanted,
) -> Result<Vec<Value>, ClusterError> {
    let selection = Selection { labels: Some(wanted.label_selector.clone()), ..Selection::default() };
    match cluster.list(kind, &selection).await {
        Err(error) if error.is_rejected_with(403) => {
            let lists = namespaces.into_iter().map(|name| members(cluster, kind, Some(name), wanted).boxed());
            Ok(side_by_side(lists.collect()).await?.concat())
        }
        result => result,
    }
}

async fn members(
    cluster: &dyn Cluster,
    kind: &KindInfo,
    namespace: Option<&str>,
    wanted: &Wanted,
) -> Result<Vec<Value>, ClusterError> {
    let selection = Selection {
        namespace: namespace.map(str::to_owned),
        labels: Some(wanted.label_selector.clone()),
        fields: None,
    };
    or_unseen(cluster.list(kind, &selection).await)
}

async fn quotas(cluster: &dyn Cluster, namespace: &str) -> Result<Vec<Value>, ClusterError> {
    let kind = built_in("ResourceQuota", "resourcequotas", Scope::Namespaced);
    let selection = Selection { namespace: Some(namespace.to_owned()), ..Selection::default() };
    or_unseen(cluster.list(&kind, &selection).await)
}

/// Nothing where listing is forbidden, or the kind went away since it was discovered.
fn or_unseen(result: Result<Vec<Value>, ClusterError>) -> Result<Vec<Value>, ClusterError> {
    match result {
        Err(error) if error.is_rejected_with(403) => {
            tracing::warn!("{error}; only what is named is read");
            Ok(Vec::new())
        }
        Err(error) if error.is_rejected_with(404) => Ok(Vec::new()),
        result => result,
    }
}

enum Found {
    Yes(Value),
    No,
    /// We may not look: whoever works in one namespace only often may not. A namespace that is not there is refused
    /// by the server later.
    Unknown,
}

async fn namespace(cluster: &dyn Cluster, name: &str) -> Result<Found, ClusterError> {
    let kind = namespace_kind();
    match cluster.get(&kind, &ObjectId::new(&kind.gvk, None, name)).await {
        Ok(Some(object)) => Ok(Found::Yes(object)),
        Ok(None) => Ok(Found::No),
        Err(error) if error.is_rejected_with(403) => {
            tracing::warn!("{error}; it is taken to exist");
            Ok(Found::Unknown)
        }
        Err(error) => Err(error),
    }
}

fn namespaces(wanted: &Wanted) -> BTreeSet<String> {
    let objects = wanted.desired.iter().chain(&wanted.known);
    objects.filter_map(|(_, id)| id.namespace.clone()).chain(wanted.namespaces.iter().cloned()).collect()
}

fn namespace_kind() -> KindInfo {
    built_in("Namespace", "namespaces", Scope::Cluster)
}

/// A kind of the core group, which every server serves.
fn built_in(kind: &str, plural: &str, scope: Scope) -> KindInfo {
    KindInfo {
        gvk: Gvk::new("", "v1", kind),
        plural: plural.to_owned(),
        scope,
        verbs: vec!["list".to_owned()],
    }
}

/// Awaits them all, a bounded number at a time; the results keep their order.
async fn side_by_side<T>(
    futures: Vec<BoxFuture<'_, Result<T, ClusterError>>>,
) -> Result<Vec<T>, ClusterError> {
    stream::iter(futures).buffered(IN_FLIGHT).try_collect().await
}

#[cfg(test)]
mod tests;
