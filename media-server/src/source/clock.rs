//! A stream's timestamps: SRS's `time_jitter`, applied once in the ring instead of once a player.

use crate::conf::settings::TimeJitter;

/// A jump of more than this, forth or back, is not real.
const MAX_JITTER: i64 = 250;
/// What a jump is replaced with.
const FRAME: i64 = 10;

/// Turns a publisher's timestamps, which jump and wrap, into the ring's.
#[derive(Debug, Default)]
pub struct Clock {
    last: Option<u32>,
    corrected: i64,
    /// The next timestamp has nothing to do with the last one.
    discontinued: bool,
    /// What is added where timestamps are passed on as they are.
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
    pub fn correct(&mut self, jitter: TimeJitter, timestamp: u32) -> i64 {
        if std::mem::take(&mut self.discontinued) {
            self.last = Some(timestamp);
            self.corrected += FRAME;
            self.offset = self.corrected - i64::from(timestamp);
            return self.corrected;
        }
        // RTMP has 31 or 32 bits: the difference in 32 bits is right for both, but for a wrap at 2^31.
        let mut delta = self.last.map_or(0, |last| i64::from(timestamp.wrapping_sub(last) as i32));
        if delta < i64::from(i32::MIN) + 0x1000_0000 {
            delta += 0x8000_0000;
        }
        self.last = Some(timestamp);
        match jitter {
            TimeJitter::Off => self.corrected = i64::from(timestamp) + self.offset,
            TimeJitter::Full if delta.abs() > MAX_JITTER => self.corrected += FRAME,
            TimeJitter::Full | TimeJitter::Zero => self.corrected += delta,
        }
        self.corrected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(jitter: TimeJitter, timestamps: &[u32]) -> Vec<i64> {
        let mut clock = Clock::default();
        timestamps.iter().map(|timestamp| clock.correct(jitter, *timestamp)).collect()
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
}
