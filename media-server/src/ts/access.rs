//! FLV's payloads as transport streams want them: Annex B for H.264 and H.265, ADTS for AAC.

use super::writer::{Program, StreamType};
use crate::codec::hevc::Configuration;
use crate::flv::{Audio, AudioCodec, Packet, Video, VideoCodec};
use crate::source::Headers;

/// What the sequence headers said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Config {
    video: Option<VideoConfig>,
    /// AAC's AudioSpecificConfig, its first two bytes.
    aac: Option<[u8; 2]>,
    /// MP3 came.
    mp3: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct VideoConfig {
    kind: StreamType,
    /// The parameter sets in Annex B.
    parameters: Vec<u8>,
    /// How many bytes a NAL unit's length has.
    length_size: usize,
}

/// The most bytes of parameter sets: they are repeated before every keyframe, however small that is.
const MAX_PARAMETERS: usize = 16 << 10;
/// The longest frame that fits ADTS, whose length has 13 bits.
const MAX_ADTS: usize = 0x1fff - 7;

const START: [u8; 4] = [0, 0, 0, 1];

impl Config {
    /// Video's coding.
    pub fn video(&self) -> Option<StreamType> {
        self.video.as_ref().map(|video| video.kind)
    }

    /// Audio's coding.
    pub fn audio(&self) -> Option<StreamType> {
        match (self.aac, self.mp3) {
            (Some(_), _) => Some(StreamType::Aac),
            (None, true) => Some(StreamType::Mp3),
            (None, false) => None,
        }
    }

    /// Both.
    pub fn program(&self) -> Program {
        (self.video(), self.audio())
    }

    /// Takes the sequence headers that a player would get that joins now.
    pub fn take_headers(&mut self, headers: &Headers) {
        if let Some(payload) = &headers.video {
            self.set_video(payload);
        }
        if let Some(payload) = &headers.audio {
            self.set_audio(payload);
        }
    }

    /// Looks at a frame of audio that has no sequence header.
    pub fn see_audio(&mut self, payload: &[u8]) {
        self.mp3 |= Audio::read(payload).is_some_and(|audio| audio.codec == AudioCodec::Mp3);
    }

