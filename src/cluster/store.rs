//! The state's place in the cluster: every value a Secret in a namespace of its own, the locks real Leases.
//!
//! Compare-and-swap is the API server's own: a create fails where something is, and a replace names the
//! resourceVersion that it replaces. `kubectl -n stackctl-system get secrets,leases` shows which stacks there are, and
//! who is at work on one.

mod head;
mod lease;
mod name;
mod objects;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::try_join_all;
use serde_json::{Value, json};
use stackctl_state::store::{validate_key, validate_put};
use stackctl_state::{Expect, Store, StoreError, Version, Versioned};

use head::Head;
use name::name;
use objects::Objects;

use super::ClusterError;
use super::connection::Connection;

/// The namespace that all state lives in; no stack may manage it.
pub const STATE_NAMESPACE: &str = "stackctl-system";
/// The type of the Secrets that hold state.
const SECRET_TYPE: &str = "stackctl.dev/state";
/// The annotation that says whose value an object holds.
const KEY: &str = "stackctl.dev/key";
/// The label of a part: which value it belongs to, by the hash of its key.
const PART_OF: &str = "stackctl.dev/part-of";
/// The most that one Secret takes, in bytes: the API server's limit is 1 MiB over all of its values.
const PART: usize = 1_000_000;
/// A value may be replaced, and its parts deleted, while it is read; this often in a row is no accident.
const READS: u32 = 5;

/// A [`Store`] in the cluster itself, made by [`super::Live::store`].
pub struct ClusterStore {
    secrets: Objects,
    leases: Objects,
    /// `metadata.uid` of the namespace `kube-system`, which stands in the stacks' keys.
    cluster: String,
    server: String,
    /// The parts of the versions read and written here, which a later write has to delete.
    parts: Mutex<BTreeMap<String, (Version, Option<Head>)>>,
}

impl ClusterStore {
    pub(super) fn new(connection: &Arc<Connection>, cluster: String) -> Self {
        Self {
            secrets: Objects::secrets(Arc::clone(connection)),
            leases: Objects::leases(Arc::clone(connection)),
            cluster,
            server: connection.peer().server.clone(),
            parts: Mutex::default(),
        }
    }

    fn objects(&self, key: &str) -> &Objects {
        if is_lock(key) { &self.leases } else { &self.secrets }
    }

    /// What may be in `metadata` and is ours.
    fn metadata(&self, key: &str) -> Value {
        json!({
            "name": name(&self.cluster, key),
            "namespace": STATE_NAMESPACE,
            "labels": { "app.kubernetes.io/managed-by": "stackctl" },
            "annotations": { KEY: key },
        })
    }

