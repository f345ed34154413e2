//! Wall-clock time that follows tokio's clock, so that tests run in no time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Seconds since the Unix epoch, monotone within a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    epoch: f64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), epoch: epoch.as_secs_f64() }
    }

    pub(crate) fn now(&self) -> f64 {
        self.epoch + self.start.elapsed().as_secs_f64()
    }

    /// When tokio's clock surely shows `at` or later: a float's rounding must not wake a wait too early, over and over.
    pub(crate) fn instant(&self, at: f64) -> Instant {
        let after = Duration::try_from_secs_f64(at - self.epoch).unwrap_or_default();
        self.start + after + Duration::from_millis(1)
    }
}
