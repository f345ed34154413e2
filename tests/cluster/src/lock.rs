//! Locks between processes: `flock` on files, released by the kernel whatever happens to the holder.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::error::{Result, at};

/// Takes the exclusive lock on `path`, creating the file; waits for it.
///
/// The file may be removed by whoever holds the lock: a holder of a removed file holds nothing, so the file that was
/// locked is compared with the one that has the name now.
pub(crate) fn exclusive(path: &Path) -> Result<File> {
    loop {
        let file = open(path)?;
        file.lock().map_err(at("lock", path))?;
        if is_current(&file, path) {
            return Ok(file);
        }
    }
}

/// As [`exclusive`], but gives up at once when somebody else holds it.
pub(crate) fn try_exclusive(path: &Path) -> Result<Option<File>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(is_current(&file, path).then_some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(source)) => Err(at("lock", path)(source)),
    }
}

/// Takes a shared lock on `path`: many may hold it, and none of them together with an exclusive one.
pub(crate) fn shared(path: &Path) -> Result<File> {
    loop {
        let file = open(path)?;
        file.lock_shared().map_err(at("lock", path))?;
        if is_current(&file, path) {
            return Ok(file);
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(at("open", path))
}

fn is_current(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_lock_shuts_others_out_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = exclusive(&path).unwrap();
        assert!(try_exclusive(&path).unwrap().is_none());
        drop(held);
        // Waits: a program that another thread is starting may have the file open until it has started.
        exclusive(&path).unwrap();
    }

    #[test]
    fn a_shared_lock_lets_others_share_and_shuts_an_exclusive_one_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("holders");
        let first = shared(&path).unwrap();
        let second = shared(&path).unwrap();
        assert!(try_exclusive(&path).unwrap().is_none());
        drop(first);
        assert!(try_exclusive(&path).unwrap().is_none());
        drop(second);
        // Waits: a program that another thread is starting may have the file open until it has started.
        exclusive(&path).unwrap();
    }

    #[test]
    fn a_lock_on_a_removed_file_is_not_taken_for_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let stale = exclusive(&path).unwrap();
        assert!(is_current(&stale, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_current(&stale, &path));
        let fresh = exclusive(&path).unwrap();
        assert!(is_current(&fresh, &path) && !is_current(&stale, &path));
        assert!(try_exclusive(&path).unwrap().is_none(), "the fresh lock is held");
    }
}
