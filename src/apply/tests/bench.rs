//! What every test of a run needs: changes, a recorder, a server, and a run over them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::apply::{FindRules, RecordError, Recorder, Report, Run, RunError, RunEvent, RunOptions};
use crate::cluster::fake::{Fake, State, Write};
use crate::cluster::{ApplyOptions, Cluster, ClusterError};
use crate::graph::{Graph, Gvk, Location, Need, ObjectId, Policy, Resource, Scope, Until};
use crate::kinds;
use crate::observation::{ClusterIdentity, Observation};
use crate::plan::{self as planner, Action, Answer, Change, Checked, Environment, Inputs, Plan, Step};

pub(crate) const STACK_LABEL_VALUE: &str = "live.test";

pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "live", "labels": {"stackctl.dev/stack": STACK_LABEL_VALUE}},
        "data": {"key": value},
    })
}

pub(crate) fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "live", "labels": {"stackctl.dev/stack": STACK_LABEL_VALUE}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "srs", "image": image}]},
            },
        },
    })
}

pub(crate) fn id(body: &Value) -> ObjectId {
    ObjectId::of(body).unwrap()
}

/// A change of `body`, made from what `fake` holds now, after the changes of these numbers.
pub(crate) fn change(fake: &Fake, action: Action, body: &Value, after: &[(usize, bool)]) -> Change {
    let id = id(body);
    let live = fake.state().objects.get(&id).cloned();
    let text = |pointer| live.as_ref().and_then(|live| live.pointer(pointer)?.as_str()).map(str::to_owned);
    Change {
        gvk: Gvk::from_api_version(body["apiVersion"].as_str().unwrap(), body["kind"].as_str().unwrap()),
        id,
        action,
        diff: Vec::new(),
        location: None,
        uid: text("/metadata/uid"),
        resource_version: text("/metadata/resourceVersion"),
        diff_hash: String::new(),
        checked: Checked::Server,
        reasons: Vec::new(),
        loses: Vec::new(),
        guard: None,
        after: after.iter().copied().collect(),
        body: body.clone(),
        removals: Vec::new(),
        live,
        policy: Policy::default(),
        resource: None,
    }
}

/// A recorder that remembers what it was told.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) told: Mutex<Vec<String>>,
    pub(crate) fails: Mutex<Option<&'static str>>,
}

impl Books {
    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }

    fn write(&self, what: &'static str) -> Result<(), RecordError> {
        self.tell(what.to_owned());
        if *self.fails.lock().unwrap() == Some(what) {
            return Err(RecordError::Failed { message: format!("cannot {what}"), source: None });
        }
        Ok(())
    }
}

#[async_trait]
impl Recorder for Books {
    async fn begin(&self, ids: &[ObjectId]) -> Result<(), RecordError> {
        self.tell(format!("will touch {}", ids.len()));
        self.write("begin")
    }

    fn applied(&self, change: &Change, _object: &Value) {
        self.tell(format!("applied {}", change.id));
    }

    fn forget(&self, id: &ObjectId) {
        self.tell(format!("forget {id}"));
    }

    async fn flush(&self) -> Result<(), RecordError> {
        self.write("flush")
    }

    async fn finish(&self, _report: &Report) -> Result<(), RecordError> {
        self.write("finish")
    }
}

/// A run in the making.
pub(crate) struct Bench {
    pub(crate) fake: Arc<Fake>,
    pub(crate) books: Arc<Books>,
    pub(crate) options: RunOptions,
    pub(crate) rules: FindRules,
    pub(crate) interrupt: watch::Sender<bool>,
}

impl Bench {
    pub(crate) fn new(fake: Fake) -> Self {
        Self {
            fake: Arc::new(fake),
            books: Arc::default(),
            options: RunOptions::default(),
            rules: kinds::rules,
            interrupt: watch::Sender::new(false),
        }
    }

    pub(crate) fn change(&self, action: Action, body: &Value, after: &[(usize, bool)]) -> Change {
        change(&self.fake, action, body, after)
    }

