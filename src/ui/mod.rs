//! How plans, runs and stacks are shown: views of the same data for a terminal, as JSON, as YAML and as DOT.
//!
//! A view is a pure function from data to text: no clock, no environment, no writing. Views for a terminal always carry
//! colour; whoever writes them takes it out where the reader has no use for it (the room `cli` does, by `anstream`).
//! Nothing is told by colour alone.

#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "writing into a String can't fail, and `write!` would have its Result thrown away on every line"
)]

pub mod addresses;
pub mod dot;
pub mod json;
pub mod summary;
pub mod terminal;
pub mod yaml;

#[cfg(test)]
pub(crate) mod tests;

pub use addresses::{Addresses, addresses};
pub use summary::Summary;

use serde::Serialize;
use serde_json::Value;

use crate::graph::{Location, ObjectId};
use crate::kinds::Verdict;

/// One resource of a stack as it is now: what `status` shows.
#[derive(Clone, Debug, Serialize)]
pub struct ResourceStatus {
    /// Which object.
    pub id: ObjectId,
    /// Where the program declares it.
    pub location: Location,
    /// Whether it works; `None`: it isn't there.
    pub verdict: Option<Verdict>,
    /// The live object. Never shown whole: it may be a Secret.
    #[serde(skip)]
    pub live: Option<Value>,
}
