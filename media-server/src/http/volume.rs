//! Work on files that a request needs: a volume that does not answer costs that request, and never the thread that
//! all requests share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// A volume must have told of a file by then.
const PATIENCE: Duration = Duration::from_secs(2);
/// A configuration must have been read and taken by then.
const LONG: Duration = Duration::from_secs(10);
/// The most questions under way: each of a volume that does not answer keeps a thread, and other volumes need some.
const MAX_ASKED: usize = 64;

/// A volume does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the volume does not answer")]
pub(super) struct Stalled;

/// Threads for work on files. What was begun goes on after nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Volumes {
    permits: Arc<Semaphore>,
    patience: Duration,
}

impl Volumes {
    /// For questions about files.
    pub(super) fn new() -> Self {
        Volumes { permits: Arc::new(Semaphore::new(MAX_ASKED)), patience: PATIENCE }
    }

    /// For what is done once at a time and may take longer.
    pub(super) fn one_at_a_time() -> Self {
        Volumes { permits: Arc::new(Semaphore::new(1)), patience: LONG }
    }

    /// Does it on a thread of its own.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stalled> {
        let permits = Arc::clone(&self.permits);
        let done = async move {
            let permit = permits.acquire_owned().await.map_err(|_| Stalled)?;
            let work = move || {
                let _permit = permit;
                work()
            };
            tokio::task::spawn_blocking(work).await.map_err(|_| Stalled)
        };
        tokio::time::timeout(self.patience, done).await.unwrap_or(Err(Stalled))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_does_not_end_takes_only_its_own_places() {
        let short = Duration::from_millis(50);
        let volumes = Volumes { permits: Arc::new(Semaphore::new(2)), patience: short };
        let (stuck, stalled) = mpsc::channel::<()>();
        let stalled = Arc::new(std::sync::Mutex::new(stalled));
        for _ in 0..2 {
            let stalled = Arc::clone(&stalled);
            let asked = volumes.ask(move || stalled.lock().map(|stalled| stalled.recv().is_ok()).is_ok());
            assert_eq!(asked.await, Err(Stalled));
        }
        assert_eq!(volumes.ask(|| 7).await, Err(Stalled), "it begins nothing more");
        drop(stuck);
        let volumes = Volumes { patience: Duration::from_mins(1), ..volumes };
        assert_eq!(volumes.ask(|| 7).await, Ok(7), "the volume answers again");
    }
}
