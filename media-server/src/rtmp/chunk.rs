//! Chunks: messages to bytes and back (RTMP 5.3).
//!
//! [`Reader`] is fed slices and keeps no copy of them: a message that lies in one slice is lent from it, else it
//! is put together in a buffer that grows with the bytes received, never with the length announced.

use std::borrow::Cow;

use super::{FIRST_CHUNK_SIZE, STREAM_ID, message_type};

/// Most chunk streams a peer may open; players and publishers use fewer than ten.
pub const MAX_CHUNK_STREAMS: usize = 64;
/// Most bytes of unfinished messages a connection may hold.
pub const MAX_PARTIAL_BYTES: usize = 16 << 20;
const MAX_HEADER: usize = 3 + 11 + 4;

/// A message read from chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// See [`message_type`].
    pub kind: u8,
    /// Milliseconds, 31 bits.
    pub timestamp: u32,
    /// The message stream.
    pub stream_id: u32,
    /// The body.
    pub payload: Cow<'a, [u8]>,
}

/// Why bytes are not chunks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A new chunk stream must start with a full header.
    #[error("chunk stream {0} starts with a header of format {1}, which needs one before it")]
    FreshFormat(u32, u8),
    /// A new message inside an unfinished one.
    #[error("chunk stream {0}: a header of format 0 inside an unfinished message")]
    FormatInside(u32),
    /// The length changed inside a message.
    #[error("chunk stream {0}: the length changed from {1} to {2} inside a message")]
    LengthChanged(u32, usize, usize),
    /// More chunk streams than allowed.
    #[error("more than {MAX_CHUNK_STREAMS} chunk streams")]
    ChunkStreams,
    /// More unfinished bytes than allowed.
    #[error("more than {MAX_PARTIAL_BYTES} bytes of unfinished messages")]
    PartialBytes,
    /// A message longer than this side accepts at this point.
    #[error("a message of {0} bytes, at most {1} are accepted")]
    MessageSize(usize, usize),
    /// Set Chunk Size with a body or value that is not allowed.
    #[error("Set Chunk Size to {0}: at least 128 is needed")]
    ChunkSize(i64),
}

#[derive(Debug, Default)]
struct ChunkStream {
    id: u32,
    kind: u8,
    timestamp: u32,
    delta: u32,
    length: usize,
    stream_id: u32,
    extended: bool,
    seen: bool,
    body: Vec<u8>,
    in_message: bool,
}

#[derive(Debug)]
enum State {
    Header,
    Payload { stream: usize, left: usize },
}

/// Reads messages from a peer's bytes.
#[derive(Debug)]
pub struct Reader {
    chunk_size: usize,
    max_message: usize,
    streams: Vec<ChunkStream>,
    partial_bytes: usize,
    header: [u8; MAX_HEADER],
    header_len: usize,
    state: State,
}

enum Header {
    More,
    Done { used: usize, stream: usize },
}

