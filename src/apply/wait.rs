//! Waits: until an object works, or until it is gone. Driven by watches; each says what is missing, and ends early on what can't heal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::clock::Clock;
use super::gone;
use super::related::Subscription;
use super::watches::{Cache, Place, Seen, WatchKey, Watches, What, place, uid};
use crate::cluster::{Cluster, Selection};
use crate::graph::{ObjectId, Policy, STACK_LABEL};
use crate::kinds::{Context, Evidence, KindRules, Missing, Related, Verdict};
use crate::observation::KindInfo;

/// How long waits go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Without progress; a resource's policy can say otherwise.
    pub no_progress: Duration,
    /// In all. A resource whose policy allows longer without progress gets that.
    pub in_all: Duration,
}

impl Default for Deadlines {
    /// Four minutes without progress, thirty in all.
    fn default() -> Self {
        Self { no_progress: Duration::from_mins(4), in_all: Duration::from_mins(30) }
    }
}

/// An object to wait for.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) id: ObjectId,
    pub(crate) kind: KindInfo,
    pub(crate) policy: Policy,
    /// As the server last answered.
    pub(crate) object: Value,
    /// As it was before the run touched it.
    pub(crate) before: Option<Value>,
    /// Seconds since the epoch.
    pub(crate) applied_at: f64,
    pub(crate) until: Until,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Ready,
    Gone,
}

/// What a wait has come to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The reason has changed.
    Waiting { change: usize, missing: Missing },
    /// It works; the wait is over.
    Ready { change: usize, note: Option<String> },
    /// It is gone; the wait is over.
    Gone { change: usize },
    /// It doesn't work; the wait is over. `terminal`: it can't heal, else time ran out.
    Failed { change: usize, missing: Missing, terminal: bool },
    /// The watch shows it no more. The wait is over, unless a GET finds the object.
    Vanished { change: usize, awaited: Box<Awaited> },
    /// It can't be watched; the wait is over.
    Broken { change: usize, message: String },
}

struct Wait {
    awaited: Awaited,
    key: Arc<WatchKey>,
    place: Place,
    rules: &'static dyn KindRules,
    uid: Option<String>,
    generation: Option<i64>,
    began_at: f64,
    progressed_at: f64,
    best: Option<Vec<i64>>,
    shown: Option<(String, String)>,
    /// When it must be looked at again, whatever the watches show.
    wake_at: f64,
    asked: BTreeSet<Related>,
    subscriptions: Vec<Subscription>,
    related: Vec<Value>,
}

/// Every wait of a run.
pub(crate) struct Waits {
    clock: Clock,
    deadlines: Deadlines,
    watches: Watches,
    all: BTreeMap<usize, Wait>,
    /// Who waits for the object there.
    awaiting: HashMap<(Arc<WatchKey>, Place), usize>,
    /// Whose verdicts want to see what the watch shows.
    subscribers: HashMap<Arc<WatchKey>, BTreeSet<usize>>,
}

