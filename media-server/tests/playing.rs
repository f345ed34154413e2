//! What `play { … }` of a vhost does to what a player of RTMP gets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{TestServer, wait_until};
use media_server::amf0::{Value, encode_all};
use media_server::flv::TagKind;
use media_server::rtmp::client::{Client, Event, Intent};
use media_server::rtmp::url::Target;

const HEADER: [u8; 6] = [0x17, 0, 0, 0, 0, 1];

/// A connection of our own client.
struct Peer {
    stream: TcpStream,
    client: Client,
    started: bool,
    media: Vec<(TagKind, u32, Instant)>,
}

impl Peer {
    fn connect(url: &str, intent: Intent) -> Self {
        let target = Target::from_url(url).unwrap();
        let mut stream = TcpStream::connect((target.host.as_str(), target.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut out = Vec::new();
        let client = Client::new(target, intent, 7, &mut out);
        stream.write_all(&out).unwrap();
        let mut peer = Peer { stream, client, started: false, media: Vec::new() };
        while !peer.started {
            peer.read();
        }
        peer
    }

    fn read(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        let count = self.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed");
        let (mut input, mut out) = (&buffer[..count], Vec::new());
        while let Some(event) = self.client.read(&mut input, &mut out).unwrap() {
            match event {
                Event::Started => self.started = true,
                Event::Media(kind, time, _) => self.media.push((kind, time, Instant::now())),
                _ => {}
            }
        }
        self.stream.write_all(&out).unwrap();
    }

    fn send(&mut self, messages: &[(TagKind, u32, &[u8])]) {
        let mut out = Vec::new();
        for (kind, time, payload) in messages {
            self.client.send(&mut out, *kind, *time, payload);
        }
        self.stream.write_all(&out).unwrap();
    }

    /// The messages of a kind, when there are so many.
    fn wait_for(&mut self, kind: TagKind, count: usize) -> Vec<(u32, Instant)> {
        loop {
            let of_kind = self.media.iter().filter(|one| one.0 == kind);
            let found: Vec<_> = of_kind.map(|one| (one.1, one.2)).collect();
            if found.len() >= count {
                return found;
            }
            self.read();
        }
    }
}

/// A publisher of a header and a GOP of so many frames, 40 ms apart.
fn publisher(server: &TestServer, start: u32, frames: u32) -> Peer {
    let mut peer = Peer::connect(&server.rtmp("live/s"), Intent::Publish);
    let frame = |index| [if index == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0, 1];
    let gop: Vec<_> = (0..frames).map(|index| (start + index * 40, frame(index))).collect();
    let fields = Value::Object(vec![("bravo_atc".to_owned(), Value::string("true"))]);
    let metadata = encode_all(&[Value::string("@setDataFrame"), Value::string("onMetaData"), fields]);
    peer.send(&[(TagKind::Script, 0, &metadata), (TagKind::Video, start, &HEADER)]);
    for (time, payload) in &gop {
        peer.send(&[(TagKind::Video, *time, payload)]);
    }
    wait_until("it is published", || {
        let sources = server.running().server.sources.all();
        sources
            .iter()
            .any(|source| source.stat.frames.load(std::sync::atomic::Ordering::Relaxed) > frames.into())
    });
    peer
}

#[test]
fn messages_keep_the_least_interval() {
    let server = TestServer::start("play { send_min_interval 20; }", "");
    let _publisher = publisher(&server, 0, 30);
    let mut player = Peer::connect(&server.rtmp("live/s"), Intent::Play);
    // The header that is sent with the GOP is one more.
    let came = player.wait_for(TagKind::Video, 31);
    let times: Vec<u32> = came.iter().map(|(time, _)| *time).collect();
    assert_eq!(times[1..], (0..30).map(|index| index * 40).collect::<Vec<_>>());
    let took = came[30].1.duration_since(came[1].1);
    // What was slow at the beginning makes it look shorter, by less than a third.
    assert!(took >= Duration::from_millis(20 * 29 * 2 / 3), "{took:?}");
}

#[test]
fn absolute_time_is_passed_on() {
    // The publisher's metadata ask for it.
    for (play, start) in [("atc on;", 90_000_000), ("atc_auto on;", 90_000_000), ("", 0)] {
        let server = TestServer::start(&format!("play {{ {play} }}"), "");
        let _publisher = publisher(&server, 90_000_000, 3);
        let mut player = Peer::connect(&server.rtmp("live/s"), Intent::Play);
        let times: Vec<u32> = player.wait_for(TagKind::Video, 4).iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [start, start, start + 40, start + 80], "{play}");
    }
}
