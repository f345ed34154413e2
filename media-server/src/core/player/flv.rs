//! FLV: headers are made for each player, in the core's scratch; payloads are the ring's.

use std::sync::Arc;

use super::slices::Slices;
use super::{MAX_SLICES, MAX_WRITE, Player, Scratch, Written};
use crate::core::conn::Conn;
use crate::flv::{self, TagKind};
use crate::source::{Batch, View, kind_bit};

/// Whether the stream has audio and video, as far as can be known when a player joins.
pub(super) fn kinds(view: &View, at: u64) -> (bool, bool) {
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

/// The bytes of a batch as FLV.
pub(super) fn size(batch: &Batch) -> usize {
    batch.frames.iter().map(|frame| frame.length as usize + flv::TAG_HEADER + 4).sum()
}

/// Writes what waits.
pub(super) fn write(
    conn: &mut Conn,
    player: &Player,
    view: &View,
    next: u64,
    first: &Arc<Batch>,
    scratch: &mut Scratch,
) -> Written {
    let framing = player.format.framing;
    let Scratch { headers, cuts } = scratch;
    headers.clear();
    cuts.clear();
    let mut batches: [Option<&Batch>; 32] = [None; 32];
    let mut total = 0;
    let mut slices_needed = 0;
    // Answers that came while a batch was written in part go out behind it.
    let last = if conn.out.is_empty() { player.end(view).max(next + 1) } else { next + 1 };
    for (count, sequence) in (next..last).enumerate() {
        let Some(batch) = (if sequence == next { Some(first) } else { view.get(sequence) }) else { break };
        // A payload is one slice and one more for each further chunk; a header stands before each, a tail at the end.
        let needed = 1 + batch.frames.len() * 2 + batch.bytes.len() / batch.chunk_size;
        if count == batches.len() || count > 0 && (total >= MAX_WRITE || slices_needed + needed > MAX_SLICES)
        {
            break;
        }
        slices_needed += needed;
        batches[count] = Some(batch);
        let size = size(batch);
        total += framing.size(size);
        framing.head(headers, size);
        for frame in &batch.frames {
            headers.extend_from_slice(&flv::tag_header(
                frame.kind,
                player.time(batch.absolute, frame.timestamp),
                frame.length as usize,
            ));
            cuts.push(headers.len());
            headers.extend_from_slice(&(frame.length + flv::TAG_HEADER as u32).to_be_bytes());
        }
        headers.extend_from_slice(framing.tail());
        cuts.push(headers.len());
    }
    // The header before each payload: what was written since the last cut.
    let mut slices = Slices::new(slices_needed, player.offset);
    let mut from = 0;
    let mut cut = cuts.iter();
    for batch in batches.iter().flatten() {
        for index in 0..batch.frames.len() {
            let to = cut.next().copied().unwrap_or(from);
            slices.push(&headers[from..to]);
            from = to;
            for part in batch.payload(index) {
                slices.push(part);
            }
        }
        let to = cut.next().copied().unwrap_or(from);
        slices.push(&headers[from..to]);
        from = to;
    }
    let (first, offered) = slices.first();
    conn.write_vectored(first, offered)
}
