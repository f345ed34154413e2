//! The one error that reaches the user: what, why, what to do, and the exit code. Everything below has its own typed
//! errors; they become this one here, once.

use std::fmt;
use std::io;

use stackctl_state::{LockError, StoreError};

use super::exit::Exit;
use crate::apply::{PrepareError, RecordError, RunError};
use crate::cluster::ClusterError;
use crate::graph::GraphErrors;
use crate::image::ImageError;
use crate::ui::terminal::{style, text};

const LOCKED_HINT: &str = "wait for it; the lock of a run that was killed expires by itself";

/// An error on its way to the user.
#[derive(Debug)]
pub struct Error {
    /// How the program ends.
    pub exit: Exit,
    message: String,
    causes: Vec<Cause>,
    hints: Vec<String>,
    quiet: bool,
}

/// A line below the message, and what to do about it.
#[derive(Debug)]
struct Cause {
    message: String,
    hint: Option<String>,
}

impl Error {
    /// An error with its exit code.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), causes: Vec::new(), hints: Vec::new(), quiet: false }
    }

    /// Something went wrong (exit code 1).
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Error, message)
    }

    /// Wrong usage (exit code 64).
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Refused (exit code 4).
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// Says why, on a line below.
    pub fn cause(mut self, message: impl fmt::Display) -> Self {
        self.causes.push(Cause { message: message.to_string(), hint: None });
        self
    }

    /// Says why, and what to do about this one.
    pub fn cause_with_hint(mut self, message: impl fmt::Display, hint: Option<String>) -> Self {
        self.causes.push(Cause { message: message.to_string(), hint });
        self
    }

    /// Adds every source of `error` as a cause, the nearest first.
    pub fn sources_of(mut self, error: &dyn std::error::Error) -> Self {
        let mut source = error.source();
        while let Some(error) = source {
            self = self.cause(error);
            source = error.source();
        }
        self
    }

    /// Says what to do.
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// The text for a terminal of `width` columns; empty if there is nobody to tell (a closed pipe).
    pub fn render(&self, width: usize) -> String {
        if self.quiet {
            return String::new();
        }
        let mut out = labelled(style::ERROR, "error", &self.message, width, "");
        for cause in &self.causes {
            for line in text::wrapped(&text::clean(&cause.message), width, "  ", "    ") {
                out.push_str(&format!("{line}\n"));
            }
            if let Some(hint) = &cause.hint {
                out.push_str(&labelled(style::HINT, "hint", hint, width, "    "));
            }
        }
        if !self.hints.is_empty() && !self.causes.is_empty() {
            out.push('\n');
        }
        for hint in &self.hints {
            out.push_str(&labelled(style::HINT, "hint", hint, width, ""));
        }
        out
    }
}

fn labelled(style: anstyle::Style, label: &str, words: &str, width: usize, indent: &str) -> String {
    let plain = format!("{label}: {}", text::clean(words));
    let lines = text::wrapped(&plain, width, indent, &format!("{indent}  ")).join("\n");
    format!("{}\n", lines.replacen(&format!("{label}:"), &style::paint(style, format_args!("{label}:")), 1))
}

impl From<GraphErrors> for Error {
    fn from(errors: GraphErrors) -> Self {
        let error = Self::failed(&errors);
        errors.errors.into_iter().fold(error, |error, one| error.cause_with_hint(&one, one.hint.clone()))
    }
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        let (exit, hint) = match &error {
            ClusterError::Config { hint, .. }
            | ClusterError::Unreachable { hint, .. }
            | ClusterError::Unauthorized { hint, .. } => (Exit::Error, hint.clone()),
            ClusterError::Rejected { rejection, .. } if rejection.code == 403 => (
                Exit::Refused,
                Some("`kubectl auth can-i --list` shows what these credentials may do".to_owned()),
            ),
            ClusterError::Rejected { .. } | ClusterError::Malformed { .. } => (Exit::Error, None),
        };
        let mut converted = Self::new(exit, &error).sources_of(&error);
        if let ClusterError::Rejected { rejection, .. } = &error {
            for cause in &rejection.causes {
                // The server repeats a single cause in its message.
                if !rejection.message.contains(&cause.message) {
                    converted = converted.cause(format_args!("{}: {}", cause.field, cause.message));
                }
            }
        }
        match hint {
            Some(hint) => converted.hint(hint),
            None => converted,
        }
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Locked(locked) => {
                Self::new(Exit::Locked, "another run is changing this stack").cause(&locked).hint(LOCKED_HINT)
            }
            other => Self::failed(&other).sources_of(&other),
        }
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Refused { .. } => Self::refused(&error),
            RunError::Schedule(error) => Self::failed(&error),
            RunError::Record(RecordError::Locked(locked)) => LockError::Locked(locked).into(),
            RunError::Record(RecordError::Stale(why)) => Self::new(Exit::Stale, why),
            RunError::Record(error) => {
                Self::failed(format_args!("nothing was changed: {error}")).sources_of(&error)
            }
        }
    }
}

