//! The books of a run: the lock, and the inventory in the store.
//!
//! Nothing is written before the first change: a run without changes never comes here. The lock is renewed in the background;
//! when it is lost, the run ends before it writes anything more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use stackctl_state::{
    Entry, Expect, Grant, Hash128, Inventory, Lock, LockError, LockRequest, Locked, ObjectId as StateId, Run,
    StackId, StackKey, Store, StoreError, Verb, Version,
};
use tokio::sync::watch;

use super::holder;
use super::prepare::Prepared;
use super::record::{RecordError, Recorder};
use super::{Report, ResultOf};
use crate::graph::{Gvk, ObjectId};
use crate::plan::proof;
use crate::plan::{Action, Change, Environment};

/// How long the lock holds without being renewed.
const LOCK_FOR: Duration = Duration::from_secs(30);

/// A [`Recorder`] over a [`Store`].
pub struct Books {
    store: Arc<dyn Store>,
    stack: StackId,
    key: StackKey,
    environment: Environment,
    touched: Vec<(ObjectId, StateId, Verb)>,
    state: Mutex<State>,
    /// One write of the inventory at a time, each on the version that the one before it left.
    writing: tokio::sync::Mutex<Option<Version>>,
    lost: watch::Sender<Option<String>>,
    renewal: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

struct State {
    inventory: Inventory,
    lock: Option<(Arc<tokio::sync::Mutex<Lock>>, Grant)>,
}

impl Books {
    /// Books for the run of a plan.
    pub fn new(store: Arc<dyn Store>, prepared: &Prepared) -> Self {
        let touched = prepared
            .plan
            .changes
            .iter()
            .map(|change| (change.id.clone(), state_id(&change.gvk, &change.id), verb(change.action)))
            .collect();
        Self {
            store,
            stack: prepared.stack.clone(),
            key: prepared.key.clone(),
            environment: prepared.environment.clone(),
            touched,
            state: Mutex::new(State { inventory: prepared.inventory.clone(), lock: None }),
            writing: tokio::sync::Mutex::new(prepared.version.clone()),
            lost: watch::Sender::new(None),
            renewal: Mutex::new(None),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn save(&self) -> Result<(), RecordError> {
        let mut version = self.writing.lock().await;
        let inventory = self.state().inventory.clone();
        let expected = version.clone().map_or(Expect::Absent, Expect::Version);
        let saved = inventory.save(&*self.store, expected).await;
        *version = Some(saved.map_err(|error| match error {
            StoreError::Conflict { .. } => {
                RecordError::Stale("another run has changed this stack since the plan; plan again".to_owned())
            }
            error => failed("the inventory could not be written", error),
        })?);
        Ok(())
    }

    async fn take_lock(&self) -> Result<Grant, RecordError> {
        let mut lock = Lock::new(Arc::clone(&self.store), &self.stack);
        let request = LockRequest { holder: holder::name(), ttl: LOCK_FOR };
        let mut acquired = lock.acquire(&request, Timestamp::now()).await;
        if let Err(LockError::Locked(locked)) = &acquired
            && holder::is_dead(&locked.holder)
        {
            // What it sent last may still arrive: every write bears a condition that then fails, on one side or the other.
            let Locked { holder, expires, fencing, .. } = locked.clone();
            acquired = match lock.release(&Grant { holder, fencing, expires }).await {
                // Lost: somebody else was quicker, and is named by the second attempt.
                Ok(()) | Err(LockError::Lost(_)) => lock.acquire(&request, Timestamp::now()).await,
                Err(error) => Err(error),
            };
        }
        let grant = acquired.map_err(|error| match error {
            LockError::Locked(locked) => {
                RecordError::Locked(Locked { holder: holder::shown(&locked.holder).to_owned(), ..locked })
            }
            error => failed("the stack's lock could not be taken", error),
        })?;
        let lock = Arc::new(tokio::sync::Mutex::new(lock));
        self.state().lock = Some((Arc::clone(&lock), grant.clone()));
        let (lost, renewed) = (self.lost.clone(), grant.clone());
        let renewal = tokio::spawn(async move {
            let mut grant = renewed;
            loop {
                tokio::time::sleep(LOCK_FOR / 3).await;
                let mut lock = lock.lock().await;
                // A store that hangs must not hide that the lock runs out.
                match tokio::time::timeout(LOCK_FOR / 3, lock.renew(&grant, Timestamp::now())).await {
                    Ok(Ok(next)) => grant = next,
                    // The store may come back before the lock runs out.
                    Err(_) | Ok(Err(LockError::Store(_))) if grant.is_valid(Timestamp::now()) => {}
                    Err(_) => {
                        lost.send_replace(Some(
                            "the stack's lock ran out: the store does not answer".to_owned(),
                        ));
                        return;
                    }
                    Ok(Err(error)) => {
                        lost.send_replace(Some(error.to_string()));
                        return;
                    }
                }
            }
        });
        *self.renewal.lock().unwrap_or_else(PoisonError::into_inner) = Some(renewal);
        Ok(grant)
    }

    async fn release(&self) -> Result<(), RecordError> {
        if let Some(renewal) = self.renewal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            renewal.abort();
        }
        let held = self.state().lock.take();
        let Some((lock, grant)) = held else { return Ok(()) };
        let released = lock.lock().await.release(&grant).await;
        released
            .map_err(|error| failed("the stack's lock could not be given back; it runs out by itself", error))
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        // A run that ends at once (second Ctrl-C) leaves the lock to run out.
        if let Some(renewal) = self.renewal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            renewal.abort();
        }
    }
}

#[async_trait]
impl Recorder for Books {
    async fn begin(&self, _ids: &[ObjectId]) -> Result<(), RecordError> {
        let grant = self.take_lock().await?;
        let begun = async {
            let kept = self.key.clone().keep(&*self.store, &self.stack).await;
            let kept = kept.map_err(|error| failed("the stack's key could not be kept", error))?;
            if kept != self.key {
                return Err(RecordError::Stale(
                    "another run has changed this stack since the plan; plan again".to_owned(),
                ));
            }
            let now = Timestamp::now();
            let run = Run {
                id: format!("{}-{}", now.as_millisecond(), std::process::id()),
                started_at: now.to_string(),
                fencing: grant.fencing,
                open: self.touched.iter().map(|(_, id, verb)| (id.clone(), *verb)).collect(),
            };
            let begun = self.state().inventory.begin(run);
            begun.map_err(|error| failed("the run could not begin", error))?;
            self.save().await
        }
        .await;
        if begun.is_err() {
            // What went wrong first is what counts.
            let _ = self.release().await;
        }
        begun
    }

