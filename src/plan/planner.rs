//! The planner proper: `start` asks, `answer` asks on or gives the plan. Two rounds at most.
//!
//! ```text
//! start ──► round 1: a forced dry-run of every resource that is not proven unchanged
//!             │            (in a namespace that this plan only makes: under a probe name in another one)
//!             ├─► accepted: its diff is the change
//!             └─► rejected ──► round 2: the same object under a probe name — is the object wrong, or only the transition?
//! ```

mod admission;
mod quotas;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::compare::{Target, noise};
use super::conflict::{scale_targets, yielded};
use super::environment::hex;
use super::owners::Sent;
use super::proof::{self, Hashes};
use super::rejection::{self, Ruling};
use super::wanted::differences;
use super::{
    Action, Answer, Change, Checked, Environment, Note, Plan, Question, Refusal, Severity, arrange, prune,
    refuse,
};
use crate::graph::{Graph, Gvk, Late, LateRef, ObjectId, Resource, STACK_LABEL, late, stack_label};
use crate::kinds::rules;
use crate::observation::{ClusterIdentity, Observation, Rejection};

/// Everything a plan is made from.
pub struct Inputs {
    /// What is wanted.
    pub graph: Graph,
    /// What is there.
    pub observation: Observation,
    /// What the inventory knows of an object after its last apply: its uid and the hashes.
    pub recorded: BTreeMap<ObjectId, (String, Hashes)>,
    /// Which cluster it is.
    pub cluster: ClusterIdentity,
    /// Who we are.
    pub environment: Environment,
    /// Ask the server about everything, also what is proven unchanged.
    pub full: bool,
    /// The namespace of the state, which no stack may manage.
    pub state_namespace: String,
}

/// What comes next.
pub enum Step {
    /// Ask these, all at once, and come back with the answers in the same order.
    Ask(Box<Planner>, Vec<Question>),
    /// The plan.
    Done(Box<Plan>),
}

/// The planner between two rounds.
pub struct Planner {
    inputs: Inputs,
    /// Kind, namespace and name of everything that a HorizontalPodAutoscaler scales.
    autoscaled: BTreeSet<(String, String, String)>,
    subjects: Vec<Subject>,
    /// To which subjects the open questions belong.
    asked: Vec<usize>,
    notes: Vec<Note>,
    refusals: Vec<Refusal>,
}

/// A resource of the graph on its way to a change.
struct Subject {
    /// The body to send: late values filled in where they are known, yielded fields left out.
    body: Value,
    /// The same with samples in the place of unknown late values: what the server is asked about.
    asked: Value,
    stage: Stage,
}

enum Stage {
    Unchanged,
    /// In round 1; in a namespace that isn't there yet, under a probe name in another one.
    Asked {
        probe: Option<&'static str>,
    },
    /// In round 2: the update was rejected, now the object is asked about under a probe name.
    Probed {
        rejection: Rejection,
    },
    Decided(Box<Change>),
    Refused,
}

/// The namespace where objects are asked about whose own is not there yet.
const PROBE_NAMESPACE: &str = "default";

/// Begins. Whatever needs no question is decided here.
pub fn start(mut inputs: Inputs) -> Step {
    add_namespace(&mut inputs);
    let fingerprint = inputs.environment.fingerprint.clone();
    inputs.graph.annotate_rolls(&|bytes| hex(&fingerprint(bytes)[..8]));
    let bodies =
        inputs.graph.resources.iter().map(|resource| &resource.body).chain(inputs.observation.live.values());
    let mut planner = Planner {
        autoscaled: scale_targets(bodies, &inputs.graph.namespace),
        subjects: Vec::with_capacity(inputs.graph.resources.len()),
        asked: Vec::new(),
        notes: Vec::new(),
        refusals: Vec::new(),
        inputs,
    };
    let resources = std::mem::take(&mut planner.inputs.graph.resources);
    let mut questions = Vec::new();
    for (number, resource) in resources.iter().enumerate() {
        let mut subject = planner.subject(resource);
        if let Some(question) = planner.open(number, resource, &resources, &mut subject) {
            planner.asked.push(number);
            questions.push(question);
        }
        planner.subjects.push(subject);
    }
    planner.inputs.graph.resources = resources;
    planner.go_on(questions)
}

