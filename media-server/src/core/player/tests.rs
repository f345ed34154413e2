//! Players over real sockets, without a core around them.

use std::io::{ErrorKind, Read as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::conf::settings::TimeJitter;
use crate::core::conn::Role;
use crate::core::transport::Transport;
use crate::core::wheel::Wheel;
use crate::flv::{self as flv_file, TagKind};
use crate::rtmp::chunk::Reader;
use crate::rtmp::{OUT_CHUNK_SIZE, message_type};
use crate::server::Service;
use crate::source::Policy;
use crate::stat::Stat;

const VIDEO_HEADER: [u8; 6] = [0x17, 0, 0, 0, 0, 1];
const KEY: [u8; 6] = [0x17, 1, 0, 0, 0, 0];
const INTER: [u8; 6] = [0x27, 1, 0, 0, 0, 0];
const AUDIO: [u8; 4] = [0x2f, 0xff, 0xfb, 0];
const FLV: Format = Format { container: Container::Flv, framing: Framing::Plain };

/// A stream with one viewer.
struct Scene {
    wheel: Wheel,
    conn: Conn,
    viewer: TcpStream,
    scratch: Scratch,
    received: Vec<u8>,
}

impl Scene {
    fn new(gop_cache: bool, realtime: bool, format: Format) -> Self {
        let policy = Policy {
            chunk_size: OUT_CHUNK_SIZE,
            gop_cache,
            queue_length: Duration::from_secs(30),
            jitter: TimeJitter::Full,
            mix_correct: false,
            atc: false,
            atc_auto: false,
            reduce_headers: false,
            send_min_interval: Duration::ZERO,
            mw_latency: Duration::from_millis(350),
            mw_msgs: 8,
            realtime,
            nodelay: false,
            fast_cache: Duration::ZERO,
        };
        let source = Source::new(Stat::new("vid-test".into()).stream("v", "live", "s"), policy, 1);
        source.publish();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let viewer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        viewer.set_nonblocking(true).unwrap();
        let transport = Transport { socket: mio::net::TcpStream::from_std(socket), tls: None };
        let conn = Conn {
            heard: true,
            player: Some(Box::new(Player::new(0, format, false, None))),
            chunk_size: OUT_CHUNK_SIZE,
            ..Conn::new(transport, peer, Service::Rtmp, "test".into(), Role::HttpPlay)
        };
        let wheel = Wheel::new(Arc::new(source), Instant::now());
        Scene { wheel, conn, viewer, scratch: Scratch::default(), received: Vec::new() }
    }

    fn push(&self, kind: TagKind, timestamp: u32, payload: &[u8]) {
        self.wheel.source.push(kind, timestamp, payload, Instant::now());
    }

    fn join(&mut self) {
        self.wheel.add(0, false);
        self.wheel.sync_for_join(0, Instant::now());
    }

    /// As a core does when the player's time has come.
    fn send(&mut self) -> Pumped {
        let pumped = pump(&mut self.conn, &self.wheel.source, &self.wheel.view, &mut self.scratch);
        self.wheel.note_needed(self.conn.player.as_ref().and_then(|player| player.next));
        pumped
    }

    fn turn(&mut self) -> Pumped {
        self.wheel.source.flush();
        self.wheel.sync(0, Instant::now());
        self.send()
    }

    /// What has come so far.
    fn read(&mut self) {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.viewer.read(&mut buffer) {
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Everything that waits goes through.
    fn drain(&mut self) {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            assert!(Instant::now() < until, "the viewer gets everything within a minute");
            self.read();
            self.conn.blocked = false;
            let done = match self.conn.player {
                Some(_) => self.send() == Pumped::Done && self.conn.out.is_empty(),
                None => self.conn.flush() && self.conn.out.is_empty(),
            };
            if done {
                break;
            }
        }
        // What the socket has taken is the viewer's sooner or later.
        while (self.received.len() as u64) < self.conn.taken {
            assert!(Instant::now() < until);
            self.read();
        }
    }

    /// Kind, timestamp and payload of each message of RTMP.
    fn messages(&self) -> Vec<(u8, u32, Vec<u8>)> {
        let mut reader = Reader::new(16 << 20);
        reader.set_chunk_size(OUT_CHUNK_SIZE as i64).unwrap();
        let mut input = &self.received[..];
        let mut messages = Vec::new();
        while let Some(message) = reader.read(&mut input).unwrap() {
            if message.kind == message_type::SET_CHUNK_SIZE {
                let size = u32::from_be_bytes(message.payload[..4].try_into().unwrap());
                reader.set_chunk_size(i64::from(size)).unwrap();
            }
            messages.push((message.kind, message.timestamp, message.payload.into_owned()));
        }
        assert!(input.is_empty(), "the last message is whole");
        messages
    }
}

#[test]
fn the_first_viewer_misses_nothing_without_a_gop_cache() {
    for realtime in [false, true] {
        for alone in [false, true] {
            for joins_early in [false, true] {
                let mut scene = Scene::new(false, realtime, FLV);
                if joins_early {
                    scene.join();
                    scene.send();
                }
                if !alone {
                    scene.push(TagKind::Video, 0, &VIDEO_HEADER);
                    scene.push(TagKind::Video, 0, &KEY);
                }
                for index in 0..200 {
                    scene.push(TagKind::Audio, index * 20, &[0x2f, 0xff, 0xfb, 255]);
                }
                if joins_early {
                    scene.turn();
                } else {
                    scene.join();
                    scene.send();
                }
                for index in 0..20u8 {
                    let time = 4000 + u32::from(index) * 20;
                    match alone {
                        true => scene.push(TagKind::Audio, time, &[0x2f, 0xff, 0xfb, index]),
                        false => scene.push(TagKind::Video, time, &[0x27, 1, 0, 0, 0, index]),
                    }
                    // One batch comes before the core looks, more than one, none.
                    scene.wheel.source.flush();
                    if index % 3 == 0 {
                        scene.turn();
                    }
                }
                scene.turn();
                scene.drain();
                let name = format!("realtime {realtime}, audio alone {alone}, joins early {joins_early}");
                assert_eq!(scene.conn.player.as_ref().unwrap().jumps, 0, "{name}");
                let mut rest = &scene.received[13..];
                let mut seen = Vec::new();
                while let [kind, a, b, c, ..] = *rest {
                    assert!([8, 9, 18].contains(&kind), "{name}: tags alone behind the file's header");
                    let size = u32::from_be_bytes([0, a, b, c]) as usize;
                    seen.push(rest[11 + size - 1]);
                    rest = &rest[11 + size + 4..];
                }
                let last = &seen[seen.len().saturating_sub(20)..];
                assert_eq!(last, (0..20).collect::<Vec<u8>>(), "{name}");
            }
        }
    }
}

#[test]
fn audio_and_video_keep_their_distance_from_the_start() {
    let mut scene = Scene::new(true, false, Format::RTMP);
    scene.push(TagKind::Audio, 900, &AUDIO);
    scene.push(TagKind::Video, 1000, &KEY);
    scene.push(TagKind::Audio, 950, &AUDIO);
    scene.push(TagKind::Video, 1040, &INTER);
    scene.push(TagKind::Audio, 990, &AUDIO);
    scene.join();
    scene.drain();
    let times: Vec<(u8, u32)> = scene.messages().iter().map(|message| (message.0, message.1)).collect();
    assert_eq!(times, [(9, 50), (8, 0), (9, 90), (8, 40)]);
}

#[test]
fn a_gap_that_no_delta_holds_is_made_up() {
    let mut scene = Scene::new(true, false, Format::RTMP);
    scene.wheel.source.set_policy(Policy { jitter: TimeJitter::Zero, ..scene.wheel.source.policy() });
    let day = 24 * 3600 * 1000;
    scene.join();
    for time in [0, 40, 80, day, day + 40] {
        scene.push(TagKind::Video, time, if time == 0 { &KEY } else { &INTER });
        if time != 80 {
            scene.turn();
        }
    }
    scene.push(TagKind::Video, day + 80, &INTER);
    scene.turn();
    scene.drain();
    let times: Vec<u32> = scene.messages().iter().map(|message| message.1).collect();
    assert_eq!(times, [0, 40, 80, day, day + 40, day + 80]);
}

#[test]
fn a_viewer_is_told_of_another_chunk_size_before_it_comes() {
    let long = |first: &[u8], last: u8| [first, &[last; 300]].concat();
    for format in [Format::RTMP, FLV] {
        let mut scene = Scene::new(true, false, format);
        scene.join();
        let mut expected = Vec::new();
        for (index, size) in [(0, OUT_CHUNK_SIZE), (1, 128), (2, 128), (3, 4096)] {
            let policy = scene.wheel.source.policy();
            let payload = long(if index == 0 { &KEY } else { &INTER }, index);
            scene.push(TagKind::Video, u32::from(index) * 40, &payload);
            // What is not yet a batch keeps its size.
            scene.wheel.source.set_policy(Policy { chunk_size: size, ..policy });
            if index > 0 {
                scene.turn();
            }
            expected.push(payload);
        }
        scene.push(TagKind::Video, 160, &long(&INTER, 4));
        expected.push(long(&INTER, 4));
        scene.turn();
        scene.drain();
        if format == FLV {
            let tags = flv_file::tags(&scene.received).unwrap();
            assert_eq!(tags.iter().map(|tag| tag.payload).collect::<Vec<_>>(), expected);
            continue;
        }
        let messages = scene.messages();
        let of = |kind| messages.iter().filter(move |message| message.0 == kind);
        let sizes: Vec<&[u8]> = of(message_type::SET_CHUNK_SIZE).map(|message| &message.2[..]).collect();
        assert_eq!(sizes, [128u32.to_be_bytes(), 4096u32.to_be_bytes()]);
        let media: Vec<(u32, &[u8])> = of(9).map(|message| (message.1, &message.2[..])).collect();
        assert_eq!(media, (0..).step_by(40).zip(expected.iter().map(|one| &one[..])).collect::<Vec<_>>());
    }
}

#[test]
fn a_viewer_of_absolute_time_gets_the_publisher_s() {
    for format in [Format::RTMP, FLV] {
        let mut scene = Scene::new(true, false, format);
        let policy = scene.wheel.source.policy();
        scene.wheel.source.set_policy(Policy { atc: true, ..policy });
        scene.push(TagKind::Video, 100_000, &VIDEO_HEADER);
        scene.push(TagKind::Video, 100_000, &KEY);
        scene.push(TagKind::Video, 100_040, &INTER);
        scene.join();
        scene.send();
        scene.wheel.source.unpublish();
        scene.wheel.source.publish();
        scene.push(TagKind::Video, 5000, &KEY);
        scene.push(TagKind::Video, 5040, &INTER);
        scene.turn();
        scene.wheel.source.set_policy(policy);
        scene.push(TagKind::Video, 5080, &INTER);
        scene.turn();
        scene.drain();
        let times: Vec<u32> = match format.container {
            Container::Flv => {
                let tags = flv_file::tags(&scene.received).unwrap();
                tags.iter().map(|tag| tag.timestamp).collect()
            }
            _ => scene.messages().iter().map(|message| message.1).collect(),
        };
        // The sequence header, before the GOP and in the ring, has the time of the GOP.
        let expected = [100_000, 100_000, 100_040, 5000, 5040, 5080];
        assert_eq!(times[times.len() - 6..], expected, "{format:?} {times:?}");
    }
}

#[test]
fn a_paced_viewer_gets_one_message_at_a_time() {
    let mut scene = Scene::new(true, false, Format::RTMP);
    let policy = scene.wheel.source.policy();
    let send_min_interval = Duration::from_millis(10);
    scene.wheel.source.set_policy(Policy { send_min_interval, ..policy });
    for (time, payload) in [(0, &KEY), (40, &INTER), (80, &INTER)] {
        scene.push(TagKind::Video, time, payload);
    }
    scene.join();
    let mut counts = Vec::new();
    loop {
        let player = scene.conn.player.as_mut().unwrap();
        (player.single, player.sent) = (true, false);
        if scene.send() == Pumped::Done {
            break;
        }
        while (scene.received.len() as u64) < scene.conn.taken {
            scene.read();
        }
        counts.push(scene.messages().len());
    }
    assert_eq!(counts, [1, 2, 3]);
}

/// A viewer that has got a part of a large keyframe.
fn with_a_part() -> Scene {
    let mut scene = Scene::new(true, false, Format::RTMP);
    let mut large = vec![1; 15 << 20];
    large[..6].copy_from_slice(&KEY);
    scene.join();
    scene.push(TagKind::Video, 0, &KEY);
    scene.turn();
    scene.push(TagKind::Video, 40, &large);
    assert_eq!(scene.turn(), Pumped::Blocked);
    assert!(!scene.conn.player.as_ref().unwrap().between_batches(), "it is written in part");
    scene
}

#[test]
fn who_goes_on_within_a_batch_gets_the_keyframe() {
    let mut scene = with_a_part();
    for (time, payload) in [(80, [0x17, 1, 0, 0, 0, 7]), (120, [0x27, 1, 0, 0, 0, 8])] {
        scene.push(TagKind::Video, time, &payload);
    }
    scene.conn.player.as_mut().unwrap().paused = true;
    scene.conn.player.as_mut().unwrap().paused = false;
    scene.conn.player.as_mut().unwrap().rejoin();
    scene.turn();
    scene.drain();
    let messages = scene.messages();
    let ends: Vec<(usize, u8)> =
        messages.iter().map(|(_, _, payload)| (payload.len(), *payload.last().unwrap())).collect();
    assert_eq!(ends, [(6, 0), (15 << 20, 1), (6, 7), (6, 8)]);
}

#[test]
fn an_answer_to_a_stop_comes_behind_the_batch() {
    let mut scene = with_a_part();
    // The session has written its answer when the player goes.
    chunk::write(&mut scene.conn.out.bytes, OUT_CHUNK_SIZE, 5, 20, 1, 0, b"stopped");
    assert!(scene.conn.take_player().is_some());
    scene.drain();
    let messages = scene.messages();
    let kinds: Vec<(u8, usize)> = messages.iter().map(|(kind, _, payload)| (*kind, payload.len())).collect();
    assert_eq!(kinds, [(9, 6), (9, 15 << 20), (20, 7)]);
}