    fn applied(&self, change: &Change, object: &Value) {
        let id = state_id(&change.gvk, &change.id);
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
        let environment = &self.environment;
        let hashes = proof::hashes(&change.body, object, &environment.manager, &*environment.fingerprint);
        let mut state = self.state();
        match (uid, hashes) {
            (Some(uid), Some(hashes)) => state.inventory.record(
                id,
                Entry {
                    uid: uid.to_owned(),
                    sent: Hash128::from_bytes(hashes.sent),
                    managed: Hash128::from_bytes(hashes.managed),
                    live: Hash128::from_bytes(hashes.live),
                },
            ),
            // Without an entry of ours in managedFields there is nothing to prove by: the server is asked next time.
            _ => state.inventory.settle(&id),
        }
    }

    fn forget(&self, id: &ObjectId) {
        let known = self.touched.iter().find(|(touched, ..)| touched == id);
        if let Some((_, id, _)) = known {
            self.state().inventory.forget(id);
        }
    }

    async fn flush(&self) -> Result<(), RecordError> {
        self.save().await
    }

    async fn finish(&self, report: &Report) -> Result<(), RecordError> {
        {
            let mut state = self.state();
            for (id, state_id, _) in &self.touched {
                let ended = report.results.iter().find(|(of, ..)| of == id);
                // After a lost connection nobody knows what became of the request; the next run looks.
                if ended.is_some_and(|(.., result)| !matches!(result, ResultOf::Error { .. })) {
                    state.inventory.settle(state_id);
                }
            }
            if state.inventory.unfinished().is_some_and(|run| run.open.is_empty()) {
                let revision = state.inventory.revision() + 1;
                state
                    .inventory
                    .finish(revision)
                    .map_err(|error| failed("the run could not be closed", error))?;
            }
        }
        let saved = self.save().await;
        let released = self.release().await;
        saved.and(released)
    }

    async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        match lost.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
            Ok(Some(reason)) => reason,
            _ => std::future::pending().await,
        }
    }
}

fn failed(message: &str, error: impl std::error::Error + Send + Sync + 'static) -> RecordError {
    RecordError::Failed { message: message.to_owned(), source: Some(Box::new(error)) }
}

fn state_id(gvk: &Gvk, id: &ObjectId) -> StateId {
    StateId {
        api_version: gvk.api_version(),
        kind: id.kind.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}

fn verb(action: Action) -> Verb {
    match action {
        Action::Create => Verb::Create,
        Action::Update => Verb::Update,
        Action::Replace => Verb::Replace,
        Action::Delete => Verb::Delete,
    }
}
