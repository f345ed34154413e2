//! The planner: compares the graph with an observation and makes the plan. Sans-IO and deterministic.

pub mod change;
pub mod question;

pub use change::{
    Action, Cause, Change, Checked, FieldChange, FieldOp, Note, Plan, Refusal, RefusalCode, Severity,
};
pub use question::{Answer, Question};