impl From<PrepareError> for Error {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Cluster(error) => error.into(),
            error => Self::failed(&error).sources_of(&error),
        }
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::failed(&error).sources_of(&error)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::failed(&error).sources_of(&error)
    }
}

/// Writing to standard output failed. A reader that has seen enough (`| head`) is no error.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { quiet: true, ..Self::new(Exit::Done, "the reader has gone") };
        }
        Self::failed(format_args!("cannot write the output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use stackctl_state::Locked;

    use super::*;
    use crate::graph::{GraphError, Location};
    use crate::observation::{Rejection, RejectionCause};

    fn plain(error: &Error) -> String {
        anstream::adapter::strip_str(&error.render(80)).to_string()
    }

    #[test]
    fn errors_of_a_graph_name_each_place() {
        let error = |line, message: &str, hint: Option<&str>| GraphError {
            location: Location { file: "src/live.rs".to_owned(), line },
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
        };
        let errors = GraphErrors {
            stack: "live".to_owned(),
            errors: vec![
                error(
                    12,
                    "no container of Deployment srs has a port named rtmpp",
                    Some("did you mean rtmp?"),
                ),
                error(31, "two resources are ConfigMap srs-config", None),
            ],
        };
        let error = Error::from(errors);
        assert_eq!(error.exit, Exit::Error);
        insta::assert_snapshot!(plain(&error), @"
        error: 2 errors in stack live
          src/live.rs:12: no container of Deployment srs has a port named rtmpp
            hint: did you mean rtmp?
          src/live.rs:31: two resources are ConfigMap srs-config
        ");
    }

    #[test]
    fn the_servers_causes_are_told_and_forbidden_is_a_refusal() {
        let rejected = |code, causes| ClusterError::Rejected {
            verb: "apply",
            object: "Deployment srs".to_owned(),
            rejection: Rejection {
                code,
                reason: "Invalid".to_owned(),
                message: "Deployment.apps \"srs\" is invalid".to_owned(),
                causes,
            },
        };
        let cause = RejectionCause {
            field: "spec.replicas".to_owned(),
            reason: "FieldValueInvalid".to_owned(),
            message: "must be greater than or equal to 0".to_owned(),
        };
        insta::assert_snapshot!(plain(&Error::from(rejected(422, vec![cause]))), @r#"
        error: apply Deployment srs: Deployment.apps "srs" is invalid
          spec.replicas: must be greater than or equal to 0
        "#);
        assert_eq!(Error::from(rejected(403, vec![])).exit, Exit::Refused);
        assert_eq!(Error::from(rejected(422, vec![])).exit, Exit::Error);
    }

    #[test]
    fn somebody_elses_lock_has_its_own_exit_code() {
        let time: jiff::Timestamp = "2026-11-22T20:00:00Z".parse().unwrap();
        let locked = || Locked { holder: "ci".to_owned(), since: time, expires: time, fencing: 7 };
        assert_eq!(Error::from(LockError::Locked(locked())).exit, Exit::Locked);
        assert_eq!(Error::from(RunError::Record(RecordError::Locked(locked()))).exit, Exit::Locked);
        assert_eq!(Error::from(RunError::Record(RecordError::Stale("moved".to_owned()))).exit, Exit::Stale);
        let failed = RecordError::Failed { message: "the disk is full".to_owned(), source: None };
        assert_eq!(Error::from(RunError::Record(failed)).exit, Exit::Error);
    }

    #[test]
    fn a_reader_that_goes_away_is_not_told() {
        let error = Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.exit, error.render(80).as_str()), (Exit::Done, ""));
        assert_eq!(Error::from(io::Error::from(io::ErrorKind::StorageFull)).exit, Exit::Error);
    }
}
