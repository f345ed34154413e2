//! What a player reads: a container, in the framing of its protocol.

use crate::source::Remux;
use crate::websocket;

/// How media are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Container {
    /// RTMP chunks.
    Rtmp,
    /// FLV tags.
    Flv,
    /// Anything that all viewers share as it is.
    Remuxed(Remux),
}

/// What stands around the parts of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Framing {
    /// Nothing: RTMP, and HTTP/1.0 up to the connection's end.
    Plain,
    /// Chunks of HTTP/1.1.
    Chunked,
    /// Binary messages of WebSocket.
    WebSocket,
}

/// Both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) struct Format {
    /// How media are packed.
    pub(in crate::core) container: Container,
    /// What stands around them.
    pub(in crate::core) framing: Framing,
}

impl Format {
    /// RTMP.
    pub(in crate::core) const RTMP: Format = Format { container: Container::Rtmp, framing: Framing::Plain };
}

impl Container {
    /// By the ending of a mount, as SRS chooses.
    pub(in crate::core) fn of_mount(mount: &str) -> Option<Self> {
        Some(match mount.rsplit_once('.')?.1 {
            "flv" => Container::Flv,
            "ts" => Container::Remuxed(Remux::Ts),
            "aac" => Container::Remuxed(Remux::Aac),
            "mp3" => Container::Remuxed(Remux::Mp3),
            _ => return None,
        })
    }

    /// HTTP's Content-Type.
    pub(in crate::core) fn content_type(self) -> &'static str {
        match self {
            Container::Rtmp => "application/octet-stream",
            Container::Flv => "video/x-flv",
            Container::Remuxed(Remux::Ts) => "video/MP2T",
            Container::Remuxed(Remux::Aac) => "audio/x-aac",
            Container::Remuxed(Remux::Mp3) => "audio/mpeg",
        }
    }

    /// It has audio alone: a player starts at the newest message, as no keyframe is needed.
    pub(super) fn is_audio(self) -> bool {
        matches!(self, Container::Remuxed(Remux::Aac | Remux::Mp3))
    }
}

impl Framing {
    /// Appends what stands before so many bytes.
    pub(super) fn head(self, out: &mut Vec<u8>, length: usize) {
        match self {
            Framing::Plain => {}
            Framing::Chunked => {
                let (text, digits) = hex(length);
                out.extend_from_slice(&text[..digits]);
                out.extend_from_slice(b"\r\n");
            }
            Framing::WebSocket => websocket::header(out, websocket::BINARY, length),
        }
    }

    /// What stands behind them.
    pub(super) fn tail(self) -> &'static [u8] {
        match self {
            Framing::Plain | Framing::WebSocket => b"",
            Framing::Chunked => b"\r\n",
        }
    }

    /// How long so many bytes are with what stands around them; nothing stands around nothing.
    pub(super) fn size(self, length: usize) -> usize {
        match self {
            _ if length == 0 => 0,
            Framing::Plain => length,
            Framing::Chunked => hex(length).1 + 4 + length,
            Framing::WebSocket => websocket::header_size(length) + length,
        }
    }

    /// Appends a part with what stands around it.
    pub(super) fn push(self, out: &mut Vec<u8>, part: &[u8]) {
        if !part.is_empty() {
            self.head(out, part.len());
            out.extend_from_slice(part);
            out.extend_from_slice(self.tail());
        }
    }

    /// Appends what says that nothing follows, here at all where the server `goes`.
    pub(in crate::core) fn end(self, out: &mut Vec<u8>, goes: bool) {
        match self {
            Framing::Plain => {}
            Framing::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
            Framing::WebSocket if goes => websocket::close(out, websocket::CLOSE_GOING_AWAY),
            Framing::WebSocket => websocket::close(out, websocket::CLOSE_NORMAL),
        }
    }
}

/// A number in hexadecimal, and its digits.
fn hex(number: usize) -> ([u8; 16], usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1) as usize;
    let mut text = [0; 16];
    for (index, slot) in text[..digits].iter_mut().enumerate() {
        *slot = b"0123456789abcdef"[number >> (4 * (digits - 1 - index)) & 15];
    }
    (text, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_what_is_pushed() {
        for framing in [Framing::Plain, Framing::Chunked, Framing::WebSocket] {
            for length in [0, 1, 15, 16, 125, 126, 255, 65_535, 65_536, 100_000] {
                let mut out = Vec::new();
                framing.push(&mut out, &vec![7; length]);
                assert_eq!(out.len(), framing.size(length), "{framing:?} of {length}");
            }
        }
        let mut out = Vec::new();
        Framing::Chunked.push(&mut out, &[7; 26]);
        assert!(out.starts_with(b"1a\r\n\x07") && out.ends_with(b"\x07\r\n"));
    }

    #[test]
    fn a_mount_s_ending_chooses() {
        assert_eq!(Container::of_mount("[vhost]/[app]/[stream].flv"), Some(Container::Flv));
        assert_eq!(Container::of_mount("/[app]/[stream].ts"), Some(Container::Remuxed(Remux::Ts)));
        assert_eq!(Container::of_mount("[vhost]/[app]/[stream].mp4"), None);
        assert_eq!(Container::of_mount("[vhost]/[app]/[stream]"), None);
    }
}
