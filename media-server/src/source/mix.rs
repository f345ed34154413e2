//! `mix_correct`: a publisher's audio and video that come in no common order are put into the order of their
//! timestamps, as SRS's mix queue does.

use std::collections::VecDeque;

use crate::flv::TagKind;

/// So many messages of one kind without the other mean that there is one kind alone (SRS).
const ALONE: usize = 10;
/// No more bytes wait for the other kind.
const MAX_WAITING: usize = 1 << 20;

/// A message that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) kind: TagKind,
    pub(super) timestamp: u32,
    pub(super) payload: Box<[u8]>,
}

/// Messages that wait for one of the other kind, in their order.
#[derive(Debug, Default)]
pub(super) struct Mix {
    queue: VecDeque<Waiting>,
    bytes: usize,
}

impl Mix {
    /// Takes a message of audio or video.
    pub(super) fn push(&mut self, kind: TagKind, timestamp: u32, payload: &[u8]) {
        // Timestamps wrap: what counts is which of two is ahead.
        let is_later = |one: &&Waiting| (one.timestamp.wrapping_sub(timestamp) as i32) > 0;
        let later = self.queue.iter().rev().take_while(is_later).count();
        self.bytes += payload.len();
        self.queue.insert(self.queue.len() - later, Waiting { kind, timestamp, payload: payload.into() });
    }

    /// The next message whose turn is known.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let video = self.queue.iter().filter(|one| one.kind == TagKind::Video).count();
        let both = video > 0 && video < self.queue.len();
        if both || self.queue.len() >= ALONE || self.bytes > MAX_WAITING { self.take() } else { None }
    }

    /// The next message, when no other will come.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        let next = self.queue.pop_front()?;
        self.bytes -= next.payload.len();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out at once, and what only at the end.
    fn run(messages: &[(TagKind, u32)]) -> (Vec<u32>, Vec<u32>) {
        let mut mix = Mix::default();
        let mut out = Vec::new();
        for (kind, timestamp) in messages {
            mix.push(*kind, *timestamp, &[1]);
            out.extend(std::iter::from_fn(|| mix.pop()).map(|one| one.timestamp));
        }
        let rest = std::iter::from_fn(|| mix.take()).map(|one| one.timestamp).collect();
        assert_eq!(mix.bytes, 0);
        (out, rest)
    }

    #[test]
    fn audio_and_video_come_out_in_the_order_of_time() {
        use TagKind::{Audio, Video};
        let messages = [(Video, 40), (Video, 80), (Audio, 10), (Audio, 50), (Audio, 90), (Video, 120)];
        assert_eq!(run(&messages), (vec![10, 40, 50, 80, 90], vec![120]));
        let wraps = [(Video, 0xffff_fff0), (Video, 0x10), (Audio, 0xffff_ffff), (Audio, 0x20)];
        assert_eq!(run(&wraps), (vec![0xffff_fff0, 0xffff_ffff, 0x10], vec![0x20]));
    }

    #[test]
    fn one_kind_alone_waits_for_nothing_that_does_not_come() {
        for kind in [TagKind::Audio, TagKind::Video] {
            let messages: Vec<_> = (0..30).map(|index| (kind, index * 20)).collect();
            let (out, rest) = run(&messages);
            assert_eq!((out.len(), rest.len()), (21, 9));
        }
        let mut mix = Mix::default();
        mix.push(TagKind::Video, 0, &vec![0; MAX_WAITING + 1]);
        assert!(mix.pop().is_some(), "memory is bounded by bytes, too");
    }
}
