//! A player: a cursor into its stream's ring, and how what it points at goes to a socket.

use std::io::{ErrorKind, IoSlice, Write as _};
use std::sync::Arc;

use super::conn::Conn;
use crate::flv::{self, TagKind};
use crate::rtmp::{OUT_CHUNK_SIZE, STREAM_ID, chunk};
use crate::source::{Batch, View, chunk_stream, kind_bit};

/// The most slices of one write.
const MAX_SLICES: usize = 256;
/// The most bytes of one write.
const MAX_WRITE: usize = 256 << 10;
/// All kinds of messages need a private header.
const ALL: u8 = 7;

/// What a player reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// RTMP chunks.
    Rtmp,
    /// FLV in chunks of HTTP/1.1.
    FlvChunked,
    /// FLV up to the connection's end, for HTTP/1.0.
    Flv,
}

/// A cursor.
#[derive(Debug)]
pub(super) struct Player {
    /// Which of the core's streams.
    pub(super) entry: usize,
    /// Its slot of the wheel, and its place there.
    pub(super) slot: (usize, usize),
    /// What it reads.
    pub(super) format: Format,
    /// The next batch; none before the stream starts.
    pub(super) next: Option<u64>,
    /// How much of the batch was written, in the format's layout.
    offset: usize,
    /// That batch, which the ring may have dropped.
    partial: Option<Arc<Batch>>,
    /// The ring's timestamp that is this player's 0.
    base: Option<i64>,
    /// Kinds of messages whose next one needs a full header.
    private: u8,
    /// The player asked for a pause.
    pub(super) paused: bool,
    /// It has waited for more messages once.
    pub(super) waited: bool,
    /// How often it was too slow and jumped.
    pub(super) jumps: u64,
    /// Timestamps are passed on as they are.
    raw_time: bool,
    /// The head of an HTTP answer, sent with the first media.
    head: Option<Box<[u8]>>,
}

/// How far a player got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// Everything there was is sent.
    Done,
    /// The socket takes no more.
    Blocked,
    /// The connection broke.
    Closed,
}

/// Buffers of a core that its players use one after the other.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    headers: Vec<u8>,
    cuts: Vec<usize>,
}

impl Player {
    /// A player that has nothing yet; `head` goes out before the first byte.
    pub(super) fn new(entry: usize, format: Format, raw_time: bool, head: Option<Box<[u8]>>) -> Self {
        Player {
            entry,
            slot: (0, 0),
            format,
            next: None,
            offset: 0,
            partial: None,
            base: None,
            private: ALL,
            paused: false,
            waited: false,
            jumps: 0,
            raw_time,
            head,
        }
    }

    /// Goes on at the newest point to join, after a pause or when it was too slow.
    pub(super) fn rejoin(&mut self) {
        self.next = None;
    }

    /// Messages that wait for it, at most `enough` are counted.
    pub(super) fn waiting(&self, view: &View, enough: usize) -> usize {
        let Some(next) = self.next else { return enough };
        let mut count = 0;
        for sequence in next.max(view.tail)..view.head() {
            count += view.get(sequence).map_or(0, |batch| batch.frames.len());
            if count >= enough {
                break;
            }
        }
        count
    }

    fn is_rtmp(&self) -> bool {
        self.format == Format::Rtmp
    }

    /// What a player gets before the first frame.
    fn join(&mut self, view: &View, at: u64, out: &mut Vec<u8>) {
        let again = self.base.is_some();
        self.next = Some(at);
        self.private = ALL;
        if self.base.is_none() {
            self.base = match self.raw_time {
                true => Some(0),
                false => view.get(at).map(|batch| batch.frames[0].timestamp),
            };
        }
        if let Some(head) = self.head.take() {
            out.extend_from_slice(&head);
        }
        let start = out.len();
        let mut body = Vec::new();
        let to: &mut Vec<u8> = if self.is_rtmp() { out } else { &mut body };
        if !self.is_rtmp() && !again {
            let (audio, video) = kinds(view, at);
            to.extend_from_slice(&flv::file_header(audio, video));
        }
        let headers = &view.headers;
        let time =
            if again { view.get(at).map_or(0, |batch| self.time(batch.frames[0].timestamp)) } else { 0 };
        for (kind, payload) in [
            (TagKind::Script, &headers.metadata),
            (TagKind::Audio, &headers.audio),
            (TagKind::Video, &headers.video),
        ] {
            let Some(payload) = payload else { continue };
            match self.format {
                Format::Rtmp => {
                    chunk::write(
                        to,
                        OUT_CHUNK_SIZE,
                        chunk_stream(kind),
                        kind as u8,
                        STREAM_ID,
                        time,
                        payload,
                    );
                }
                Format::Flv | Format::FlvChunked => flv::push_tag(to, kind, time, payload),
            }
        }
        if self.format == Format::FlvChunked && !body.is_empty() {
            out.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
            out.extend_from_slice(&body);
            out.extend_from_slice(b"\r\n");
        } else if self.format == Format::Flv {
            out.extend_from_slice(&body);
        }
        debug_assert!(out.len() >= start);
    }