impl Reader {
    /// A reader that takes messages of at most `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        Reader {
            chunk_size: FIRST_CHUNK_SIZE,
            max_message,
            streams: Vec::new(),
            partial_bytes: 0,
            header: [0; MAX_HEADER],
            header_len: 0,
            state: State::Header,
        }
    }

    /// Changes the longest message that is taken: publishers may send more than others.
    pub fn set_max_message(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// Applies the peer's Set Chunk Size. Up to 65536 is usual; larger is taken, smaller than 128 refused (SRS).
    pub fn set_chunk_size(&mut self, size: i64) -> Result<(), Error> {
        if !(128..=0x7fff_ffff).contains(&size) {
            return Err(Error::ChunkSize(size));
        }
        self.chunk_size = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(())
    }

    /// Drops the unfinished message of a chunk stream (Abort Message).
    pub fn abort(&mut self, id: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            self.partial_bytes -= stream.body.len();
            stream.body = Vec::new();
            stream.in_message = false;
        }
    }

    /// The next whole message, `input` moved behind what was read; none when it needs more bytes.
    pub fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Message<'a>>, Error> {
        loop {
            match self.state {
                State::Header => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let had = self.header_len;
                    let take = (MAX_HEADER - had).min(input.len());
                    self.header[had..had + take].copy_from_slice(&input[..take]);
                    self.header_len = had + take;
                    match self.parse_header()? {
                        Header::More => *input = &input[take..],
                        Header::Done { used, stream } => {
                            *input = &input[used.saturating_sub(had)..];
                            let state = &mut self.streams[stream];
                            let mut left = (state.length - state.body.len()).min(self.chunk_size);
                            // Bytes kept for an extended timestamp that turned out not to be there.
                            let kept = had.saturating_sub(used);
                            let body = kept.min(left);
                            state.body.extend_from_slice(&self.header[used..used + body]);
                            self.partial_bytes += body;
                            left -= body;
                            self.header.copy_within(used + body..used + kept, 0);
                            self.header_len = kept - body;
                            self.state = State::Payload { stream, left };
                        }
                    }
                }
                State::Payload { stream: index, left } => {
                    let stream = &mut self.streams[index];
                    let whole = stream.body.is_empty() && stream.length == left && input.len() >= left;
                    let take = left.min(input.len());
                    let (part, rest) = input.split_at(take);
                    *input = rest;
                    let payload = if whole {
                        Cow::Borrowed(part)
                    } else {
                        if self.partial_bytes + take > MAX_PARTIAL_BYTES {
                            return Err(Error::PartialBytes);
                        }
                        self.partial_bytes += take;
                        stream.body.extend_from_slice(part);
                        if take < left {
                            self.state = State::Payload { stream: index, left: left - take };
                            return Ok(None);
                        }
                        if stream.body.len() < stream.length {
                            self.state = State::Header;
                            continue;
                        }
                        self.partial_bytes -= stream.body.len();
                        Cow::Owned(std::mem::take(&mut stream.body))
                    };
                    self.state = State::Header;
                    stream.in_message = false;
                    if payload.is_empty() {
                        continue;
                    }
                    return Ok(Some(Message {
                        kind: stream.kind,
                        timestamp: stream.timestamp,
                        stream_id: stream.stream_id,
                        payload,
                    }));
                }
            }
        }
    }

    /// Reads the header in `self.header`, which may hold bytes behind it.
    fn parse_header(&mut self) -> Result<Header, Error> {
        let bytes = &self.header[..self.header_len];
        let Some(first) = bytes.first() else { return Ok(Header::More) };
        let format = first >> 6;
        let (id, basic) = match first & 0x3f {
            0 => match bytes.get(1) {
                Some(low) => (64 + u32::from(*low), 2),
                None => return Ok(Header::More),
            },
            1 => match bytes.get(1..3) {
                Some(pair) => (64 + u32::from(pair[0]) + 256 * u32::from(pair[1]), 3),
                None => return Ok(Header::More),
            },
            id => (u32::from(id), 1),
        };
        let size = [11, 7, 3, 0][usize::from(format)];
        let Some(fields) = bytes.get(basic..basic + size) else { return Ok(Header::More) };
        let index = match self.streams.iter().position(|stream| stream.id == id) {
            Some(index) => index,
            None if self.streams.len() >= MAX_CHUNK_STREAMS => return Err(Error::ChunkStreams),
            None => {
                self.streams.push(ChunkStream { id, ..ChunkStream::default() });
                self.streams.len() - 1
            }
        };
        let stream = &self.streams[index];
        // librtmp may open a chunk stream with format 1: its delta then counts from zero.
        if !stream.seen && format > 1 {
            return Err(Error::FreshFormat(id, format));
        }
        if stream.in_message && format == 0 {
            return Err(Error::FormatInside(id));
        }
        let be24 = |at: usize| u32::from_be_bytes([0, fields[at], fields[at + 1], fields[at + 2]]);
        let extended = if format < 3 { be24(0) == 0x00ff_ffff } else { stream.extended };
        let mut used = basic + size;
        let mut field = if format < 3 { be24(0) } else { 0 };
        if extended {
            let Some(raw) = bytes.get(used..used + 4) else {
                return Ok(Header::More);
            };
            let value = u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]) & 0x7fff_ffff;
            // Some senders leave the extended timestamp out of continued chunks: only the expected value is one.
            let expected = stream.timestamp == value || stream.delta == value;
            if format < 3 || !stream.in_message || expected {
                used += 4;
                field = value;
            }
        }
        let length = if format < 2 { be24(3) as usize } else { stream.length };
        if stream.in_message && length != stream.length {
            return Err(Error::LengthChanged(id, stream.length, length));
        }
        if length > self.max_message {
            return Err(Error::MessageSize(length, self.max_message));
        }
        let stream = &mut self.streams[index];
        if format < 2 {
            stream.length = length;
            stream.kind = fields[6];
        }
        if format == 0 {
            stream.stream_id = u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]]);
            stream.timestamp = field & 0x7fff_ffff;
            stream.delta = field & 0x7fff_ffff;
        } else if !stream.in_message {
            if format < 3 {
                stream.delta = field;
            }
            stream.timestamp = stream.timestamp.wrapping_add(stream.delta) & 0x7fff_ffff;
        }
        stream.extended = extended;
        stream.seen = true;
        stream.in_message = true;
        Ok(Header::Done { used, stream: index })
    }
}

