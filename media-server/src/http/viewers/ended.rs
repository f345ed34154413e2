//! Viewers that have ended, whose contexts are still good by their signature.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use crate::http::context::LIFE;

/// The most that are remembered, the oldest of which make room.
const MAX: usize = 16_384;

/// Ids, each as long as its context may be taken at most.
#[derive(Debug, Default)]
pub(super) struct Ended {
    ids: HashSet<String>,
    order: VecDeque<(Instant, String)>,
}

impl Ended {
    /// Remembers one.
    pub(super) fn add(&mut self, id: &str, now: Instant) {
        while self.order.front().is_some_and(|(until, _)| *until <= now || self.order.len() >= MAX) {
            if let Some((_, old)) = self.order.pop_front() {
                self.ids.remove(&old);
            }
        }
        if self.ids.insert(id.to_owned()) {
            self.order.push_back((now + LIFE, id.to_owned()));
        }
    }

    /// Whether it has ended.
    pub(super) fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// It has begun again.
    pub(super) fn remove(&mut self, id: &str) {
        if self.ids.remove(id) {
            self.order.retain(|(_, other)| other != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_remembered_for_a_time_and_not_without_end() {
        let mut ended = Ended::default();
        let now = Instant::now();
        ended.add("first", now);
        ended.add("first", now);
        assert!(ended.has("first") && !ended.has("second"));
        ended.remove("first");
        assert!(!ended.has("first") && ended.order.is_empty());
        for number in 0..2 * MAX {
            ended.add(&number.to_string(), now);
        }
        assert_eq!((ended.ids.len(), ended.order.len()), (MAX, MAX));
        assert!(ended.has(&(2 * MAX - 1).to_string()) && !ended.has("0"));
        ended.add("later", now + LIFE);
        assert_eq!((ended.ids.len(), ended.order.len()), (1, 1));
    }
}
