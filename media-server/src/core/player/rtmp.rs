//! RTMP: the ring's own layout. Nothing is made for a player but its first headers.

use std::io::IoSlice;
use std::sync::Arc;

use super::{MAX_SLICES, MAX_WRITE, Player, Written};
use crate::core::conn::Conn;
use crate::rtmp::{STREAM_ID, chunk};
use crate::source::{Batch, View, chunk_stream, kind_bit};

impl Player {
    /// The batch can't go to it as it lies in the ring.
    pub(super) fn needs_own(&self, batch: &Batch) -> bool {
        self.private & batch.kinds != 0 || batch.gaps != 0
    }

    /// A batch whose first messages need full headers, copied for this player alone.
    pub(super) fn privately(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        for (index, frame) in batch.frames.iter().enumerate() {
            if (self.private | batch.gaps) & kind_bit(frame.kind) == 0 {
                out.extend_from_slice(&batch.bytes[frame.at as usize..batch.end(index)]);
                continue;
            }
            self.private &= !kind_bit(frame.kind);
            let payload: Vec<u8> = batch.payload(index).flatten().copied().collect();
            let time = self.time(batch.absolute, frame.timestamp);
            let kind = frame.kind as u8;
            chunk::write(out, batch.chunk_size, chunk_stream(frame.kind), kind, STREAM_ID, time, &payload);
        }
    }
}

/// Writes what waits.
pub(super) fn write(conn: &mut Conn, player: &Player, view: &View, next: u64, first: &Arc<Batch>) -> Written {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    slices[0] = IoSlice::new(&first.bytes[player.offset..]);
    let mut total = slices[0].len();
    let mut count = 1;
    // Answers that came while a batch was written in part go out behind it.
    let last = if conn.out.is_empty() && !player.single { player.end(view) } else { next + 1 };
    for sequence in next + 1..last {
        let Some(batch) = view.get(sequence) else { break };
        let other = player.needs_own(batch) || batch.chunk_size != first.chunk_size;
        if count == MAX_SLICES || total >= MAX_WRITE || other {
            break;
        }
        slices[count] = IoSlice::new(&batch.bytes);
        total += batch.bytes.len();
        count += 1;
    }
    conn.write_vectored(&slices[..count], total)
}