/// Appends a message with a full header (format 0) in chunks of `chunk_size`, as SRS writes every message.
pub fn write(
    out: &mut Vec<u8>,
    chunk_size: usize,
    chunk_stream: u8,
    kind: u8,
    stream_id: u32,
    timestamp: u32,
    payload: &[u8],
) {
    header_full(out, chunk_stream, kind, stream_id, timestamp, payload.len());
    let extended = (timestamp >= 0x00ff_ffff).then_some(timestamp);
    body(out, chunk_size, chunk_stream, extended, payload);
}

/// Appends a header of format 0.
pub fn header_full(
    out: &mut Vec<u8>,
    chunk_stream: u8,
    kind: u8,
    stream_id: u32,
    timestamp: u32,
    length: usize,
) {
    let short = timestamp.min(0x00ff_ffff);
    out.push(chunk_stream & 0x3f);
    out.extend_from_slice(&short.to_be_bytes()[1..]);
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.extend_from_slice(&stream_id.to_le_bytes());
    if timestamp >= 0x00ff_ffff {
        out.extend_from_slice(&timestamp.to_be_bytes());
    }
}

/// Size of [`header_delta`].
pub const DELTA_HEADER: usize = 8;

/// Appends a header of format 1; `delta` must be less than 2^24 - 1.
pub fn header_delta(out: &mut Vec<u8>, chunk_stream: u8, kind: u8, delta: u32, length: usize) {
    out.push(0x40 | chunk_stream & 0x3f);
    out.extend_from_slice(&delta.to_be_bytes()[1..]);
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.push(kind);
}

/// Appends a body, with a header of format 3 before each chunk but the first.
pub fn body(out: &mut Vec<u8>, chunk_size: usize, chunk_stream: u8, extended: Option<u32>, payload: &[u8]) {
    for (index, part) in payload.chunks(chunk_size).enumerate() {
        if index > 0 {
            out.push(0xc0 | chunk_stream & 0x3f);
            if let Some(timestamp) = extended {
                out.extend_from_slice(&timestamp.to_be_bytes());
            }
        }
        out.extend_from_slice(part);
    }
}

/// Appends a protocol control message (chunk stream 2, message stream 0), which is one chunk of any size.
pub fn control(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    write(out, FIRST_CHUNK_SIZE, 2, kind, 0, 0, payload);
}

/// Appends the chunk size of everything behind it.
pub fn set_size(out: &mut Vec<u8>, size: usize) {
    control(out, message_type::SET_CHUNK_SIZE, &(size as u32).to_be_bytes());
}

/// Appends a command on the connection (chunk stream 3, message stream 0).
pub fn command(out: &mut Vec<u8>, chunk_size: usize, values: &[crate::amf0::Value]) {
    write(out, chunk_size, 3, message_type::COMMAND_AMF0, 0, 0, &crate::amf0::encode_all(values));
}

