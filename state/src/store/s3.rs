//! A store in a bucket: S3, or anything that speaks its protocol and honours conditional requests.
//!
//! Writes carry `If-None-Match: *` or `If-Match: ETAG` (RFC 9110 section 13). Conditional DELETE is not to be
//! had everywhere, so deleting is writing an empty object under the same condition, and an empty object reads
//! as none. A server that ignores conditions would lose updates without a word: run
//! [`crate::contract::check`] once against a bucket of an unknown make before trusting it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion,
};

use super::{Expect, Store, StoreError, Version, Versioned, validate_key, validate_put};

/// A store over any `object_store` that has conditional put.
#[derive(Debug, Clone)]
pub struct ObjectStoreStore {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    name: String,
}

/// A bucket that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use {url} as a store; it should look like s3://BUCKET/PREFIX, with AWS_* set as for the aws command"
)]
pub struct S3Error {
    /// The address as given.
    pub url: String,
    /// What is wrong with it or with the environment.
    #[source]
    pub source: Error,
}

impl ObjectStoreStore {
    /// The store below `s3://BUCKET/PREFIX`.
    ///
    /// `options` are the usual settings by their names in the environment, in any case: `AWS_REGION`,
    /// `AWS_ENDPOINT` (for OSS `https://oss-REGION.aliyuncs.com` with `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`),
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ALLOW_HTTP` …; unknown ones are left alone.
    pub fn s3(url: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Self, S3Error> {
        // Fails only if the program chose a provider before, which is then the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fail = |source| S3Error { url: url.to_owned(), source };
        let mut builder = AmazonS3Builder::new().with_url(url);
        for (name, value) in options {
            if let Ok(option) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(option, value);
            }
        }
        let builder = builder.with_conditional_put(S3ConditionalPut::ETagMatch);
        let objects = builder.build().map_err(fail)?;
        let prefix =
            url.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
        Ok(Self::new(Arc::new(objects), prefix, url))
    }

    /// The store below `prefix` of `objects`, called `name` in messages.
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: &str, name: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { objects, prefix, name: name.to_owned() }
    }

    fn path(&self, key: &str) -> Path {
        Path::from(format!("{}{key}", self.prefix))
    }

    fn unavailable(&self, action: &'static str, key: &str, error: Error) -> StoreError {
        StoreError::Unavailable { action, key: key.to_owned(), store: self.describe(), source: error.into() }
    }

    /// What is stored under the key, deleted or not.
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, Error> {
        match self.objects.head(&self.path(key)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes under a condition; `Ok(None)` when it did not hold.
    async fn put_if(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<Option<Version>, Error> {
        let options = PutOptions::from(mode);
        match self.objects.put_opts(&self.path(key), PutPayload::from(bytes), options).await {
            Ok(result) => version(result.e_tag).map(Some),
            // S3 answers 404 to If-Match on what is not there.
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes if what is there is what is expected, where an empty object is nothing.
    async fn swap(
        &self,
        action: &'static str,
        key: &str,
        bytes: Bytes,
        expected: Expect,
    ) -> Result<Version, StoreError> {
        let fail = |error| self.unavailable(action, key, error);
        let written = match &expected {
            Expect::Version(version) => {
                let update = UpdateVersion { e_tag: Some(version.as_str().to_owned()), version: None };
                self.put_if(key, bytes, PutMode::Update(update)).await.map_err(fail)?
            }
            Expect::Absent => match self.put_if(key, bytes.clone(), PutMode::Create).await.map_err(fail)? {
                Some(version) => Some(version),
                None => match self.head(key).await.map_err(fail)? {
                    Some(deleted) if deleted.size == 0 => {
                        let update = UpdateVersion { e_tag: deleted.e_tag, version: None };
                        self.put_if(key, bytes, PutMode::Update(update)).await.map_err(fail)?
                    }
                    _ => None,
                },
            },
        };
        written.ok_or_else(|| StoreError::Conflict { key: key.to_owned(), expected, found: None })
    }
}

fn version(e_tag: Option<String>) -> Result<Version, Error> {
    e_tag.map(Version::new).ok_or_else(|| Error::Generic {
        store: "S3",
        source: "the server sends no ETag, without which a write cannot name what it expects".into(),
    })
}

#[async_trait]
impl Store for ObjectStoreStore {
    fn describe(&self) -> String {
        format!("bucket {}", self.name)
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        validate_key(key)?;
        let fail = |error| self.unavailable("read", key, error);
        let result = match self.objects.get(&self.path(key)).await {
            Ok(result) => result,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let version = version(result.meta.e_tag.clone()).map_err(fail)?;
        let bytes = result.bytes().await.map_err(fail)?;
        Ok((!bytes.is_empty()).then_some(Versioned { bytes, version }))
    }

    async fn put(&self, key: &str, bytes: Bytes, expected: Expect) -> Result<Version, StoreError> {
        validate_put(key, &bytes)?;
        self.swap("write", key, bytes, expected).await
    }

    async fn delete(&self, key: &str, expected: Expect) -> Result<(), StoreError> {
        validate_key(key)?;
        if expected == Expect::Absent {
            return match self.get(key).await? {
                None => Ok(()),
                Some(found) => {
                    Err(StoreError::Conflict { key: key.to_owned(), expected, found: Some(found.version) })
                }
            };
        }
        self.swap("delete", key, Bytes::new(), expected).await.map(drop)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        // The protocol of object_store lists whole segments: list the folder and choose in it.
        let folder = format!("{}{prefix}", self.prefix);
        let folder = folder.rsplit_once('/').map(|(folder, _)| Path::from(folder));
        let listed: Vec<ObjectMeta> = self
            .objects
            .list(folder.as_ref())
            .try_collect()
            .await
            .map_err(|error| self.unavailable("list", prefix, error))?;
        let mut keys: Vec<String> = listed
            .into_iter()
            .filter(|object| object.size > 0)
            .filter_map(|object| Some(object.location.as_ref().strip_prefix(&self.prefix)?.to_owned()))
            .filter(|key| key.starts_with(prefix))
            .collect();
        keys.sort();
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        for prefix in ["", "some/prefix/"] {
            let store = ObjectStoreStore::new(Arc::new(InMemory::new()), prefix, "test");
            crate::contract::check(&store, "t").await.unwrap();
        }
    }

    #[tokio::test]
    async fn of_two_that_write_where_one_was_deleted_one_is_refused() {
        let store = ObjectStoreStore::new(Arc::new(InMemory::new()), "", "test");
        let first = store.put("k", Bytes::from_static(b"1"), Expect::Absent).await.unwrap();
        store.delete("k", Expect::Version(first)).await.unwrap();
        store.put("k", Bytes::from_static(b"2"), Expect::Absent).await.unwrap();
        let refused = store.put("k", Bytes::from_static(b"3"), Expect::Absent).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })));
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let error = ObjectStoreStore::s3("ftp://x/y", []).unwrap_err();
        assert!(error.to_string().starts_with("cannot use ftp://x/y as a store"), "{error}");
    }
}
