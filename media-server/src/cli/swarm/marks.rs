//! Marks in media: the time of sending, from which players tell latencies and what they missed.

/// What is appended to marked payloads: these bytes, then microseconds of the machine's monotonic clock. Decoders
/// never see it.
pub(super) const MARK: &[u8; 8] = b"\xffLATMARK";
/// A mark's size.
pub(super) const MARK_SIZE: usize = 16;
/// Microseconds of the clock that all processes of a machine share.
pub(super) fn now_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

pub(super) fn since(sent: u64, now: u64) -> u32 {
    u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX)
}

/// The time in a mark at the front of these bytes.
pub(super) fn read_mark(bytes: &[u8]) -> Option<u64> {
    let time = bytes.strip_prefix(MARK)?.get(..8)?;
    time.try_into().ok().map(u64::from_be_bytes)
}

/// The times of the marks that end in `bytes`, whatever the framing around them: no frame of HTTP stands inside of
/// one. `tail` is what was kept of the bytes before.
pub(super) fn times(tail: &mut Vec<u8>, bytes: &[u8]) -> Vec<u64> {
    tail.extend_from_slice(bytes);
    let mut times = Vec::new();
    let mut at = 0;
    while let Some(found) = tail[at..].iter().position(|byte| *byte == MARK[0]) {
        at += found;
        match read_mark(&tail[at..]) {
            Some(time) => {
                times.push(time);
                at += MARK_SIZE;
            }
            None if tail.len() - at < MARK_SIZE => break,
            None => at += 1,
        }
    }
    let keep = tail.len().saturating_sub(MARK_SIZE - 1).max(at.min(tail.len()));
    tail.drain(..keep);
    times
}

/// Frames of a stream come closer together than this, in microseconds.
const USUAL: u64 = 250_000;

/// What a player missed of a stream with marks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gaps {
    /// When the newest frame that came was sent.
    newest: Option<u64>,
    /// Microseconds of the stream that never came.
    pub(super) lost: u64,
    /// When a frame came last.
    came: Option<u64>,
    /// The longest time in which none came, in microseconds.
    pub(super) pause: u64,
}

impl Gaps {
    /// A frame came now that was sent then. Frames may come twice, where a player joins again in the middle of a GOP.
    pub(super) fn saw(&mut self, sent: u64, now: u64) {
        self.waited(now);
        self.came = Some(now);
        let newest = self.newest.unwrap_or(sent).max(sent);
        let gap = newest - self.newest.unwrap_or(newest);
        if gap > USUAL {
            self.lost += gap;
        }
        self.newest = Some(newest);
    }

    /// Nothing came since, and the player waits still.
    pub(super) fn end(&mut self, now: u64) {
        self.waited(now);
        // What comes at the same time is on its way.
        if self.newest.is_some_and(|newest| now.saturating_sub(newest) > 4 * USUAL) {
            self.saw(now, now);
        }
    }

    fn waited(&mut self, now: u64) {
        self.pause = self.pause.max(now.saturating_sub(self.came.unwrap_or(now)));
    }

    /// Counts from here.
    pub(super) fn reset(&mut self) {
        (self.lost, self.pause) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_sent_twice_is_not_missed_and_what_never_comes_is() {
        let mut gaps = Gaps::default();
        for sent in [1_000_000, 1_040_000, 1_080_000, 1_000_000, 1_040_000, 1_120_000] {
            gaps.saw(sent, sent.max(1_080_000));
        }
        assert_eq!((gaps.lost, gaps.pause), (0, 40_000));
        gaps.saw(2_120_000, 3_120_000);
        assert_eq!((gaps.lost, gaps.pause), (1_000_000, 2_000_000));
        gaps.end(2_160_000);
        assert_eq!(gaps.lost, 1_000_000);
        gaps.end(5_120_000);
        assert_eq!(gaps.lost, 4_000_000);
    }

    proptest! {
        /// Marks are found wherever reads cut them, among bytes that look like their start.
        #[test]
        fn marks_are_found_in_any_split(
            gaps in prop::collection::vec(0usize..40, 1..6),
            cuts in prop::collection::vec(1usize..30, 1..20),
        ) {
            let mut bytes = Vec::new();
            for (index, gap) in gaps.iter().enumerate() {
                bytes.resize(bytes.len() + gap, if index % 2 == 0 { MARK[0] } else { 0x17 });
                bytes.extend_from_slice(MARK);
                bytes.extend_from_slice(&(index as u64).to_be_bytes());
            }
            let (mut tail, mut found, mut rest) = (Vec::new(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                found.extend(times(&mut tail, part));
                rest = after;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(found, (0..gaps.len() as u64).collect::<Vec<_>>());
            prop_assert!(tail.len() < MARK_SIZE);
        }
    }
}
