//! What a run leaves behind for the next one.

use async_trait::async_trait;
use serde_json::Value;
use stackctl_state::Locked;

use super::Report;
use crate::graph::ObjectId;
use crate::plan::Change;

/// The books can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another run is changing the stack.
    #[error(transparent)]
    Locked(#[from] Locked),
    /// Another run has changed the stack since the plan.
    #[error("{0}")]
    Stale(String),
    /// The state could not be read or written.
    #[error("{message}")]
    Failed {
        /// What could not be written, where and why.
        message: String,
        /// What went wrong underneath.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Keeps the books of a run: the lock, the inventory. A run tells it what it is about to do and what it has done; it writes when it
/// is told to, so that a thousand changes cost a few writes.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Before the first write: which objects the run will touch. If it fails, nothing is touched.
    async fn begin(&self, ids: &[ObjectId]) -> Result<(), RecordError>;

    /// An object was applied: the change as it was carried out (its body is what was sent), and the server's answer. Only noted.
    fn applied(&self, change: &Change, object: &Value);

    /// An object is gone. Only noted.
    fn forget(&self, id: &ObjectId);

    /// Writes what was noted.
    async fn flush(&self) -> Result<(), RecordError>;

    /// The run is over; writes what was noted, and that it is over.
    async fn finish(&self, report: &Report) -> Result<(), RecordError>;

    /// Ends when the run must not go on writing, because its lock was lost; says why.
    async fn lost(&self) -> String {
        std::future::pending().await
    }
}
