//! A player: a cursor into its stream's ring, and how what it points at goes to a socket.

//!
//! [`pump`] is the same for all; how the batches at the cursor look is the business of [`rtmp`], [`flv`] and
//! [`remuxed`], what stands around them that of [`format`].

mod flv;
mod format;
mod leaving;
mod remuxed;
mod rtmp;
mod slices;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

pub(super) use format::{Container, Format, Framing};

use super::conn::Conn;
use crate::flv::{file_header, push_tag};
use crate::rtmp::{STREAM_ID, chunk};
use crate::source::{Batch, Remux, SCRIPT, Source, View, chunk_stream, kind_bit};

/// The most slices of one write.
const MAX_SLICES: usize = 256;
/// The most bytes of one write.
const MAX_WRITE: usize = 256 << 10;
/// All kinds of messages need a private header.
const ALL: u8 = 7;
/// Audio and video.
const MEDIA: u8 = ALL & !SCRIPT;

/// A cursor.
#[expect(clippy::struct_excessive_bools, reason = "they do not depend on one another")]
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
    /// It has got what stands at the start of a stream.
    joined: bool,
    /// It joins again when the batch that is written in part has gone out.
    rejoins: bool,
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
    /// `send_min_interval`: it gets one message at a time.
    pub(super) single: bool,
    /// It got one.
    pub(super) sent: bool,
    /// The next one is due.
    pub(super) due: Option<Instant>,
    /// It is another server, which gets messages without waiting for its slot.
    pub(super) relay: bool,
    /// The head of an HTTP answer, sent with the first media.
    head: Option<Box<[u8]>>,
    /// It is to go on at another server.
    leaving: Option<leaving::Leaving>,
}

/// How far a player got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// Everything there was is sent.
    Done,
    /// It has got all that it gets before it leaves.
    Left,
    /// It got one message, and no more for now.
    Single,
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
            joined: false,
            rejoins: false,
            private: ALL,
            paused: false,
            waited: false,
            jumps: 0,
            raw_time,
            single: false,
            sent: false,
            due: None,
            relay: false,
            head,
            leaving: None,
        }
    }

    /// Another server: the ring's timestamps, so that they go on over connections.
    pub(super) fn relay() -> Self {
        Player { relay: true, ..Player::new(0, Format::RTMP, true, None) }
    }

    /// No batch is written in part.
    pub(super) fn between_batches(&self) -> bool {
        self.partial.is_none()
    }

    /// Goes on at the newest point to join, after a pause or when it was too slow.
    pub(super) fn rejoin(&mut self) {
        match self.partial {
            Some(_) => self.rejoins = true,
            None => self.next = None,
        }
    }

    /// What is still to be written of a batch that was written in part, where that is the ring's own layout.
    pub(super) fn rest(&self) -> &[u8] {
        match &self.partial {
            Some(batch) if self.format == Format::RTMP => &batch.bytes[self.offset..],
            _ => &[],
        }
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

    /// Where it starts now; none when there is nothing to start with.
    fn join_at(&self, view: &View, source: &Source) -> Option<u64> {
        let at = view.join_at?;
        match self.format.container.is_audio() {
            true => Some(remuxed::join_at(view, source.policy().fast_cache.as_millis() as i64)),
            false => Some(at),
        }
    }

    /// What a player gets before the first frame.
    fn join(&mut self, view: &View, at: u64, chunk_size: usize, out: &mut Vec<u8>) {
        let again = std::mem::replace(&mut self.joined, true);
        self.next = Some(at);
        self.private = ALL;
        let absolute = view.get(at).or_else(|| view.batches.back()).is_some_and(|batch| batch.absolute);
        if self.base.is_none() {
            self.base = match self.raw_time {
                true => Some(0),
                false => first_time(view, at),
            };
        }
        if let Some(head) = self.head.take() {
            out.extend_from_slice(&head);
        }
        let mut body = Vec::new();
        match self.format.container {
            Container::Flv if !again => {
                let (audio, video) = flv::kinds(view, at);
                body.extend_from_slice(&file_header(audio, video));
            }
            Container::Remuxed(remux) if !again => body.extend_from_slice(remuxed::head(remux)),
            _ => {}
        }
        let at_join = view.get(at).map(|batch| batch.frames[0].timestamp);
        let newest = || view.batches.back().map(|batch| batch.last_timestamp);
        let time = match absolute {
            // Metadata do not tell the time.
            true => first_time(view, at).or_else(newest),
            false => at_join.or_else(newest).filter(|_| again),
        };
        let time = time.map_or(0, |time| self.time(absolute, time));
        for (kind, payload) in view.headers.all() {
            match self.format.container {
                Container::Rtmp => {
                    let stream = chunk_stream(kind);
                    chunk::write(&mut body, chunk_size, stream, kind as u8, STREAM_ID, time, payload);
                }
                Container::Flv => push_tag(&mut body, kind, time, payload),
                Container::Remuxed(_) => {}
            }
        }
        self.format.framing.push(out, &body);
    }

    /// What the ring's timestamp is to this player; where it is absolute it is that to all.
    fn time(&self, absolute: bool, timestamp: i64) -> u32 {
        let base = if absolute { 0 } else { self.base.unwrap_or(timestamp) };
        (timestamp - base).max(0) as u32
    }

    /// The batch at the cursor.
    fn current(&self, view: &View, sequence: u64) -> Option<Arc<Batch>> {
        self.partial.clone().or_else(|| view.get(sequence).cloned())
    }
}