/// Appends a command or data message on the stream (chunk stream 5, message stream 1).
pub fn on_stream(out: &mut Vec<u8>, chunk_size: usize, kind: u8, values: &[crate::amf0::Value]) {
    write(out, chunk_size, 5, kind, STREAM_ID, 0, &crate::amf0::encode_all(values));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (u8, u32, Vec<u8>);

    fn read_all(reader: &mut Reader, mut input: &[u8], into: &mut Vec<Owned>) -> Result<(), Error> {
        while let Some(message) = reader.read(&mut input)? {
            into.push((message.kind, message.timestamp, message.payload.into_owned()));
        }
        assert!(input.is_empty());
        Ok(())
    }

    proptest! {
        #[test]
        fn messages_survive_any_split(
            messages in prop::collection::vec(
                (4u8..8, 0u32..0x7fff_ffff, prop::collection::vec(any::<u8>(), 1..700)), 1..8),
            cuts in prop::collection::vec(1usize..300, 1..60),
        ) {
            let mut bytes = Vec::new();
            for (id, timestamp, payload) in &messages {
                write(&mut bytes, 128, *id, 9, 1, *timestamp, payload);
            }
            let mut reader = Reader::new(1 << 20);
            let mut read = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (part, tail) = rest.split_at((*cut).min(rest.len()));
                read_all(&mut reader, part, &mut read).unwrap();
                rest = tail;
                if rest.is_empty() { break; }
            }
            let expected: Vec<Owned> = messages.into_iter().map(|(_, t, p)| (9, t, p)).collect();
            prop_assert_eq!(read, expected);
            prop_assert_eq!(reader.partial_bytes, 0);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_stay_bounded(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20),
        ) {
            let mut reader = Reader::new(1 << 20);
            for part in parts {
                let mut input = &part[..];
                loop {
                    match reader.read(&mut input) {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                prop_assert!(reader.streams.len() <= MAX_CHUNK_STREAMS);
            }
        }
    }

    #[test]
    fn deltas_and_continued_headers_add_up() {
        let mut bytes = Vec::new();
        header_full(&mut bytes, 4, 8, 1, 1000, 2);
        bytes.extend_from_slice(&[1, 2]);
        header_delta(&mut bytes, 4, 8, 23, 2);
        bytes.extend_from_slice(&[3, 4]);
        // Format 2, then format 3 starting a new message with the same delta.
        bytes.extend_from_slice(&[0x84, 0, 0, 10, 5, 6]);
        bytes.extend_from_slice(&[0xc4, 7, 8]);
        let mut read = Vec::new();
        read_all(&mut Reader::new(100), &bytes, &mut read).unwrap();
        let times: Vec<u32> = read.iter().map(|(_, time, _)| *time).collect();
        assert_eq!(times, [1000, 1023, 1033, 1043]);
    }

    #[test]
    fn extended_timestamps_may_be_left_out_of_continued_chunks() {
        let payload = vec![0x55; 300];
        for with in [true, false] {
            let mut bytes = Vec::new();
            header_full(&mut bytes, 6, 9, 1, 0x0123_4567, payload.len());
            body(&mut bytes, 128, 6, with.then_some(0x0123_4567), &payload);
            let mut read = Vec::new();
            read_all(&mut Reader::new(1000), &bytes, &mut read).unwrap();
            assert_eq!(read, [(9, 0x0123_4567, payload.clone())], "with = {with}");
        }
    }

    #[test]
    fn broken_sequences_are_refused() {
        let fail = |bytes: &[u8]| {
            let mut reader = Reader::new(1000);
            let mut input = bytes;
            loop {
                match reader.read(&mut input) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("accepted"),
                    Err(error) => return error,
                }
            }
        };
        assert_eq!(fail(&[0xc4, 1, 2, 3, 4]), Error::FreshFormat(4, 3));
        let mut twice = Vec::new();
        header_full(&mut twice, 4, 9, 1, 0, 200);
        twice.extend_from_slice(&[0; 128]);
        let mut changed = twice.clone();
        header_full(&mut twice, 4, 9, 1, 0, 200);
        assert_eq!(fail(&twice), Error::FormatInside(4));
        header_delta(&mut changed, 4, 9, 0, 100);
        assert_eq!(fail(&changed), Error::LengthChanged(4, 200, 100));
        let mut large = Vec::new();
        header_full(&mut large, 4, 9, 1, 0, 1001);
        assert_eq!(fail(&large), Error::MessageSize(1001, 1000));
        let mut flood = Vec::new();
        for id in 0..200u8 {
            flood.extend_from_slice(&[0, id, 0, 0, 0, 0, 0, 1, 9, 1, 0, 0, 0, 0xaa]);
        }
        assert_eq!(fail(&flood), Error::ChunkStreams);
        for size in [0, 1, 127, -1] {
            assert_eq!(Reader::new(1).set_chunk_size(size), Err(Error::ChunkSize(size)));
        }
    }

    #[test]
    fn memory_follows_the_bytes_received_and_is_bounded() {
        let mut reader = Reader::new(16 << 20);
        reader.set_chunk_size(0x7fff_ffff).unwrap();
        let mut bytes = Vec::new();
        header_full(&mut bytes, 4, 9, 1, 0, (16 << 20) - 1);
        let mut input = &bytes[..];
        assert_eq!(reader.read(&mut input), Ok(None));
        assert!(reader.streams[0].body.capacity() < 1024);
    }
}
