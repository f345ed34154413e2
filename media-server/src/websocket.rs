//! WebSocket (RFC 6455), the server's side: the handshake, frame headers, and what a viewer sends.
//!
//! A viewer has nothing to say: of its frames only control frames are kept, data are counted and skipped. Anything
//! the RFC forbids ends the connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// Opcode of binary messages.
pub const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The status of a stream that has ended.
pub const CLOSE_NORMAL: u16 = 1000;
/// The server goes, and another one goes on.
pub const CLOSE_GOING_AWAY: u16 = 1001;
/// The status of frames that the RFC forbids.
pub const CLOSE_PROTOCOL_ERROR: u16 = 1002;
/// The status of messages longer than [`MAX_MESSAGE`].
pub const CLOSE_TOO_BIG: u16 = 1009;

/// The longest control frame (RFC 6455 5.5).
const MAX_CONTROL: usize = 125;
/// The longest message that a viewer may send; it is skipped.
pub const MAX_MESSAGE: u64 = 64 << 10;
/// The longest name of a subprotocol that is echoed.
const MAX_PROTOCOL: usize = 64;

/// A request to change to WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    accept: String,
    protocol: Option<String>,
}

/// Why a request that asks for WebSocket is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not version 13.
    #[error("only version 13 of WebSocket is spoken")]
    Version,
    /// The key is missing or is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
}

impl Refusal {
    /// The answer's status and further fields.
    pub fn answer(self) -> &'static str {
        match self {
            Refusal::Version => "426 Upgrade Required\r\nSec-WebSocket-Version: 13",
            Refusal::Key => "400 Bad Request",
        }
    }
}

impl Upgrade {
    /// What a request's fields ask for; none when it is plain HTTP.
    pub fn read(fields: &[httparse::Header<'_>]) -> Option<Result<Self, Refusal>> {
        let text = |wanted: &str| {
            let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(wanted));
            found.and_then(|field| std::str::from_utf8(field.value).ok())
        };
        let has = |list: Option<&str>, token: &str| {
            list.is_some_and(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
        };
        if !has(text("upgrade"), "websocket") || !has(text("connection"), "upgrade") {
            return None;
        }
        if text("sec-websocket-version").map(str::trim) != Some("13") {
            return Some(Err(Refusal::Version));
        }
        let key = text("sec-websocket-key").map(str::trim).unwrap_or_default();
        if STANDARD.decode(key).map(|bytes| bytes.len()) != Ok(16) {
            return Some(Err(Refusal::Key));
        }
        // A browser gives up when it asked for subprotocols and none is chosen.
        let protocol = text("sec-websocket-protocol").and_then(|list| list.split(',').next()).map(str::trim);
        let protocol = protocol.filter(|name| name.len() <= MAX_PROTOCOL && is_token(name));
        Some(Ok(Upgrade { accept: accept(key), protocol: protocol.map(str::to_owned) }))
    }

    /// The fields of the answer that grants it.
    pub fn fields(&self) -> String {
        let protocol = self.protocol.as_ref().map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n{}",
            self.accept,
            protocol.unwrap_or_default()
        )
    }
}

fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte))
}

/// Sec-WebSocket-Accept for a key.
fn accept(key: &str) -> String {
    let digest =
        Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    STANDARD.encode(digest)
}