    /// The run, and what it tells.
    pub(crate) fn prepare(&self, changes: Vec<Change>) -> (Run, mpsc::UnboundedReceiver<RunEvent>) {
        let (events, told) = mpsc::unbounded_channel();
        let kinds: BTreeMap<_, _> =
            self.fake.state().kinds.iter().map(|kind| (kind.gvk.clone(), kind.clone())).collect();
        let plan = Plan {
            stack: "test".to_owned(),
            namespace: "live".to_owned(),
            cluster: ClusterIdentity {
                context: String::new(),
                server: String::new(),
                uid: String::new(),
                version: String::new(),
            },
            changes,
            unchanged: Vec::new(),
            notes: Vec::new(),
            refusals: Vec::new(),
        };
        let run = Run {
            cluster: Arc::clone(&self.fake) as _,
            plan,
            unready: Vec::new(),
            environment: environment(),
            kinds,
            rules: self.rules,
            options: self.options.clone(),
            recorder: Arc::clone(&self.books) as _,
            events,
            interrupt: self.interrupt.subscribe(),
        };
        (run, told)
    }

    pub(crate) async fn run(&self, changes: Vec<Change>) -> Result<(Report, Vec<RunEvent>), RunError> {
        let (run, mut told) = self.prepare(changes);
        let report = run.run().await?;
        let mut events = Vec::new();
        while let Ok(event) = told.try_recv() {
            events.push(event);
        }
        Ok((report, events))
    }

    /// `verb Kind name code` of every write, in order.
    pub(crate) fn writes(&self) -> Vec<String> {
        let show = |Write { verb, id, code }: &Write| format!("{verb} {id} {code}");
        self.fake.state().journal.iter().map(show).collect()
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.books.told.lock().unwrap().clone()
    }
}

/// A resource of a test's graph: its body, and the numbers of those that must be ready before it.
pub(crate) type Declared = (Value, Vec<usize>);

/// The plan that the real planner makes of what `fake` holds now. Nothing is recorded, so the server is asked about everything.
pub(crate) async fn plan(fake: &Fake, declared: Vec<Declared>) -> Plan {
    let resources = declared.into_iter().map(|(body, after)| Resource {
        id: id(&body),
        gvk: Gvk::from_api_version(body["apiVersion"].as_str().unwrap(), body["kind"].as_str().unwrap()),
        scope: Some(Scope::Namespaced),
        body,
        location: Location { file: "test.rs".to_owned(), line: 1 },
        policy: Policy { allow_replace: true, ..Policy::default() },
        needs: after.into_iter().map(|on| Need { on, until: Until::Ready, why: String::new() }).collect(),
        configs: Vec::new(),
    });
    let graph =
        Graph { stack: "test".to_owned(), namespace: "live".to_owned(), resources: resources.collect() };
    let observation = {
        let state = fake.state();
        Observation {
            kinds: state.kinds.iter().map(|kind| (kind.gvk.clone(), kind.clone())).collect(),
            live: state.objects.clone(),
            namespaces: ["live".to_owned(), "default".to_owned()].into(),
            ..Observation::default()
        }
    };
    let inputs = Inputs {
        graph,
        observation,
        recorded: BTreeMap::new(),
        cluster: fake.identity().clone(),
        environment: environment(),
        full: false,
        state_namespace: "stackctl-state".to_owned(),
    };
    let mut step = planner::start(inputs);
    loop {
        let (planner, questions) = match step {
            Step::Done(plan) => return *plan,
            Step::Ask(planner, questions) => (planner, questions),
        };
        let mut answers = Vec::new();
        for question in questions {
            let kind = fake.state().kinds.iter().find(|kind| kind.gvk == question.gvk).cloned().unwrap();
            let options =
                ApplyOptions { manager: environment().manager, dry_run: true, force: question.force };
            answers.push(match fake.apply(&kind, &question.body, &options).await {
                Ok(applied) => Answer::Accepted(applied.object),
                Err(ClusterError::Rejected { rejection, .. }) => Answer::Rejected(rejection),
                Err(error) => panic!("{error}"),
            });
        }
        step = planner.answer(answers);
    }
}

fn environment() -> Environment {
    Environment { manager: "stackctl.test".to_owned(), fingerprint: Arc::new(|_| [0; 16]) }
}

/// Gives a Deployment the status of one whose pods all run.
pub(crate) fn roll_out(state: &mut State, id: &ObjectId) {
    if id.kind != "Deployment" || !state.objects.contains_key(id) {
        return;
    }
    state.edit(id, |object| {
        let replicas = object["spec"]["replicas"].clone();
        object["status"] = json!({
            "observedGeneration": object["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
            "conditions": [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            ],
        });
    });
}
