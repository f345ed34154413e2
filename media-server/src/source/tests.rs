use super::*;
use crate::rtmp::OUT_CHUNK_SIZE;
use crate::rtmp::chunk::Reader;
use crate::stat::Stat;
use proptest::prelude::*;

fn policy() -> Policy {
    Policy {
        chunk_size: OUT_CHUNK_SIZE,
        gop_cache: true,
        queue_length: Duration::from_secs(30),
        jitter: TimeJitter::Full,
        mix_correct: false,
        atc: false,
        atc_auto: false,
        reduce_headers: false,
        send_min_interval: Duration::ZERO,
        mw_latency: Duration::from_millis(350),
        mw_msgs: 8,
        realtime: true,
        nodelay: false,
        fast_cache: Duration::ZERO,
    }
}

fn source() -> Source {
    Source::new(Stat::new("vid-test".into()).stream("v", "live", "s"), policy(), 1)
}

const KEY: &[u8] = &[0x17, 1, 0, 0, 0];
const INTER: &[u8] = &[0x27, 1, 0, 0, 0];
const AUDIO: &[u8] = &[0xaf, 1, 0];

fn push(source: &Source, kind: TagKind, timestamp: u32, payload: &[u8]) {
    source.push(kind, timestamp, payload, Instant::now());
    source.flush();
}

#[test]
fn a_player_joins_at_the_keyframe_and_older_gops_go() {
    let source = source();
    assert!(source.publish());
    assert!(!source.publish(), "a second publisher is refused");
    let mut view = View::default();
    source.sync(0, None, &mut view, Instant::now());
    assert_eq!(view.join_at, None);
    for (time, payload) in [(0, KEY), (40, INTER), (80, KEY), (120, INTER)] {
        push(&source, TagKind::Video, time, payload);
    }
    source.sync(0, None, &mut view, Instant::now());
    assert_eq!((view.join_at, view.tail, view.head()), (Some(2), 2, 4));
    assert!(view.get(2).unwrap().keyframe);
    assert!(view.get(1).is_none());
    // A slow player of this core keeps what it needs.
    source.sync(0, Some(2), &mut view, Instant::now());
    push(&source, TagKind::Video, 160, KEY);
    source.sync(0, Some(2), &mut view, Instant::now());
    assert_eq!((view.join_at, view.tail, view.head()), (Some(4), 2, 5));
    source.unpublish();
    source.sync(0, None, &mut view, Instant::now());
    assert!(!view.live);
    assert_eq!(view.join_at, None);
}

#[test]
fn slow_players_keep_no_more_than_the_queue_length() {
    let source = source();
    source.publish();
    let mut view = View::default();
    source.sync(0, Some(0), &mut view, Instant::now());
    for index in 0..2000u32 {
        let payload = if index % 50 == 0 { KEY } else { INTER };
        push(&source, TagKind::Video, index * 40, payload);
    }
    source.sync(0, Some(0), &mut view, Instant::now());
    let kept = view.head() - view.tail;
    assert!((740..=760).contains(&kept), "30 s of 25 frames a second, not {kept}");
}

#[test]
fn audio_alone_keeps_no_gop() {
    let source = source();
    source.publish();
    for index in 0..300 {
        push(&source, TagKind::Audio, index * 23, AUDIO);
    }
    let mut view = View::default();
    source.sync(0, None, &mut view, Instant::now());
    assert_eq!(view.join_at, Some(view.head()));
    assert_eq!(view.head() - view.tail, 0);
}

#[test]
fn a_new_sequence_header_ends_the_cached_gop() {
    let source = source();
    source.publish();
    push(&source, TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]);
    push(&source, TagKind::Video, 0, KEY);
    push(&source, TagKind::Video, 40, &[0x17, 0, 0, 0, 0, 2]);
    let mut view = View::default();
    source.sync(0, None, &mut view, Instant::now());
    assert_eq!(view.join_at, Some(view.head()));
    assert_eq!(view.headers.video.as_deref(), Some(&[0x17, 0, 0, 0, 0, 2][..]));
}

