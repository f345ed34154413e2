//! The planner: compares the graph with an observation and makes the plan. Sans-IO and deterministic.

pub mod additions;
mod cause;
pub mod change;
pub mod conflict;
pub mod diff;
pub mod fields;
pub mod human;
pub mod managed;
pub mod mask;
pub mod merge_keys;
pub mod noise;
pub mod owners;
pub mod path;
pub mod proof;
pub mod quantity;
pub mod question;
pub mod quota;
pub mod rejection;
pub mod wanted;

pub use change::{
    Action, Cause, Change, Checked, FieldChange, FieldOp, Note, Plan, Refusal, RefusalCode, Severity,
};
pub use question::{Answer, Question};
