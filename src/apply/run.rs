//! A run: drives the [`Schedule`] against a cluster, in one task, and tells what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::clock::Clock;
use super::event::{Outcome, Report, ResultOf, RunEvent};
use super::evidence;
use super::record::{RecordError, Recorder};
use super::request::{Deleting, Made, Requests};
use super::schedule::{Schedule, ScheduleError};
use super::unready::{Standing, Unready};
use super::wait::{Awaited, Deadlines, Turn, Until, Waits};
use super::watches::uid;
use crate::cluster::Cluster;
use crate::graph::{Gvk, ObjectId, Scope};
use crate::kinds::{KindRules, Missing};
use crate::observation::KindInfo;
use crate::plan::{Action, Change, Environment, Plan};

/// The inventory is written at most this often while a run goes on.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// How a run goes about it.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Requests under way at the same time; waits don't count.
    pub parallel: usize,
    /// `false`: only what another change needs ready is waited for.
    pub wait: bool,
    /// How long waits go on.
    pub deadlines: Deadlines,
}

impl Default for RunOptions {
    /// Sixteen requests at a time, waiting, with the default deadlines.
    fn default() -> Self {
        Self { parallel: 16, wait: true, deadlines: Deadlines::default() }
    }
}

/// Why a run did nothing at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan has refusals.
    #[error("the plan is refused for {count} reasons and can't be carried out")]
    Refused {
        /// How many there are.
        count: usize,
    },
    /// The plan's order is broken.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The lock or the inventory can't be had; nothing was touched.
    #[error("nothing was changed: {0}")]
    Record(#[from] RecordError),
}

/// Finds the rules of a kind: [`crate::kinds::rules`].
pub type FindRules = fn(&Gvk) -> &'static dyn KindRules;

/// A plan, and everything needed to carry it out.
pub struct Run {
    /// The cluster it was made for.
    pub cluster: Arc<dyn Cluster>,
    /// The plan.
    pub plan: Plan,
    /// What it doesn't change and is waited for too, once the changes are done.
    pub unready: Vec<Unready>,
    /// Who applies: what the plan was made with.
    pub environment: Environment,
    /// The kinds that were observed; others are looked up when they are needed.
    pub kinds: BTreeMap<Gvk, KindInfo>,
    /// The rules of kinds.
    pub rules: FindRules,
    /// How.
    pub options: RunOptions,
    /// Who keeps the books.
    pub recorder: Arc<dyn Recorder>,
    /// Who is told. Nobody needs to listen.
    pub events: mpsc::UnboundedSender<RunEvent>,
    /// Turns `true` when the run shall begin nothing new, let the requests under way end, and stop waiting. To end it at once, drop it.
    pub interrupt: watch::Receiver<bool>,
}

impl Run {
    /// Carries the plan out. A plan without changes writes nothing and records nothing; it only waits for what isn't ready.
    ///
    /// # Errors
    /// Only for what keeps the run from beginning; whatever goes wrong with a change stands in the report.
    pub async fn run(self) -> Result<Report, RunError> {
        if !self.plan.refusals.is_empty() {
            return Err(RunError::Refused { count: self.plan.refusals.len() });
        }
        let start = Instant::now();
        let schedule =
            Schedule::new(self.plan.changes.iter().map(|change| &change.after), self.options.parallel)?;
        let ids: Vec<_> = self.plan.changes.iter().map(|change| change.id.clone()).collect();
        if !ids.is_empty() {
            self.recorder.begin(&ids).await?;
        }

        let clock = Clock::start();
        let versions =
            self.plan.changes.iter().map(|change| (change.id.clone(), change.gvk.clone())).collect();
        let requests = Requests::new(Arc::clone(&self.cluster), self.environment, self.kinds, versions);
        let steps = self.plan.changes.into_iter().map(Step::new).collect();
        let driver = Driver {
            waits: Waits::new(Arc::clone(&self.cluster), clock, self.options.deadlines),
            cluster: self.cluster,
            requests: Arc::new(requests),
            rules: self.rules,
            wait: self.options.wait,
            recorder: self.recorder,
            events: self.events,
            clock,
            start,
            schedule,
            steps,
            standing: Standing::new(if self.options.wait { self.unready } else { Vec::new() }),
            tasks: FuturesUnordered::new(),
            unserved: BTreeMap::new(),
            unserved_pause: Duration::ZERO,
            flush: Flush::Clean,
            stopped: None,
            interrupted: false,
            stale: false,
        };
        Ok(driver.drive(self.interrupt).await)
    }
}