#[test]
fn headers_of_further_tracks_are_kept_up_to_a_number() {
    let source = source();
    source.hold();
    source.publish();
    let header = |track: u8, version: u8| [b"\x95\x00mp4a".as_slice(), &[track, version]].concat();
    for track in 1..=MAX_TRACKS as u8 + 2 {
        push(&source, TagKind::Audio, 0, &header(track, 0));
    }
    push(&source, TagKind::Audio, 0, &header(2, 7));
    let mut view = View::default();
    source.sync(0, Some(0), &mut view, Instant::now());
    assert_eq!(view.join_at, None, "they are no frames");
    let kept: Vec<Vec<u8>> = view.headers.all().map(|(_, header)| header.to_vec()).collect();
    let mut expected: Vec<_> = (1..=MAX_TRACKS as u8).map(|track| header(track, 0)).collect();
    expected[1] = header(2, 7);
    assert_eq!(kept, expected);
    assert_eq!(ring(&source).len(), MAX_TRACKS + 3, "all of them are passed on");
    source.unpublish();
    source.sync(0, Some(0), &mut view, Instant::now());
    assert_eq!(view.headers.all().count(), 0);
}

#[test]
fn headers_that_are_too_large_are_left_out() {
    let source = source();
    source.publish();
    let mut view = View::default();
    source.sync(0, Some(0), &mut view, Instant::now());
    let mut large = vec![0; MAX_HEADER + 1];
    push(&source, TagKind::Script, 0, &large);
    large[0] = 0x17;
    push(&source, TagKind::Video, 0, &large);
    push(&source, TagKind::Video, 0, &large[..MAX_HEADER]);
    large[1] = 1;
    push(&source, TagKind::Video, 40, &large);
    source.sync(0, Some(0), &mut view, Instant::now());
    assert_eq!(view.headers.metadata, None);
    assert_eq!(view.headers.video.as_deref().map(<[u8]>::len), Some(MAX_HEADER));
    let sizes: Vec<u32> =
        view.batches.iter().flat_map(|batch| &batch.frames).map(|frame| frame.length).collect();
    assert_eq!(sizes, [MAX_HEADER as u32, MAX_HEADER as u32 + 1], "frames may be as large as they are");
}

/// The counters of each packet's id go on.
fn assert_continuity(bytes: &[u8]) {
    let mut last = std::collections::HashMap::new();
    for packet in bytes.chunks(188) {
        let (pid, counter) = (u16::from_be_bytes([packet[1] & 0x1f, packet[2]]), packet[3] & 15);
        if let Some(before) = last.insert(pid, counter) {
            assert_eq!(counter, (before + 1) & 15, "of packet id {pid:#x}");
        }
    }
}

#[test]
fn a_core_that_is_behind_disturbs_no_transport_stream() {
    let source = source();
    source.publish();
    let mut view = View::default();
    source.sync(0, Some(0), &mut view, Instant::now());
    push(
        &source,
        TagKind::Video,
        0,
        &[
            0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1e, 1, 0, 4, 0x68,
            0xce, 0x3c, 0x80,
        ],
    );
    let size = |index: u32| 200 + index as usize * 700;
    for index in 0..6 {
        let mut frame = vec![0x55; 9 + size(index)];
        frame[..5].copy_from_slice(if index == 0 { KEY } else { INTER });
        frame[5..9].copy_from_slice(&(size(index) as u32).to_be_bytes());
        push(&source, TagKind::Video, index * 40, &frame);
    }
    source.sync(0, Some(0), &mut view, Instant::now());
    // The first core's viewer began with the fifth batch, the other's with the second.
    for at in [5, 2, 3, 4, 5, 6, 1, 2, 0] {
        source.lay_out(Remux::Ts, &view, at);
    }
    let bytes: Vec<u8> = (0..view.head())
        .flat_map(|at| view.get(at).unwrap().layout(Remux::Ts).unwrap().bytes.to_vec())
        .collect();
    assert!(bytes.len() > 188 * 40);
    assert_continuity(&bytes);
}

