//! The first bytes of a video payload: Adobe's VideoTagHeader, and Enhanced RTMP's ExVideoTagHeader (veovera's
//! "Enhanced RTMP" 1 and 2), which names the codec by a FourCC.

use super::{Role, enhanced};

/// How pictures are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoCodec {
    /// H.264: codec 7 or `avc1`.
    Avc,
    /// H.265: `hvc1`, or the codec 12 of Chinese CDNs.
    Hevc,
    /// `av01`.
    Av1,
    /// `vp08`.
    Vp8,
    /// `vp09`.
    Vp9,
    /// H.266: `vvc1`.
    Vvc,
    /// Sorenson, Screen, VP6, or a FourCC that is not known here.
    Other,
}

impl VideoCodec {
    /// The API's word.
    pub fn name(self) -> &'static str {
        match self {
            VideoCodec::Avc => "H264",
            VideoCodec::Hevc => "HEVC",
            VideoCodec::Av1 => "AV1",
            VideoCodec::Vp8 => "VP8",
            VideoCodec::Vp9 => "VP9",
            VideoCodec::Vvc => "VVC",
            VideoCodec::Other => "Other",
        }
    }
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// Decoder configuration.
    SequenceHeader,
    /// Coded data.
    Frame,
    /// The end of a sequence, metadata, commands, and tracks other than the first.
    Other,
}

/// A payload's header, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Video<'a> {
    /// How it is coded.
    pub codec: VideoCodec,
    /// Decoding can start here.
    pub keyframe: bool,
    /// What it is.
    pub packet: Packet,
    /// From decoding to showing, in milliseconds.
    pub composition: i32,
    /// What the decoder gets: a configuration record or a frame.
    pub body: &'a [u8],
}

impl<'a> Video<'a> {
    /// Reads a header; none when it is cut off.
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let (first, rest) = payload.split_first()?;
        let keyframe = first >> 4 & 7 == 1;
        if first & 0x80 != 0 {
            return read_enhanced(*first, rest, keyframe);
        }
        let codec = match first & 0x0f {
            7 => VideoCodec::Avc,
            12 => VideoCodec::Hevc,
            _ => {
                return Some(Video {
                    codec: VideoCodec::Other,
                    keyframe,
                    packet: Packet::Frame,
                    composition: 0,
                    body: rest,
                });
            }
        };
        let packet = match rest.first()? {
            0 => Packet::SequenceHeader,
            1 => Packet::Frame,
            _ => Packet::Other,
        };
        let composition = signed24(rest.get(1..4)?);
        Some(Video { codec, keyframe, packet, composition, body: rest.get(4..)? })
    }

    /// What it is to the relay.
    pub fn role(&self) -> Role {
        match self.packet {
            Packet::SequenceHeader => Role::SequenceHeader,
            Packet::Frame if self.keyframe => Role::Keyframe,
            Packet::Frame | Packet::Other => Role::Frame,
        }
    }
}

fn read_enhanced(first: u8, rest: &[u8], keyframe: bool) -> Option<Video<'_>> {
    /// The frame type of commands, which have no FourCC.
    const COMMAND: u8 = 5;
    let (kind, rest) = enhanced::skip_modifiers(first & 0x0f, rest)?;
    let other = Video {
        codec: VideoCodec::Other,
        keyframe: false,
        packet: Packet::Other,
        composition: 0,
        body: rest,
    };
    if first >> 4 & 7 == COMMAND && kind != enhanced::METADATA {
        return Some(other);
    }
    let track = enhanced::video_track(kind, rest)?;
    let codec = match &track.four_cc {
        b"avc1" => VideoCodec::Avc,
        b"hvc1" => VideoCodec::Hevc,
        b"av01" => VideoCodec::Av1,
        b"vp08" => VideoCodec::Vp8,
        b"vp09" => VideoCodec::Vp9,
        b"vvc1" => VideoCodec::Vvc,
        _ => VideoCodec::Other,
    };
    let timed = matches!(codec, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Vvc);
    let (packet, composition, body) = match track.packet_type {
        _ if track.id != 0 => (Packet::Other, 0, track.body),
        enhanced::SEQUENCE_START => (Packet::SequenceHeader, 0, track.body),
        enhanced::CODED_FRAMES if timed => {
            let (time, body) = track.body.split_at_checked(3)?;
            (Packet::Frame, signed24(time), body)
        }
        enhanced::CODED_FRAMES | enhanced::CODED_FRAMES_X => (Packet::Frame, 0, track.body),
        _ => (Packet::Other, 0, track.body),
    };
    Some(Video { codec, keyframe, packet, composition, body })
}

