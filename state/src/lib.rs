//! Where stackctl keeps what it knows.
//!
//! The truth about a stack is the cluster. What the cluster cannot tell is kept here: which objects belong to
//! the stack and what they looked like after the last apply ([`inventory`]), who is changing it now
//! ([`lock`]), and the key with which its Secrets are fingerprinted ([`key`]).
//!
//! ```text
//!   inventory        lock          key          pure: no clock, no randomness, no I/O
//!       └─────────────┼─────────────┘
//!                   Store                       a map of bytes with compare-and-swap
//!       ┌─────────────┼──────────────┬ ─ ─ ─ ─ ─ ─ ┐
//!    memory        folder       S3 or OSS      in the cluster (not here)
//! ```
//!
//! Everything rests on one promise: a write names what it expects to find and is refused when something else is
//! there ([`Store::put`]). So no update is ever lost, whoever else writes, and a run that is killed leaves
//! whole values only. [`contract::check`] checks a store for that promise.
//!
//! A stack's values have these keys (see [`StackId::key`]):
//!
//! | key | value |
//! |---|---|
//! | `stacks/CLUSTER/NAMESPACE/NAME/inventory` | [`Inventory`], gzip of versioned JSON |
//! | `stacks/CLUSTER/NAMESPACE/NAME/lock` | [`LeaseRecord`], versioned JSON |
//! | `stacks/CLUSTER/NAMESPACE/NAME/key` | [`StackKey`], versioned JSON |
//!
//! This crate knows nothing of Kubernetes' API, nor does it print.

pub mod contract;
pub mod inventory;
pub mod key;
pub mod lock;
pub mod store;

mod format;
mod hash;
mod stack;

pub use format::FormatError;
pub use hash::Hash128;
pub use inventory::{Entry, Inventory, InventoryError, ObjectId, Run, Verb};
pub use key::{Fingerprint, KeyError, StackKey};
pub use lock::{Grant, LeaseRecord, Lock, LockError, LockRequest, Locked, Lost};
pub use stack::{InvalidStackId, StackId};
#[cfg(feature = "s3")]
pub use store::ObjectStoreStore;
pub use store::{Expect, FolderStore, MemoryStore, Store, StoreError, Version, Versioned};
