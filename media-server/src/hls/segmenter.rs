//! Cuts a stream into segments.

use super::Hls;
use super::audio_clock::AudioClock;
use crate::flv::{self, Role, TagKind};
use crate::ts::access::{Config, ticks};
use crate::ts::{Unit, Writer};

/// A shorter segment is not worth a file (SRS).
const MIN_DURATION: f64 = 0.1;

/// The end of a segment.
#[derive(Debug, PartialEq)]
pub struct Finished {
    /// Its last bytes, behind those that [`Segmenter::take_bytes`] gave.
    pub bytes: Vec<u8>,
    /// Seconds.
    pub duration: f64,
    /// A sequence header came before it.
    pub discontinuity: bool,
    /// Too short or too long to be listed.
    pub unusable: bool,
}

#[derive(Debug)]
struct Open {
    start: i64,
    last: i64,
    discontinuity: bool,
}

/// The state between two messages.
#[derive(Debug)]
pub struct Segmenter {
    fragment: f64,
    /// How much longer the open segment is to be.
    deviation: f64,
    /// None where audio's times are RTMP's.
    audio_clock: Option<AudioClock>,
    audio_ratio: f64,
    longest: f64,
    wait_keyframe: bool,
    /// Not `hls_vcodec vn`.
    with_video: bool,
    config: Config,
    writer: Writer,
    open: Option<Open>,
    /// The time of the last picture.
    pictured: Option<i64>,
    /// Since when audio waits for a keyframe to begin a segment with.
    waiting: Option<i64>,
    bytes: Vec<u8>,
    discontinuity: bool,
    unit: Vec<u8>,
}

impl Segmenter {
    /// For a new publisher.
    pub fn new(conf: &Hls) -> Self {
        Segmenter {
            fragment: conf.fragment,
            deviation: 0.0,
            audio_clock: (!conf.dts_directly).then(AudioClock::default),
            audio_ratio: conf.audio_ratio,
            longest: conf.target() * 2.0,
            wait_keyframe: conf.wait_keyframe,
            with_video: conf.video,
            config: Config::default(),
            writer: Writer::default(),
            open: None,
            pictured: None,
            waiting: None,
            bytes: Vec::new(),
            discontinuity: true,
            unit: Vec::new(),
        }
    }

    /// The bytes of the open segment since the last time.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// A segment is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Makes the open segment and those behind it longer, by so many seconds.
    pub fn deviate(&mut self, seconds: f64) {
        self.deviation = seconds;
    }

    /// Something is missing from the stream here: the open segment is given up and the next one says so.
    pub fn gap(&mut self) {
        self.open = None;
        self.bytes.clear();
        self.discontinuity = true;
    }

    /// Takes a message; gives the segment that ended before it. `timestamp` in milliseconds.
    pub fn push(&mut self, kind: TagKind, timestamp: i64, payload: &[u8]) -> Option<Finished> {
        if kind == TagKind::Video && !self.with_video {
            return None;
        }
        let role = flv::role(kind, payload);
        if role == Role::SequenceHeader {
            let before = self.config.clone();
            match kind {
                TagKind::Video => self.config.set_video(payload),
                TagKind::Audio => self.config.set_audio(payload),
                TagKind::Script => {}
            }
            // A header that says nothing new (encoders repeat them) cuts nothing.
            if before == self.config {
                return None;
            }
            self.discontinuity = true;
            return if self.open.is_some() { self.finish() } else { None };
        }
        let mut unit = std::mem::take(&mut self.unit);
        unit.clear();
        let result = match kind {
            TagKind::Video => self.video(role, timestamp, payload, &mut unit),
            TagKind::Audio => self.audio(timestamp, payload, &mut unit),
            TagKind::Script => None,
        };
        self.unit = unit;
        result
    }

    fn video(&mut self, role: Role, timestamp: i64, payload: &[u8], unit: &mut Vec<u8>) -> Option<Finished> {
        let composition = self.config.annex_b(payload, unit)?;
        let keyframe = role == Role::Keyframe;
        let mut finished = None;
        if (keyframe || !self.wait_keyframe) && self.age(timestamp) >= self.fragment + self.deviation {
            finished = self.finish_at(timestamp);
        }
        // A keyframe that is too far is not waited for.
        if finished.is_none() && self.age(timestamp) >= self.longest {
            finished = self.finish();
        } else if self.open.is_none() && !keyframe && self.wait_keyframe {
            return finished;
        }
        self.pictured = Some(timestamp);
        self.open_at(timestamp);
        let dts = ticks(timestamp);
        let pts = dts + u64::from(composition) * 90;
        let unit = Unit { video: true, pts, dts, random_access: keyframe, clock: true, data: unit };
        self.writer.unit(&mut self.bytes, unit);
        finished
    }

