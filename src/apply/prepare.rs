//! From a graph to a plan: reads the state and the cluster, and carries the planner's questions to the server. Only reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use stackctl_state::{
    InvalidStackId, Inventory, InventoryError, KeyError, StackId, StackKey, Store, Version,
};

use super::clock::Clock;
use super::unready::{Unready, unready};
use crate::cluster::{ApplyOptions, Cluster, ClusterError, STATE_NAMESPACE, Wanted, observe};
use crate::graph::{Graph, Gvk, ObjectId, STACK_LABEL, stack_label};
use crate::observation::{KindInfo, Rejection};
use crate::plan::proof::Hashes;
use crate::plan::{self, Answer, Environment, Inputs, Plan, Question, Step, manager_of};

/// Dry-runs side by side: where the API server's throughput peaks.
const IN_FLIGHT: usize = 16;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The cluster could not be read.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The inventory could not be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The stack's key could not be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Stack or namespace have a name that Kubernetes doesn't allow.
    #[error(transparent)]
    Name(#[from] InvalidStackId),
}

/// A plan, and everything that a run of it needs.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// What doesn't change and is not ready at first look; nothing for `down`.
    pub unready: Vec<Unready>,
    /// The kinds that were observed.
    pub kinds: BTreeMap<Gvk, KindInfo>,
    /// Who plans, and with which key.
    pub environment: Environment,
    /// Whose state it is.
    pub stack: StackId,
    /// The inventory as it was read.
    pub inventory: Inventory,
    /// Its version in the store; none: there is none yet.
    pub version: Option<Version>,
    /// The stack's key. If there was none, a new one that the first run keeps.
    pub key: StackKey,
}

/// Plans what makes the cluster as the graph says. `full`: what is proven unchanged is asked about too.
///
/// # Errors
/// Only what keeps a plan from being made; what the server refuses stands in the plan.
pub async fn prepare(
    cluster: &dyn Cluster,
    store: &dyn Store,
    graph: &Graph,
    full: bool,
) -> Result<Prepared, PrepareError> {
    let read = read(cluster, store, graph).await?;
    let kinds = read.inputs.observation.kinds.clone();
    let environment = read.inputs.environment.clone();
    let (graph, live) = (read.inputs.graph.clone(), read.inputs.observation.live.clone());
    let mut step = plan::start(Inputs { full, ..read.inputs });
    let plan = loop {
        match step {
            Step::Done(plan) => break *plan,
            Step::Ask(planner, questions) => {
                let answers = ask(cluster, &kinds, &environment.manager, &questions).await?;
                step = planner.answer(answers);
            }
        }
    };
    let unready = unready(&graph, &plan, &kinds, &live, Clock::start().now());
    Ok(Prepared {
        plan,
        unready,
        kinds,
        environment,
        stack: read.stack,
        inventory: read.inventory,
        version: read.version,
        key: read.key,
    })
}

/// Plans the deletion of everything that the stack has.
///
/// # Errors
/// Only what keeps a plan from being made.
pub async fn prepare_down(
    cluster: &dyn Cluster,
    store: &dyn Store,
    graph: &Graph,
) -> Result<Prepared, PrepareError> {
    let read = read(cluster, store, graph).await?;
    let kinds = read.inputs.observation.kinds.clone();
    let environment = read.inputs.environment.clone();
    Ok(Prepared {
        plan: plan::down(read.inputs),
        unready: Vec::new(),
        kinds,
        environment,
        stack: read.stack,
        inventory: read.inventory,
        version: read.version,
        key: read.key,
    })
}

/// Asks the server all questions, several at a time; the answers come in the questions' order.
///
/// # Errors
/// What isn't an answer: the server can't be reached, or doesn't know us.
pub async fn ask(
    cluster: &dyn Cluster,
    kinds: &BTreeMap<Gvk, KindInfo>,
    manager: &str,
    questions: &[Question],
) -> Result<Vec<Answer>, ClusterError> {
    let requests: Vec<_> =
        questions.iter().map(|question| ask_one(cluster, kinds, manager, question).boxed()).collect();
    stream::iter(requests).buffered(IN_FLIGHT).try_collect().await
}

