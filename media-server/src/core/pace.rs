//! `send_min_interval`: players of RTMP that get one message at a time, each so long after the one before.
//!
//! The wheel begins with what waits, as for everybody; then each of them has a timer until nothing waits any more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::{Core, Next};

/// When which connections may get their next message.
#[derive(Debug, Default)]
pub(super) struct Pace(BinaryHeap<Reverse<(Instant, usize)>>);

impl Pace {
    /// The connection at that place may get its next message then.
    pub(super) fn add(&mut self, due: Instant, index: usize) {
        self.0.push(Reverse((due, index)));
    }

    /// When the next one may.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((due, _))| *due)
    }

    fn pop(&mut self, now: Instant) -> Option<(Instant, usize)> {
        self.next_due().filter(|due| *due <= now)?;
        self.0.pop().map(|Reverse(pair)| pair)
    }
}

impl Core {
    /// Sends to those whose time has come.
    pub(super) fn step_paced(&mut self) {
        while let Some((due, index)) = self.pace.pop(self.now) {
            let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { continue };
            // Another connection may be in that place by now. One whose socket is full goes on by itself.
            let is_due = !conn.blocked && conn.player.as_ref().is_some_and(|player| player.due == Some(due));
            let next = if is_due { self.send(&mut conn) } else { Next::Keep };
            self.settle(index, conn, next);
        }
    }
}