/// A stack whose namespace isn't there makes it, and goes on owning it; one that was there is somebody else's.
fn add_namespace(inputs: &mut Inputs) {
    let name = &inputs.graph.namespace;
    let id = ObjectId::new(&Gvk::new("", "v1", "Namespace"), None, name);
    let used = inputs.graph.resources.iter().any(|resource| resource.id.namespace.as_ref() == Some(name));
    let label = stack_label(name, &inputs.graph.stack);
    let ours = match inputs.observation.live.get(&id) {
        Some(live) => owner(live) == Some(label.as_str()),
        None => {
            !inputs.observation.namespaces.contains(name)
                && !inputs.observation.terminating_namespaces.contains(name)
        }
    };
    if used && ours && inputs.graph.position(&id).is_none() {
        inputs.graph.add_namespace(&label);
    }
}

impl Planner {
    /// Takes the answers to the questions last asked.
    pub fn answer(mut self, answers: Vec<Answer>) -> Step {
        let resources = std::mem::take(&mut self.inputs.graph.resources);
        let mut questions = Vec::new();
        let mut asked = Vec::new();
        for (number, answer) in std::mem::take(&mut self.asked).into_iter().zip(answers) {
            if let Some(question) = self.take(number, &resources, answer) {
                asked.push(number);
                questions.push(question);
            }
        }
        self.inputs.graph.resources = resources;
        self.asked = asked;
        self.go_on(questions)
    }

    fn go_on(self, questions: Vec<Question>) -> Step {
        if questions.is_empty() {
            Step::Done(Box::new(self.finish()))
        } else {
            Step::Ask(Box::new(self), questions)
        }
    }

    /// Fills in the late values that the live cluster knows, and leaves out what is yielded.
    fn subject(&mut self, resource: &Resource) -> Subject {
        let known =
            |late: &LateRef| self.inputs.observation.live.get(&late.id)?.pointer(&late.pointer).cloned();
        let mut body = resource.body.clone();
        if late::unresolved(&body).is_empty() {
            // Nothing to fill in.
        } else {
            // Every late value gets something, if only itself.
            let itself = |late: &LateRef| json!(Late::<String>::from_reference(late.clone()).to_string());
            let _ = late::fill(&mut body, &|late| Some(known(late).unwrap_or_else(|| itself(late))));
        }
        let target = (
            resource.id.kind.clone(),
            resource.id.namespace.clone().unwrap_or_default(),
            resource.id.name.clone(),
        );
        let live = self.inputs.observation.live.get(&resource.id);
        let (body, left) = yielded(
            &body,
            live,
            &self.inputs.environment.manager,
            &resource.policy,
            self.autoscaled.contains(&target),
        );
        self.notes.extend(left.into_iter().map(|left| Note {
            severity: Severity::Info,
            id: Some(resource.id.clone()),
            message: format!("{} of {} is left to {}", left.path, resource.id, left.owner.manager),
        }));
        let mut body = body;
        if let Some(live) = live {
            let undone = undo::undo_removed(&resource.gvk, live, &mut body, &self.inputs.environment.manager);
            self.notes.extend(undone.into_iter().map(|message| info(&resource.id, message)));
        }
        let mut asked = body.clone();
        let _ = late::fill(&mut asked, &|late| Some(json!(late.sample)));
        Subject { body, asked, stage: Stage::Refused }
    }

    /// Looks at one resource for the first time; gives the question about it, if one is needed.
    fn open(
        &mut self,
        number: usize,
        resource: &Resource,
        all: &[Resource],
        subject: &mut Subject,
    ) -> Option<Question> {
        if let Some(refusal) = self.refuse_at_sight(resource, all) {
            self.refusals.push(refusal);
            return None;
        }
        let target = Target { gvk: &resource.gvk, id: &resource.id, resource: Some((number, resource)) };
        if !self.inputs.observation.kinds.contains_key(&resource.gvk) {
            let checked = Checked::Offline { why: "its kind is only made by this plan".to_owned() };
            let change = target.create(&self.inputs.environment, &subject.body, &subject.asked, checked);
            subject.stage = Stage::Decided(Box::new(change));
            return None;
        }
        if let Some(live) = self.inputs.observation.live.get(&resource.id) {
            if !self.inputs.full && self.is_proven(resource, subject, live) {
                subject.stage = Stage::Unchanged;
                return None;
            }
            if live.pointer("/metadata/deletionTimestamp").is_some() && owner(live).is_some() {
                let why = vec!["it is being deleted already".to_owned()];
                let mut change =
                    target.replace(&self.inputs.environment, &subject.body, &subject.asked, live, why);
                // Nothing more is lost than is lost already.
                change.loses.clear();
                change.guard = None;
                subject.stage = Stage::Decided(Box::new(change));
                return None;
            }
            if !self.settle_conflicts(resource, subject) {
                return None;
            }
        }
        let absent = resource
            .id
            .namespace
            .as_ref()
            .is_some_and(|name| !self.inputs.observation.namespaces.contains(name));
        let probe = absent.then_some(PROBE_NAMESPACE);
        subject.stage = Stage::Asked { probe };
        Some(match probe {
            Some(_) => probe_question(number, resource, &subject.asked, probe),
            None => Question {
                resource: number,
                gvk: resource.gvk.clone(),
                id: resource.id.clone(),
                body: subject.asked.clone(),
                force: true,
            },
        })
    }

