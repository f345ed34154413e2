//! What a run leaves behind for the next one.

use async_trait::async_trait;
use serde_json::Value;

use super::Report;
use crate::graph::ObjectId;
use crate::plan::Change;

/// The state could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RecordError {
    /// What could not be written, where and why.
    pub message: String,
    /// What went wrong underneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
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
