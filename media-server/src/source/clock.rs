//! A stream's timestamps: SRS's `time_jitter`, applied once in the ring instead of once a player.

use super::kind_bit;
use crate::conf::settings::TimeJitter;
use crate::flv::TagKind;

/// A jump of more than this, forth or back, is not real.
const MAX_JITTER: i64 = 250;
/// What a jump is replaced with.
const FRAME: i64 = 10;

/// Turns a publisher's timestamps, which jump and wrap, into the ring's.
#[derive(Debug, Default)]
pub struct Clock {
    last: Option<u32>,
    /// The last timestamp without its wraps.
    unwrapped: i64,
    /// The same by kind, since the last discontinuity.
    of_kind: [Option<i64>; 3],
    corrected: i64,
    /// The greatest that was given.
    newest: i64,
    /// The next timestamp has nothing to do with the last one.
    discontinued: bool,
    /// What is added to timestamps whose distances are kept.
    offset: i64,
}

impl Clock {
    /// The next timestamp is another connection's: it counts as the frame after the last one.
    pub fn discontinue(&mut self) {
        self.discontinued = self.last.is_some();
    }

    /// The ring's present timestamp: metadata's, whose own is often of another clock (SRS ignores it too).
    pub fn now(&self) -> i64 {
        self.corrected
    }

    /// The ring's timestamp, in milliseconds, for a publisher's.
    pub fn correct(&mut self, jitter: TimeJitter, kind: TagKind, timestamp: u32) -> i64 {
        let first = self.last.is_none();
        // RTMP has 31 or 32 bits: the difference in 32 bits is right for both, but for a wrap at 2^31.
        let mut delta = self.last.map_or(0, |last| i64::from(timestamp.wrapping_sub(last) as i32));
        if delta < i64::from(i32::MIN) + 0x1000_0000 {
            delta += 0x8000_0000;
        }
        self.unwrapped = if first { i64::from(timestamp) } else { self.unwrapped + delta };
        self.last = Some(timestamp);
        let before = self.of_kind[usize::from(kind_bit(kind) >> 1)];
        // A source that begins anew within its connection. Audio may lie well behind video all the time: kind by kind.
        let back =
            jitter != TimeJitter::Full && before.is_some_and(|before| before - self.unwrapped > MAX_JITTER);
        if std::mem::take(&mut self.discontinued) || back {
            self.of_kind = [None; 3];
            self.corrected = self.newest + FRAME;
        } else {
            self.corrected = match jitter {
                TimeJitter::Off if first => self.unwrapped,
                TimeJitter::Full | TimeJitter::Zero if first => 0,
                TimeJitter::Full if delta.abs() > MAX_JITTER => self.corrected + FRAME,
                TimeJitter::Full => self.corrected + delta,
                TimeJitter::Off | TimeJitter::Zero => self.unwrapped + self.offset,
            };
        }
        self.offset = self.corrected - self.unwrapped;
        self.of_kind[usize::from(kind_bit(kind) >> 1)] = Some(self.unwrapped);
        self.newest = self.newest.max(self.corrected);
        self.corrected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(jitter: TimeJitter, timestamps: &[u32]) -> Vec<i64> {
        let mut clock = Clock::default();
        timestamps.iter().map(|timestamp| clock.correct(jitter, TagKind::Video, *timestamp)).collect()
    }

    #[test]
    fn full_smooths_jumps_and_starts_at_zero() {
        assert_eq!(run(TimeJitter::Full, &[500, 540, 530, 9000, 9040, 100]), [0, 40, 30, 40, 80, 90]);
    }

    #[test]
    fn wraps_are_no_jumps() {
        assert_eq!(run(TimeJitter::Full, &[0xffff_fff0, 0x10]), [0, 32]);
        assert_eq!(run(TimeJitter::Full, &[0x7fff_fff0, 0x10]), [0, 32]);
        assert_eq!(run(TimeJitter::Zero, &[0x7fff_fff0, 0x10]), [0, 32]);
    }

    #[test]
    fn zero_and_off_keep_jumps() {
        assert_eq!(run(TimeJitter::Zero, &[500, 9000]), [0, 8500]);
        assert_eq!(run(TimeJitter::Off, &[500, 9000]), [500, 9000]);
    }

    #[test]
    fn zero_and_off_go_on_when_a_source_begins_anew() {
        assert_eq!(run(TimeJitter::Zero, &[500, 9000, 8980, 0, 40]), [0, 8500, 8480, 8510, 8550]);
        assert_eq!(run(TimeJitter::Off, &[500, 9000, 8980, 0, 40]), [500, 9000, 8980, 9010, 9050]);
        assert_eq!(run(TimeJitter::Off, &[0x7fff_fff0, 0x10]), [0x7fff_fff0, 0x8000_0010]);
        assert_eq!(run(TimeJitter::Off, &[0xffff_fff0, 0x10]), [0xffff_fff0, 0x1_0000_0010]);
    }

    #[test]
    fn audio_that_lies_behind_video_is_no_new_beginning() {
        for (jitter, base) in [(TimeJitter::Zero, 0), (TimeJitter::Off, 2000)] {
            let mut clock = Clock::default();
            for time in (0..4000).step_by(40) {
                assert_eq!(clock.correct(jitter, TagKind::Video, 2000 + time), base + i64::from(time));
                assert_eq!(clock.correct(jitter, TagKind::Audio, 1200 + time), base + i64::from(time) - 800);
            }
        }
    }
}