    /// AAC's sample rate in hertz; none where its header names none of the table's.
    pub fn sample_rate(&self) -> Option<u32> {
        const RATES: [u32; 13] =
            [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
        let config = u16::from_be_bytes(self.aac?);
        RATES.get(usize::from(config >> 7 & 15)).copied()
    }

    /// Takes a video sequence header; what is neither H.264 nor H.265, or broken, leaves no video.
    pub fn set_video(&mut self, payload: &[u8]) {
        let video = Video::read(payload).and_then(|video| match video.codec {
            VideoCodec::Avc => parse_avc(video.body),
            VideoCodec::Hevc => parse_hevc(video.body),
            _ => None,
        });
        self.video = video.filter(|video| video.parameters.len() <= MAX_PARAMETERS);
    }

    /// Takes an audio sequence header.
    pub fn set_audio(&mut self, payload: &[u8]) {
        let audio = Audio::read(payload).filter(|audio| audio.codec == AudioCodec::Aac);
        self.aac = audio.and_then(|audio| audio.body.first_chunk().copied());
    }

    /// One video message in Annex B, with the distance from decoding to showing in milliseconds; none when it is no
    /// frame or broken.
    pub fn annex_b(&self, payload: &[u8], out: &mut Vec<u8>) -> Option<u32> {
        let VideoConfig { kind, parameters, length_size } = self.video.as_ref()?;
        let video = Video::read(payload)?;
        let hevc = *kind == StreamType::Hevc;
        if video.packet != Packet::Frame
            || video.codec != if hevc { VideoCodec::Hevc } else { VideoCodec::Avc }
        {
            return None;
        }
        out.extend_from_slice(&START);
        out.extend_from_slice(if hevc { &[0x46, 1, 0x50] } else { &[9, 0xf0] });
        if video.keyframe {
            out.extend_from_slice(parameters);
        }
        let mut rest = video.body;
        while !rest.is_empty() {
            let length = rest
                .get(..*length_size)?
                .iter()
                .fold(0usize, |length, byte| length << 8 | usize::from(*byte));
            let nal = rest.get(*length_size..length_size.checked_add(length)?)?;
            // Delimiters and parameter sets stand before already.
            let said = |first: &u8| match hevc {
                true => matches!(first >> 1 & 0x3f, 32..=35),
                false => matches!(first & 0x1f, 7..=9),
            };
            if nal.first().is_some_and(|first| !said(first)) {
                out.extend_from_slice(&START[1..]);
                out.extend_from_slice(nal);
            }
            rest = &rest[length_size + length..];
        }
        // Showing before decoding is nonsense.
        Some(video.composition.max(0) as u32)
    }

    /// One audio message with its header; none when it is no frame.
    pub fn audio_frame(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let audio = Audio::read(payload)?;
        let frame = Some(audio.body).filter(|frame| !frame.is_empty() && audio.packet == Packet::Frame)?;
        match audio.codec {
            AudioCodec::Aac if frame.len() <= MAX_ADTS => {
                let config = u16::from_be_bytes(self.aac?);
                // ADTS knows four object types; HE-AAC is signalled as LC.
                let object = match config >> 11 {
                    kind @ 1..=4 => kind - 1,
                    _ => 1,
                } as u8;
                let rate = (config >> 7 & 15) as u8;
                let channels = (config >> 3 & 15) as u8;
                let length = (frame.len() + 7) as u32;
                out.extend_from_slice(&[
                    0xff,
                    0xf1,
                    object << 6 | rate << 2 | channels >> 2 & 1,
                    channels << 6 | (length >> 11) as u8 & 3,
                    (length >> 3) as u8,
                    (length << 5) as u8 | 0x1f,
                    0xfc,
                ]);
                out.extend_from_slice(frame);
                Some(())
            }
            AudioCodec::Mp3 => {
                self.mp3 = true;
                out.extend_from_slice(frame);
                Some(())
            }
            _ => None,
        }
    }
}

/// The 90 kHz clock's value for milliseconds.
pub fn ticks(milliseconds: i64) -> u64 {
    milliseconds.max(0) as u64 * 90
}

fn parse_hevc(record: &[u8]) -> Option<VideoConfig> {
    let Configuration { length_size, parameter_sets } = Configuration::read(record)?;
    let parameters = parameter_sets.iter().flat_map(|nal| [&START, *nal].concat()).collect();
    Some(VideoConfig { kind: StreamType::Hevc, parameters, length_size })
}

fn parse_avc(record: &[u8]) -> Option<VideoConfig> {
    let length_size = usize::from(record.get(4)? & 3) + 1;
    let mut annex_b = Vec::new();
    let mut at = 5;
    for (mask, kind) in [(0x1f, 7), (0xff, 8)] {
        let count = record.get(at)? & mask;
        at += 1;
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes([*record.get(at)?, *record.get(at + 1)?]));
            let nal = record.get(at + 2..at + 2 + length)?;
            if nal.first()? & 0x1f == kind {
                annex_b.extend_from_slice(&START);
                annex_b.extend_from_slice(nal);
            }
            at += 2 + length;
        }
    }
    let video = VideoConfig { kind: StreamType::Avc, parameters: annex_b, length_size };
    (!video.parameters.is_empty()).then_some(video)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: [u8; 19] = [0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 66, 1, 0, 1, 0x68];

    #[test]
    fn keyframes_get_their_parameter_sets() {
        let mut config = Config::default();
        config.set_video(&HEADER);
        assert_eq!(config.video(), Some(StreamType::Avc));
        let mut out = Vec::new();
        let composition = config.annex_b(&[0x17, 1, 0, 0, 80, 0, 0, 0, 2, 0x65, 9], &mut out);
        assert_eq!(composition, Some(80));
        let expected: &[u8] =
            &[0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 66, 0, 0, 0, 1, 0x68, 0, 0, 1, 0x65, 9];
        assert_eq!(out, expected);
    }

    #[test]
    fn aac_gets_adts() {
        let mut config = Config::default();
        config.set_audio(&[0xaf, 0, 0x12, 0x10]);
        let mut out = Vec::new();
        config.audio_frame(&[0xaf, 1, 1, 2, 3], &mut out).unwrap();
        assert_eq!(out, [0xff, 0xf1, 0x50, 0x80, 1, 0x5f, 0xfc, 1, 2, 3]);
    }

    #[test]
    fn hevc_gets_its_own_delimiter_and_parameter_sets() {
        let mut record = vec![0; 23];
        (record[21], record[22]) = (3, 3);
        for nal in [[0x40, 1, 7], [0x42, 1, 8], [0x44, 1, 9]] {
            record.extend_from_slice(&[nal[0] >> 1, 0, 1, 0, 3]);
            record.extend_from_slice(&nal);
        }
        for header in [b"\x90hvc1", &[0x1c, 0, 0, 0, 0]] {
            let mut config = Config::default();
            config.set_video(&[&header[..], &record].concat());
            assert_eq!(config.video(), Some(StreamType::Hevc));
            let mut out = Vec::new();
            let nals = [0, 0, 0, 3, 0x46, 1, 0x50, 0, 0, 0, 3, 0x26, 1, 5];
            let composition = config.annex_b(&[&b"\x91hvc1\0\0\x28"[..], &nals].concat(), &mut out);
            assert_eq!(composition, Some(40));
            let expected = [
                &[0, 0, 0, 1, 0x46, 1, 0x50][..],
                &[0, 0, 0, 1, 0x40, 1, 7, 0, 0, 0, 1, 0x42, 1, 8, 0, 0, 0, 1, 0x44, 1, 9],
                &[0, 0, 1, 0x26, 1, 5],
            ];
            assert_eq!(out, expected.concat());
            // A frame of another codec than the header's is none.
            assert_eq!(config.annex_b(&[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65], &mut out), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut config = Config::default();
        let mut header = HEADER[..13].to_vec();
        (header[11], header[12]) = (0x7f, 0xff);
        header.resize(13 + 0x7fff, 0x67);
        header.push(0);
        config.set_video(&header);
        assert_eq!(config.video(), None, "parameter sets of 32 KB");
        config.set_audio(&[0xaf, 0, 0x12, 0x10]);
        let frame = |length| [&[0xaf, 1][..], &vec![0; length]].concat();
        assert_eq!(config.audio_frame(&frame(MAX_ADTS), &mut Vec::new()), Some(()));
        assert_eq!(config.audio_frame(&frame(MAX_ADTS + 1), &mut Vec::new()), None);
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(
            header in prop::collection::vec(any::<u8>(), 0..40),
            payload in prop::collection::vec(any::<u8>(), 0..80),
            avc: bool,
        ) {
            let mut config = Config::default();
            config.set_video(if avc { &HEADER } else { &header });
            config.set_audio(&header);
            let mut out = Vec::new();
            let _ = config.annex_b(&payload, &mut out);
            let _ = config.annex_b(&[&[0x17, 1, 0, 0, 0], &payload[..]].concat(), &mut out);
            let _ = config.audio_frame(&payload, &mut out);
        }
    }
}
