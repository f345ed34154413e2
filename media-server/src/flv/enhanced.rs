//! What Enhanced RTMP 2 has in common for audio and video: packet types, modifiers and tracks.

/// Decoder configuration.
pub(super) const SEQUENCE_START: u8 = 0;
/// Coded data; of some video codecs with a composition time.
pub(super) const CODED_FRAMES: u8 = 1;
/// Video without a composition time.
pub(super) const CODED_FRAMES_X: u8 = 3;
/// Video's metadata.
pub(super) const METADATA: u8 = 4;
const AUDIO_MULTITRACK: u8 = 5;
const VIDEO_MULTITRACK: u8 = 6;
const MOD_EX: u8 = 7;

/// Skips modifiers (a timestamp's nanoseconds), which are passed on as they are; gives the packet type behind them.
pub(super) fn skip_modifiers(mut kind: u8, mut rest: &[u8]) -> Option<(u8, &[u8])> {
    while kind == MOD_EX {
        let mut size = usize::from(*rest.first()?) + 1;
        rest = &rest[1..];
        if size == 256 {
            size = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])) + 1;
            rest = &rest[2..];
        }
        let (next, behind) = rest.get(size..)?.split_first()?;
        kind = next & 0x0f;
        rest = behind;
    }
    Some((kind, rest))
}

/// The only, or the first, track of a message.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pub(super) four_cc: [u8; 4],
    pub(super) packet_type: u8,
    /// 0 for a message without tracks.
    pub(super) id: u8,
    pub(super) body: &'a [u8],
}

/// Reads the FourCC and, where there are tracks, what stands before the first.
pub(super) fn video_track(kind: u8, rest: &[u8]) -> Option<Track<'_>> {
    track(kind, kind == VIDEO_MULTITRACK, rest)
}

/// The same for audio.
pub(super) fn audio_track(kind: u8, rest: &[u8]) -> Option<Track<'_>> {
    track(kind, kind == AUDIO_MULTITRACK, rest)
}

fn track(kind: u8, multiple: bool, rest: &[u8]) -> Option<Track<'_>> {
    /// A message of one track has no sizes.
    const ONE_TRACK: u8 = 0;
    if !multiple {
        let (four_cc, body) = rest.split_first_chunk()?;
        return Some(Track { four_cc: *four_cc, packet_type: kind, id: 0, body });
    }
    let (types, rest) = rest.split_first()?;
    let (four_cc, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_first()?;
    let body = if types >> 4 == ONE_TRACK {
        rest
    } else {
        let (size, rest) = rest.split_first_chunk::<3>()?;
        rest.get(..u32::from_be_bytes([0, size[0], size[1], size[2]]) as usize)?
    };
    Some(Track { four_cc: *four_cc, packet_type: types & 0x0f, id: *id, body })
}
