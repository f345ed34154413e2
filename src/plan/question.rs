//! What the planner asks the server, and what the server answers.

use serde_json::Value;

use crate::graph::{Gvk, ObjectId};
use crate::observation::Rejection;

/// A dry-run that the planner needs. It writes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Number of the resource in the graph.
    pub resource: usize,
    /// Kind to ask through.
    pub gvk: Gvk,
    /// The object asked about (under a probe name: that name).
    pub id: ObjectId,
    /// The body of the server-side apply.
    pub body: Value,
    /// Whether the dry-run is forced, to see the whole diff.
    pub force: bool,
}

/// The server's answer to a [`Question`], in the questions' order.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The object as it would be.
    Accepted(Value),
    /// Refused, with everything the server says about why.
    Rejected(Rejection),
}