/// One change on its way.
struct Step {
    change: Change,
    /// The live object that the plan was made from.
    before: Option<Value>,
    /// Seconds since the epoch; once begun.
    began_at: Option<f64>,
    /// The first half of a replacement is done.
    deleted: bool,
    result: Option<ResultOf>,
}

impl Step {
    fn new(change: Change) -> Self {
        Self { before: change.live.clone(), change, began_at: None, deleted: false, result: None }
    }
}

/// What ended in the background.
enum Ended {
    Made { n: usize, sent_at: f64, made: Box<Result<Made, ResultOf>> },
    Deleting { n: usize, deleting: Result<Deleting, ResultOf> },
    LookedFor { n: usize, awaited: Box<Awaited>, live: Result<Option<Value>, ResultOf> },
    Evidence { n: usize, result: ResultOf },
    Discovered { served: BTreeSet<Gvk> },
    Flushed(Result<(), RecordError>),
}

#[derive(Clone, Copy, PartialEq)]
enum Flush {
    /// Nothing is noted that isn't written.
    Clean,
    /// To be written then.
    Due(Instant),
    /// Being written; `true`: and more was noted since.
    Writing(bool),
}

type Task = Pin<Box<dyn Future<Output = Ended> + Send>>;

struct Driver {
    cluster: Arc<dyn Cluster>,
    requests: Arc<Requests>,
    rules: FindRules,
    wait: bool,
    recorder: Arc<dyn Recorder>,
    events: mpsc::UnboundedSender<RunEvent>,
    clock: Clock,
    start: Instant,
    schedule: Schedule,
    steps: Vec<Step>,
    /// Numbered after the steps.
    standing: Standing,
    tasks: FuturesUnordered<Task>,
    waits: Waits,
    /// CRDs that are established, with the kinds that discovery doesn't list yet, and since when it is asked.
    unserved: BTreeMap<usize, (BTreeSet<Gvk>, f64)>,
    unserved_pause: Duration,
    flush: Flush,
    /// Why nothing new is begun any more.
    stopped: Option<String>,
    interrupted: bool,
    stale: bool,
}

impl Driver {
    async fn drive(mut self, mut interrupt: watch::Receiver<bool>) -> Report {
        let recorder = Arc::clone(&self.recorder);
        let mut lost = recorder.lost();
        let mut lock_is_ours = true;
        loop {
            while let Some(n) = self.schedule.begin_next() {
                self.begin(n);
            }
            if self.is_over() && !self.begin_standing() {
                break;
            }
            let flush_at = if let Flush::Due(at) = self.flush { Some(at) } else { None };
            tokio::select! {
                biased;
                () = asked(&mut interrupt), if !self.interrupted => self.interrupt(),
                why = &mut lost, if lock_is_ours => {
                    lock_is_ours = false;
                    self.stop(why);
                }
                Some(ended) = self.tasks.next() => self.ended(ended),
                turns = self.waits.next(), if !self.waits.is_empty() => self.turns(turns),
                () = sleep_until(flush_at) => self.start_flush(),
            }
        }
        drop(lost);
        self.skip_unbegun();
        let report = self.report();
        if !self.steps.is_empty()
            && let Err(error) = recorder.finish(&report).await
        {
            self.unrecorded(&error);
        }
        report
    }

    /// Nothing is under way, no flush either: it holds the books, which the end wants to write.
    fn is_over(&self) -> bool {
        self.tasks.is_empty() && self.waits.is_empty()
    }

