//! The program's exit codes.

use std::process::ExitCode;

use crate::apply::Outcome;
use crate::plan::{Refusal, RefusalCode};

/// How the program ends. The numbers are part of the interface: scripts read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Something went wrong.
    Error = 1,
    /// `plan --detailed-exitcode`: there are changes.
    Changes = 2,
    /// The cluster has moved since the plan; what would be done now is something else.
    Stale = 3,
    /// Refused by a guard, a policy or missing rights; or a pinned environment met another cluster.
    Refused = 4,
    /// Another run has the lock.
    Locked = 5,
    /// Applied, but not ready in time, or failed for good.
    NotReady = 6,
    /// Wrong usage (`EX_USAGE` of sysexits.h).
    Usage = 64,
    /// Stopped by Ctrl-C (128 + SIGINT).
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Failed => Self::Error,
            Outcome::Stale => Self::Stale,
            Outcome::NotReady => Self::NotReady,
            Outcome::Interrupted => Self::Interrupted,
        }
    }
}

impl Exit {
    /// For a plan that can't be carried out; `None` if it can. What is broken outweighs what is forbidden.
    pub fn of_refusals(refusals: &[Refusal]) -> Option<Self> {
        let codes = refusals.iter().map(|refusal| match refusal.code {
            RefusalCode::RefusedByServer | RefusalCode::UnknownKind | RefusalCode::TerminatingNamespace => {
                Self::Error
            }
            RefusalCode::DeniedByAdmission
            | RefusalCode::Forbidden
            | RefusalCode::Conflict
            | RefusalCode::OtherStack
            | RefusalCode::Replacement
            | RefusalCode::Quota
            | RefusalCode::StateNamespace => Self::Refused,
        });
        codes.min_by_key(|exit| *exit as u8)
    }
}
