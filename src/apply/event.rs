//! What a run tells while it goes on, and at its end. Data: the room `ui` shows it.

use serde::Serialize;

use crate::graph::ObjectId;
use crate::kinds::Missing;
use crate::plan::Action;

/// One thing that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum RunEvent {
    /// A change was begun.
    Started {
        /// Number in the plan's changes; beyond them: a resource that doesn't change, and is waited for.
        change: usize,
        /// Which object.
        id: ObjectId,
        /// What is done.
        action: Action,
    },
    /// The API server has it (for deletions: it has taken the deletion on, or if that is waited for, it is gone).
    Applied {
        /// Number in the plan's changes; beyond them: a resource that doesn't change, and is waited for.
        change: usize,
        /// Which object.
        id: ObjectId,
        /// A create found the object already there and took it in.
        adopted: bool,
        /// It is not waited for: nothing more is told of it.
        done: bool,
    },
    /// It is being waited for; sent when the reason changes.
    Waiting {
        /// Number in the plan's changes; beyond them: a resource that doesn't change, and is waited for.
        change: usize,
        /// Which object.
        id: ObjectId,
        /// What is missing.
        missing: Missing,
    },
    /// It works; a deletion that was waited for: it is gone.
    Ready {
        /// Number in the plan's changes; beyond them: a resource that doesn't change, and is waited for.
        change: usize,
        /// Which object.
        id: ObjectId,
        /// Something worth telling all the same.
        note: Option<String>,
        /// Seconds since the change was begun.
        seconds: f64,
    },
    /// It went wrong.
    Failed {
        /// Number in the plan's changes; beyond them: a resource that doesn't change, and is waited for.
        change: usize,
        /// Which object.
        id: ObjectId,
        /// Why.
        result: ResultOf,
    },
    /// It was not begun, because something it needs failed or the run was stopped.
    Skipped {
        /// Number in the plan's changes; beyond them: a resource that doesn't change, and is waited for.
        change: usize,
        /// Which object.
        id: ObjectId,
        /// Why.
        because: String,
    },
    /// The inventory could not be written; the run goes on, and the next one asks the server about what is not recorded.
    Unrecorded {
        /// What happened.
        message: String,
    },
}

/// How one change ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum ResultOf {
    /// Applied, and ready if it was waited for.
    Done,
    /// The server refused it.
    Refused {
        /// In the server's words.
        message: String,
    },
    /// The object moved since the plan, and what would be done now is something else.
    Stale {
        /// What moved.
        message: String,
    },
    /// Applied, but it doesn't work.
    NotReady {
        /// What is missing, with evidence.
        missing: Missing,
        /// The last log lines of the containers that the evidence points at, as `(pod/container, text)`.
        logs: Vec<(String, String)>,
        /// It can't heal (`true`), or time ran out (`false`).
        terminal: bool,
    },
    /// Not begun.
    Skipped {
        /// Why.
        because: String,
    },
    /// The cluster could not be reached, or answered nonsense.
    Error {
        /// What happened.
        message: String,
    },
}

/// How a run ended. The exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything is done (exit code 0).
    Done,
    /// Something was refused or broke (1).
    Failed,
    /// The plan is stale (3).
    Stale,
    /// Something is not ready in time (6).
    NotReady,
    /// Ctrl-C (130).
    Interrupted,
}

/// The whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Of every change of the plan, in its order: the object, what was done and how it ended.
    pub results: Vec<(ObjectId, Action, ResultOf)>,
    /// Of what didn't change and was waited for, because it was not ready.
    pub unchanged: Vec<(ObjectId, ResultOf)>,
    /// How it ended.
    pub outcome: Outcome,
    /// Seconds it took.
    pub seconds: f64,
    /// Requests that wrote something.
    pub writes: u64,
}
