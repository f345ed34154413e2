//! A store in a folder: one file a key, whole or not at all, also after a crash.
//!
//! A write goes to a temporary file, is synced, renamed over the old one, and the folder is synced, all while
//! an flock on `.lock` keeps other writers of this machine out. Readers need no lock: a rename is atomic. The
//! version is a hash of the content. Over NFS this is as good as the server's flock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Expect, Store, StoreError, Version, Versioned, validate_key, validate_put};
use crate::hash::Hash128;

/// A store in a folder of the local file system. Readable by its owner only, because it holds the stack's key.
#[derive(Debug, Clone)]
pub struct FolderStore {
    root: PathBuf,
}

/// Segments of keys cannot start with a dot, so these two never meet a key.
const LOCK_FILE: &str = ".lock";
const TEMPORARY_FILE: &str = ".writing";

impl FolderStore {
    /// The store in `root`, which is made when it is first written to.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Runs blocking file work away from the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(&Path, &str) -> Result<T, FolderError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (root, owned_key) = (self.root.clone(), key.to_owned());
        let result = tokio::task::spawn_blocking(move || work(&root, &owned_key)).await;
        let source = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(FolderError::Store(error))) => return Err(error),
            Ok(Err(FolderError::Io(error))) => error,
            Err(join_error) => join_error.into(),
        };
        Err(StoreError::Unavailable { action, key: key.to_owned(), store: self.describe(), source })
    }
}

enum FolderError {
    Store(StoreError),
    Io(Box<dyn std::error::Error + Send + Sync>),
}

impl From<io::Error> for FolderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.into())
    }
}

#[async_trait]
impl Store for FolderStore {
    fn describe(&self) -> String {
        format!("folder {}", self.root.display())
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        validate_key(key)?;
        self.blocking("read", key, |root, key| Ok(read(&root.join(key))?)).await
    }

    async fn put(&self, key: &str, bytes: Bytes, expected: Expect) -> Result<Version, StoreError> {
        validate_put(key, &bytes)?;
        self.blocking("write", key, move |root, key| {
            let _lock = lock(root)?;
            let path = root.join(key);
            check(key, &path, &expected)?;
            let folder = path.parent().unwrap_or(root);
            make_folders(root, folder)?;
            // One name is enough under the lock; what a killed writer left is overwritten.
            let temporary = root.join(TEMPORARY_FILE);
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync(folder)?;
            Ok(version(&bytes))
        })
        .await
    }

    async fn delete(&self, key: &str, expected: Expect) -> Result<(), StoreError> {
        validate_key(key)?;
        self.blocking("delete", key, move |root, key| {
            let _lock = lock(root)?;
            let path = root.join(key);
            check(key, &path, &expected)?;
            if expected != Expect::Absent {
                fs::remove_file(&path)?;
                sync(path.parent().unwrap_or(root))?;
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let prefix_owned = prefix.to_owned();
        self.blocking("list", prefix, move |root, _| {
            let mut keys = Vec::new();
            walk(root, "", &prefix_owned, &mut keys)?;
            keys.sort();
            Ok(keys)
        })
        .await
    }
}

fn version(bytes: &[u8]) -> Version {
    Version::new(Hash128::of(bytes).to_string())
}

fn read(path: &Path) -> io::Result<Option<Versioned>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Versioned { version: version(&bytes), bytes: bytes.into() })),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn check(key: &str, path: &Path, expected: &Expect) -> Result<(), FolderError> {
    let found = read(path)?.map(|value| value.version);
    if expected.is_met_by(found.as_ref()) {
        return Ok(());
    }
    Err(FolderError::Store(StoreError::Conflict { key: key.to_owned(), expected: expected.clone(), found }))
}

/// Keeps other writers out until the file is dropped; the kernel lets go of it when a process is killed.
fn lock(root: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(root.join(LOCK_FILE))?;
    file.lock()?;
    Ok(file)
}

/// Makes `folder` below `root`, and makes sure that its names outlast a crash.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    folder.ancestors().skip(1).take_while(|ancestor| ancestor.starts_with(root)).try_for_each(sync)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn walk(folder: &Path, key: &str, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let path = if key.is_empty() { name.to_owned() } else { format!("{key}/{name}") };
        if entry.file_type()?.is_dir() {
            // Only folders that can hold such a key: one reaches into the other.
            let inside = format!("{path}/");
            if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                walk(&entry.path(), &path, prefix, keys)?;
            }
        } else if path.starts_with(prefix) {
            keys.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        crate::contract::check(&FolderStore::new(folder.path().join("made/on/demand")), "t").await.unwrap();
    }

    #[tokio::test]
    async fn what_a_killed_writer_left_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path());
        store.put("a/b", Bytes::from_static(b"whole"), Expect::Absent).await.unwrap();
        fs::write(folder.path().join(TEMPORARY_FILE), b"half of something longer than what comes").unwrap();

        let read = store.get("a/b").await.unwrap().unwrap();
        assert_eq!(read.bytes, "whole");
        assert_eq!(store.list("").await.unwrap(), ["a/b"]);
        store.put("a/b", Bytes::from_static(b"next"), Expect::Version(read.version)).await.unwrap();
        assert_eq!(store.get("a/b").await.unwrap().unwrap().bytes, "next");
    }

    #[tokio::test]
    async fn only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("state"));
        store.put("a/key", Bytes::from_static(b"secret"), Expect::Absent).await.unwrap();
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("state"), mode("state/a"), mode("state/a/key")), (0o700, 0o700, 0o600));
    }

    #[tokio::test]
    async fn an_unreadable_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"not a folder").unwrap();
        let error =
            FolderStore::new(&file).put("k", Bytes::from_static(b"v"), Expect::Absent).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write k in folder {}", file.display()));
    }
}
