//! What the verbs need of the engine. The live one talks to a cluster; tests have their own.

use std::any::Any;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::error::Error;
use crate::apply::{Report, RunEvent};
use crate::graph::{Graph, ObjectId, Resource};
use crate::kinds::Missing;
use crate::observation::ClusterIdentity;
use crate::plan::Plan;
use crate::ui::ResourceStatus;

/// Which cluster is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The kubeconfig file; `None`: found as kubectl does.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; `None`: its current one.
    pub context: Option<String>,
}

/// Leads to clusters.
#[async_trait]
pub trait Connect: Send + Sync {
    /// The namespace that the context names. Asks no server; without a kubeconfig it is `default`.
    async fn namespace(&self, target: &Target) -> Result<String, Error>;

    /// Reaches the cluster.
    async fn connect(&self, target: &Target) -> Result<Box<dyn Engine>, Error>;
}

/// A plan, and what the engine needs to carry it out.
pub struct Prepared {
    /// What is shown and agreed to.
    pub plan: Plan,
    /// What the plan doesn't change and a run waits for, because it is not ready at first look.
    pub unready: Vec<(ObjectId, Missing)>,
    /// The engine's own.
    pub inner: Box<dyn Any + Send>,
}

/// Turns `true` when the run shall begin nothing more and end in order.
pub type Interrupt = watch::Receiver<bool>;

/// Plans and runs on one cluster.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Which cluster.
    fn identity(&self) -> &ClusterIdentity;

    /// Plans what makes the cluster as the graph says. Only reads. `full`: what is proven unchanged is asked about too.
    async fn prepare(&self, graph: &Graph, full: bool) -> Result<Prepared, Error>;

    /// Plans the deletion of everything that the stack has. Only reads.
    async fn prepare_down(&self, graph: &Graph) -> Result<Prepared, Error>;

    /// Carries a plan out. Without `wait` only what a later change needs ready is waited for. What fails inside is told in the report; an error means that it could not begin.
    async fn run(
        &self,
        prepared: Prepared,
        wait: bool,
        events: mpsc::UnboundedSender<RunEvent>,
        interrupt: Interrupt,
    ) -> Result<Report, Error>;

    /// Each resource of the graph as it is now, in the graph's order. Only reads.
    async fn status(&self, graph: &Graph) -> Result<Vec<ResourceStatus>, Error>;

    /// What the server has warned of since the last time, each once.
    fn take_warnings(&self) -> Vec<String>;

    /// The live object of one resource; `None` if it isn't there. Only reads.
    async fn live(&self, resource: &Resource) -> Result<Option<Value>, Error>;
}