    fn time(&self, timestamp: i64) -> u32 {
        (timestamp - self.base.unwrap_or(timestamp)).max(0) as u32
    }

    /// A batch whose first messages need full headers, copied for this player alone.
    fn privately(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        for (index, frame) in batch.frames.iter().enumerate() {
            if self.private & kind_bit(frame.kind) == 0 {
                out.extend_from_slice(&batch.bytes[frame.at as usize..batch.end(index)]);
                continue;
            }
            self.private &= !kind_bit(frame.kind);
            let payload: Vec<u8> = batch.payload(index).flatten().copied().collect();
            let time = self.time(frame.timestamp);
            let kind = frame.kind as u8;
            chunk::write(out, OUT_CHUNK_SIZE, chunk_stream(frame.kind), kind, STREAM_ID, time, &payload);
        }
    }

    /// The batch at the cursor.
    fn current(&self, view: &View, sequence: u64) -> Option<Arc<Batch>> {
        self.partial.clone().or_else(|| view.get(sequence).cloned())
    }
}

/// Whether the stream has audio and video, as far as can be known when a player joins.
fn kinds(view: &View, at: u64) -> (bool, bool) {
    let mut kinds = view.get(at).map_or(0, |batch| batch.kinds);
    for (kind, header) in [(TagKind::Audio, &view.headers.audio), (TagKind::Video, &view.headers.video)] {
        if header.is_some() {
            kinds |= kind_bit(kind);
        }
    }
    // Nothing is known yet: then both may come.
    if kinds & (kind_bit(TagKind::Audio) | kind_bit(TagKind::Video)) == 0 {
        kinds = 3;
    }
    (kinds & kind_bit(TagKind::Audio) != 0, kinds & kind_bit(TagKind::Video) != 0)
}

/// Sends a player what waits for it.
pub(super) fn pump(conn: &mut Conn, view: &View, scratch: &mut Scratch) -> Pumped {
    let Some(mut player) = conn.player.take() else { return Pumped::Done };
    let result = pump_player(conn, &mut player, view, scratch);
    conn.player = Some(player);
    result
}

fn pump_player(conn: &mut Conn, player: &mut Player, view: &View, scratch: &mut Scratch) -> Pumped {
    loop {
        // An answer must not stand inside a batch that is written in part.
        if player.partial.is_none() && !conn.out.is_empty() {
            if !conn.flush() {
                return Pumped::Closed;
            }
            if conn.blocked {
                return Pumped::Blocked;
            }
        }
        let Some(mut next) = player.next else {
            match view.join_at {
                Some(at) if !player.paused => player.join(view, at, &mut conn.out.bytes),
                _ => return Pumped::Done,
            }
            if conn.out.is_empty() {
                return Pumped::Done;
            }
            continue;
        };
        if player.partial.is_none() && next < view.tail {
            // Too slow: on at the newest keyframe that is still there.
            player.jumps += 1;
            let at = view.join_at.unwrap_or_else(|| view.head());
            player.join(view, at, &mut conn.out.bytes);
            continue;
        }
        if player.paused && player.partial.is_none() {
            return Pumped::Done;
        }
        let Some(batch) = player.current(view, next) else { return Pumped::Done };
        if player.base.is_none() {
            player.base = Some(batch.frames[0].timestamp);
        }
        if player.is_rtmp() && player.partial.is_none() && player.private & batch.kinds != 0 {
            player.privately(&batch, &mut conn.out.bytes);
            player.next = Some(next + 1);
            continue;
        }
        let written = match player.format {
            Format::Rtmp => write_rtmp(conn, player, view, next, &batch),
            Format::Flv | Format::FlvChunked => write_flv(conn, player, view, next, &batch, scratch),
        };
        let (mut written, blocked) = match written {
            Ok(pair) => pair,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => (0, true),
            Err(_) => return Pumped::Closed,
        };
        conn.count_sent(written);
        // The cursor moves over what was written.
        let mut batch = Some(batch);
        while let Some(current) = batch {
            let left = layout_size(player.format, &current) - player.offset;
            if written < left {
                player.offset += written;
                player.partial = (player.offset > 0).then_some(current);
                break;
            }
            written -= left;
            player.offset = 0;
            player.partial = None;
            next += 1;
            batch = if written > 0 { view.get(next).cloned() } else { None };
        }
        player.next = Some(next);
        if blocked {
            conn.blocked = true;
            return Pumped::Blocked;
        }
    }
}

