//! Where in the user's program something was declared.

use std::fmt;

use serde::{Deserialize, Serialize};

/// File and line of the user's program or of a YAML file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// Path as the compiler or the program names it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
}

impl Location {
    /// The caller's place in the program; every public function of a builder that can be wrong uses it.
    #[track_caller]
    pub fn caller() -> Self {
        let caller = std::panic::Location::caller();
        Self { file: caller.file().to_owned(), line: caller.line() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