    /// Waits for what doesn't change; `false` if there is nothing more to begin. After a failure, what is missing may be what failed.
    fn begin_standing(&mut self) -> bool {
        let done = |step: &Step| step.result == Some(ResultOf::Done);
        if self.standing.began_at.is_some() || self.stopped.is_some() || !self.steps.iter().all(done) {
            return false;
        }
        for (at, awaited) in self.standing.begin(self.clock.now()).into_iter().enumerate() {
            self.begin_wait(self.steps.len() + at, (self.rules)(&awaited.kind.gvk), awaited);
        }
        !self.is_over()
    }

    fn id(&self, n: usize) -> &ObjectId {
        match self.steps.get(n) {
            Some(step) => &step.change.id,
            None => self.standing.id(n - self.steps.len()),
        }
    }

    fn begin(&mut self, n: usize) {
        let step = &mut self.steps[n];
        let change = step.change.clone();
        if step.began_at.is_none() {
            step.began_at = Some(self.clock.now());
            let _ = self.events.send(RunEvent::Started {
                change: n,
                id: change.id.clone(),
                action: change.action,
            });
        }
        let requests = Arc::clone(&self.requests);
        let deletes = change.action == Action::Delete || (change.action == Action::Replace && !step.deleted);
        let sent_at = self.clock.now();
        let task: Task = if deletes {
            Box::pin(async move { Ended::Deleting { n, deleting: requests.delete(change).await } })
        } else {
            Box::pin(async move { Ended::Made { n, sent_at, made: Box::new(requests.make(change).await) } })
        };
        self.tasks.push(task);
    }

    fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Made { n, sent_at, made } => match *made {
                Ok(made) => self.made(n, made, sent_at),
                Err(result) => self.fail(n, result),
            },
            Ended::Deleting { n, deleting } => match deleting {
                Ok(Deleting::Gone) => self.gone(n),
                Ok(Deleting::Accepted(change, object)) => self.deleting(n, *change, object),
                Ok(Deleting::Nothing(change, object)) => {
                    let made = Made { change: *change, object, adopted: false };
                    self.made(n, made, self.clock.now());
                }
                Err(result) => self.fail(n, result),
            },
            Ended::LookedFor { n, awaited, live } => self.looked_for(n, *awaited, live),
            Ended::Evidence { n, result } => self.fail(n, result),
            Ended::Discovered { served } => self.discovered(&served),
            Ended::Flushed(result) => {
                let more = self.flush == Flush::Writing(true);
                self.flush = if more { Flush::Due(Instant::now() + FLUSH_EVERY) } else { Flush::Clean };
                if let Err(error) = result {
                    self.unrecorded(&error);
                }
            }
        }
    }

    /// The API server has it.
    fn made(&mut self, n: usize, made: Made, sent_at: f64) {
        let Made { change, object, adopted } = made;
        self.recorder.applied(&change, &object);
        self.noted();
        let id = change.id.clone();
        let waits = !change.policy.no_wait && (self.wait || self.schedule.is_needed_ready(n));
        let _ = self.events.send(RunEvent::Applied { change: n, id: id.clone(), adopted, done: !waits });
        self.schedule.applied(n);
        if !waits {
            return self.done(n);
        }
        let rules = (self.rules)(&change.gvk);
        let kind = self.kind_of(&change);
        let before = self.steps[n].before.take().filter(|_| change.action == Action::Update);
        // Events carry whole seconds.
        let applied_at = sent_at.floor();
        let policy = change.policy.clone();
        self.steps[n].change = change;
        let awaited = Awaited { id, kind, policy, object, before, applied_at, until: Until::Ready };
        self.begin_wait(n, rules, awaited);
    }

    /// A deletion is on its way.
    fn deleting(&mut self, n: usize, change: Change, object: Value) {
        let replaces = change.action == Action::Replace;
        if !replaces && !self.wait && !self.schedule.is_needed(n) {
            return self.deleted(n, true);
        }
        self.schedule.park(n);
        let rules = (self.rules)(&change.gvk);
        let awaited = Awaited {
            id: change.id.clone(),
            kind: self.kind_of(&change),
            policy: change.policy.clone(),
            object,
            before: None,
            applied_at: self.clock.now(),
            until: Until::Gone,
        };
        self.steps[n].change = change;
        self.begin_wait(n, rules, awaited);
    }

    /// After an interrupt only the first look counts.
    fn begin_wait(&mut self, n: usize, rules: &'static dyn KindRules, awaited: Awaited) {
        let turns = self.waits.begin(n, rules, awaited);
        self.turns(turns);
        if self.interrupted {
            self.abandon_waits();
        }
    }

    fn gone(&mut self, n: usize) {
        let step = &mut self.steps[n];
        if step.change.action == Action::Replace {
            step.deleted = true;
            self.schedule.resume(n);
            return;
        }
        self.deleted(n, false);
        self.tell_ready(n, None);
    }

    fn deleted(&mut self, n: usize, done: bool) {
        let id = self.steps[n].change.id.clone();
        self.recorder.forget(&id);
        self.noted();
        let _ = self.events.send(RunEvent::Applied { change: n, id, adopted: false, done });
        self.done(n);
    }

    fn turns(&mut self, turns: Vec<Turn>) {
        for turn in turns {
            self.turn(turn);
        }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Waiting { change: n, missing } => {
                let id = self.id(n).clone();
                let _ = self.events.send(RunEvent::Waiting { change: n, id, missing });
            }
            Turn::Ready { change: n, note } => self.ready(n, note),
            Turn::Gone { change: n } => self.gone(n),
            Turn::Failed { change: n, missing, terminal } => self.not_ready(n, missing, terminal),
            Turn::Vanished { change: n, awaited } => {
                let requests = Arc::clone(&self.requests);
                self.tasks.push(Box::pin(async move {
                    let live = requests.get(&awaited.kind.gvk, &awaited.id).await;
                    Ended::LookedFor { n, awaited, live }
                }));
            }
            Turn::Broken { change: n, message } => self.fail(n, ResultOf::Error { message }),
        }
    }

    fn looked_for(&mut self, n: usize, mut awaited: Awaited, live: Result<Option<Value>, ResultOf>) {
        match live {
            Ok(Some(live)) if uid(&live) == uid(&awaited.object) => {
                awaited.object = live;
                self.begin_wait(n, (self.rules)(&awaited.kind.gvk), awaited);
            }
            Ok(_) => {
                let reason = "somebody deleted it while it was waited for".to_owned();
                let missing = Missing { code: "Deleted".to_owned(), reason, ..Missing::default() };
                self.fail(n, ResultOf::NotReady { missing, logs: Vec::new(), terminal: true });
            }
            Err(result) => self.fail(n, result),
        }
    }

    fn ready(&mut self, n: usize, note: Option<String>) {
        let defined = self.steps.get(n).map(|step| defined_kinds(&step.change)).unwrap_or_default();
        if !defined.is_empty() && !self.unserved.contains_key(&n) {
            // Established is not served yet: discovery and the kind's paths lag behind.
            let ask = self.unserved.is_empty();
            self.unserved.insert(n, (defined, self.clock.now()));
            if ask {
                self.unserved_pause = Duration::ZERO;
                self.discover();
            }
            return;
        }
        self.tell_ready(n, note);
        self.done(n);
    }

    fn tell_ready(&self, n: usize, note: Option<String>) {
        let began_at = self.steps.get(n).map_or(self.standing.began_at, |step| step.began_at);
        let seconds = began_at.map_or(0.0, |began_at| self.clock.now() - began_at);
        let _ = self.events.send(RunEvent::Ready { change: n, id: self.id(n).clone(), note, seconds });
    }

    /// Asks for every kind that isn't served yet, all at once.
    fn discover(&mut self) {
        let wanted: Vec<Gvk> = self.unserved.values().flat_map(|(kinds, _)| kinds.iter().cloned()).collect();
        let (requests, pause) = (Arc::clone(&self.requests), self.unserved_pause);
        self.unserved_pause = (pause * 2).clamp(Duration::from_millis(50), Duration::from_secs(2));
        self.tasks.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let found = requests.discover_anew(&wanted).await.unwrap_or_default();
            Ended::Discovered { served: found.into_iter().map(|kind| kind.gvk).collect() }
        }));
    }

    fn discovered(&mut self, served: &BTreeSet<Gvk>) {
        const PATIENCE: f64 = 60.0;
        let now = self.clock.now();
        for (kinds, _) in self.unserved.values_mut() {
            kinds.retain(|kind| !served.contains(kind));
        }
        let over = |kinds: &BTreeSet<Gvk>, since: f64| kinds.is_empty() || now - since >= PATIENCE;
        let ended: Vec<usize> =
            self.unserved.iter().filter(|(_, (kinds, since))| over(kinds, *since)).map(|(n, _)| *n).collect();
        for n in ended {
            let Some((kinds, _)) = self.unserved.remove(&n) else { continue };
            match kinds.first() {
                None => {
                    self.tell_ready(n, None);
                    self.done(n);
                }
                Some(kind) => {
                    let reason = format!("{kind} is established, but discovery still does not list it");
                    let missing = Missing { code: "NotServed".to_owned(), reason, ..Missing::default() };
                    self.fail(n, ResultOf::NotReady { missing, logs: Vec::new(), terminal: false });
                }
            }
        }
        if !self.unserved.is_empty() {
            self.discover();
        }
    }

    fn not_ready(&mut self, n: usize, missing: Missing, terminal: bool) {
        let (cluster, namespace) = (Arc::clone(&self.cluster), self.id(n).namespace.clone());
        self.tasks.push(Box::pin(async move {
            let logs = evidence::logs(cluster.as_ref(), namespace.as_deref(), &missing.evidence).await;
            Ended::Evidence { n, result: ResultOf::NotReady { missing, logs, terminal } }
        }));
    }

    fn done(&mut self, n: usize) {
        let Some(step) = self.steps.get_mut(n) else {
            return self.standing.end(n - self.steps.len(), ResultOf::Done);
        };
        step.result = Some(ResultOf::Done);
        self.schedule.done(n);
    }

    fn fail(&mut self, n: usize, result: ResultOf) {
        let id = self.id(n).clone();
        let _ = self.events.send(RunEvent::Failed { change: n, id: id.clone(), result: result.clone() });
        if n >= self.steps.len() {
            return self.standing.end(n - self.steps.len(), result);
        }
        if let ResultOf::Stale { message } = &result {
            self.stale = true;
            self.stop(format!("the plan is stale: {message}"));
        }
        self.steps[n].result = Some(result);
        for skip in self.schedule.failed(n) {
            let needs = &self.steps[skip.needs].change.id;
            let because = if skip.needs == n {
                format!("it needs {needs}, which failed")
            } else {
                format!("it needs {needs}, which needs {id}, which failed")
            };
            self.skip(skip.change, because);
        }
    }

    fn skip(&mut self, n: usize, because: String) {
        let id = self.steps[n].change.id.clone();
        let _ = self.events.send(RunEvent::Skipped { change: n, id, because: because.clone() });
        self.steps[n].result = Some(ResultOf::Skipped { because });
    }

    fn stop(&mut self, why: String) {
        self.schedule.stop();
        self.stopped.get_or_insert(why);
    }

    fn interrupt(&mut self) {
        self.interrupted = true;
        self.stop("the run was interrupted".to_owned());
        self.abandon_waits();
    }

    fn abandon_waits(&mut self) {
        for n in self.waits.changes() {
            let missing = self.waits.abandon(n);
            self.interrupted_wait(n, missing);
        }
        for n in std::mem::take(&mut self.unserved).into_keys() {
            self.interrupted_wait(n, None);
        }
    }

    fn interrupted_wait(&mut self, n: usize, missing: Option<Missing>) {
        let what = match self.steps.get(n).map(|step| (step.change.action, step.deleted)) {
            None => "it is as declared, but was not waited for until it works",
            Some((Action::Delete, _)) => "it was deleted, but not waited for until it is gone",
            Some((Action::Replace, false)) => {
                "it is being deleted to be replaced; the next run creates it again"
            }
            Some(_) => "it was applied, but not waited for until it works",
        };
        let last = missing.map(|missing| format!(" ({})", missing.reason)).unwrap_or_default();
        let missing = Missing {
            code: "Interrupted".to_owned(),
            reason: format!("the run was interrupted: {what}{last}"),
            ..Missing::default()
        };
        self.fail(n, ResultOf::NotReady { missing, logs: Vec::new(), terminal: false });
    }

    fn skip_unbegun(&mut self) {
        let because = self.stopped.clone().unwrap_or_else(|| "what it needs never came".to_owned());
        for n in self.schedule.unbegun() {
            self.skip(n, because.clone());
        }
    }

    fn report(&mut self) -> Report {
        let results: Vec<_> = self
            .steps
            .iter_mut()
            .map(|step| {
                let unknown = || ResultOf::Error {
                    message: "the run ended while this was under way; the next run finds out how it went"
                        .to_owned(),
                };
                (step.change.id.clone(), step.change.action, step.result.take().unwrap_or_else(unknown))
            })
            .collect();
        let unchanged = self.standing.results();
        let any = |wanted: fn(&ResultOf) -> bool| {
            results.iter().any(|(_, _, result)| wanted(result))
                || unchanged.iter().any(|(_, result)| wanted(result))
        };
        let outcome = if self.interrupted {
            Outcome::Interrupted
        } else if self.stale {
            Outcome::Stale
        } else if any(|result| matches!(result, ResultOf::Refused { .. } | ResultOf::Error { .. })) {
            Outcome::Failed
        } else if any(|result| matches!(result, ResultOf::NotReady { .. })) {
            Outcome::NotReady
        } else if any(|result| matches!(result, ResultOf::Skipped { .. })) {
            Outcome::Failed
        } else {
            Outcome::Done
        };
        let seconds = self.start.elapsed().as_secs_f64();
        Report { results, unchanged, outcome, seconds, writes: self.requests.writes() }
    }

    fn noted(&mut self) {
        self.flush = match self.flush {
            Flush::Clean => Flush::Due(Instant::now() + FLUSH_EVERY),
            Flush::Writing(_) => Flush::Writing(true),
            due @ Flush::Due(_) => due,
        };
    }

    fn start_flush(&mut self) {
        self.flush = Flush::Writing(false);
        let recorder = Arc::clone(&self.recorder);
        self.tasks.push(Box::pin(async move { Ended::Flushed(recorder.flush().await) }));
    }

    fn unrecorded(&self, error: &RecordError) {
        let _ = self.events.send(RunEvent::Unrecorded { message: error.to_string() });
    }

    fn kind_of(&self, change: &Change) -> KindInfo {
        // Its request was answered, so it is known; should it not be, the watch says so.
        self.requests.known_kind(&change.gvk).unwrap_or_else(|| KindInfo {
            gvk: change.gvk.clone(),
            plural: String::new(),
            scope: if change.id.namespace.is_some() { Scope::Namespaced } else { Scope::Cluster },
            verbs: Vec::new(),
        })
    }
}

/// The kinds that a CustomResourceDefinition makes the server serve; none for anything else.
fn defined_kinds(change: &Change) -> BTreeSet<Gvk> {
    if change.gvk.group != "apiextensions.k8s.io" || change.gvk.kind != "CustomResourceDefinition" {
        return BTreeSet::new();
    }
    let text = |pointer| change.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, kind) = (text("/spec/group"), text("/spec/names/kind"));
    let versions = change.body.pointer("/spec/versions").and_then(Value::as_array);
    let served = versions.into_iter().flatten().filter(|version| version["served"] != Value::Bool(false));
    served.filter_map(|version| version["name"].as_str()).map(|name| Gvk::new(group, name, kind)).collect()
}

async fn asked(interrupt: &mut watch::Receiver<bool>) {
    if interrupt.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