async fn ask_one(
    cluster: &dyn Cluster,
    kinds: &BTreeMap<Gvk, KindInfo>,
    manager: &str,
    question: &Question,
) -> Result<Answer, ClusterError> {
    let Some(kind) = kinds.get(&question.gvk) else {
        // Planner and cluster share one observation: an unknown kind is refused at sight.
        return Ok(Answer::Rejected(Rejection {
            code: 404,
            reason: "NotFound".to_owned(),
            message: format!("the server knows no kind {}", question.gvk),
            causes: Vec::new(),
        }));
    };
    let options = ApplyOptions { manager: manager.to_owned(), dry_run: true, force: question.force };
    match cluster.apply(kind, &question.body, &options).await {
        Ok(applied) => Ok(Answer::Accepted(applied.object)),
        Err(ClusterError::Rejected { rejection, .. }) => Ok(Answer::Rejected(rejection)),
        Err(error) => Err(error),
    }
}

struct Read {
    inputs: Inputs,
    stack: StackId,
    inventory: Inventory,
    version: Option<Version>,
    key: StackKey,
}

async fn read(cluster: &dyn Cluster, store: &dyn Store, graph: &Graph) -> Result<Read, PrepareError> {
    let identity = cluster.identity().clone();
    let stack = StackId::new(&identity.uid, &graph.namespace, &graph.stack)?;
    let manager = manager_of(&graph.stack);
    let (inventory, key, graph) = tokio::join!(
        Inventory::load(store, &stack),
        StackKey::load(store, &stack),
        settle_scopes(cluster, graph.clone())
    );
    let graph = graph?;
    let (inventory, version) = match inventory? {
        Some((inventory, version)) => (inventory, Some(version)),
        None => (Inventory::new(stack.clone(), &manager), None),
    };
    let key = match key? {
        Some(key) => key,
        None => StackKey::random()?,
    };
    let observation = observe(cluster, &wanted(&graph, &inventory)).await?;
    let recorded = inventory
        .entries()
        .iter()
        .map(|(object, entry)| {
            let gvk = Gvk::from_api_version(&object.api_version, &object.kind);
            let id = ObjectId::new(&gvk, object.namespace.as_deref(), &object.name);
            let hashes = Hashes {
                sent: *entry.sent.as_bytes(),
                managed: *entry.managed.as_bytes(),
                live: *entry.live.as_bytes(),
            };
            (id, (entry.uid.clone(), hashes))
        })
        .collect();
    let fingerprinter = key.clone();
    let environment = Environment {
        manager,
        fingerprint: Arc::new(move |bytes| *fingerprinter.fingerprint(bytes).hash().as_bytes()),
    };
    let inputs = Inputs {
        graph,
        observation,
        recorded,
        cluster: identity,
        environment,
        full: false,
        state_namespace: STATE_NAMESPACE.to_owned(),
    };
    Ok(Read { inputs, stack, inventory, version, key })
}

/// Only the server knows whether objects of a foreign kind live in a namespace.
async fn settle_scopes(cluster: &dyn Cluster, mut graph: Graph) -> Result<Graph, ClusterError> {
    let open: Vec<Gvk> = graph
        .resources
        .iter()
        .filter(|resource| resource.scope.is_none())
        .map(|resource| resource.gvk.clone())
        .collect();
    if open.is_empty() {
        return Ok(graph);
    }
    let infos = cluster.discover(&open).await?;
    let namespace = graph.namespace.clone();
    for resource in graph.resources.iter_mut().filter(|resource| resource.scope.is_none()) {
        if let Some(info) = infos.iter().find(|info| info.gvk == resource.gvk) {
            resource.settle_scope(info.scope, &namespace);
        }
    }
    Ok(graph)
}

fn wanted(graph: &Graph, inventory: &Inventory) -> Wanted {
    let unfinished = inventory.unfinished().into_iter().flat_map(|run| run.open.keys());
    let known = inventory.entries().keys().chain(unfinished).map(|object| {
        let gvk = Gvk::from_api_version(&object.api_version, &object.kind);
        let id = ObjectId::new(&gvk, object.namespace.as_deref(), &object.name);
        (gvk, id)
    });
    // The stack's own namespace may be one that the stack made.
    let namespace_kind = Gvk::new("", "v1", "Namespace");
    let namespace = ObjectId::new(&namespace_kind, None, &graph.namespace);
    Wanted {
        desired: graph
            .resources
            .iter()
            .map(|resource| (resource.gvk.clone(), resource.id.clone()))
            .chain([(namespace_kind, namespace)])
            .collect(),
        known: known.collect(),
        label_selector: format!("{STACK_LABEL}={}", stack_label(&graph.namespace, &graph.stack)),
        namespaces: vec![graph.namespace.clone()],
    }
}
