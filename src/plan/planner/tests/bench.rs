//! A server in memory, and the way from a stack to a plan and on to the server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cluster::fake::Fake;
use crate::cluster::{ApplyOptions, Cluster, ClusterError, STATE_NAMESPACE};
use crate::graph::{Gvk, ObjectId, Scope, Stack};
use crate::observation::{KindInfo, Observation, Rejection, RejectionCause};
use crate::plan::proof::{self, Hashes};
use crate::plan::{Action, Answer, Environment, Inputs, Plan, Question, Step, start};

pub(super) struct Bench {
    pub(super) fake: Fake,
    pub(super) full: bool,
    pub(super) terminating: BTreeSet<String>,
    /// The last plan's questions, those of all rounds.
    pub(super) asked: Vec<Question>,
    /// How many rounds the last plan took.
    pub(super) rounds: usize,
    recorded: BTreeMap<ObjectId, (String, Hashes)>,
    rejections: BTreeMap<String, Rejection>,
    environment: Environment,
}

pub(super) fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "live"}, "data": {"key": value}})
}

/// The server in memory refuses to change `spec.immutable`.
pub(super) fn with_immutable(value: Value) -> Value {
    let mut body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "live"}, "spec": {}});
    body["spec"]["immutable"] = value;
    body
}

pub(super) fn rejection(code: u16, message: &str, causes: &[(&str, &str)]) -> Rejection {
    let causes = causes.iter().map(|(field, message)| RejectionCause {
        field: (*field).to_owned(),
        reason: "FieldValueInvalid".to_owned(),
        message: (*message).to_owned(),
    });
    let reason = if code == 422 { "Invalid" } else { "Forbidden" };
    Rejection { code, reason: reason.to_owned(), message: message.to_owned(), causes: causes.collect() }
}

impl Bench {
    pub(super) fn new() -> Self {
        let fake = Fake::new();
        for (group, kind, plural) in [("batch", "Job", "jobs"), ("", "ServiceAccount", "serviceaccounts")] {
            fake.state().kinds.push(KindInfo {
                gvk: Gvk::new(group, "v1", kind),
                plural: plural.to_owned(),
                scope: Scope::Namespaced,
                verbs: vec!["patch".to_owned()],
            });
        }
        for name in ["live", "default"] {
            fake.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        let fingerprint = |bytes: &[u8]| {
            let mut half = [0; 16];
            half.copy_from_slice(&Sha256::digest(bytes)[..16]);
            half
        };
        Self {
            fake,
            full: false,
            terminating: BTreeSet::new(),
            asked: Vec::new(),
            rounds: 0,
            recorded: BTreeMap::new(),
            rejections: BTreeMap::new(),
            environment: Environment {
                manager: "stackctl.media".to_owned(),
                fingerprint: Arc::new(fingerprint),
            },
        }
    }

    /// The next dry-run of an object of this name is rejected.
    pub(super) fn reject(&mut self, name: &str, rejection: Rejection) {
        self.rejections.insert(name.to_owned(), rejection);
    }

    pub(super) fn live(&self, id: &ObjectId) -> Value {
        self.fake.state().objects[id].clone()
    }

    pub(super) async fn plan(&mut self, stack: Stack) -> Plan {
        let mut step = start(self.inputs(stack));
        (self.asked, self.rounds) = (Vec::new(), 0);
        loop {
            match step {
                Step::Done(plan) => return *plan,
                Step::Ask(planner, questions) => {
                    self.rounds += 1;
                    let mut answers = Vec::new();
                    for question in questions {
                        answers.push(self.answer(&question).await);
                        self.asked.push(question);
                    }
                    step = planner.answer(answers);
                }
            }
        }
    }

    /// Plans, writes every change, and records it as a run does.
    pub(super) async fn up(&mut self, stack: Stack) -> Plan {
        let plan = self.plan(stack).await;
        assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
        for change in &plan.changes {
            if matches!(change.action, Action::Delete | Action::Replace) {
                self.fake.remove(&change.id);
                self.recorded.remove(&change.id);
            }
            if change.action == Action::Delete {
                continue;
            }
            let kind = self.kind(&change.gvk);
            let options = ApplyOptions {
                manager: self.environment.manager.clone(),
                dry_run: false,
                force: change.action == Action::Update,
            };
            let object = self.fake.apply(&kind, &change.body, &options).await.unwrap().object;
            let fingerprint = &*self.environment.fingerprint;
            let hashes =
                proof::hashes(&change.body, &object, &self.environment.manager, fingerprint).unwrap();
            let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
            self.recorded.insert(change.id.clone(), (uid, hashes));
        }
        plan
    }

    fn kind(&self, gvk: &Gvk) -> KindInfo {
        self.fake.state().kinds.iter().find(|kind| kind.gvk == *gvk).unwrap().clone()
    }

    async fn answer(&mut self, question: &Question) -> Answer {
        if let Some(rejection) = self.rejections.remove(&question.id.name) {
            return Answer::Rejected(rejection);
        }
        let options =
            ApplyOptions { manager: self.environment.manager.clone(), dry_run: true, force: question.force };
        match self.fake.apply(&self.kind(&question.gvk), &question.body, &options).await {
            Ok(applied) => Answer::Accepted(applied.object),
            Err(ClusterError::Rejected { rejection, .. }) => Answer::Rejected(rejection),
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn inputs(&self, stack: Stack) -> Inputs {
        let graph = stack.finish().unwrap();
        let state = self.fake.state();
        let namespaces = state.objects.keys().filter(|id| id.kind == "Namespace").map(|id| id.name.clone());
        Inputs {
            observation: Observation {
                kinds: state.kinds.iter().map(|kind| (kind.gvk.clone(), kind.clone())).collect(),
                live: state.objects.clone(),
                namespaces: namespaces.collect(),
                terminating_namespaces: self.terminating.clone(),
                quotas: Vec::new(),
            },
            graph,
            recorded: self.recorded.clone(),
            cluster: self.fake.identity().clone(),
            environment: self.environment.clone(),
            full: self.full,
            state_namespace: STATE_NAMESPACE.to_owned(),
        }
    }
}
