//! FLV's payloads as transport streams want them: Annex B for H.264, ADTS for AAC.

use super::writer::{Program, StreamType};
use crate::flv::{self, Role};
use crate::source::Headers;

/// What the sequence headers said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Config {
    /// SPS and PPS in Annex B, and how many bytes a NAL unit's length has.
    avc: Option<(Vec<u8>, usize)>,
    /// AAC's AudioSpecificConfig, its first two bytes.
    aac: Option<[u8; 2]>,
    /// MP3 came.
    mp3: bool,
}

const START: [u8; 4] = [0, 0, 0, 1];

impl Config {
    /// Video's coding.
    pub fn video(&self) -> Option<StreamType> {
        self.avc.as_ref().map(|_| StreamType::Avc)
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
        self.mp3 |= payload.first().is_some_and(|first| matches!(first >> 4, 2 | 14));
    }

    /// Takes a video sequence header; what is not H.264 or broken leaves no video.
    pub fn set_video(&mut self, payload: &[u8]) {
        self.avc = parse_avc(payload);
    }

    /// Takes an audio sequence header.
    pub fn set_audio(&mut self, payload: &[u8]) {
        let config = payload.get(2..4).filter(|_| payload[0] >> 4 == 10);
        self.aac = config.map(|config| [config[0], config[1]]);
    }

    /// One video message in Annex B, with the distance from decoding to showing in milliseconds; none when it is no
    /// frame or broken.
    pub fn annex_b(&self, payload: &[u8], out: &mut Vec<u8>) -> Option<u32> {
        let (parameters, length_size) = self.avc.as_ref()?;
        if payload.first()? & 0x8f != 7 || *payload.get(1)? != 1 {
            return None;
        }
        let composition = u32::from_be_bytes([0, *payload.get(2)?, *payload.get(3)?, *payload.get(4)?]);
        out.extend_from_slice(&START);
        out.extend_from_slice(&[9, 0xf0]);
        if flv::video_role(payload) == Role::Keyframe {
            out.extend_from_slice(parameters);
        }
        let mut rest = payload.get(5..)?;
        while !rest.is_empty() {
            let length = rest
                .get(..*length_size)?
                .iter()
                .fold(0usize, |length, byte| length << 8 | usize::from(*byte));
            let nal = rest.get(*length_size..length_size.checked_add(length)?)?;
            // Delimiters and parameter sets stand before already.
            if nal.first().is_some_and(|first| !matches!(first & 0x1f, 7..=9)) {
                out.extend_from_slice(&START[1..]);
                out.extend_from_slice(nal);
            }
            rest = &rest[length_size + length..];
        }
        // 24 bits with a sign; showing before decoding is nonsense.
        Some(if composition & 0x0080_0000 != 0 { 0 } else { composition })
    }

    /// One audio message with its header; none when it is no frame.
    pub fn audio_frame(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match payload.first()? >> 4 {
            10 if *payload.get(1)? == 1 => {
                let config = u16::from_be_bytes(self.aac?);
                let frame = payload.get(2..).filter(|frame| !frame.is_empty())?;
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
            2 | 14 => {
                self.mp3 = true;
                out.extend_from_slice(payload.get(1..).filter(|frame| !frame.is_empty())?);
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

fn parse_avc(payload: &[u8]) -> Option<(Vec<u8>, usize)> {
    if payload.first()? & 0x8f != 7 {
        return None;
    }
    let record = payload.get(5..)?;
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
    (!annex_b.is_empty()).then_some((annex_b, length_size))
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
