//! The engine on a live cluster: wires cluster, state, planner and run together.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc;

use super::engine::{Connect, Engine, Interrupt, Prepared, Target};
use super::error::Error;
use crate::apply::{self, Books, Report, Run, RunEvent, RunOptions};
use crate::cluster::{Cluster, ConnectOptions, Live};
use crate::graph::{Graph, Resource};
use crate::observation::ClusterIdentity;
use crate::ui::ResourceStatus;

/// Leads to real clusters, by kubeconfig.
pub(super) struct Kubeconfig;

fn options(target: &Target) -> ConnectOptions {
    let kubeconfig: Option<PathBuf> = target.kubeconfig.clone();
    ConnectOptions { kubeconfig, context: target.context.clone() }
}

#[async_trait]
impl Connect for Kubeconfig {
    async fn namespace(&self, target: &Target) -> Result<String, Error> {
        Ok(options(target).namespace()?)
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Engine>, Error> {
        let cluster = Live::connect(&options(target)).await?;
        Ok(Box::new(LiveEngine { cluster: Arc::new(cluster) }))
    }
}

fn handed_over(prepared: apply::Prepared) -> Prepared {
    Prepared {
        plan: prepared.plan.clone(),
        unready: prepared.unready.iter().map(|one| (one.id.clone(), one.missing.clone())).collect(),
        inner: Box::new(prepared),
    }
}

struct LiveEngine {
    cluster: Arc<Live>,
}

#[async_trait]
impl Engine for LiveEngine {
    fn identity(&self) -> &ClusterIdentity {
        self.cluster.identity()
    }

    async fn prepare(&self, graph: &Graph, full: bool) -> Result<Prepared, Error> {
        let prepared = apply::prepare(&*self.cluster, &self.cluster.store(), graph, full).await?;
        Ok(handed_over(prepared))
    }

    async fn prepare_down(&self, graph: &Graph) -> Result<Prepared, Error> {
        let prepared = apply::prepare_down(&*self.cluster, &self.cluster.store(), graph).await?;
        Ok(handed_over(prepared))
    }

    async fn run(
        &self,
        prepared: Prepared,
        wait: bool,
        events: mpsc::UnboundedSender<RunEvent>,
        interrupt: Interrupt,
    ) -> Result<Report, Error> {
        let Ok(prepared) = prepared.inner.downcast::<apply::Prepared>() else {
            return Err(Error::failed("this plan was made by another engine"));
        };
        let store = Arc::new(self.cluster.store());
        let recorder = Arc::new(Books::new(store, &prepared));
        let run = Run {
            cluster: Arc::clone(&self.cluster) as Arc<dyn Cluster>,
            plan: prepared.plan,
            unready: prepared.unready,
            kinds: prepared.kinds,
            environment: prepared.environment,
            rules: crate::kinds::rules,
            options: RunOptions { wait, ..RunOptions::default() },
            recorder,
            events,
            interrupt,
        };
        Ok(run.run().await?)
    }

    async fn status(&self, graph: &Graph) -> Result<Vec<ResourceStatus>, Error> {
        let found = apply::status(&*self.cluster, graph).await?;
        Ok(graph
            .resources
            .iter()
            .zip(found)
            .map(|(resource, (live, verdict))| ResourceStatus {
                id: resource.id.clone(),
                location: resource.location.clone(),
                verdict,
                live,
            })
            .collect())
    }

    fn take_warnings(&self) -> Vec<String> {
        self.cluster.take_warnings()
    }

    async fn live(&self, resource: &Resource) -> Result<Option<Value>, Error> {
        let kinds = self.cluster.discover(std::slice::from_ref(&resource.gvk)).await?;
        match kinds.first() {
            Some(kind) => Ok(self.cluster.get(kind, &resource.id).await?),
            None => Ok(None),
        }
    }
}