/// The least of audio's and video's first timestamps from a batch on: counted from there, both keep their distance.
fn first_time(view: &View, at: u64) -> Option<i64> {
    let mut seen = 0;
    let mut least = None;
    for frame in (at..view.head()).filter_map(|sequence| view.get(sequence)).flat_map(|batch| &batch.frames) {
        // Metadata that come before all have no time yet.
        if (seen | SCRIPT) & kind_bit(frame.kind) == 0 {
            seen |= kind_bit(frame.kind);
            least = Some(least.map_or(frame.timestamp, |least: i64| least.min(frame.timestamp)));
        }
        if seen & MEDIA == MEDIA {
            break;
        }
    }
    least
}

/// Bytes written, and whether the socket takes no more.
type Written = std::io::Result<(usize, bool)>;

fn layout_size(format: Format, batch: &Batch) -> usize {
    match format.container {
        Container::Rtmp => batch.bytes.len(),
        Container::Flv => format.framing.size(flv::size(batch)),
        Container::Remuxed(remux) => format.framing.size(remuxed::size(remux, batch)),
    }
}

/// Sends a player what waits for it.
pub(super) fn pump(conn: &mut Conn, source: &Source, view: &View, scratch: &mut Scratch) -> Pumped {
    if conn.transport.is_pending() {
        if !conn.flush_transport() {
            return Pumped::Closed;
        }
        if conn.blocked {
            return Pumped::Blocked;
        }
    }
    let Some(mut player) = conn.player.take() else { return Pumped::Done };
    let result = pump_player(conn, &mut player, source, view, scratch);
    conn.player = Some(player);
    result
}

fn pump_player(
    conn: &mut Conn,
    player: &mut Player,
    source: &Source,
    view: &View,
    scratch: &mut Scratch,
) -> Pumped {
    loop {
        if player.partial.is_none() && std::mem::take(&mut player.rejoins) {
            player.next = None;
        }
        // An answer must not stand inside a batch that is written in part.
        if player.partial.is_none() && !conn.out.is_empty() {
            if !conn.flush() {
                return Pumped::Closed;
            }
            if conn.blocked {
                return Pumped::Blocked;
            }
        }
        if player.single && player.sent && player.partial.is_none() {
            return Pumped::Single;
        }
        if player.partial.is_none() && player.has_left(view) {
            return Pumped::Left;
        }
        let Some(mut next) = player.next else {
            match player.join_at(view, source) {
                Some(at) if !player.paused => player.join(view, at, conn.chunk_size, &mut conn.out.bytes),
                _ => return Pumped::Done,
            }
            continue;
        };
        if player.partial.is_none() && next < view.tail {
            // Too slow: on at the newest keyframe that is still there.
            player.jumps += 1;
            let at = player.join_at(view, source).unwrap_or_else(|| view.head());
            player.join(view, at, conn.chunk_size, &mut conn.out.bytes);
            continue;
        }
        if player.paused && player.partial.is_none() {
            return Pumped::Done;
        }
        let Some(batch) = player.current(view, next) else { return Pumped::Done };
        if batch.absolute {
            // When relative time follows, it goes on from here.
            player.base = Some(0);
        } else if player.base.is_none() {
            player.base = first_time(view, next);
        }
        let container = player.format.container;
        if container == Container::Rtmp && player.partial.is_none() && batch.chunk_size != conn.chunk_size {
            conn.tell_chunk_size(batch.chunk_size);
            continue;
        }
        if container == Container::Rtmp && player.partial.is_none() && player.needs_own(&batch) {
            player.privately(&batch, &mut conn.out.bytes);
            player.next = Some(next + 1);
            player.sent = true;
            continue;
        }
        if container == Container::Remuxed(Remux::Ts) && std::mem::take(&mut player.private) != 0 {
            let lead = remuxed::lead(source, view, next);
            player.format.framing.push(&mut conn.out.bytes, &lead);
            continue;
        }
        let written = match container {
            Container::Rtmp => rtmp::write(conn, player, view, next, &batch),
            Container::Flv => flv::write(conn, player, view, next, &batch, scratch),
            Container::Remuxed(remux) => {
                remuxed::write(conn, player, remux, source, view, next, &batch, scratch)
            }
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
            player.sent = true;
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

#[cfg(test)]
mod tests;