    fn is_proven(&self, resource: &Resource, subject: &Subject, live: &Value) -> bool {
        let Some((uid, hashes)) = self.inputs.recorded.get(&resource.id) else { return false };
        live.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid)
            && live.pointer("/metadata/deletionTimestamp").is_none()
            && proof::unchanged(
                hashes,
                &subject.body,
                live,
                &self.inputs.environment.manager,
                &noise(&resource.gvk),
                &*self.inputs.environment.fingerprint,
            )
    }

    /// What the inventory knows about the body last sent.
    fn sent(&self, resource: &Resource, body: &Value) -> Sent {
        match self.inputs.recorded.get(&resource.id) {
            None => Sent::Never,
            Some((_, hashes)) if hashes.sent == proof::sent(body, &*self.inputs.environment.fingerprint) => {
                Sent::Same
            }
            Some(_) => Sent::Changed,
        }
    }

    /// Takes one answer; gives the next question, if one is needed.
    fn take(&mut self, number: usize, all: &[Resource], answer: Answer) -> Option<Question> {
        let resource = &all[number];
        let stage = std::mem::replace(&mut self.subjects[number].stage, Stage::Refused);
        let environment = &self.inputs.environment;
        let target = Target { gvk: &resource.gvk, id: &resource.id, resource: Some((number, resource)) };
        let subject = &self.subjects[number];
        let live = self.inputs.observation.live.get(&resource.id);
        match (stage, answer, live) {
            (Stage::Asked { probe: Some(namespace) }, Answer::Accepted(after), _) => {
                let after = under_own_name(after, &subject.asked);
                let checked = Checked::Probe { namespace: namespace.to_owned() };
                let change = target.create(environment, &subject.body, &after, checked);
                self.subjects[number].stage = Stage::Decided(Box::new(change));
            }
            (Stage::Asked { probe: None }, Answer::Accepted(after), None) => {
                let change = target.create(environment, &subject.body, &after, Checked::Server);
                self.subjects[number].stage = Stage::Decided(Box::new(change));
            }
            (Stage::Asked { probe: None }, Answer::Accepted(after), Some(live)) => {
                let sent = self.sent(resource, &subject.body);
                let change = target.update(environment, &subject.body, live, &after, sent);
                if owner(live).is_none() {
                    self.notes.push(Note {
                        severity: Severity::Warning,
                        id: Some(resource.id.clone()),
                        message: format!("{} is there already, and is taken into the stack", resource.id),
                    });
                }
                match change {
                    None => self.subjects[number].stage = Stage::Unchanged,
                    Some(change) if change.action == Action::Replace => {
                        self.settle_replacement(number, resource, change);
                    }
                    Some(change) => self.subjects[number].stage = Stage::Decided(Box::new(change)),
                }
            }
            (Stage::Asked { probe }, Answer::Rejected(rejection), None) => {
                let ruling = rejection::classify_create(&rejection);
                match self.unanswerable(resource, all, probe, &rejection, &ruling) {
                    Some(why) => {
                        let checked = Checked::Offline { why };
                        let change = target.create(environment, &subject.body, &subject.asked, checked);
                        self.subjects[number].stage = Stage::Decided(Box::new(change));
                    }
                    None => self.refusals.extend(refuse::ruling(resource, ruling)),
                }
            }
            (Stage::Asked { .. }, Answer::Rejected(rejection), Some(live)) => {
                let live = live.clone();
                return self.rule(number, resource, &live, rejection, None);
            }
            (Stage::Probed { rejection }, answer, Some(live)) => {
                let live = live.clone();
                return self.rule(number, resource, &live, rejection, Some(&answer));
            }
            (stage, ..) => self.subjects[number].stage = stage,
        }
        None
    }

    /// Why the rejection of a create says nothing about it: it was asked about where other rules hold, or before something that
    /// this plan makes first.
    fn unanswerable(
        &self,
        resource: &Resource,
        all: &[Resource],
        probe: Option<&'static str>,
        rejection: &Rejection,
        ruling: &Ruling,
    ) -> Option<String> {
        if let (Some(namespace), Ruling::Forbidden { .. } | Ruling::Quota { .. }) = (probe, ruling) {
            return Some(format!(
                "it may not be asked about in the namespace {namespace}: {}",
                rejection.message
            ));
        }
        let missing = resource.needs.iter().map(|need| &all[need.on].id).find(|needed| {
            !self.inputs.observation.live.contains_key(needed) && rejection.message.contains(&needed.name)
        })?;
        matches!(rejection.code, 403 | 404)
            .then(|| format!("{missing}, which it needs, is only made by this plan"))
    }

    /// Rules on a rejected update.
    fn rule(
        &mut self,
        number: usize,
        resource: &Resource,
        live: &Value,
        rejection: Rejection,
        probe: Option<&Answer>,
    ) -> Option<Question> {
        let rules = rules(&resource.gvk);
        let subject = &self.subjects[number];
        let environment = &self.inputs.environment;
        let changed = differences(live, &subject.asked, &environment.manager);
        match rejection::classify(&rejection, &changed, rules.immutable(), rules.name_is_spec(), probe) {
            Ruling::NeedsProbe => {
                let question = probe_question(number, resource, &subject.asked, None);
                self.subjects[number].stage = Stage::Probed { rejection };
                Some(question)
            }
            Ruling::Replace { reasons } => {
                let target =
                    Target { gvk: &resource.gvk, id: &resource.id, resource: Some((number, resource)) };
                let change = target.replace(environment, &subject.body, &subject.asked, live, reasons);
                self.settle_replacement(number, resource, change);
                None
            }
            ruling => {
                self.refusals.extend(refuse::ruling(resource, ruling));
                None
            }
        }
    }

    /// What loses an address or data is agreed to in the program, not only at the prompt.
    fn settle_replacement(&mut self, number: usize, resource: &Resource, change: Change) {
        let ours = change.live.as_ref().is_some_and(|live| owner(live).is_some())
            || self.inputs.recorded.contains_key(&resource.id);
        if !ours {
            self.refusals.push(refuse::foreign_replacement(resource, &change));
        } else if resource.policy.protect || (change.guard.is_some() && !resource.policy.allow_replace) {
            self.refusals.push(refuse::replacement(resource, &change));
        } else {
            self.subjects[number].stage = Stage::Decided(Box::new(change));
        }
    }

    /// What the rules of its kind remark about a change.
    fn remark(&mut self, change: &Change, asked: &Value) {
        let rules = rules(&change.gvk);
        let live = change.live.as_ref().filter(|_| change.action == Action::Update);
        let warnings = rules.warnings(asked).into_iter().map(|message| (Severity::Warning, message));
        let notes = rules.notes(live, asked).into_iter().map(|message| (Severity::Info, message));
        let id = Some(change.id.clone());
        self.notes.extend(warnings.chain(notes).map(|(severity, message)| Note {
            severity,
            id: id.clone(),
            message,
        }));
    }

    fn finish(mut self) -> Plan {
        let mut changes = Vec::new();
        let mut unchanged = Vec::new();
        let mut bodies = Vec::new();
        for (number, subject) in std::mem::take(&mut self.subjects).into_iter().enumerate() {
            match subject.stage {
                Stage::Decided(change) => {
                    self.remark(&change, &subject.asked);
                    changes.push(*change);
                    bodies.push(subject.asked);
                }
                Stage::Unchanged => unchanged.push(self.inputs.graph.resources[number].id.clone()),
                Stage::Asked { .. } | Stage::Probed { .. } | Stage::Refused => {}
            }
        }
        let prunes = prune::prunes(&self.inputs, &mut self.notes);
        self.check_quotas(&changes, &bodies);
        arrange::order(&mut changes, prunes, &self.inputs.graph);
        Plan {
            stack: self.inputs.graph.stack,
            namespace: self.inputs.graph.namespace,
            cluster: self.inputs.cluster,
            changes,
            unchanged,
            notes: self.notes,
            refusals: self.refusals,
        }
    }
}

/// Whose object it is, by its label.
pub(super) fn owner(live: &Value) -> Option<&str> {
    live.pointer("/metadata/labels")?.get(STACK_LABEL)?.as_str()
}

fn info(id: &ObjectId, message: String) -> Note {
    Note { severity: Severity::Info, id: Some(id.clone()), message }
}

fn probe_question(number: usize, resource: &Resource, body: &Value, namespace: Option<&str>) -> Question {
    let body = rejection::probe_body(body, namespace);
    let id = ObjectId::of(&body).unwrap_or_else(|| resource.id.clone());
    Question { resource: number, gvk: resource.gvk.clone(), id, body, force: false }
}

/// The answer about a probe, with the object's own name and namespace in it.
fn under_own_name(mut after: Value, body: &Value) -> Value {
    for field in ["name", "namespace"] {
        if let Some(value) = body.pointer(&format!("/metadata/{field}")) {
            after["metadata"][field] = value.clone();
        }
    }
    after
}
