//! How the resources of a graph are now. Only reads.

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::clock::Clock;
use super::related::selection;
use crate::cluster::{Cluster, ClusterError, Wanted, observe};
use crate::graph::{Graph, Resource};
use crate::kinds::{Context, Verdict, rules};

/// Requests side by side.
const IN_FLIGHT: usize = 16;

/// Each resource's live object and whether it works, in the graph's order; nothing for what isn't there.
///
/// # Errors
/// The cluster can't be read.
pub async fn status(
    cluster: &dyn Cluster,
    graph: &Graph,
) -> Result<Vec<(Option<Value>, Option<Verdict>)>, ClusterError> {
    let wanted = Wanted {
        desired: graph.resources.iter().map(|resource| (resource.gvk.clone(), resource.id.clone())).collect(),
        ..Wanted::default()
    };
    let live = observe(cluster, &wanted).await?.live;
    let now = Clock::start().now();
    let requests: Vec<_> = graph
        .resources
        .iter()
        .map(|resource| of_one(cluster, resource, live.get(&resource.id).cloned(), now).boxed())
        .collect();
    stream::iter(requests).buffered(IN_FLIGHT).try_collect().await
}

async fn of_one(
    cluster: &dyn Cluster,
    resource: &Resource,
    live: Option<Value>,
    now: f64,
) -> Result<(Option<Value>, Option<Verdict>), ClusterError> {
    let Some(live) = live else { return Ok((None, None)) };
    let verdict = verdict(cluster, resource, &live, now).await?;
    Ok((Some(live), Some(verdict)))
}

async fn verdict(
    cluster: &dyn Cluster,
    resource: &Resource,
    live: &Value,
    now: f64,
) -> Result<Verdict, ClusterError> {
    let rules = rules(&resource.gvk);
    let mut context = Context {
        now,
        applied_at: 0.0,
        applied_uid: None,
        applied_generation: None,
        before: None,
        policy: &resource.policy,
        related: &[],
    };
    // Most are ready, and say so without a look at anything else.
    let first = rules.assess(live, &context);
    if matches!(first, Verdict::Ready { .. }) {
        return Ok(first);
    }
    let mut related = Vec::new();
    for wanted in rules.related(live) {
        let (kind, selection) = selection(&wanted, live);
        related.extend(cluster.list(&kind, &selection).await?);
    }
    context.related = &related;
    Ok(rules.assess(live, &context))
}
