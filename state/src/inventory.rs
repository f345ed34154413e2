//! Which objects belong to a stack, what they were after the last apply, and which run has not finished.
//!
//! The inventory is what makes three things possible: "nothing to do" without asking the server (the three
//! hashes of an [`Entry`]), pruning (an entry whose resource left the program), and going on after a kill: a
//! [`Run`] is written down before its first change, so whatever it may have created is known by name.
//!
//! The operations here are pure; [`Inventory::load`] and [`Inventory::save`] are the only I/O. The order of a run:
//!
//! ```text
//! begin(run) ─ save ─► change ─ record | forget | settle ─ save ─► … ─► finish(revision) ─ save
//! ```

mod codec;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::format::FormatError;
use crate::hash::Hash128;
use crate::stack::StackId;
use crate::store::{Expect, Store, StoreError, Version};

const WHAT: &str = "inventory";

/// Names an object of Kubernetes. Ordered by its fields from left to right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectId {
    /// `apps/v1`, or `v1` in the core group.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// `None` for an object of the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

/// `Deployment quick-start/srs (apps/v1)`
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api_version, kind, namespace, name } = self;
        match namespace {
            Some(namespace) => write!(f, "{kind} {namespace}/{name} ({api_version})"),
            None => write!(f, "{kind} {name} ({api_version})"),
        }
    }
}

/// What is known of an object since it was last applied.
///
/// If all three hashes are the same now, there is nothing to do and nobody to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `metadata.uid`: the same name with another uid is another object.
    pub uid: String,
    /// Of the body that was sent.
    pub sent: Hash128,
    /// Of our managedFields entry without its time.
    pub managed: Hash128,
    /// Of the live object projected on our managedFields, in list order.
    pub live: Hash128,
}

/// What a run does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// It was not there.
    Create,
    /// It is changed in place.
    Update,
    /// It is deleted and created.
    Replace,
    /// It is deleted.
    Delete,
}

/// A run that was started: written down before its first change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Names the run in logs and messages.
    pub id: String,
    /// RFC 3339, from the caller's clock.
    pub started_at: String,
    /// The number of the lock under which it runs ([`crate::Grant::fencing`]).
    pub fencing: u64,
    /// The objects whose state is not known for certain: those still to be changed, and those a killed run was
    /// going to change. Each leaves with [`Inventory::record`], [`Inventory::forget`] or [`Inventory::settle`].
    pub open: BTreeMap<ObjectId, Verb>,
}

/// An operation that the inventory's state does not allow, or an inventory that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A run with a newer lock wrote this inventory: our lock expired and was taken over.
    #[error(
        "run {run} lost its lock (number {fencing}) to a newer run (number {seen}) and must stop; plan again"
    )]
    Fenced {
        /// The run that came too late.
        run: String,
        /// The number of its lock.
        fencing: u64,
        /// The newest number that wrote here.
        seen: u64,
    },
    /// `finish` without `begin`.
    #[error("no run has begun, so none can finish")]
    NoRun,
    /// `finish` while it is not known what became of some objects.
    #[error("run {run} cannot finish: {count} objects are still open, first {first}")]
    Open {
        /// The run's id.
        run: String,
        /// How many objects are open.
        count: usize,
        /// The first of them.
        first: Box<ObjectId>,
    },
    /// Revisions only grow.
    #[error("revision {revision} does not follow revision {current}")]
    Revision {
        /// The revision to be finished.
        revision: u64,
        /// The inventory's revision.
        current: u64,
    },
    /// The stored inventory says that it is another stack's: a copied or renamed store.
    #[error("the inventory under the keys of {asked} is that of {found}; was the store copied?")]
    OtherStack {
        /// The stack that was asked for.
        asked: Box<StackId>,
        /// The stack that the inventory names.
        found: Box<StackId>,
    },
    /// The stored inventory cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The inventory of one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    stack: StackId,
    manager: String,
    revision: u64,
    fencing: u64,
    entries: BTreeMap<ObjectId, Entry>,
    unfinished: Option<Run>,
}

