//! Which kinds the server serves: aggregated discovery (KEP-3352), or group by group where that is not offered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{try_join, try_join_all};
use serde::Deserialize;

use super::connection::{Call, Connection, parse};
use super::{ClusterError, path};
use crate::graph::{Gvk, Scope};
use crate::observation::KindInfo;

/// The newest format first; a server that knows neither answers with its plain list.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
                      application/json";

/// What was discovered so far.
#[derive(Default)]
pub(super) struct Discovery {
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    known: Option<Arc<Known>>,
    /// How often all was forgotten: an answer that was asked for before that is not kept.
    forgotten: u64,
}

/// The kinds of each group, in the server's order: its preferred version first.
#[derive(Clone, Default)]
struct Known {
    groups: BTreeMap<String, Vec<KindInfo>>,
    /// A group that is not in the map does not exist; else it was not asked for yet.
    complete: bool,
}

impl Discovery {
    /// The wanted kinds that are served. Of a kind that is served in other versions only, the preferred one of those.
    pub(super) async fn find(
        &self,
        connection: &Connection,
        wanted: &[Gvk],
    ) -> Result<Vec<KindInfo>, ClusterError> {
        let known = self.known(connection, wanted).await?;
        let mut found: Vec<KindInfo> = Vec::with_capacity(wanted.len());
        for gvk in wanted {
            let kinds = known.groups.get(&gvk.group).map_or(&[][..], Vec::as_slice);
            let served = kinds
                .iter()
                .find(|info| info.gvk == *gvk)
                .or_else(|| kinds.iter().find(|info| info.gvk.kind == gvk.kind));
            if let Some(info) = served
                && !found.contains(info)
            {
                found.push(info.clone());
            }
        }
        Ok(found)
    }

    pub(super) fn forget(&self) {
        let mut cache = self.cache();
        cache.known = None;
        cache.forgotten += 1;
    }

    async fn known(&self, connection: &Connection, wanted: &[Gvk]) -> Result<Arc<Known>, ClusterError> {
        let (known, forgotten) = {
            let cache = self.cache();
            (cache.known.clone(), cache.forgotten)
        };
        let missing = |known: &Known| -> Vec<String> {
            let mut groups: Vec<String> = wanted.iter().map(|gvk| gvk.group.clone()).collect();
            groups.sort();
            groups.dedup();
            groups.retain(|group| !known.complete && !known.groups.contains_key(group));
            groups
        };
        let known = match known {
            Some(known) if missing(&known).is_empty() => return Ok(known),
            Some(known) => known,
            None => Arc::new(aggregated(connection).await?.unwrap_or_default()),
        };
        let mut known = Arc::unwrap_or_clone(known);
        let groups = missing(&known);
        let kinds = try_join_all(groups.iter().map(|group| legacy(connection, group))).await?;
        known.groups.extend(groups.into_iter().zip(kinds));
        let known = Arc::new(known);
        let mut cache = self.cache();
        if cache.forgotten == forgotten {
            cache.known = Some(Arc::clone(&known));
        }
        Ok(known)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything in two requests; `None` if the server answers in the old way.
async fn aggregated(connection: &Connection) -> Result<Option<Known>, ClusterError> {
    let ask =
        |target: &str| Call { accept: Some(ACCEPT), ..Call::get("discover", "the API", target.to_owned()) };
    let (core, groups) = (ask("/api"), ask("/apis"));
    let (core, groups): (GroupList, GroupList) =
        try_join(connection.json(&core), connection.json(&groups)).await?;
    let aggregated = |list: &GroupList| list.kind == "APIGroupDiscoveryList";
    if !aggregated(&core) || !aggregated(&groups) {
        return Ok(None);
    }
    let mut known = Known { complete: true, ..Known::default() };
    for group in core.items.into_iter().chain(groups.items) {
        let name = group.metadata.name;
        let kinds = known.groups.entry(name.clone()).or_default();
        for version in group.versions {
            if version.freshness == "Stale" {
                tracing::warn!(
                    group = name,
                    version = version.version,
                    "the server does not reach this API now"
                );
            }
            kinds.extend(version.resources.into_iter().filter_map(|resource| {
                let kind = resource.response_kind?.kind;
                if kind.is_empty() {
                    return None;
                }
                let scope = if resource.scope == "Namespaced" { Scope::Namespaced } else { Scope::Cluster };
                Some(KindInfo {
                    gvk: Gvk::new(name.clone(), version.version.clone(), kind),
                    plural: resource.resource,
                    scope,
                    verbs: resource.verbs,
                })
            }));
        }
    }
    Ok(Some(known))
}

/// One group's kinds, in the way of servers before 1.26.
async fn legacy(connection: &Connection, group: &str) -> Result<Vec<KindInfo>, ClusterError> {
    let versions = if group.is_empty() {
        vec!["v1".to_owned()]
    } else {
        let call = Call::get("discover", group, format!("/apis/{group}"));
        let Some(found) = or_not_found(connection.json::<Group>(&call).await)? else { return Ok(Vec::new()) };
        let preferred = found.preferred_version.map(|version| version.version);
        let others = found.versions.into_iter().map(|version| version.version);
        let others: Vec<String> = others.filter(|version| Some(version) != preferred.as_ref()).collect();
        preferred.into_iter().chain(others).collect()
    };
    let lists = versions.iter().map(|version| async move {
        let gvk = Gvk::new(group, version.clone(), "");
        let call = Call::get("discover", gvk.api_version(), path::version(&gvk));
        let Some(answer) = or_not_found(connection.send(&call).await)? else { return Ok(Vec::new()) };
        let list: ResourceList = parse(&call, &answer.body)?;
        // `pods/log` and its kin are no kinds of their own.
        let kinds = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
        Ok(kinds
            .map(|resource| KindInfo {
                gvk: Gvk::new(group, version.clone(), resource.kind),
                plural: resource.name,
                scope: if resource.namespaced { Scope::Namespaced } else { Scope::Cluster },
                verbs: resource.verbs,
            })
            .collect::<Vec<_>>())
    });
    Ok(try_join_all(lists).await?.concat())
}

fn or_not_found<T>(answer: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match answer {
        Err(error) if error.is_rejected_with(404) => Ok(None),
        answer => answer.map(Some),
    }
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    items: Vec<GroupDiscovery>,
}

#[derive(Deserialize)]
struct GroupDiscovery {
    metadata: Metadata,
    #[serde(default)]
    versions: Vec<VersionDiscovery>,
}

#[derive(Deserialize)]
struct Metadata {
    /// The core group has none.
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct VersionDiscovery {
    version: String,
    #[serde(default)]
    resources: Vec<ResourceDiscovery>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceDiscovery {
    resource: String,
    /// Missing where only subresources are served.
    response_kind: Option<ResponseKind>,
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    namespaced: bool,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
}