    fn audio(&mut self, timestamp: i64, payload: &[u8], unit: &mut Vec<u8>) -> Option<Finished> {
        self.config.audio_frame(payload, unit)?;
        let alone = self.config.video().is_none();
        let most = self.fragment * self.audio_ratio + self.deviation;
        let mut finished = None;
        // SRS does not look whether pictures come; here their segments begin with a keyframe as long as they can.
        let paused = self.pictured.is_none_or(|last| (timestamp - last) as f64 >= self.fragment * 1000.0);
        if self.age(timestamp) >= most && (paused || !self.wait_keyframe) {
            finished = self.finish_at(timestamp);
        } else if self.age(timestamp) >= self.longest {
            finished = self.finish();
        } else if self.open.is_none() && !alone && self.wait_keyframe {
            let since = *self.waiting.get_or_insert(timestamp);
            if ((timestamp - since) as f64) < most * 1000.0 {
                return None;
            }
        }
        self.open_at(timestamp);
        let mut pts = ticks(timestamp);
        if let (Some(clock), Some(rate)) = (&mut self.audio_clock, self.config.sample_rate()) {
            pts = clock.time(pts, rate);
        }
        let unit = Unit { video: false, pts, dts: pts, random_access: false, clock: alone, data: unit };
        self.writer.unit(&mut self.bytes, unit);
        finished
    }

    fn age(&self, timestamp: i64) -> f64 {
        self.open.as_ref().map_or(0.0, |open| (timestamp - open.start) as f64 / 1000.0)
    }

    fn open_at(&mut self, timestamp: i64) {
        if let Some(open) = &mut self.open {
            open.last = open.last.max(timestamp);
            // Audio without a sequence header is known by its first frame, which may come behind the first video.
            if self.writer.announced() != Some(self.config.program()) {
                self.writer.tables(&mut self.bytes, self.config.program());
            }
            return;
        }
        self.waiting = None;
        let discontinuity = std::mem::take(&mut self.discontinuity);
        self.open = Some(Open { start: timestamp, last: timestamp, discontinuity });
        self.writer.tables(&mut self.bytes, self.config.program());
    }

    fn finish_at(&mut self, timestamp: i64) -> Option<Finished> {
        if let Some(open) = &mut self.open {
            open.last = open.last.max(timestamp);
        }
        self.finish()
    }

    /// Ends the open segment, as unpublishing does.
    pub fn finish(&mut self) -> Option<Finished> {
        let open = self.open.take()?;
        let duration = (open.last - open.start) as f64 / 1000.0;
        let unusable = duration < MIN_DURATION || duration > self.longest;
        // What a dropped segment would have said, the next one says.
        self.discontinuity |= unusable && open.discontinuity;
        let bytes = std::mem::take(&mut self.bytes);
        Some(Finished { bytes, duration, discontinuity: open.discontinuity, unusable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: [u8; 19] = [0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 66, 1, 0, 1, 0x68];
    const KEY: [u8; 11] = [0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 1];
    const INTER: [u8; 11] = [0x27, 1, 0, 0, 0, 0, 0, 0, 2, 0x41, 1];

    fn conf() -> Hls {
        let block = crate::conf::parse::parse("enabled on; hls_fragment 2;").unwrap();
        Hls::read(&block, false).unwrap().unwrap()
    }

    /// The durations of segments of a stream with a keyframe every `gop` frames of 40 ms.
    fn run(conf: &Hls, frames: i64, gop: i64) -> Vec<(f64, bool)> {
        let mut segmenter = Segmenter::new(conf);
        let mut finished = Vec::new();
        assert_eq!(segmenter.push(TagKind::Video, 0, &VIDEO), None);
        for index in 0..frames {
            let payload = if index % gop == 0 { &KEY } else { &INTER };
            finished.extend(segmenter.push(TagKind::Video, index * 40, payload));
        }
        finished.extend(segmenter.finish());
        assert!(finished.iter().all(|segment| !segment.bytes.is_empty() && segment.bytes[0] == 0x47));
        finished.iter().map(|segment| (segment.duration, segment.discontinuity)).collect()
    }

    #[test]
    fn segments_end_at_the_first_keyframe_after_the_fragment() {
        assert_eq!(run(&conf(), 126, 25), [(2.0, true), (2.0, false), (1.0, false)]);
        assert_eq!(run(&conf(), 151, 75), [(3.0, true), (3.0, false), (0.0, false)]);
    }

    #[test]
    fn without_waiting_for_keyframes_they_end_at_any_frame() {
        let conf = Hls { wait_keyframe: false, ..conf() };
        assert_eq!(run(&conf, 101, 1000), [(2.0, true), (2.0, false), (0.0, false)]);
    }

    #[test]
    fn audio_alone_ends_by_its_ratio() {
        let mut segmenter = Segmenter::new(&conf());
        segmenter.push(TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]);
        let finished: Vec<f64> = (0..1000)
            .filter_map(|index| segmenter.push(TagKind::Audio, index * 20, &[0xaf, 1, 5]))
            .map(|segment| segment.duration)
            .collect();
        assert_eq!(finished, [4.0, 4.0, 4.0, 4.0]);
    }

    #[test]
    fn video_is_left_out_where_the_vhost_says_so() {
        let mut segmenter = Segmenter::new(&Hls { video: false, ..conf() });
        segmenter.push(TagKind::Video, 0, &VIDEO);
        segmenter.push(TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]);
        let mut finished = Vec::new();
        for index in 0..1000 {
            let picture = if index % 50 == 0 { &KEY } else { &INTER };
            finished.extend(segmenter.push(TagKind::Video, index * 20, picture));
            finished.extend(segmenter.push(TagKind::Audio, index * 20, &[0xaf, 1, 5]));
        }
        assert_eq!(segmenter.config.video(), None);
        let durations: Vec<f64> = finished.iter().map(|segment| segment.duration).collect();
        assert_eq!(durations, [4.0, 4.0, 4.0, 4.0], "as of audio alone");
    }

    /// The durations of segments of audio, with a keyframe at those times of 0 to 20 s.
    fn paused(keyframes: &[i64]) -> Vec<f64> {
        let mut segmenter = Segmenter::new(&conf());
        segmenter.push(TagKind::Video, 0, &VIDEO);
        segmenter.push(TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]);
        let mut finished = Vec::new();
        for time in (0..=20_000).step_by(20) {
            if keyframes.contains(&time) {
                finished.extend(segmenter.push(TagKind::Video, time, &KEY));
            }
            finished.extend(segmenter.push(TagKind::Audio, time, &[0xaf, 1, 5]));
        }
        assert!(finished.iter().all(|segment| !segment.unusable));
        finished.iter().map(|segment| segment.duration).collect()
    }