/// All that came, as kind, time and the last byte, from a source that is held from the start.
fn ring(source: &Source) -> Vec<(TagKind, i64, u8)> {
    let mut view = View::default();
    source.flush();
    source.sync(0, Some(0), &mut view, Instant::now());
    let last = |batch: &Batch, index| *batch.whole_payload(index).last().unwrap();
    let of = |batch: &Arc<Batch>| {
        let frames = batch.frames.iter().enumerate();
        frames.map(|(at, frame)| (frame.kind, frame.timestamp, last(batch, at))).collect::<Vec<_>>()
    };
    view.batches.iter().flat_map(of).collect()
}

#[test]
fn headers_that_players_have_are_left_out_where_the_vhost_says_so() {
    let header = |version: u8| [0x17, 0, 0, 0, 0, version];
    for (reduce_headers, expected) in
        [(false, &[50, 1, 0, 1, 51, 0, 2, 52, 2, 0][..]), (true, &[50, 1, 0, 0, 2, 52, 0])]
    {
        let source = source();
        source.set_policy(Policy { reduce_headers, ..policy() });
        source.hold();
        source.publish();
        push(&source, TagKind::Script, 0, &[50]);
        for payload in [&header(1)[..], KEY, &header(1)] {
            push(&source, TagKind::Video, 0, payload);
        }
        push(&source, TagKind::Script, 0, &[51]);
        push(&source, TagKind::Video, 0, KEY);
        push(&source, TagKind::Video, 0, &header(2));
        let mut view = View::default();
        source.sync(0, Some(0), &mut view, Instant::now());
        assert_eq!(view.headers.metadata.as_deref(), Some(&[51][..]), "who joins later gets the newest");
        source.unpublish();
        // What the next publisher sends is known to those who have stayed, but for its metadata.
        source.publish();
        push(&source, TagKind::Script, 0, &[52]);
        push(&source, TagKind::Video, 0, &header(2));
        push(&source, TagKind::Video, 0, KEY);
        let seen: Vec<u8> = ring(&source).iter().map(|(_, _, last)| *last).collect();
        assert_eq!(seen, expected, "{reduce_headers}");
        source.sync(0, Some(0), &mut view, Instant::now());
        assert_eq!(view.headers.video.as_deref(), Some(&header(2)[..]));
    }
}

#[test]
fn mixed_media_are_put_in_order_and_none_is_lost() {
    use TagKind::{Audio, Video};
    let source = source();
    source.set_policy(Policy { mix_correct: true, jitter: TimeJitter::Off, ..policy() });
    source.hold();
    source.publish();
    for (kind, time) in [(Video, 40), (Video, 80), (Audio, 20), (Audio, 60), (Audio, 100)] {
        push(&source, kind, time, if kind == Video { KEY } else { AUDIO });
    }
    let times = |source: &Source| ring(source).iter().map(|(_, time, _)| *time).collect::<Vec<_>>();
    assert_eq!(times(&source), [20, 40, 60, 80], "the last one may not be next");
    source.set_policy(Policy { jitter: TimeJitter::Off, ..policy() });
    assert_eq!(times(&source), [20, 40, 60, 80, 100]);
    source.set_policy(Policy { mix_correct: true, jitter: TimeJitter::Off, ..policy() });
    push(&source, Video, 120, KEY);
    source.unpublish();
    assert_eq!(times(&source), [20, 40, 60, 80, 100, 120]);
}

