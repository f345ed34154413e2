//! Who plans, and how Secrets are fingerprinted.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Action, FieldChange};

/// A keyed hash of bytes: the form in which Secrets are compared, stored and shown.
pub type Fingerprinter = Arc<dyn Fn(&[u8]) -> [u8; 16] + Send + Sync>;

/// What every comparison needs.
#[derive(Clone)]
pub struct Environment {
    /// Our field manager, `stackctl.<stack>`.
    pub manager: String,
    /// The stack's keyed hash.
    pub fingerprint: Fingerprinter,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("manager", &self.manager).finish_non_exhaustive()
    }
}

/// The field manager of a stack. 128 characters at most, as the API server asks.
pub fn manager_of(stack: &str) -> String {
    format!("stackctl.{stack}").chars().take(128).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is agreed to with a change: the action, and each field before and after. Who caused it does not count.
pub(super) fn diff_hash(action: Action, diff: &[FieldChange]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{action:?}\n"));
    for field in diff {
        let line = serde_json::json!([field.path, field.op, field.before, field.after]);
        hasher.update(line.to_string());
        hasher.update("\n");
    }
    hex(hasher.finalize().get(..16).unwrap_or_default())
}
