//! What every [`Store`] promises, as a check that can be run against any of them.
//!
//! Tests run it on each implementation. It is also worth running against a new bucket: a server that takes
//! conditional headers and ignores them would lose updates without a word.

use bytes::Bytes;

use crate::store::{Expect, Store, StoreError, Version};

/// A promise that a store did not keep.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// An operation gave something else than the contract says.
    #[error("{store} does not keep the contract of a store: {promise}")]
    Broken {
        /// [`Store::describe`].
        store: String,
        /// What should have held.
        promise: &'static str,
    },
    /// An operation failed that should not have.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks every promise of [`Store`] with a few keys below `prefix` (one or more segments, without a `/` at its
/// end), which are deleted at the end.
///
/// Nobody else may use that prefix at the same time.
pub async fn check(store: &dyn Store, prefix: &str) -> Result<(), Violation> {
    let key = format!("{prefix}/some/value");
    let other = format!("{prefix}/some/value-2");
    let keep = |holds: bool, promise: &'static str| {
        if holds { Ok(()) } else { Err(Violation::Broken { store: store.describe(), promise }) }
    };
    let refused = |result: Result<Version, StoreError>, promise| match result {
        Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(Violation::Store(error)),
        Ok(_) => keep(false, promise),
    };
    let (first, second) = (Bytes::from_static(b"first\0\xff"), Bytes::from_static(b"second"));

    keep(store.get(&key).await?.is_none(), "a key that was never written reads as none")?;
    let elsewhere = Expect::Version(Version::new("\"0123456789abcdef\""));
    refused(
        store.put(&key, first.clone(), elsewhere).await,
        "a write that expects a version is refused when nothing is there",
    )?;

    let written = store.put(&key, first.clone(), Expect::Absent).await?;
    let read = store.get(&key).await?;
    keep(read.as_ref().is_some_and(|read| read.bytes == first), "what was written is read back")?;
    keep(read.is_some_and(|read| read.version == written), "a write gives the version that a read gives")?;
    refused(
        store.put(&key, second.clone(), Expect::Absent).await,
        "a write that expects nothing is refused when something is there",
    )?;

    let replaced = store.put(&key, second.clone(), Expect::Version(written.clone())).await?;
    keep(replaced != written, "another content is another version")?;
    refused(
        store.put(&key, first.clone(), Expect::Version(written.clone())).await,
        "a write that expects an older version is refused",
    )?;
    let read = store.get(&key).await?;
    keep(read.is_some_and(|read| read.bytes == second), "a refused write changes nothing")?;

    store.put(&other, first.clone(), Expect::Absent).await?;
    let both = [key.clone(), other.clone()];
    keep(store.list(&format!("{prefix}/so")).await? == both, "a list has all keys of a prefix, sorted")?;
    keep(store.list(&other).await? == both[1..], "a list has no key outside its prefix")?;

    let delete = store.delete(&key, Expect::Version(written)).await;
    keep(
        matches!(delete, Err(StoreError::Conflict { .. })),
        "a delete that expects an older version is refused",
    )?;
    let delete = store.delete(&key, Expect::Absent).await;
    keep(
        matches!(delete, Err(StoreError::Conflict { .. })),
        "a delete that expects nothing is refused when something is there",
    )?;
    store.delete(&key, Expect::Version(replaced.clone())).await?;
    keep(store.get(&key).await?.is_none(), "what was deleted reads as none")?;
    keep(store.list(&key).await? == both[1..], "what was deleted is not listed")?;
    store.delete(&key, Expect::Absent).await?;
    refused(
        store.put(&key, first.clone(), Expect::Version(replaced)).await,
        "a write that expects what was deleted is refused",
    )?;
    let again = store.put(&key, second.clone(), Expect::Absent).await?;
    keep(
        store.get(&key).await?.is_some_and(|read| read.bytes == second && read.version == again),
        "what was deleted can be written again",
    )?;

    let empty = store.put(&key, Bytes::new(), Expect::Version(again)).await;
    keep(matches!(empty, Err(StoreError::EmptyValue { .. })), "an empty value is refused")?;
    let outside = store.put("../outside", first, Expect::Absent).await;
    keep(matches!(outside, Err(StoreError::InvalidKey { .. })), "a key that leads outside is refused")?;

    for key in store.list(&format!("{prefix}/")).await? {
        if let Some(value) = store.get(&key).await? {
            store.delete(&key, Expect::Version(value.version)).await?;
        }
    }
    keep(store.list(&format!("{prefix}/")).await?.is_empty(), "nothing is left when all was deleted")
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::store::{MemoryStore, Versioned};

    /// A server that takes conditions and ignores them, as some S3 servers do.
    #[derive(Debug)]
    struct IgnoresConditions(MemoryStore);

    #[async_trait]
    impl Store for IgnoresConditions {
        fn describe(&self) -> String {
            "a bucket".into()
        }
        async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
            self.0.get(key).await
        }
        async fn put(&self, key: &str, bytes: Bytes, _: Expect) -> Result<Version, StoreError> {
            let found = self.0.get(key).await?;
            self.0.put(key, bytes, Expect::read(found.as_ref())).await
        }
        async fn delete(&self, key: &str, expected: Expect) -> Result<(), StoreError> {
            self.0.delete(key, expected).await
        }
        async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
            self.0.list(prefix).await
        }
    }

    #[tokio::test]
    async fn finds_a_store_that_ignores_conditions() {
        let broken = check(&IgnoresConditions(MemoryStore::new()), "t").await.unwrap_err();
        assert_eq!(
            broken.to_string(),
            "a bucket does not keep the contract of a store: \
             a write that expects a version is refused when nothing is there"
        );
    }
}
