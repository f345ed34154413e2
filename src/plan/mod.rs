//! The planner: compares the graph with an observation and makes the plan. Sans-IO and deterministic.

pub mod additions;
pub mod again;
mod arrange;
mod cause;
pub mod change;
mod compare;
pub mod conflict;
pub mod diff;
mod environment;
pub mod fields;
mod guard;
pub mod human;
pub mod managed;
pub mod mask;
pub mod merge_keys;
pub mod noise;
pub mod owners;
pub mod path;
mod planner;
pub mod proof;
mod prune;
pub mod quantity;
pub mod question;
pub mod quota;
mod refuse;
pub mod rejection;
pub mod wanted;

pub use change::{
    Action, Cause, Change, Checked, FieldChange, FieldOp, Note, Plan, Refusal, RefusalCode, Severity,
};
pub use environment::{Environment, Fingerprinter, manager_of};
pub use planner::{Inputs, Planner, Step, start};
pub use prune::down;
pub use question::{Answer, Question};
