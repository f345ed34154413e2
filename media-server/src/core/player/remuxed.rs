//! TS, AAC and MP3: layouts that all viewers share. Only framing is made for each one, in the core's scratch.

use std::sync::Arc;

use super::slices::Slices;
use super::{MAX_WRITE, Player, Scratch, Written};
use crate::core::conn::Conn;
use crate::source::{Batch, Layout, Remux, Source, View};

/// The most batches of one write: each takes three slices.
const MAX_BATCHES: usize = 64;

/// What SRS sends before MP3: an ID3v2.3 tag with one empty frame.
const ID3: [u8; 20] = [b'I', b'D', b'3', 3, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What stands at the start of an answer.
pub(super) fn head(remux: Remux) -> &'static [u8] {
    match remux {
        Remux::Ts | Remux::Aac => &[],
        Remux::Mp3 => &ID3,
    }
}

/// Where a player of audio starts: as far back as `fast_cache` says and the ring goes.
pub(super) fn join_at(view: &View, fast_cache_ms: i64) -> u64 {
    let head = view.head();
    let newest = view.batches.back().map_or(0, |batch| batch.last_timestamp);
    let recent = view
        .batches
        .iter()
        .rev()
        .take_while(|batch| fast_cache_ms > 0 && newest - batch.frames[0].timestamp <= fast_cache_ms);
    head - recent.count() as u64
}

/// The tables that a viewer of TS needs before this batch.
pub(super) fn lead(source: &Source, view: &View, sequence: u64) -> Vec<u8> {
    let mut out = Vec::new();
    source.lay_out(Remux::Ts, view, sequence);
    if let Some(layout) = view.get(sequence).and_then(|batch| batch.layout(Remux::Ts)) {
        layout.lead(&mut out);
    }
    out
}

/// The bytes of a batch that was laid out.
pub(super) fn size(remux: Remux, batch: &Batch) -> usize {
    batch.layout(remux).map_or(0, |layout| layout.bytes.len())
}

/// Writes what waits.
#[expect(clippy::too_many_arguments, reason = "they are what every way of writing needs, and the source")]
pub(super) fn write(
    conn: &mut Conn,
    player: &Player,
    remux: Remux,
    source: &Source,
    view: &View,
    next: u64,
    first: &Arc<Batch>,
    scratch: &mut Scratch,
) -> Written {
    let framing = player.format.framing;
    let Scratch { headers, cuts } = scratch;
    headers.clear();
    cuts.clear();
    let mut layouts: [Option<&Layout>; MAX_BATCHES] = [None; MAX_BATCHES];
    let mut count = 0;
    let mut total = 0;
    // Answers that came while a batch was written in part go out behind it.
    let last = if conn.out.is_empty() { player.end(view).max(next + 1) } else { next + 1 };
    for sequence in next..last {
        let Some(batch) = (if sequence == next { Some(first) } else { view.get(sequence) }) else { break };
        if count == MAX_BATCHES || total >= MAX_WRITE {
            break;
        }
        source.lay_out(remux, view, sequence);
        let Some(layout) = batch.layout(remux).filter(|layout| !layout.bytes.is_empty()) else {
            // The cursor moves over it when it is the first, and only then.
            if count == 0 {
                return Ok((0, false));
            }
            break;
        };
        framing.head(headers, layout.bytes.len());
        cuts.push(headers.len());
        total += framing.size(layout.bytes.len());
        layouts[count] = Some(layout);
        count += 1;
    }
    let mut slices = Slices::new(count * 3, player.offset);
    let mut from = 0;
    for (layout, to) in layouts.iter().flatten().zip(cuts.iter()) {
        slices.push(&headers[from..*to]);
        slices.push(&layout.bytes);
        slices.push(framing.tail());
        from = *to;
    }
    let (first, offered) = slices.first();
    conn.write_vectored(first, offered)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::flv::TagKind;
    use crate::source::Policy;
    use crate::stat::Stat;

    #[test]
    fn audio_starts_as_far_back_as_the_cache_and_the_ring_go() {
        let text = "listen 1935; vhost __defaultVhost__ { http_remux { enabled on; fast_cache 2; \
                    mount [vhost]/[app]/[stream].mp3; } }";
        let settings = crate::conf::from_text(text).unwrap();
        let policy = Policy::of(settings.vhost("x").unwrap());
        let source = Source::new(Stat::new("vid-test".into()).stream("v", "live", "s"), policy, 1);
        source.publish();
        for index in 0..400 {
            source.push(TagKind::Audio, index * 20, &[0x2f, 0xff, 0xfb], Instant::now());
            source.flush();
        }
        let mut view = View::default();
        source.sync(0, None, &mut view, Instant::now());
        assert_eq!(view.batches.len(), 100, "two seconds of audio alone are kept");
        assert_eq!(join_at(&view, 1000), view.head() - 51);
        assert_eq!(join_at(&view, 60_000), view.tail);
        assert_eq!(join_at(&view, 0), view.head());
        source.lay_out(Remux::Mp3, &view, view.tail);
        let batch = view.get(view.tail).unwrap();
        assert_eq!(&*batch.layout(Remux::Mp3).unwrap().bytes, [0xff, 0xfb]);
    }
}
