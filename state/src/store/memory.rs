//! A store in memory, for tests: real compare-and-swap, and faults on demand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Expect, Store, StoreError, Version, Versioned, validate_key, validate_put};

/// One operation on a [`MemoryStore`], as its fault hook sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// [`Store::get`].
    Get(&'a str),
    /// [`Store::put`].
    Put(&'a str),
    /// [`Store::delete`].
    Delete(&'a str),
    /// [`Store::list`].
    List(&'a str),
}

/// How an operation is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request never arrived: nothing happened.
    Before,
    /// The answer got lost: it happened, and the caller is told that it failed.
    After,
}

type Hook = dyn Fn(Operation<'_>) -> Option<Fault> + Send + Sync;

/// A store in memory. Clones share their content.
#[derive(Clone, Default)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    faults: Option<Arc<Hook>>,
}

#[derive(Default)]
struct Content {
    values: BTreeMap<String, Versioned>,
    /// Never goes back, so that a value deleted and made again is another version.
    last_version: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same content, seen through a hook that decides for each operation whether it fails.
    pub fn with_faults(
        &self,
        faults: impl Fn(Operation<'_>) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self { content: Arc::clone(&self.content), faults: Some(Arc::new(faults)) }
    }

    /// Writes a value unless there is one, past the fault hook: how a hook plays the other writer of a race.
    #[cfg(test)]
    pub(crate) fn insert_if_absent(&self, key: &str, bytes: Vec<u8>) {
        let mut content = self.content();
        content.last_version += 1;
        let version = Version::new(content.last_version.to_string());
        content.values.entry(key.to_owned()).or_insert(Versioned { bytes: bytes.into(), version });
    }

    /// A panic of a test that held the lock leaves the map whole: each change is one insert or remove.
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_fault<T>(
        &self,
        operation: Operation<'_>,
        run: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (action, key) = match operation {
            Operation::Get(key) => ("read", key),
            Operation::Put(key) => ("write", key),
            Operation::Delete(key) => ("delete", key),
            Operation::List(key) => ("list", key),
        };
        let fault = self.faults.as_ref().and_then(|faults| faults(operation));
        let unavailable = |text: &str| StoreError::Unavailable {
            action,
            key: key.to_owned(),
            store: self.describe(),
            source: text.into(),
        };
        match fault {
            Some(Fault::Before) => Err(unavailable("the request was lost")),
            Some(Fault::After) => run().and_then(|_| Err(unavailable("the answer was lost"))),
            None => run(),
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys only: a value may be a secret.
        f.debug_set().entries(self.content().values.keys()).finish()
    }
}

fn check(key: &str, expected: &Expect, values: &BTreeMap<String, Versioned>) -> Result<(), StoreError> {
    let found = values.get(key).map(|value| &value.version);
    if expected.is_met_by(found) {
        Ok(())
    } else {
        Err(StoreError::Conflict { key: key.to_owned(), expected: expected.clone(), found: found.cloned() })
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        validate_key(key)?;
        self.with_fault(Operation::Get(key), || Ok(self.content().values.get(key).cloned()))
    }

    async fn put(&self, key: &str, bytes: Bytes, expected: Expect) -> Result<Version, StoreError> {
        validate_put(key, &bytes)?;
        self.with_fault(Operation::Put(key), || {
            let mut content = self.content();
            check(key, &expected, &content.values)?;
            content.last_version += 1;
            let version = Version::new(content.last_version.to_string());
            content.values.insert(key.to_owned(), Versioned { bytes, version: version.clone() });
            Ok(version)
        })
    }

    async fn delete(&self, key: &str, expected: Expect) -> Result<(), StoreError> {
        validate_key(key)?;
        self.with_fault(Operation::Delete(key), || {
            let mut content = self.content();
            check(key, &expected, &content.values)?;
            content.values.remove(key);
            Ok(())
        })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.with_fault(Operation::List(prefix), || {
            let content = self.content();
            Ok(content.values.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        crate::contract::check(&MemoryStore::new(), "t").await.unwrap();
    }

    #[tokio::test]
    async fn a_lost_request_does_nothing_and_a_lost_answer_does_it() {
        let store = MemoryStore::new();
        let put = |fault| {
            let store = store.with_faults(move |operation| match operation {
                Operation::Put(_) => Some(fault),
                _ => None,
            });
            async move { store.put("k", Bytes::from_static(b"v"), Expect::Absent).await }
        };
        assert!(matches!(put(Fault::Before).await, Err(StoreError::Unavailable { .. })));
        assert_eq!(store.get("k").await.unwrap(), None);
        assert!(matches!(put(Fault::After).await, Err(StoreError::Unavailable { .. })));
        assert!(store.get("k").await.unwrap().is_some());
    }

    #[test]
    fn debug_shows_no_value() {
        let store = MemoryStore::new();
        store.content().values.insert(
            "key".into(),
            Versioned { bytes: Bytes::from_static(b"hunter2"), version: Version::new("1") },
        );
        assert_eq!(format!("{store:?}"), r#"{"key"}"#);
    }
}
