//! FLV (Adobe's "FLV and F4V 10.1", annex E): tags, and what the first bytes of audio and video say, in Enhanced RTMP's
//! extended headers too.

mod audio;
mod enhanced;
mod video;

pub use audio::{Audio, AudioCodec};
pub use video::{Packet, Video, VideoCodec};

use crate::amf0::{self, Value};

/// The type of a tag; RTMP uses the same numbers for its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TagKind {
    /// 8.
    Audio = 8,
    /// 9.
    Video = 9,
    /// 18: metadata and other script data.
    Script = 18,
}

/// Size of a tag's header.
pub const TAG_HEADER: usize = 11;

/// The header of a tag.
pub fn tag_header(kind: TagKind, timestamp: u32, length: usize) -> [u8; TAG_HEADER] {
    let [l0, l1, l2, l3] = (length as u32).to_be_bytes();
    let [t0, t1, t2, t3] = timestamp.to_be_bytes();
    debug_assert_eq!(l0, 0, "a tag has at most 2^24 bytes");
    [kind as u8, l1, l2, l3, t1, t2, t3, t0, 0, 0, 0]
}

/// The file header with the first PreviousTagSize.
pub fn file_header(audio: bool, video: bool) -> [u8; 13] {
    let flags = u8::from(video) | u8::from(audio) << 2;
    [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// A whole tag with its PreviousTagSize.
pub fn push_tag(out: &mut Vec<u8>, kind: TagKind, timestamp: u32, payload: &[u8]) {
    out.extend_from_slice(&tag_header(kind, timestamp, payload.len()));
    out.extend_from_slice(payload);
    out.extend_from_slice(&((TAG_HEADER + payload.len()) as u32).to_be_bytes());
}

/// What a payload is to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Decoder configuration: kept for players that join.
    SequenceHeader,
    /// A frame that decoding can start at.
    Keyframe,
    /// Any other.
    Frame,
}

/// The role of a video payload; a cut-off one is a frame as any.
pub fn video_role(payload: &[u8]) -> Role {
    Video::read(payload).map_or(Role::Frame, |video| video.role())
}

/// The role of an audio payload.
pub fn audio_role(payload: &[u8]) -> Role {
    Audio::read(payload).map_or(Role::Frame, |audio| audio.role())
}

/// The role of a payload.
pub fn role(kind: TagKind, payload: &[u8]) -> Role {
    match kind {
        TagKind::Audio => audio_role(payload),
        TagKind::Video => video_role(payload),
        TagKind::Script => Role::Frame,
    }
}

/// The number of the track whose decoder configuration a payload is, where that is not the first track: Enhanced RTMP
/// numbers them from 0.
pub fn further_track(kind: TagKind, payload: &[u8]) -> Option<u8> {
    let (first, rest) = payload.split_first()?;
    let track = match kind {
        TagKind::Video if first & 0x80 != 0 => {
            let (kind, rest) = enhanced::skip_modifiers(first & 0x0f, rest)?;
            enhanced::video_track(kind, rest)?
        }
        TagKind::Audio if first >> 4 == 9 => {
            let (kind, rest) = enhanced::skip_modifiers(first & 0x0f, rest)?;
            enhanced::audio_track(kind, rest)?
        }
        _ => return None,
    };
    (track.id != 0 && track.packet_type == enhanced::SEQUENCE_START).then_some(track.id)
}

/// onMetaData as it is passed on: without `@setDataFrame` and `duration`, with `server` and `server_version`; none
/// when the payload is another script tag.
pub fn relayed_metadata(payload: &[u8], signature: &str, version: &str) -> Option<Vec<u8>> {
    let mut values = amf0::decode_prefix(payload).into_iter().peekable();
    if values.peek().and_then(Value::as_str) == Some("@setDataFrame") {
        values.next();
    }
    if values.next()?.as_str()? != "onMetaData" {
        return None;
    }
    let ours = ["duration", "server", "server_version"];
    let mut fields: Vec<(String, Value)> = match values.next()? {
        Value::Object(fields) | Value::EcmaArray(fields) => fields,
        _ => return None,
    };
    fields.retain(|(name, _)| !ours.contains(&name.as_str()));
    fields.push(("server".into(), Value::string(signature)));
    fields.push(("server_version".into(), Value::string(version)));
    Some(amf0::encode_all(&[Value::string("onMetaData"), Value::Object(fields)]))
}

/// Whether relayed metadata ask for `atc`: encoders that stamp frames with a time of day say so (SRS, `atc_auto`).
pub fn asks_for_atc(payload: &[u8]) -> bool {
    let values = amf0::decode_prefix(payload);
    values.get(1).and_then(|fields| fields.get("bravo_atc")).and_then(Value::as_str) == Some("true")
}

/// A tag of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Its type.
    pub kind: TagKind,
    /// Milliseconds.
    pub timestamp: u32,
    /// Its body.
    pub payload: &'a [u8],
}