/// Appends the header of a whole, unmasked message.
pub fn header(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Size of such a header.
pub fn header_size(length: usize) -> usize {
    match length {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends a close frame.
pub fn close(out: &mut Vec<u8>, status: u16) {
    header(out, CLOSE, 2);
    out.extend_from_slice(&status.to_be_bytes());
}

/// Why a viewer's bytes end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes that the RFC forbids.
    #[error("WebSocket: {0}")]
    Protocol(&'static str),
    /// Longer than [`MAX_MESSAGE`].
    #[error("WebSocket: a message of more than {MAX_MESSAGE} bytes")]
    TooBig,
    /// The viewer said goodbye.
    #[error("the client closed")]
    Closed,
}

#[derive(Debug)]
enum State {
    Header,
    /// A control frame: its opcode and how long it is.
    Control(u8, usize),
    /// So many bytes of data are skipped.
    Data(u64),
}

/// Reads a viewer's frames.
#[derive(Debug)]
pub struct Reader {
    state: State,
    /// A header, or a control frame's payload, that has not come to its end.
    bytes: Vec<u8>,
    mask: [u8; 4],
    /// Bytes of the message whose last frame has not come; none between messages.
    message: Option<u64>,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { state: State::Header, bytes: Vec::new(), mask: [0; 4], message: None }
    }
}

impl Reader {
    /// Takes bytes; answers (pongs, and the close frame that belongs to an error) go to `out`.
    pub fn read(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let result = self.frames(&mut input, out);
        match result {
            Err(Error::Protocol(_)) => close(out, CLOSE_PROTOCOL_ERROR),
            Err(Error::TooBig) => close(out, CLOSE_TOO_BIG),
            Err(Error::Closed) | Ok(()) => {}
        }
        result
    }

    fn frames(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        while !input.is_empty() {
            match self.state {
                State::Header => {
                    let (byte, rest) = input.split_at(1);
                    *input = rest;
                    self.bytes.extend_from_slice(byte);
                    self.header()?;
                }
                State::Control(opcode, length) => {
                    let take = (length - self.bytes.len()).min(input.len());
                    let (part, rest) = input.split_at(take);
                    *input = rest;
                    self.bytes.extend_from_slice(part);
                    if self.bytes.len() == length {
                        self.control(opcode, out)?;
                    }
                }
                State::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    *input = &input[take..];
                    let left = left - take as u64;
                    self.state = if left == 0 { State::Header } else { State::Data(left) };
                }
            }
            // A control frame without a payload is complete with its header.
            if let State::Control(opcode, 0) = self.state {
                self.control(opcode, out)?;
            }
        }
        Ok(())
    }

    /// Looks whether a header is whole.
    fn header(&mut self) -> Result<(), Error> {
        let [first, second, rest @ ..] = &self.bytes[..] else { return Ok(()) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(Error::Protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(Error::Protocol("a client's frame is not masked"));
        }
        let short = second & 0x7f;
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let control = opcode >= CLOSE;
        if control && (wide > 0 || !fin) {
            return Err(Error::Protocol("a control frame is too long or in parts"));
        }
        if !matches!(opcode, 0..=2 | CLOSE..=PONG) {
            return Err(Error::Protocol("an unknown opcode"));
        }
        let Some((long, mask)) = rest.split_at_checked(wide) else { return Ok(()) };
        let Ok(mask) = <[u8; 4]>::try_from(mask) else { return Ok(()) };
        let length = match wide {
            0 => u64::from(short),
            _ => long.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        self.mask = mask;
        self.bytes.clear();
        if control {
            debug_assert!(length <= MAX_CONTROL as u64);
            self.state = State::Control(opcode, length as usize);
            return Ok(());
        }
        let before = match (opcode, self.message) {
            (0, Some(before)) => before,
            (0, None) => return Err(Error::Protocol("a continuation of nothing")),
            (_, Some(_)) => return Err(Error::Protocol("a message inside another")),
            (_, None) => 0,
        };
        let total = before.saturating_add(length);
        if total > MAX_MESSAGE {
            return Err(Error::TooBig);
        }
        self.message = (!fin).then_some(total);
        self.state = if length == 0 { State::Header } else { State::Data(length) };
        Ok(())
    }

    fn control(&mut self, opcode: u8, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut payload = std::mem::take(&mut self.bytes);
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= self.mask[index % 4];
        }
        self.state = State::Header;
        match opcode {
            PING => {
                header(out, PONG, payload.len());
                out.extend_from_slice(&payload);
            }
            CLOSE => {
                if payload.len() == 1 {
                    return Err(Error::Protocol("a close frame with half a status"));
                }
                // The status is sent back.
                header(out, CLOSE, payload.len().min(2));
                out.extend_from_slice(&payload[..payload.len().min(2)]);
                return Err(Error::Closed);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        header(&mut bytes, first & 0x0f, payload.len());
        bytes[0] = first;
        bytes[1] |= 0x80;
        let mask = [1, 2, 3, 4];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
        bytes
    }

    fn read(bytes: &[u8]) -> (Result<(), Error>, Vec<u8>) {
        let mut out = Vec::new();
        let result = Reader::default().read(bytes, &mut out);
        (result, out)
    }

    fn upgrade(fields: &[(&'static str, &'static str)]) -> Option<Result<Upgrade, Refusal>> {
        let header =
            |(name, value): &(&'static str, &'static str)| httparse::Header { name, value: value.as_bytes() };
        Upgrade::read(&fields.iter().map(header).collect::<Vec<_>>())
    }

    #[test]
    fn the_key_of_the_rfc_gets_its_answer() {
        let mut fields = vec![
            ("Upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let text = upgrade(&fields).unwrap().unwrap().fields();
        assert!(text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
        assert!(!text.contains("Protocol"), "{text}");
        fields.push(("Sec-WebSocket-Protocol", "flv, other"));
        let text = upgrade(&fields).unwrap().unwrap().fields();
        assert!(text.ends_with("\r\nSec-WebSocket-Protocol: flv\r\n"), "{text}");
        assert_eq!(upgrade(&fields[1..]), None, "no Upgrade field is plain HTTP");
        fields[2].1 = "8";
        assert_eq!(upgrade(&fields), Some(Err(Refusal::Version)));
        fields[2].1 = "13";
        fields[3].1 = "c2hvcnQ=";
        assert_eq!(upgrade(&fields), Some(Err(Refusal::Key)));
    }

    #[test]
    fn pings_are_answered_and_goodbyes_returned() {
        assert_eq!(read(&masked(0x89, b"abc")), (Ok(()), b"\x8a\x03abc".to_vec()));
        assert_eq!(read(&masked(0x89, b"")), (Ok(()), b"\x8a\0".to_vec()));
        assert_eq!(read(&masked(0x88, &[3, 0xe8, b'x'])), (Err(Error::Closed), vec![0x88, 2, 3, 0xe8]));
        assert_eq!(read(&masked(0x88, b"")), (Err(Error::Closed), vec![0x88, 0]));
        // Data are skipped, and a ping may stand inside a message in parts.
        let bytes = [
            masked(0x01, b"hello"),
            masked(0x89, b"1"),
            masked(0x80, &[7; 300]),
            masked(0x82, &[]),
            masked(0x89, b"2"),
        ]
        .concat();
        assert_eq!(read(&bytes), (Ok(()), b"\x8a\x011\x8a\x012".to_vec()));
    }

    #[test]
    fn what_the_rfc_forbids_ends_the_connection() {
        let long_ping = [&[0x89, 0xfe, 0, 126][..], &[0; 200]].concat();
        let cases: [(&[u8], u16); 8] = [
            (b"\x89\x03abc", CLOSE_PROTOCOL_ERROR),
            (&masked(0xc1, b"x"), CLOSE_PROTOCOL_ERROR),
            (&masked(0x83, b"x"), CLOSE_PROTOCOL_ERROR),
            (&masked(0x09, b"x"), CLOSE_PROTOCOL_ERROR),
            (&masked(0x80, b"x"), CLOSE_PROTOCOL_ERROR),
            (&[masked(0x01, b"x"), masked(0x81, b"x")].concat(), CLOSE_PROTOCOL_ERROR),
            (&long_ping, CLOSE_PROTOCOL_ERROR),
            (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", CLOSE_TOO_BIG),
        ];
        for (bytes, status) in cases {
            let (result, out) = read(bytes);
            assert!(result.is_err(), "{bytes:x?}");
            assert_eq!(out, [&[0x88, 2], &status.to_be_bytes()[..]].concat(), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_keep_little(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut reader = Reader::default();
            let mut out = Vec::new();
            let _ = reader.read(&bytes, &mut out);
            prop_assert!(reader.bytes.len() <= MAX_CONTROL);
        }

        /// However the bytes are cut, the answers are the same.
        #[test]
        fn cuts_make_no_difference(
            frames in prop::collection::vec((prop::bool::ANY, prop::collection::vec(any::<u8>(), 0..120)), 1..8),
            cut in 1usize..40,
        ) {
            let bytes: Vec<u8> =
                frames.iter().flat_map(|(ping, body)| masked(if *ping { 0x89 } else { 0x82 }, body)).collect();
            let (whole, expected) = read(&bytes);
            prop_assert_eq!(whole, Ok(()));
            let mut reader = Reader::default();
            let mut out = Vec::new();
            for part in bytes.chunks(cut) {
                prop_assert_eq!(reader.read(part, &mut out), Ok(()));
            }
            prop_assert_eq!(out, expected);
        }
    }
}
