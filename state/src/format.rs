//! The outside of every stored value: JSON that says which version of the format it has.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A stored value that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Written by a newer stackctl.
    #[error(
        "the stored {what} has format version {found}, this stackctl reads up to {known}; \
         use the newer stackctl that wrote it"
    )]
    Newer {
        /// `inventory`, `lock` or `key`.
        what: &'static str,
        /// The version found.
        found: u64,
        /// The newest version known here.
        known: u64,
    },
    /// Not what was written: cut off, edited, or something else altogether.
    #[error("the stored {what} is damaged ({why}); restore it from a backup of the store, or delete it")]
    Damaged {
        /// `inventory`, `lock` or `key`.
        what: &'static str,
        /// What was found to be wrong. Never a piece of the content.
        why: String,
    },
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

#[derive(Serialize)]
struct Outside<'a, T> {
    version: u64,
    #[serde(flatten)]
    content: &'a T,
}

/// Puts `version` in front of the content's fields.
pub(crate) fn encode<T: Serialize>(version: u64, content: &T) -> Vec<u8> {
    serde_json::to_vec(&Outside { version, content })
        .expect("plain structs with string keys always serialize")
}

/// Reads the version first, so that a newer format is named as such and not as damage.
pub(crate) fn version(what: &'static str, known: u64, json: &[u8]) -> Result<u64, FormatError> {
    let VersionOnly { version } = content(what, json)?;
    if version > known { Err(FormatError::Newer { what, found: version, known }) } else { Ok(version) }
}

/// Reads the content's fields.
pub(crate) fn content<T: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<T, FormatError> {
    serde_json::from_slice(json).map_err(|error| {
        // serde's own text can quote the content, which in a key must never be shown.
        let (line, column) = (error.line(), error.column());
        let why = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early".to_owned(),
            serde_json::error::Category::Data => {
                format!("unexpected content at line {line}, column {column}")
            }
            _ => format!("not JSON at line {line}, column {column}"),
        };
        FormatError::Damaged { what, why }
    })
}
