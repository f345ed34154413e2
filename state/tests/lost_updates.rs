//! Writers that share a store never lose an update, whatever the order of their reads and writes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes the helpers of an integration test for production code"
)]

use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use stackctl_state::{Expect, FolderStore, MemoryStore, Store, StoreError, Versioned};

const KEY: &str = "stacks/c/n/s/counter";

fn number(value: Option<&Versioned>) -> u64 {
    value.map_or(0, |value| std::str::from_utf8(&value.bytes).unwrap().parse().unwrap())
}

async fn add_one(store: &dyn Store) {
    loop {
        let read = store.get(KEY).await.unwrap();
        let next = Bytes::from((number(read.as_ref()) + 1).to_string());
        match store.put(KEY, next, Expect::read(read.as_ref())).await {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn eight_writers(store: Arc<dyn Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..25 {
                add_one(&*store).await;
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(number(store.get(KEY).await.unwrap().as_ref()), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    eight_writers(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    eight_writers(Arc::new(FolderStore::new(folder.path()))).await;
}

/// Two writers, each a loop of read, then write what follows from the read. The schedule says who moves next.
#[derive(Default, Clone)]
struct Writer {
    /// What to expect, and the number that was there.
    read: Option<(Expect, u64)>,
    done: u64,
}

proptest! {
    #[test]
    fn two_writers_in_any_order(schedule in prop::collection::vec((0..2_usize, any::<bool>()), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            let mut writers = [Writer::default(), Writer::default()];
            let mut deleted = 0;
            for (who, delete) in schedule {
                let writer = &mut writers[who];
                let Some((expected, read)) = writer.read.take() else {
                    let read = store.get(KEY).await.unwrap();
                    writer.read = Some((Expect::read(read.as_ref()), number(read.as_ref())));
                    continue;
                };
                let result = if delete && read > 0 {
                    store.delete(KEY, expected).await.map(|()| read)
                } else {
                    let next = Bytes::from((read + 1).to_string());
                    store.put(KEY, next, expected).await.map(|_| 0)
                };
                match result {
                    Ok(0) => writer.done += 1,
                    Ok(taken) => deleted += taken,
                    Err(error) => assert!(matches!(error, StoreError::Conflict { .. }), "{error}"),
                }
            }
            // Every success is there exactly once: in the counter, or in what was taken away whole.
            let left = number(store.get(KEY).await.unwrap().as_ref());
            assert_eq!(left + deleted, writers[0].done + writers[1].done);
        });
    }
}

const CHILD_FOLDER: &str = "STACKCTL_TEST_WRITER_FOLDER";

/// Not a test by itself: the process that `a_killed_writer_leaves_whole_values` kills.
#[test]
#[ignore = "started by a_killed_writer_leaves_whole_values"]
fn writer() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let store = FolderStore::new(folder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for fill in (b'a'..=b'z').cycle() {
            let read = store.get(KEY).await.unwrap();
            let value = Bytes::from(vec![fill; 100_000]);
            store.put(KEY, value, Expect::read(read.as_ref())).await.unwrap();
        }
    });
}

/// kill -9 in the middle of writing, over and over: the value is always one that was written, whole, and the
/// next writer is not locked out.
#[tokio::test]
async fn a_killed_writer_leaves_whole_values() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::new(folder.path());
    for _ in 0..10 {
        let before = store.get(KEY).await.unwrap().map(|value| value.version);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact", "--ignored"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut writes = 0;
        let mut last = before;
        while writes < 3 {
            assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
            let value = store.get(KEY).await.unwrap();
            if let Some(value) = &value {
                assert_eq!(value.bytes.len(), 100_000);
                assert!(value.bytes.iter().all(|byte| *byte == value.bytes[0]));
            }
            let version = value.map(|value| value.version);
            if version != last {
                (last, writes) = (version, writes + 1);
            }
            tokio::task::yield_now().await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let whole = store.get(KEY).await.unwrap().unwrap();
    assert_eq!(whole.bytes.len(), 100_000);
    store.put(KEY, Bytes::from_static(b"next"), Expect::Version(whole.version)).await.unwrap();
}
