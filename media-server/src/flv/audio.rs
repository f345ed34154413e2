//! The first bytes of an audio payload: Adobe's AudioTagHeader, and Enhanced RTMP's ExAudioTagHeader.

use super::video::Packet;
use super::{Role, enhanced};

/// How sound is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioCodec {
    /// Format 10 or `mp4a`.
    Aac,
    /// Formats 2 and 14, or `.mp3`.
    Mp3,
    /// `Opus`.
    Opus,
    /// `ac-3`.
    Ac3,
    /// `ec-3`.
    Eac3,
    /// `fLaC`.
    Flac,
    /// Speex, G.711 and the like.
    Other,
}

impl AudioCodec {
    /// The API's word.
    pub fn name(self) -> &'static str {
        match self {
            AudioCodec::Aac => "AAC",
            AudioCodec::Mp3 => "MP3",
            AudioCodec::Opus => "Opus",
            AudioCodec::Ac3 => "AC3",
            AudioCodec::Eac3 => "EAC3",
            AudioCodec::Flac => "FLAC",
            AudioCodec::Other => "Other",
        }
    }
}

/// A payload's header, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audio<'a> {
    /// How it is coded.
    pub codec: AudioCodec,
    /// What it is.
    pub packet: Packet,
    /// What the decoder gets: a configuration record or a frame.
    pub body: &'a [u8],
}

impl<'a> Audio<'a> {
    /// Reads a header; none when it is cut off.
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let (first, rest) = payload.split_first()?;
        let (codec, packet, body) = match first >> 4 {
            9 => return read_enhanced(first & 0x0f, rest),
            10 => match rest.split_first()? {
                (0, body) => (AudioCodec::Aac, Packet::SequenceHeader, body),
                (1, body) => (AudioCodec::Aac, Packet::Frame, body),
                (_, body) => (AudioCodec::Aac, Packet::Other, body),
            },
            2 | 14 => (AudioCodec::Mp3, Packet::Frame, rest),
            _ => (AudioCodec::Other, Packet::Frame, rest),
        };
        Some(Audio { codec, packet, body })
    }

    /// What it is to the relay.
    pub fn role(&self) -> Role {
        match self.packet {
            Packet::SequenceHeader => Role::SequenceHeader,
            Packet::Frame | Packet::Other => Role::Frame,
        }
    }
}

fn read_enhanced(kind: u8, rest: &[u8]) -> Option<Audio<'_>> {
    let (kind, rest) = enhanced::skip_modifiers(kind, rest)?;
    let track = enhanced::audio_track(kind, rest)?;
    let codec = match &track.four_cc {
        b"mp4a" => AudioCodec::Aac,
        b".mp3" => AudioCodec::Mp3,
        b"Opus" => AudioCodec::Opus,
        b"ac-3" => AudioCodec::Ac3,
        b"ec-3" => AudioCodec::Eac3,
        b"fLaC" => AudioCodec::Flac,
        _ => AudioCodec::Other,
    };
    let packet = match track.packet_type {
        _ if track.id != 0 => Packet::Other,
        enhanced::SEQUENCE_START => Packet::SequenceHeader,
        enhanced::CODED_FRAMES => Packet::Frame,
        _ => Packet::Other,
    };
    Some(Audio { codec, packet, body: track.body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_kinds_of_header_are_read() {
        let cases: [(&[u8], AudioCodec, Packet, &[u8]); 9] = [
            (b"\xaf\0\x12\x10", AudioCodec::Aac, Packet::SequenceHeader, b"\x12\x10"),
            (b"\xaf\x01\x21", AudioCodec::Aac, Packet::Frame, b"\x21"),
            (b"\x2f\xff\xfb", AudioCodec::Mp3, Packet::Frame, b"\xff\xfb"),
            (b"\x72\x01", AudioCodec::Other, Packet::Frame, b"\x01"),
            (b"\x90Opus\x01", AudioCodec::Opus, Packet::SequenceHeader, b"\x01"),
            (b"\x91mp4a\x21", AudioCodec::Aac, Packet::Frame, b"\x21"),
            (b"\x91ac-3\x0b", AudioCodec::Ac3, Packet::Frame, b"\x0b"),
            (b"\x95\x00mp4a\x01\x12", AudioCodec::Aac, Packet::Other, b"\x12"),
            (b"\x95\x01mp4a\x00\x21", AudioCodec::Aac, Packet::Frame, b"\x21"),
        ];
        for (payload, codec, packet, body) in cases {
            assert_eq!(Audio::read(payload), Some(Audio { codec, packet, body }), "{payload:x?}");
        }
        for cut in [&b""[..], b"\xaf", b"\x90Op", b"\x95", b"\x97"] {
            assert_eq!(Audio::read(cut), None, "{cut:x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), first in 0x90u8..0xa0) {
            let _ = Audio::read(&bytes);
            let _ = Audio::read(&[&[first], &bytes[..]].concat());
        }
    }
}