    fn lease(&self, key: &str, bytes: &[u8]) -> Result<Value, StoreError> {
        let spec = lease::spec(bytes).map_err(|error| self.failed("write", key, error))?;
        Ok(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": self.metadata(key),
            "spec": spec,
        }))
    }

    /// Writes the parts of a value that is too large for one Secret. Only the head, written after them, makes them
    /// visible; until then they are nobody's.
    async fn write_parts(&self, key: &str, bytes: &Bytes) -> Result<Head, ClusterError> {
        let head = Head::new(bytes.len().div_ceil(PART));
        let name = name(&self.cluster, key);
        let parts: Vec<Value> = head
            .names(&name)
            .into_iter()
            .zip(bytes.chunks(PART))
            .map(|(name, part)| {
                let metadata = json!({
                    "name": name,
                    "namespace": STATE_NAMESPACE,
                    "labels": { "app.kubernetes.io/managed-by": "stackctl", PART_OF: name::hash(key) },
                });
                secret(&metadata, "part", part)
            })
            .collect();
        for part in &parts {
            self.secrets.create(part).await?;
        }
        Ok(head)
    }

    /// Deletes what no head names any more. What cannot be deleted does no harm, and goes when the key is deleted.
    async fn delete_parts(&self, key: &str, head: &Head) {
        for part in head.names(&name(&self.cluster, key)) {
            if let Err(error) = self.secrets.delete(&part, None).await {
                tracing::warn!("{error}; it is not needed any more");
            }
        }
    }

    /// Reads the value that an object holds; `None` if its parts are gone because it was replaced in between.
    async fn value(&self, key: &str, object: &Value) -> Result<Option<(Bytes, Option<Head>)>, StoreError> {
        if is_lock(key) {
            return Ok(Some((lease::bytes(object), None)));
        }
        if let Some(bytes) = field(object, "value") {
            return Ok(Some((bytes.into(), None)));
        }
        let damaged = || self.failed("read", key, "the Secret does not hold what stackctl wrote");
        let head = field(object, "head").and_then(|head| Head::decode(&head)).ok_or_else(damaged)?;
        let names = head.names(&name(&self.cluster, key));
        let parts = try_join_all(names.iter().map(|name| self.secrets.get(name)))
            .await
            .map_err(|error| self.failed("read", key, error))?;
        let mut bytes = Vec::with_capacity(parts.len() * PART);
        for part in parts {
            let Some(part) = part else { return Ok(None) };
            bytes.extend(field(&part, "part").ok_or_else(damaged)?);
        }
        Ok(Some((bytes.into(), Some(head))))
    }

    /// The parts of a version; it is read if it was not read here before.
    async fn parts_of(&self, key: &str, version: &Version) -> Result<Option<Head>, StoreError> {
        {
            let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((known, head)) = parts.get(key)
                && known == version
            {
                return Ok(head.clone());
            }
        }
        let object = self.secrets.get(&name(&self.cluster, key)).await;
        let object = object.map_err(|error| self.failed("read", key, error))?;
        Ok(object.and_then(|object| field(&object, "head")).and_then(|head| Head::decode(&head)))
    }

    fn remember(&self, key: &str, version: &Version, head: Option<Head>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(key.to_owned(), (version.clone(), head));
    }

    /// Writes one object if what is there is what is expected.
    async fn swap(&self, key: &str, mut object: Value, expected: &Expect) -> Result<Version, StoreError> {
        let objects = self.objects(key);
        let written = match expected {
            Expect::Absent => objects.create(&object).await,
            Expect::Version(version) => {
                object["metadata"]["resourceVersion"] = version.as_str().into();
                objects.replace(&name(&self.cluster, key), &object).await
            }
        };
        match written {
            Ok(object) => version(&object)
                .ok_or_else(|| self.failed("write", key, "the server's answer has no resourceVersion")),
            Err(error) if moved(&error, expected) => Err(conflict(key, expected, None)),
            Err(error) => Err(self.failed("write", key, error)),
        }
    }

    fn failed(
        &self,
        action: &'static str,
        key: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Unavailable { action, key: key.to_owned(), store: self.describe(), source: source.into() }
    }
}