    #[test]
    fn audio_goes_on_where_video_pauses() {
        assert_eq!(paused(&[0, 2000, 3000]), [2.0, 4.0, 4.0, 4.0, 4.0]);
        assert_eq!(paused(&[0, 3000, 15_000, 17_000]), [3.0, 4.0, 4.0, 4.0, 2.0]);
        // Pictures that were announced and never come are waited for once.
        assert_eq!(paused(&[]), [4.0, 4.0, 4.0, 4.0]);
    }

    #[test]
    fn pictures_far_apart_are_cut_before_they_are_too_long() {
        let mut segmenter = Segmenter::new(&conf());
        segmenter.push(TagKind::Video, 0, &VIDEO);
        segmenter.push(TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]);
        let mut finished = Vec::new();
        for index in 0..300 {
            let picture = if index % 275 == 0 { &KEY } else { &INTER };
            finished.extend(segmenter.push(TagKind::Video, index * 40, picture));
            finished.extend(segmenter.push(TagKind::Audio, index * 40, &[0xaf, 1, 5]));
        }
        let finished: Vec<_> = finished.iter().map(|one| (one.duration, one.unusable)).collect();
        assert_eq!(finished, [(5.96, false), (5.0, false)]);
    }

    #[test]
    fn a_repeated_header_cuts_nothing_and_a_new_one_does() {
        let mut segmenter = Segmenter::new(&conf());
        segmenter.push(TagKind::Video, 0, &VIDEO);
        segmenter.push(TagKind::Video, 0, &KEY);
        segmenter.push(TagKind::Video, 400, &INTER);
        assert_eq!(segmenter.push(TagKind::Video, 440, &VIDEO), None);
        let mut other = VIDEO;
        other[14] = 77;
        let finished = segmenter.push(TagKind::Video, 480, &other).unwrap();
        assert!((finished.duration - 0.4).abs() < 1e-9);
        segmenter.push(TagKind::Video, 520, &KEY);
        segmenter.push(TagKind::Video, 920, &INTER);
        assert!(segmenter.finish().unwrap().discontinuity);
    }

    #[test]
    fn a_segment_that_grew_too_long_is_not_listed() {
        let mut segmenter = Segmenter::new(&conf());
        segmenter.push(TagKind::Video, 0, &VIDEO);
        segmenter.push(TagKind::Video, 0, &KEY);
        segmenter.push(TagKind::Video, 9000, &INTER);
        assert!(segmenter.finish().unwrap().unusable);
    }
}
