//! `hls_dts_directly off`: audio's times counted by samples, because those of RTMP are rounded to milliseconds.

/// Samples of an AAC frame.
const FRAME: u64 = 1024;
/// Times that are further from RTMP's, in 90 kHz, are counted anew from those.
const FAR: u64 = 100 * 90;

/// The time of the frames so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct AudioClock {
    base: u64,
    frames: u64,
}

impl AudioClock {
    /// A frame's time in 90 kHz, from RTMP's and the sample rate in hertz.
    pub fn time(&mut self, rtmp: u64, rate: u32) -> u64 {
        let counted = self.base + self.frames * FRAME * 90_000 / u64::from(rate.max(1));
        if counted.abs_diff(rtmp) > FAR || self.frames == 0 {
            *self = AudioClock { base: rtmp, frames: 1 };
            return rtmp;
        }
        self.frames += 1;
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_until_they_are_far_off() {
        let mut clock = AudioClock::default();
        // Frames of 23.2 ms, rounded.
        let times: Vec<u64> = [0, 23, 46, 70, 93].map(|time| clock.time(time * 90, 44_100)).into();
        assert_eq!(times, [0, 2089, 4179, 6269, 8359]);
        assert_eq!(clock.time(90_000, 44_100), 90_000);
        assert_eq!(clock.time(92_070, 44_100), 92_089);
    }
}