impl Waits {
    pub(crate) fn new(cluster: Arc<dyn Cluster>, clock: Clock, deadlines: Deadlines) -> Self {
        Self {
            clock,
            deadlines,
            watches: Watches::new(cluster),
            all: BTreeMap::new(),
            awaiting: HashMap::new(),
            subscribers: HashMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Begins to wait for change `change`. What is ready at first look costs no request.
    pub(crate) fn begin(
        &mut self,
        change: usize,
        rules: &'static dyn KindRules,
        awaited: Awaited,
    ) -> Vec<Turn> {
        let now = self.clock.now();
        let (Some(place), uid) = (place(&awaited.object), uid(&awaited.object).map(str::to_owned)) else {
            let message = format!("the server's answer for {} has no name", awaited.id);
            return vec![Turn::Broken { change, message }];
        };
        let generation = awaited.object.pointer("/metadata/generation").and_then(Value::as_i64);
        let selection = selection(&awaited.object, &place);
        let mut wait = Wait {
            key: Arc::new(WatchKey { gvk: awaited.kind.gvk.clone(), selection: selection.clone() }),
            place,
            rules,
            uid,
            generation,
            began_at: now,
            progressed_at: now,
            best: None,
            shown: None,
            wake_at: now,
            asked: BTreeSet::new(),
            subscriptions: Vec::new(),
            related: Vec::new(),
            awaited,
        };
        if wait.awaited.until == Until::Ready
            && let Some(note) = wait.ready_at_first_look(now)
        {
            return vec![Turn::Ready { change, note }];
        }
        wait.key = self.watches.open(&wait.awaited.kind, selection, true);
        self.awaiting.insert((Arc::clone(&wait.key), wait.place.clone()), change);
        let key = Arc::clone(&wait.key);
        let (place, until) = (wait.place.clone(), wait.awaited.until);
        self.all.insert(change, wait);
        let cache = self.watches.cache(&key);
        if let Some(message) = cache.and_then(|cache| cache.broken()).map(str::to_owned) {
            return self.end(change, |wait| Some(wait.broken(change, &message))).into_iter().collect();
        }
        let mut turns = Vec::new();
        if cache.is_some_and(|cache| cache.get(&place).is_some()) {
            turns.extend(self.see(change));
        } else if until == Until::Gone && cache.is_some_and(Cache::is_settled) {
            // It was there before the watch began.
            return self.end(change, |_| Some(Turn::Gone { change })).into_iter().collect();
        }
        if self.all.contains_key(&change) {
            turns.extend(self.look(change));
        }
        turns
    }

    /// Ends the wait for `change`, if there is one, and says what was missing last.
    pub(crate) fn abandon(&mut self, change: usize) -> Option<Missing> {
        let mut last = None;
        self.end(change, |wait| {
            let (code, reason) = wait.shown?;
            last = Some(Missing { code, reason, ..Missing::default() });
            None
        });
        last
    }

    /// The changes that are being waited for.
    pub(crate) fn changes(&self) -> Vec<usize> {
        self.all.keys().copied().collect()
    }

    /// What the next event or deadline brings. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Vec<Turn> {
        let wake_at = self.all.values().map(|wait| wait.wake_at).fold(f64::INFINITY, f64::min);
        let timer = async {
            if wake_at.is_finite() {
                tokio::time::sleep_until(self.clock.instant(wake_at)).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let seen = tokio::select! {
            seen = self.watches.next() => seen,
            () = timer => Vec::new(),
        };
        self.observe(seen)
    }

    fn observe(&mut self, seen: Vec<Seen>) -> Vec<Turn> {
        let mut turns = Vec::new();
        let mut dirty = BTreeSet::new();
        for Seen { key, what } in seen {
            match what {
                What::Changed(place) => {
                    if let Some(&change) = self.awaiting.get(&(Arc::clone(&key), place.clone())) {
                        turns.extend(self.see(change));
                        dirty.insert(change);
                    }
                    self.relate(&key, &place, &mut dirty);
                }
                What::Gone(place, uid) => {
                    if let Some(&change) = self.awaiting.get(&(Arc::clone(&key), place)) {
                        turns.extend(self.vanished(change, Some(&uid)));
                    }
                    self.unrelate(&key, &uid, &mut dirty);
                }
                What::Synced => {
                    dirty.extend(self.subscribers.get(&key).into_iter().flatten());
                    for change in self.waiting_on(&key) {
                        let there = |wait: &Wait| {
                            self.watches.cache(&key).is_some_and(|cache| cache.get(&wait.place).is_some())
                        };
                        if self.all.get(&change).is_some_and(|wait| !there(wait)) {
                            turns.extend(self.vanished(change, None));
                        }
                    }
                }
                What::Broken => {
                    dirty.extend(self.subscribers.get(&key).into_iter().flatten());
                    let message = self
                        .watches
                        .cache(&key)
                        .and_then(|cache| cache.broken())
                        .unwrap_or_default()
                        .to_owned();
                    for change in self.waiting_on(&key) {
                        turns.extend(self.end(change, |wait| Some(wait.broken(change, &message))));
                    }
                }
            }
        }
        let now = self.clock.now();
        dirty.extend(self.all.iter().filter(|(_, wait)| wait.wake_at <= now).map(|(change, _)| *change));
        for change in dirty {
            turns.extend(self.look(change));
        }
        turns
    }

    fn waiting_on(&self, key: &Arc<WatchKey>) -> Vec<usize> {
        self.all.iter().filter(|(_, wait)| wait.key == *key).map(|(change, _)| *change).collect()
    }

    /// Takes over what the watch shows of the object itself.
    fn see(&mut self, change: usize) -> Option<Turn> {
        let wait = self.all.get_mut(&change)?;
        let object = self.watches.cache(&wait.key)?.get(&wait.place)?;
        if uid(object) != wait.uid.as_deref() {
            return match wait.awaited.until {
                Until::Gone => self.end(change, |_| Some(Turn::Gone { change })),
                // The watch can be behind: an older object of that name, deleted before ours was created.
                Until::Ready if is_older(object, &wait.awaited.object) => None,
                Until::Ready => self.end(change, |wait| {
                    let reason = "somebody deleted it and created another one of that name".to_owned();
                    let missing = Missing { code: "Replaced".to_owned(), reason, ..wait.shown_missing() };
                    Some(Turn::Failed { change, missing, terminal: true })
                }),
            };
        }
        if !is_older(object, &wait.awaited.object) {
            wait.awaited.object = object.clone();
        }
        None
    }

    /// The watch doesn't show the object any more.
    fn vanished(&mut self, change: usize, gone_uid: Option<&str>) -> Option<Turn> {
        let wait = self.all.get(&change)?;
        match wait.awaited.until {
            Until::Gone => self.end(change, |_| Some(Turn::Gone { change })),
            Until::Ready if gone_uid.is_some_and(|gone| wait.uid.as_deref() != Some(gone)) => None,
            // It can have lost the label, or the list be older than our answer: a GET will tell.
            Until::Ready => {
                self.end(change, |wait| Some(Turn::Vanished { change, awaited: Box::new(wait.awaited) }))
            }
        }
    }

    /// Updates what subscribers keep of another object.
    fn relate(&mut self, key: &Arc<WatchKey>, place: &Place, dirty: &mut BTreeSet<usize>) {
        let Some(subscribers) = self.subscribers.get(key) else { return };
        let Some(object) = self.watches.cache(key).and_then(|cache| cache.get(place)) else { return };
        let object_uid = uid(object);
        let about = object.pointer("/involvedObject/uid").and_then(Value::as_str);
        for change in subscribers {
            let Some(wait) = self.all.get_mut(change) else { continue };
            if about.is_some() {
                let known =
                    wait.uid.as_deref() == about || wait.related.iter().any(|other| uid(other) == about);
                if known {
                    dirty.insert(*change);
                }
                continue;
            }
            let wanted = wait.subscriptions.iter().any(|one| one.key == *key && one.wants(object));
            let known = wait.related.iter().position(|other| uid(other) == object_uid);
            match (wanted, known) {
                (true, Some(at)) => wait.related[at] = object.clone(),
                (true, None) => wait.related.push(object.clone()),
                (false, Some(at)) => drop(wait.related.swap_remove(at)),
                (false, None) => continue,
            }
            dirty.insert(*change);
        }
    }

    fn unrelate(&mut self, key: &Arc<WatchKey>, gone: &str, dirty: &mut BTreeSet<usize>) {
        for change in self.subscribers.get(key).into_iter().flatten() {
            let Some(wait) = self.all.get_mut(change) else { continue };
            let before = wait.related.len();
            wait.related.retain(|other| uid(other) != Some(gone));
            if wait.related.len() != before {
                dirty.insert(*change);
            }
        }
    }

    /// Judges again.
    fn look(&mut self, change: usize) -> Option<Turn> {
        let now = self.clock.now();
        self.subscribe(change);
        let wait = self.all.get_mut(&change)?;
        let mut missing = match wait.awaited.until {
            Until::Gone => gone::missing(&wait.awaited.object),
            Until::Ready => {
                let settled = wait
                    .subscriptions
                    .iter()
                    .all(|one| self.watches.cache(&one.key).is_some_and(Cache::is_settled));
                match wait.verdict(&self.watches, now) {
                    Verdict::Ready { note } => {
                        return self.end(change, |_| Some(Turn::Ready { change, note }));
                    }
                    Verdict::Suspended { reason } => {
                        return self.end(change, |_| Some(Turn::Ready { change, note: Some(reason) }));
                    }
                    Verdict::Terminating { finalizers } => {
                        let missing = gone::deleted_by_others(&finalizers);
                        return self.end(change, |_| Some(Turn::Failed { change, missing, terminal: true }));
                    }
                    // Judged without what it wants to see, «failed» would be a guess.
                    Verdict::Failed(missing) if settled => {
                        return self.end(change, |_| Some(Turn::Failed { change, missing, terminal: true }));
                    }
                    Verdict::Failed(missing) => {
                        Missing { look_again_at: None, progress: missing.progress, ..wait.shown_missing() }
                    }
                    Verdict::Progressing(missing) | Verdict::Stuck(missing) => missing,
                }
            }
        };
        wait.note_troubles(&self.watches, &mut missing);
        if wait.progressed(&missing.progress) {
            wait.progressed_at = now;
        }
        let (deadline, why) = wait.deadline(&self.deadlines);
        if now >= deadline {
            missing.reason = format!("{} ({why})", missing.reason);
            return self.end(change, |_| Some(Turn::Failed { change, missing, terminal: false }));
        }
        // A rule that asks to look again at once, over and over, gets a second.
        let again = missing.look_again_at.map_or(f64::INFINITY, |at| if at > now { at } else { now + 1.0 });
        wait.wake_at = deadline.min(again);
        let reason = (missing.code.clone(), missing.reason.clone());
        if missing.reason.is_empty() || wait.shown.as_ref() == Some(&reason) {
            return None;
        }
        wait.shown = Some(reason);
        Some(Turn::Waiting { change, missing })
    }

    /// Subscribes to what the rules want to see, which can change with the object.
    fn subscribe(&mut self, change: usize) {
        let Some(wait) = self.all.get_mut(&change) else { return };
        if wait.awaited.until == Until::Gone {
            return;
        }
        for related in wait.rules.related(&wait.awaited.object) {
            if !wait.asked.insert(related.clone()) {
                continue;
            }
            let one = Subscription::open(&related, wait.place.0.as_deref(), &mut self.watches);
            self.subscribers.entry(Arc::clone(&one.key)).or_default().insert(change);
            if let Some(cache) = self.watches.cache(&one.key) {
                wait.related.extend(cache.objects().filter(|object| one.wants(object)).cloned());
            }
            wait.subscriptions.push(one);
        }
    }

    fn end(&mut self, change: usize, turn: impl FnOnce(Wait) -> Option<Turn>) -> Option<Turn> {
        let wait = self.all.remove(&change)?;
        self.awaiting.remove(&(Arc::clone(&wait.key), wait.place.clone()));
        for one in &wait.subscriptions {
            if let Some(subscribers) = self.subscribers.get_mut(&one.key) {
                subscribers.remove(&change);
            }
        }
        turn(wait)
    }
}

impl Wait {
    /// `Some(note)` if it is ready without a look at anything else.
    #[expect(clippy::option_option, reason = "ready or not, and then with a note or without")]
    fn ready_at_first_look(&self, now: f64) -> Option<Option<String>> {
        match self.assess(&[], now) {
            Verdict::Ready { note } => Some(note),
            Verdict::Suspended { reason } => Some(Some(reason)),
            _ => None,
        }
    }

    fn verdict(&self, watches: &Watches, now: f64) -> Verdict {
        let events: Vec<Value> = self
            .subscriptions
            .iter()
            .filter_map(|one| Some(one.events(watches.cache(&one.key)?, &self.awaited.object, &self.related)))
            .flatten()
            .collect();
        if events.is_empty() {
            self.assess(&self.related, now)
        } else {
            self.assess(&[self.related.as_slice(), &events].concat(), now)
        }
    }

    fn assess(&self, related: &[Value], now: f64) -> Verdict {
        if let Some(finalizers) = gone::finalizers_if_deleted(&self.awaited.object) {
            return Verdict::Terminating { finalizers };
        }
        let context = Context {
            now,
            applied_at: self.awaited.applied_at,
            applied_uid: self.uid.as_deref(),
            applied_generation: self.generation,
            before: self.awaited.before.as_ref(),
            policy: &self.awaited.policy,
            related,
        };
        self.rules.assess(&self.awaited.object, &context)
    }

    /// Whether any of the numbers is larger than it ever was. One that goes down and up again is no progress.
    fn progressed(&mut self, progress: &[i64]) -> bool {
        let Some(best) = &mut self.best else {
            self.best = Some(progress.to_vec());
            return false;
        };
        let mut grown = false;
        for (at, &number) in progress.iter().enumerate() {
            match best.get_mut(at) {
                Some(best) if number <= *best => continue,
                Some(best) => *best = number,
                None => best.push(number),
            }
            grown = true;
        }
        grown
    }

    fn deadline(&self, deadlines: &Deadlines) -> (f64, String) {
        let grace = if self.awaited.until == Until::Gone {
            gone::grace(&self.awaited.object)
        } else {
            Duration::ZERO
        };
        let no_progress = self.awaited.policy.no_progress.unwrap_or(deadlines.no_progress) + grace;
        let in_all = deadlines.in_all.max(no_progress);
        let (stalls, ends) =
            (self.progressed_at + no_progress.as_secs_f64(), self.began_at + in_all.as_secs_f64());
        if stalls <= ends {
            (stalls, format!("no progress for {} s", no_progress.as_secs()))
        } else {
            (ends, format!("waited for {} s", in_all.as_secs()))
        }
    }

    /// A watch that is not allowed takes evidence away; that is told rather than left out.
    fn note_troubles(&self, watches: &Watches, missing: &mut Missing) {
        for one in &self.subscriptions {
            if let Some(trouble) = watches.cache(&one.key).and_then(|cache| cache.broken()) {
                missing.evidence.push(Evidence {
                    object: format!("{}s", one.key.gvk.kind),
                    container: None,
                    image: None,
                    message: trouble.to_owned(),
                    wants_logs: false,
                });
            }
        }
    }

    fn shown_missing(&self) -> Missing {
        let (code, reason) = self.shown.clone().unwrap_or_default();
        Missing { code, reason, ..Missing::default() }
    }

    fn broken(&self, change: usize, why: &str) -> Turn {
        Turn::Broken { change, message: format!("{} cannot be waited for: {why}", self.awaited.id) }
    }
}

/// By the stack's label, so that one watch serves every object of a kind; an object that lost it is watched by its name.
fn selection(object: &Value, place: &Place) -> Selection {
    let label =
        object.pointer("/metadata/labels").and_then(|labels| labels.get(STACK_LABEL)).and_then(Value::as_str);
    let (labels, fields) = match label {
        Some(label) => (Some(format!("{STACK_LABEL}={label}")), None),
        None => (None, Some(format!("metadata.name={}", place.1))),
    };
    Selection { namespace: place.0.clone(), labels, fields }
}

/// Whether `seen` is older than `known`. The numbers of resourceVersions of one kind grow; what isn't a number is taken as new.
fn is_older(seen: &Value, known: &Value) -> bool {
    let version = |object: &Value| {
        object
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .and_then(|text| text.parse::<u128>().ok())
    };
    matches!((version(seen), version(known)), (Some(seen), Some(known)) if seen < known)
}
