//! Carries a plan out: the pure scheduler, and the run that drives it against a cluster.
//!
//! [`Run`] takes a [`crate::plan::Plan`] and does what it says, in the order of its `after`, with a bounded number of requests under way
//! and any number of waits. It makes no choices: an object that moved since the plan is asked about again, and only goes on when what
//! would be done is still what was agreed to. `down` is a run whose plan holds nothing but deletions.

mod books;
mod clock;
mod event;
mod evidence;
mod gone;
mod holder;
mod prepare;
mod record;
mod related;
mod request;
mod run;
mod schedule;
mod status;
#[cfg(test)]
mod tests;
mod unready;
mod wait;
mod watches;

pub use books::Books;
pub use event::{Outcome, Report, ResultOf, RunEvent};
pub use prepare::{PrepareError, Prepared, ask, prepare, prepare_down};
pub use record::{RecordError, Recorder};
pub use run::{FindRules, Run, RunError, RunOptions};
pub use schedule::ScheduleError;
pub use status::status;
pub use unready::Unready;
pub use wait::Deadlines;