impl fmt::Debug for ClusterStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterStore").field("server", &self.server).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for ClusterStore {
    fn describe(&self) -> String {
        format!("namespace {STATE_NAMESPACE} of the cluster at {}", self.server)
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        validate_key(key)?;
        for _ in 0..READS {
            let object = self.objects(key).get(&name(&self.cluster, key)).await;
            let Some(object) = object.map_err(|error| self.failed("read", key, error))? else {
                return Ok(None);
            };
            let found = version(&object);
            let version =
                found.ok_or_else(|| self.failed("read", key, "the object has no resourceVersion"))?;
            if let Some((bytes, head)) = self.value(key, &object).await? {
                self.remember(key, &version, head);
                return Ok(Some(Versioned { bytes, version }));
            }
        }
        Err(self.failed(
            "read",
            key,
            "a part of it is missing; restore it from a backup, or delete its Secret",
        ))
    }

    async fn put(&self, key: &str, bytes: Bytes, expected: Expect) -> Result<Version, StoreError> {
        validate_put(key, &bytes)?;
        if !may_be_ours(&expected) {
            return Err(conflict(key, &expected, None));
        }
        if is_lock(key) {
            return self.swap(key, self.lease(key, &bytes)?, &expected).await;
        }
        let replaced = match &expected {
            Expect::Absent => None,
            Expect::Version(version) => self.parts_of(key, version).await?,
        };
        let head = if bytes.len() > PART {
            Some(self.write_parts(key, &bytes).await.map_err(|error| self.failed("write", key, error))?)
        } else {
            None
        };
        let object = match &head {
            None => secret(&self.metadata(key), "value", &bytes),
            Some(head) => secret(&self.metadata(key), "head", &head.encode()),
        };
        match self.swap(key, object, &expected).await {
            Ok(version) => {
                if let Some(replaced) = replaced {
                    self.delete_parts(key, &replaced).await;
                }
                self.remember(key, &version, head);
                Ok(version)
            }
            Err(error) => {
                // After any other error the head may stand, and need its parts.
                if let (StoreError::Conflict { .. }, Some(head)) = (&error, &head) {
                    self.delete_parts(key, head).await;
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, key: &str, expected: Expect) -> Result<(), StoreError> {
        validate_key(key)?;
        let objects = self.objects(key);
        let name = name(&self.cluster, key);
        let Expect::Version(wanted) = &expected else {
            let object = objects.get(&name).await.map_err(|error| self.failed("delete", key, error))?;
            return match object {
                None => Ok(()),
                Some(object) => Err(conflict(key, &expected, version(&object))),
            };
        };
        if !may_be_ours(&expected) {
            return Err(conflict(key, &expected, None));
        }
        match objects.delete(&name, Some(wanted.as_str())).await {
            Ok(true) => {}
            Ok(false) => return Err(conflict(key, &expected, None)),
            Err(error) if moved(&error, &expected) => return Err(conflict(key, &expected, None)),
            Err(error) => return Err(self.failed("delete", key, error)),
        }
        if !is_lock(key) {
            let selector = format!("{PART_OF}={}", name::hash(key));
            let parts = self.secrets.metadata(&selector).await;
            for part in parts.map_err(|error| self.failed("delete", key, error))? {
                if let Some(name) = part.pointer("/metadata/name").and_then(Value::as_str)
                    && let Err(error) = self.secrets.delete(name, None).await
                {
                    tracing::warn!("{error}; it is not needed any more");
                }
            }
        }
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let ours = "app.kubernetes.io/managed-by=stackctl";
        let mut keys = Vec::new();
        for objects in [&self.secrets, &self.leases] {
            let found = objects.metadata(ours).await;
            keys.extend(found.map_err(|error| self.failed("list", prefix, error))?.iter().filter_map(
                |object| {
                    let key = object.get("metadata")?.get("annotations")?.get(KEY)?.as_str()?;
                    key.starts_with(prefix).then(|| key.to_owned())
                },
            ));
        }
        keys.sort();
        Ok(keys)
    }
}

fn secret(metadata: &Value, field: &str, bytes: &[u8]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": SECRET_TYPE,
        "metadata": metadata,
        "data": { field: STANDARD.encode(bytes) },
    })
}

/// The last segment of [`stackctl_state::Lock`]'s keys.
fn is_lock(key: &str) -> bool {
    key.rsplit('/').next() == Some("lock")
}

/// A resourceVersion is a decimal number in every store that the API server has; other versions are another store's.
fn may_be_ours(expected: &Expect) -> bool {
    match expected {
        Expect::Absent => true,
        Expect::Version(version) => {
            !version.as_str().is_empty() && version.as_str().bytes().all(|byte| byte.is_ascii_digit())
        }
    }
}

/// Whether the server refused because something else is there (409), or nothing where something was expected (404).
fn moved(error: &ClusterError, expected: &Expect) -> bool {
    error.is_rejected_with(409) || (error.is_rejected_with(404) && *expected != Expect::Absent)
}

fn conflict(key: &str, expected: &Expect, found: Option<Version>) -> StoreError {
    StoreError::Conflict { key: key.to_owned(), expected: expected.clone(), found }
}

fn version(object: &Value) -> Option<Version> {
    object.pointer("/metadata/resourceVersion")?.as_str().map(Version::new)
}

fn field(secret: &Value, field: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.get("data")?.get(field)?.as_str()?).ok()
}

#[cfg(test)]
mod tests;