impl Inventory {
    /// The inventory of a stack that was never applied. `manager` is its field manager, `stackctl.<stack>`.
    pub fn new(stack: StackId, manager: impl Into<String>) -> Self {
        Self {
            stack,
            manager: manager.into(),
            revision: 0,
            fencing: 0,
            entries: BTreeMap::new(),
            unfinished: None,
        }
    }

    /// Whose inventory it is.
    pub fn stack(&self) -> &StackId {
        &self.stack
    }

    /// The field manager under which the stack's objects are applied.
    pub fn manager(&self) -> &str {
        &self.manager
    }

    /// The number of the last finished run; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The stack's objects.
    pub fn entries(&self) -> &BTreeMap<ObjectId, Entry> {
        &self.entries
    }

    /// One of the stack's objects.
    pub fn get(&self, object: &ObjectId) -> Option<&Entry> {
        self.entries.get(object)
    }

    /// The run that has begun and not finished: the present one, or one that was killed.
    pub fn unfinished(&self) -> Option<&Run> {
        self.unfinished.as_ref()
    }

    /// Writes down that a run is about to change the objects in `run.open`.
    ///
    /// An unfinished run before it is dead, because ours holds the lock. What it left open stays open under
    /// our name, so no object that it may have created is forgotten; where both name an object, ours counts.
    pub fn begin(&mut self, mut run: Run) -> Result<(), InventoryError> {
        if run.fencing < self.fencing {
            return Err(InventoryError::Fenced { run: run.id, fencing: run.fencing, seen: self.fencing });
        }
        if let Some(killed) = self.unfinished.take() {
            for (object, verb) in killed.open {
                run.open.entry(object).or_insert(verb);
            }
        }
        self.fencing = run.fencing;
        self.unfinished = Some(run);
        Ok(())
    }

    /// The object is there, as `entry` says.
    pub fn record(&mut self, object: ObjectId, entry: Entry) {
        self.settle(&object);
        self.entries.insert(object, entry);
    }

    /// The object is gone, or no longer the stack's.
    pub fn forget(&mut self, object: &ObjectId) -> Option<Entry> {
        self.settle(object);
        self.entries.remove(object)
    }

    /// The object is as it was before the run: nothing was sent, or the server refused it.
    pub fn settle(&mut self, object: &ObjectId) {
        if let Some(run) = &mut self.unfinished {
            run.open.remove(object);
        }
    }

    /// The run is over and every object's state is known; the inventory is now that of `revision`.
    ///
    /// A run that ends without knowing what became of an object does not finish: it stays unfinished, and the
    /// next run looks for the object.
    pub fn finish(&mut self, revision: u64) -> Result<(), InventoryError> {
        let run = self.unfinished.as_ref().ok_or(InventoryError::NoRun)?;
        if let Some(first) = run.open.keys().next() {
            return Err(InventoryError::Open {
                run: run.id.clone(),
                count: run.open.len(),
                first: Box::new(first.clone()),
            });
        }
        if revision <= self.revision {
            return Err(InventoryError::Revision { revision, current: self.revision });
        }
        self.revision = revision;
        self.unfinished = None;
        Ok(())
    }

    /// The stored form: gzip of JSON with its format version. The same inventory gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the stored form of any version up to this program's.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        codec::decode(bytes)
    }

    /// Reads the stack's inventory with the version to expect when saving it; `None` if it has none yet.
    pub async fn load(store: &dyn Store, stack: &StackId) -> Result<Option<(Self, Version)>, InventoryError> {
        let Some(stored) = store.get(&stack.key(WHAT)).await? else { return Ok(None) };
        let inventory = Self::decode(&stored.bytes)?;
        if inventory.stack != *stack {
            return Err(InventoryError::OtherStack {
                asked: Box::new(stack.clone()),
                found: Box::new(inventory.stack),
            });
        }
        Ok(Some((inventory, stored.version)))
    }

    /// Saves the inventory if the stored one is still the expected one, and gives its version.
    ///
    /// On [`StoreError::Conflict`] somebody else wrote: the caller's lock is lost and its run must stop.
    pub async fn save(&self, store: &dyn Store, expected: Expect) -> Result<Version, StoreError> {
        store.put(&self.stack.key(WHAT), self.encode().into(), expected).await
    }
}

#[cfg(test)]
mod tests;