fn signed24(bytes: &[u8]) -> i32 {
    let value = bytes.iter().take(3).fold(0i32, |value, byte| value << 8 | i32::from(*byte));
    if value & 0x0080_0000 != 0 { value - 0x0100_0000 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(payload: &[u8]) -> (VideoCodec, Role, i32, Vec<u8>) {
        let video = Video::read(payload).unwrap();
        (video.codec, video.role(), video.composition, video.body.to_vec())
    }

    #[test]
    fn both_kinds_of_header_are_read() {
        use Role::{Frame, Keyframe, SequenceHeader};
        use VideoCodec::{Av1, Avc, Hevc, Other, Vp9};
        let cases: [(&[u8], _); 14] = [
            (b"\x17\0\0\0\0\x01", (Avc, SequenceHeader, 0, vec![1])),
            (b"\x17\x01\0\0\x50\x09", (Avc, Keyframe, 80, vec![9])),
            (b"\x27\x01\xff\xff\xff\x09", (Avc, Frame, -1, vec![9])),
            (b"\x1c\0\0\0\0\x01", (Hevc, SequenceHeader, 0, vec![1])),
            (b"\x2c\x01\0\0\x28\x09", (Hevc, Frame, 40, vec![9])),
            (b"\x12\x07", (Other, Keyframe, 0, vec![7])),
            (b"\x90hvc1\x01", (Hevc, SequenceHeader, 0, vec![1])),
            (b"\x91hvc1\0\0\x28\x09", (Hevc, Keyframe, 40, vec![9])),
            (b"\xa3hvc1\x09", (Hevc, Frame, 0, vec![9])),
            (b"\xa1av01\x09", (Av1, Frame, 0, vec![9])),
            (b"\x93vp09\x09", (Vp9, Keyframe, 0, vec![9])),
            // One track of its own id, then two tracks in one message, of which the first counts.
            (b"\x96\x00hvc1\x00\x01", (Hevc, SequenceHeader, 0, vec![1])),
            (b"\x96\x13avc1\x00\0\0\x02\x07\x08\x01\0\0\x01\x09", (Avc, Keyframe, 0, vec![7, 8])),
            (b"\x96\x21avc1\x00\0\0\x05\0\0\x28\x07\x08hvc1\x01\0\0\0", (Avc, Keyframe, 40, vec![7, 8])),
        ];
        for (payload, expected) in cases {
            assert_eq!(read(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn what_is_no_picture_is_told_apart() {
        let other = |payload: &[u8]| Video::read(payload).map(|video| video.packet) == Some(Packet::Other);
        assert!(other(b"\x17\x02\0\0\0"), "the end of a sequence");
        assert!(other(b"\x92hvc1"), "the same, enhanced");
        assert!(other(b"\xd4hvc1\x02"), "metadata");
        assert!(other(b"\xd0\x00"), "a command");
        assert!(other(b"\x96\x00hvc1\x01\x01"), "the second track's header must not replace the first's");
        // A timestamp in nanoseconds stands before what is read as without it.
        assert_eq!(read(b"\x97\x02\0\0\x01\x03hvc1\x09"), (VideoCodec::Hevc, Role::Keyframe, 0, vec![9]));
        for cut in [&b""[..], b"\x17", b"\x17\x01\0", b"\x91hv", b"\x91hvc1\0", b"\x96", b"\x97\xff\0"] {
            assert_eq!(Video::read(cut), None, "{cut:x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), first in 0x80u8..) {
            let _ = Video::read(&bytes);
            let _ = Video::read(&[&[first], &bytes[..]].concat());
        }
    }
}