/// Why bytes are not an FLV file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file does not start with `FLV`.
    #[error("this is not an FLV file: it does not start with \"FLV\"")]
    Signature,
    /// A tag that ends behind the file or is of an unknown type.
    #[error("the tag at byte {0} is broken or cut off")]
    Tag(usize),
}

/// The tags of a whole file; a last one that is cut off is an error.
pub fn tags(file: &[u8]) -> Result<Vec<Tag<'_>>, Error> {
    if file.get(..3) != Some(b"FLV") {
        return Err(Error::Signature);
    }
    let offset = file.get(5..9).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    let mut at = (offset.ok_or(Error::Signature)? as usize).saturating_add(4);
    let mut tags = Vec::new();
    while at < file.len() {
        let broken = Error::Tag(at);
        let Some(header) = file.get(at..at + TAG_HEADER) else { return Err(broken) };
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        let timestamp = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        let start = at + TAG_HEADER;
        let Some(payload) = file.get(start..start + length) else { return Err(broken) };
        let kind = match header[0] & 0x1f {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            18 => TagKind::Script,
            _ => return Err(broken),
        };
        tags.push(Tag { kind, timestamp, payload });
        at = start + length + 4;
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_are_read_as_they_were_written() {
        let mut file = file_header(true, true).to_vec();
        push_tag(&mut file, TagKind::Video, 0x0123_4567, b"abc");
        push_tag(&mut file, TagKind::Audio, 40, b"");
        let read = tags(&file).unwrap();
        assert_eq!(read[0], Tag { kind: TagKind::Video, timestamp: 0x0123_4567, payload: b"abc" });
        assert_eq!(read[1], Tag { kind: TagKind::Audio, timestamp: 40, payload: b"" });
        assert_eq!(tags(&file[..file.len() - 6]), Err(Error::Tag(13 + 18)));
        assert_eq!(tags(b"RIFF"), Err(Error::Signature));
    }

    #[test]
    fn roles_of_video_and_audio() {
        let cases: [(&[u8], Role); 9] = [
            (&[0x17, 0, 0, 0, 0], Role::SequenceHeader),
            (&[0x17, 1, 0, 0, 0], Role::Keyframe),
            (&[0x27, 1, 0, 0, 0], Role::Frame),
            (&[0x17, 2, 0, 0, 0], Role::Frame),
            (&[0x90, b'h', b'v', b'c', b'1'], Role::SequenceHeader),
            (&[0x91, b'h', b'v', b'c', b'1', 0, 0, 0], Role::Keyframe),
            (&[0xa3, b'a', b'v', b'0', b'1'], Role::Frame),
            (&[0x12], Role::Keyframe),
            (&[], Role::Frame),
        ];
        for (payload, expected) in cases {
            assert_eq!(video_role(payload), expected, "{payload:x?}");
        }
        assert_eq!(audio_role(&[0xaf, 0, 0x12]), Role::SequenceHeader);
        assert_eq!(audio_role(&[0xaf, 1, 0x12]), Role::Frame);
        assert_eq!(audio_role(&[0x2f, 0]), Role::Frame);
    }

    #[test]
    fn headers_of_further_tracks_are_known() {
        let cases: [(TagKind, &[u8], Option<u8>); 8] = [
            (TagKind::Audio, b"\x95\x00mp4a\x01\x12", Some(1)),
            (TagKind::Audio, b"\x95\x00mp4a\x00\x12", None),
            (TagKind::Audio, b"\x95\x01mp4a\x01\x12", None),
            (TagKind::Audio, b"\x90mp4a\x12", None),
            (TagKind::Audio, b"\xaf\x00\x12", None),
            (TagKind::Video, b"\x96\x00avc1\x03\x01", Some(3)),
            (TagKind::Video, b"\xa6\x01avc1\x03\x01", None),
            (TagKind::Video, b"\x96\x00av", None),
        ];
        for (kind, payload, expected) in cases {
            assert_eq!(further_track(kind, payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn metadata_names_the_server_and_loses_its_duration() {
        let fields = vec![
            ("duration".to_owned(), Value::Number(10.0)),
            ("width".to_owned(), Value::Number(640.0)),
            ("server".to_owned(), Value::string("old")),
        ];
        let body = [Value::string("@setDataFrame"), Value::string("onMetaData"), Value::Object(fields)];
        let relayed = relayed_metadata(&amf0::encode_all(&body), "SRS/4", "4").unwrap();
        let values = amf0::decode_all(&relayed).unwrap();
        assert_eq!(values[0], Value::string("onMetaData"));
        let names: Vec<&str> = values[1].fields().iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["width", "server", "server_version"]);
        assert_eq!(values[1].get("server"), Some(&Value::string("SRS/4")));
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), flv: bool) {
            if flv && bytes.len() > 9 { bytes[..9].copy_from_slice(&[b'F', b'L', b'V', 1, 5, 0, 0, 0, 9]); }
            let _ = tags(&bytes);
            let _ = relayed_metadata(&bytes, "s", "v");
        }
    }
}