#[test]
fn absolute_time_is_each_publisher_s_own() {
    let source = source();
    source.set_policy(Policy { atc: true, ..policy() });
    source.hold();
    for start in [9000, 500, 20_000] {
        source.publish();
        push(&source, TagKind::Video, start, KEY);
        push(&source, TagKind::Video, start + 40, INTER);
        source.unpublish();
    }
    let times: Vec<i64> = ring(&source).iter().map(|(_, time, _)| *time).collect();
    assert_eq!(times, [9000, 9040, 500, 540, 20_000, 20_040]);
    let mut view = View::default();
    source.sync(0, Some(0), &mut view, Instant::now());
    let flags: Vec<_> = view.batches.iter().map(|batch| (batch.absolute, batch.gaps != 0)).collect();
    assert_eq!(flags, [(true, true), (true, false)].repeat(3));
    // And on from there when that is over.
    source.publish();
    push(&source, TagKind::Video, 7, KEY);
    source.set_policy(policy());
    push(&source, TagKind::Video, 47, INTER);
    let times: Vec<i64> = ring(&source).iter().map(|(_, time, _)| *time).collect();
    assert_eq!(times[6..], [7, 47]);
}

#[test]
fn metadata_ask_for_absolute_time_where_that_is_allowed() {
    use crate::amf0::{Value, encode_all};
    for (atc_auto, bravo, expected) in [(true, "true", 90_000), (true, "false", 0), (false, "true", 0)] {
        let source = source();
        source.set_policy(Policy { atc_auto, ..policy() });
        source.hold();
        source.publish();
        let fields = Value::Object(vec![("bravo_atc".to_owned(), Value::string(bravo))]);
        push(&source, TagKind::Script, 0, &encode_all(&[Value::string("onMetaData"), fields]));
        push(&source, TagKind::Video, 90_000, KEY);
        assert_eq!(ring(&source)[1].1, expected, "{atc_auto} {bravo}");
    }
}

#[test]
fn batches_of_the_time_before_go_when_nobody_needs_them() {
    let source = source();
    source.set_policy(Policy { atc: true, ..policy() });
    for start in [9_000_000, 500] {
        source.publish();
        for index in 0..10 {
            push(&source, TagKind::Video, start + index * 40, if index == 0 { KEY } else { INTER });
        }
        source.unpublish();
    }
    assert_eq!(source.ring_bytes(), 0);
}

proptest! {
    /// What the ring lays out reads back as the same messages with the same distances, whatever their sizes.
    #[test]
    fn batches_read_back(
        messages in prop::collection::vec((any::<bool>(), 0u32..200, 1usize..130_000), 1..12),
        chunk_size in prop::sample::select(vec![128, 4096, OUT_CHUNK_SIZE, 65_536]),
    ) {
        let source = source();
        source.set_policy(Policy { chunk_size, ..policy() });
        source.publish();
        let mut time = 5000;
        let mut expected = Vec::new();
        for (video, step, length) in messages {
            time += step;
            let kind = if video { TagKind::Video } else { TagKind::Audio };
            let mut payload = vec![(length % 251) as u8; length];
            payload[0] = if video { 0x22 } else { 0x2f };
            source.push(kind, time, &payload, Instant::now());
            expected.push((kind as u8, time, payload));
        }
        let first = expected[0].1;
        for message in &mut expected {
            message.1 -= first;
        }
        let mut view = View::default();
        source.flush();
        source.sync(0, Some(0), &mut view, Instant::now());
        let mut reader = Reader::new(1 << 20);
        reader.set_chunk_size(chunk_size as i64).unwrap();
        let mut read = Vec::new();
        let mut flv = Vec::new();
        for batch in &view.batches {
            let mut input = &batch.bytes[..];
            while let Some(message) = reader.read(&mut input).unwrap() {
                read.push((message.kind, message.timestamp, message.payload.into_owned()));
            }
            prop_assert!(input.is_empty());
            for index in 0..batch.frames.len() {
                let payload: Vec<u8> = batch.payload(index).flatten().copied().collect();
                prop_assert_eq!(payload.len(), batch.frames[index].length as usize);
                flv.push((batch.frames[index].kind as u8, batch.frames[index].timestamp as u32, payload));
            }
        }
        prop_assert_eq!(&flv, &expected);
        prop_assert_eq!(read, expected);
    }
}
