//! The one thing that stackctl asks of a place to keep its state: a map of bytes with compare-and-swap.
//!
//! A [`Store`] can be a folder, a bucket or an object in the cluster. Whatever it is, a write says what it
//! expects to find and is refused when something else is there, so two runs can never overwrite each other
//! without noticing. Everything above (inventory, key, lock) is pure code and relies on this alone.

mod folder;
mod memory;
#[cfg(feature = "s3")]
mod s3;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

pub use folder::FolderStore;
pub use memory::{Fault, MemoryStore, Operation};
#[cfg(feature = "s3")]
pub use s3::{ObjectStoreStore, S3Error};

/// A map from keys to bytes, with compare-and-swap.
///
/// Keys are paths of one or more segments joined by `/`; a segment starts with a letter or a digit and goes on
/// with letters, digits, `.`, `_` and `-` (see [`validate_key`]). A key must not also be a folder of other keys.
/// Values are never empty: an empty object is how a bucket without conditional delete marks a deleted one.
///
/// Every implementation passes [`crate::contract::check`].
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// What a reader should call this place in a message, for example `folder /var/lib/stackctl`.
    fn describe(&self) -> String;

    /// Reads a value, `None` when there is none.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// Writes a value if what is there is what `expected` says, and gives the version of what was written.
    ///
    /// After [`StoreError::Conflict`] nothing was written. After [`StoreError::Unavailable`] the write may
    /// have happened all the same (the answer got lost): read again before going on.
    async fn put(&self, key: &str, bytes: Bytes, expected: Expect) -> Result<Version, StoreError>;

    /// Deletes a value if it is still the version expected.
    ///
    /// `Expect::Absent` is a way to assert that nothing is there; it deletes nothing.
    async fn delete(&self, key: &str, expected: Expect) -> Result<(), StoreError>;

    /// The keys that start with `prefix` (plain text, not segments), sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
}

/// Bytes with the version at which they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub bytes: Bytes,
    /// What to expect when replacing it.
    pub version: Version,
}

/// Names the content of a key at one time, in the words of the store (a resourceVersion, an ETag, a hash).
///
/// Two different contents of one key never have the same version. The same content may get the same version
/// again, because an ETag is a hash in many stores: do not count on versions to see that nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// Takes a store's own word for a version.
    pub fn new(version: impl Into<String>) -> Self {
        Self(version.into())
    }

    /// The store's own word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a write expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// No value under this key.
    Absent,
    /// A value of this version.
    Version(Version),
}

impl Expect {
    /// Whether what was found is what was expected.
    pub fn is_met_by(&self, found: Option<&Version>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        }
    }

    /// What to expect in order to replace what was read (`None`: nothing was there).
    pub fn read(found: Option<&Versioned>) -> Self {
        found.map_or(Self::Absent, |found| Self::Version(found.version.clone()))
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Version(version) => write!(f, "version {version}"),
        }
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote in between. Read again and decide again.
    #[error("{key}: changed by somebody else: expected {expected}, found {}", found_text(found.as_ref()))]
    Conflict {
        /// The key that was to be written.
        key: String,
        /// What the writer had read.
        expected: Expect,
        /// What is there now, where the store tells.
        found: Option<Version>,
    },
    /// The key is not one that every store can keep.
    #[error(
        "{key:?} is not a key: segments joined by '/', each of letters, digits, '.', '_' and '-', \
         starting with a letter or a digit, 512 bytes in all"
    )]
    InvalidKey {
        /// The key as given.
        key: String,
    },
    /// An empty value, which a bucket could not tell from a deleted one.
    #[error("{key}: a value must not be empty")]
    EmptyValue {
        /// The key that was to be written.
        key: String,
    },
    /// The value is larger than the store takes.
    #[error(
        "{key}: {size} bytes are more than the {limit} that {store} takes; use a store without that limit"
    )]
    TooLarge {
        /// The key that was to be written.
        key: String,
        /// Size of the value in bytes.
        size: usize,
        /// The store's limit in bytes.
        limit: usize,
        /// [`Store::describe`].
        store: String,
    },
    /// The store could not be reached or failed. A write may have happened all the same.
    #[error("cannot {action} {key} in {store}")]
    Unavailable {
        /// What was tried: `read`, `write`, `delete`, `list`.
        action: &'static str,
        /// The key or prefix.
        key: String,
        /// [`Store::describe`].
        store: String,
        /// The store's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn found_text(found: Option<&Version>) -> String {
    found.map_or_else(|| "nothing, or an unknown version".to_owned(), |version| format!("version {version}"))
}

/// The longest key that every store takes, in bytes.
pub const MAX_KEY_LEN: usize = 512;

/// Checks that a key is one that every store can keep (see [`Store`]), which also keeps it inside its folder.
pub fn validate_key(key: &str) -> Result<(), StoreError> {
    let segment_ok = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_alphanumeric())
            && segment.len() <= 255
            && segment.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    if key.len() <= MAX_KEY_LEN && key.split('/').all(segment_ok) {
        Ok(())
    } else {
        Err(StoreError::InvalidKey { key: key.to_owned() })
    }
}

/// What every `put` checks before it touches anything.
pub fn validate_put(key: &str, bytes: &Bytes) -> Result<(), StoreError> {
    validate_key(key)?;
    if bytes.is_empty() { Err(StoreError::EmptyValue { key: key.to_owned() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_every_store_can_keep() {
        for good in ["a", "stacks/0b1c/default/quick-start/inventory", "A.b_c-1/2"] {
            assert!(validate_key(good).is_ok(), "{good}");
        }
        let long = "a/".repeat(300);
        for bad in ["", "/", "a/", "/a", "a//b", ".", "..", "a/../b", ".lock", "a b", "a\0", "é", &long] {
            assert!(matches!(validate_key(bad), Err(StoreError::InvalidKey { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_conflict_names_the_key_and_both_versions() {
        let conflict = StoreError::Conflict {
            key: "k".into(),
            expected: Expect::Version(Version::new("1")),
            found: Some(Version::new("2")),
        };
        assert_eq!(conflict.to_string(), "k: changed by somebody else: expected version 1, found version 2");
    }
}