fn layout_size(format: Format, batch: &Batch) -> usize {
    let body = flv_size(batch);
    match format {
        Format::Rtmp => batch.bytes.len(),
        Format::Flv => body,
        Format::FlvChunked => body + format_hex(body).1 + 4,
    }
}

fn flv_size(batch: &Batch) -> usize {
    batch.frames.iter().map(|frame| frame.length as usize + flv::TAG_HEADER + 4).sum()
}

/// A number in hexadecimal, and its digits.
fn format_hex(number: usize) -> ([u8; 16], usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1) as usize;
    let mut text = [0; 16];
    for (index, slot) in text[..digits].iter_mut().enumerate() {
        *slot = b"0123456789abcdef"[number >> (4 * (digits - 1 - index)) & 15];
    }
    (text, digits)
}

type Written = std::io::Result<(usize, bool)>;

fn write_rtmp(conn: &mut Conn, player: &Player, view: &View, next: u64, first: &Arc<Batch>) -> Written {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    slices[0] = IoSlice::new(&first.bytes[player.offset..]);
    let mut total = slices[0].len();
    let mut count = 1;
    // Answers that came while a batch was written in part go out behind it.
    let last = if conn.out.is_empty() { view.head() } else { next + 1 };
    for sequence in next + 1..last {
        let Some(batch) = view.get(sequence) else { break };
        if count == MAX_SLICES || total >= MAX_WRITE || player.private & batch.kinds != 0 {
            break;
        }
        slices[count] = IoSlice::new(&batch.bytes);
        total += batch.bytes.len();
        count += 1;
    }
    let written = conn.stream.write_vectored(&slices[..count])?;
    Ok((written, written < total))
}

/// FLV's headers are made here for each player, in the core's scratch; payloads are the ring's.
fn write_flv(
    conn: &mut Conn,
    player: &Player,
    view: &View,
    next: u64,
    first: &Arc<Batch>,
    scratch: &mut Scratch,
) -> Written {
    let chunked = player.format == Format::FlvChunked;
    let Scratch { headers, cuts } = scratch;
    headers.clear();
    cuts.clear();
    let mut batches: [Option<&Batch>; 32] = [None; 32];
    let mut total = 0;
    let mut slices_needed = 0;
    for (count, sequence) in (next..view.head().max(next + 1)).enumerate() {
        let Some(batch) = (if sequence == next { Some(first) } else { view.get(sequence) }) else { break };
        // A payload is one slice and one more for each further chunk; a header stands before each, a tail at the end.
        let needed = 1 + batch.frames.len() * 2 + batch.bytes.len() / OUT_CHUNK_SIZE;
        if count == batches.len() || count > 0 && (total >= MAX_WRITE || slices_needed + needed > MAX_SLICES)
        {
            break;
        }
        slices_needed += needed;
        batches[count] = Some(batch);
        total += layout_size(player.format, batch);
        if chunked {
            let (text, digits) = format_hex(flv_size(batch));
            headers.extend_from_slice(&text[..digits]);
            headers.extend_from_slice(b"\r\n");
        }
        for frame in &batch.frames {
            headers.extend_from_slice(&flv::tag_header(
                frame.kind,
                player.time(frame.timestamp),
                frame.length as usize,
            ));
            cuts.push(headers.len());
            headers.extend_from_slice(&(frame.length + flv::TAG_HEADER as u32).to_be_bytes());
        }
        if chunked {
            headers.extend_from_slice(b"\r\n");
        }
        cuts.push(headers.len());
    }
    // The header before each payload: what was written since the last cut.
    let mut slices = Vec::with_capacity(slices_needed);
    let mut skip = player.offset;
    let mut push = |bytes| {
        let bytes: &[u8] = bytes;
        let skipped = skip.min(bytes.len());
        skip -= skipped;
        if skipped < bytes.len() {
            slices.push(IoSlice::new(&bytes[skipped..]));
        }
    };
    let mut from = 0;
    let mut cut = cuts.iter();
    for batch in batches.iter().flatten() {
        for index in 0..batch.frames.len() {
            let to = cut.next().copied().unwrap_or(from);
            push(&headers[from..to]);
            from = to;
            for part in batch.payload(index) {
                push(part);
            }
        }
        let to = cut.next().copied().unwrap_or(from);
        push(&headers[from..to]);
        from = to;
    }
    slices.truncate(1024);
    let offered: usize = slices.iter().map(|slice| slice.len()).sum();
    let written = conn.stream.write_vectored(&slices)?;
    Ok((written, written < offered))
}
