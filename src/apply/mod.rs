//! Carries a plan out: the pure scheduler, and the run that drives it against a cluster.

mod event;

pub use event::{Outcome, Report, ResultOf, RunEvent};
