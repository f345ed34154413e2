//! Reads a ring on a thread of its own, as recording does: at its own pace, bounded by [`MAX_HELD`].

use std::sync::Arc;
use std::time::Instant;

use super::{Batch, Headers, Source, View};

/// The most bytes that a ring holds for readers alone. What a reader did not take before there are more is lost to
/// it: memory stays bounded when a volume stalls.
pub const MAX_HELD: usize = 16 << 20;

/// A place in a ring from which everything is kept until it is read, within bounds.
#[derive(Debug)]
pub struct Reader {
    source: Arc<Source>,
    id: u64,
    next: u64,
    view: View,
}

impl Reader {
    /// Starts with what comes from now on.
    pub fn new(source: Arc<Source>) -> Self {
        let (id, next) = source.hold();
        Reader { source, id, next, view: View { tail: next, ..View::default() } }
    }

    /// The stream.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Names this reader to [`Source::let_go`].
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The sequence number of the batch that is read next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The sequence headers of the time of the last [`Reader::sync`].
    pub fn headers(&self) -> &Headers {
        &self.view.headers
    }

    /// Looks at what has come; false when batches before `end` were lost since the last time.
    pub fn sync(&mut self, end: u64, now: Instant) -> bool {
        self.source.sync_reader(self.id, self.next, &mut self.view, now);
        let kept = self.next >= self.view.tail.min(end);
        self.next = self.next.max(self.view.tail);
        kept
    }

    /// Whether [`Reader::read`] has something.
    pub fn has_more(&self, end: u64) -> bool {
        self.next < end && self.view.get(self.next).is_some()
    }

    /// The next batch before `end`, of those that [`Reader::sync`] saw.
    pub fn read(&mut self, end: u64) -> Option<Arc<Batch>> {
        if self.next >= end {
            return None;
        }
        let batch = self.view.get(self.next).cloned()?;
        self.next += 1;
        // What is read is not held longer than its neighbours.
        while self.view.tail < self.next && self.view.batches.pop_front().is_some() {
            self.view.tail += 1;
        }
        Some(batch)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.source.let_go(self.id);
    }
}
