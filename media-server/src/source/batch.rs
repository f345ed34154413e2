//! Messages in RTMP chunks, laid out once for all players.
//!
//! Headers are deltas (format 1) on fixed chunk streams, so they are the same for every player whatever timestamp it
//! started at; a player that joins gets its first message of each chunk stream behind a private full header.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::remux::{Layout, Remux};
use crate::flv::{Role, TagKind};
use crate::rtmp::{OUT_CHUNK_SIZE, chunk};

/// Script data's bit in [`Batch::kinds`].
pub const SCRIPT: u8 = 4;

/// The greatest step of time in a header of format 1 without an extended timestamp, in milliseconds.
const MAX_DELTA: u32 = 0x00ff_fffe;

/// The chunk stream of a kind of message.
pub fn chunk_stream(kind: TagKind) -> u8 {
    match kind {
        TagKind::Audio => 4,
        TagKind::Video => 6,
        TagKind::Script => 7,
    }
}

/// The bit of a kind of message.
pub fn kind_bit(kind: TagKind) -> u8 {
    match kind {
        TagKind::Audio => 1,
        TagKind::Video => 2,
        TagKind::Script => SCRIPT,
    }
}

/// A message in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where its header starts.
    pub at: u32,
    /// The payload's length, without chunk headers.
    pub length: u32,
    /// Its kind.
    pub kind: TagKind,
    /// The ring's timestamp.
    pub timestamp: i64,
}

/// Immutable messages.
#[derive(Debug)]
pub struct Batch {
    /// RTMP chunks.
    pub bytes: Box<[u8]>,
    /// Their size.
    pub chunk_size: usize,
    /// `atc`: timestamps are the publisher's own, and so they are for every player.
    pub absolute: bool,
    /// Its messages, at least one.
    pub frames: Box<[Frame]>,
    /// Which kinds are in it, see [`kind_bit`].
    pub kinds: u8,
    /// Kinds with a step of time that no delta holds, or one back: players need full headers for all their messages.
    pub gaps: u8,
    /// It starts with a keyframe.
    pub keyframe: bool,
    /// The last message's timestamp.
    pub last_timestamp: i64,
    layouts: [OnceLock<Box<Layout>>; Remux::COUNT],
}

impl Batch {
    /// Where the message ends.
    pub fn end(&self, index: usize) -> usize {
        self.frames.get(index + 1).map_or(self.bytes.len(), |next| next.at as usize)
    }

    /// The message's payload, in parts of the chunk size.
    pub fn payload(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let start = self.frames[index].at as usize + chunk::DELTA_HEADER;
        let body = &self.bytes[start..self.end(index)];
        // Each part but the first has one byte of header before it.
        let first = body.len().min(self.chunk_size);
        let (first, rest) = body.split_at(first);
        std::iter::once(first).chain(rest.chunks(self.chunk_size + 1).map(|part| &part[1..]))
    }

    /// The message's payload in one piece, copied only where it has several parts.
    pub fn whole_payload(&self, index: usize) -> Cow<'_, [u8]> {
        let mut parts = self.payload(index);
        let mut payload = Cow::Borrowed(parts.next().unwrap_or_default());
        for part in parts {
            payload.to_mut().extend_from_slice(part);
        }
        payload
    }

    /// Another layout, where it was made; see [`Source::lay_out`](super::Source::lay_out).
    pub fn layout(&self, remux: Remux) -> Option<&Layout> {
        self.layout_slot(remux).get().map(|layout| &**layout)
    }

    pub(super) fn layout_slot(&self, remux: Remux) -> &OnceLock<Box<Layout>> {
        &self.layouts[remux as usize]
    }
}

/// Collects messages for the next batch.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    chunk_size: usize,
    frames: Vec<Frame>,
    absolute: bool,
    keyframe: bool,
    gaps: u8,
    /// Kinds whose next message has a time of its own, whatever came before.
    fresh: u8,
    /// The last timestamp of each chunk stream, over all batches.
    last: [i64; 3],
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new(OUT_CHUNK_SIZE)
    }
}

impl Builder {
    /// A builder that has nothing yet, of batches in chunks of that size.
    pub fn new(chunk_size: usize) -> Self {
        Builder {
            bytes: Vec::new(),
            chunk_size,
            frames: Vec::new(),
            absolute: false,
            keyframe: false,
            gaps: 0,
            fresh: 0,
            last: [0; 3],
        }
    }

    /// Makes batches in chunks of another size, from the next on: nothing must be collected.
    pub(super) fn set_chunk_size(&mut self, size: usize) {
        self.chunk_size = size;
    }

    /// Timestamps are the publisher's.
    pub(super) fn is_absolute(&self) -> bool {
        self.absolute
    }

    /// Timestamps are the publisher's from now on, or not any more: nothing must be collected.
    pub(super) fn set_absolute(&mut self, absolute: bool) {
        self.absolute = absolute;
        if absolute {
            self.fresh = SCRIPT | kind_bit(TagKind::Audio) | kind_bit(TagKind::Video);
        }
    }

    /// Bytes collected.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing is collected.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends a message.
    pub fn push(&mut self, kind: TagKind, role: Role, timestamp: i64, payload: &[u8]) {
        let last = &mut self.last[usize::from(kind_bit(kind) >> 1)];
        if self.fresh & kind_bit(kind) != 0 {
            self.fresh &= !kind_bit(kind);
            self.gaps |= kind_bit(kind);
            *last = timestamp;
        }
        let timestamp = timestamp.max(*last);
        // A first message's delta is never used, as its player has a private header; so has one behind a gap.
        let delta = u32::try_from(timestamp - *last).unwrap_or(u32::MAX);
        if delta > MAX_DELTA {
            self.gaps |= kind_bit(kind);
        }
        let delta = delta.min(MAX_DELTA);
        *last = timestamp;
        if self.frames.is_empty() {
            self.keyframe = kind == TagKind::Video && role == Role::Keyframe;
        }
        let at = self.bytes.len() as u32;
        self.frames.push(Frame { at, length: payload.len() as u32, kind, timestamp });
        self.bytes.reserve(chunk::DELTA_HEADER + payload.len() + payload.len() / self.chunk_size);
        chunk::header_delta(&mut self.bytes, chunk_stream(kind), kind as u8, delta, payload.len());
        chunk::body(&mut self.bytes, self.chunk_size, chunk_stream(kind), None, payload);
    }

    /// What was collected; none when it is nothing.
    pub fn finish(&mut self) -> Option<Batch> {
        let last_timestamp = self.frames.last()?.timestamp;
        let kinds = self.frames.iter().fold(0, |kinds, frame| kinds | kind_bit(frame.kind));
        Some(Batch {
            bytes: std::mem::take(&mut self.bytes).into_boxed_slice(),
            chunk_size: self.chunk_size,
            absolute: self.absolute,
            frames: std::mem::take(&mut self.frames).into_boxed_slice(),
            kinds,
            gaps: std::mem::take(&mut self.gaps),
            keyframe: std::mem::take(&mut self.keyframe),
            last_timestamp,
            layouts: Default::default(),
        })
    }
}
