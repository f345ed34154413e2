//! What hostile or broken peers send: their connection is closed or answered with an error, and nobody else notices.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::{TestServer, media, play, publish, wait_until};
use media_server::amf0::{Value, encode_all};
use media_server::rtmp::{chunk, handshake};
use media_server::server::Service;

const COMMAND: u8 = 20;

fn connect(server: &TestServer, service: Service) -> TcpStream {
    let stream = TcpStream::connect(server.address(service)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// C0, C1, C2.
fn hello() -> Vec<u8> {
    let mut bytes = handshake::client_hello(1, 2);
    bytes.resize(1 + 2 * handshake::SIZE, 0);
    bytes
}

fn command(out: &mut Vec<u8>, name: &str, rest: &[Value]) {
    let mut values = vec![Value::string(name), Value::Number(2.0), Value::Null];
    values.extend_from_slice(rest);
    chunk::write(out, 128, 3, COMMAND, 0, 0, &encode_all(&values));
}

fn connected() -> Vec<u8> {
    let mut bytes = hello();
    let fields = vec![
        ("app".to_owned(), Value::string("live")),
        ("tcUrl".to_owned(), Value::string("rtmp://127.0.0.1/live")),
    ];
    let values = [Value::string("connect"), Value::Number(1.0), Value::Object(fields)];
    chunk::write(&mut bytes, 128, 3, COMMAND, 0, 0, &encode_all(&values));
    bytes
}

fn publishing(name: &str) -> Vec<u8> {
    let mut bytes = connected();
    command(&mut bytes, "createStream", &[]);
    command(&mut bytes, "publish", &[Value::string(name)]);
    bytes
}

/// Sends bytes; the server must close by itself.
fn assert_closes(server: &TestServer, service: Service, what: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(server, service);
    // The server may close before everything is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(error) => panic!("{what}: the server does not close: {error}"),
        }
    }
}

/// One way to break RTMP a line.
fn broken_rtmp() -> Vec<(&'static str, Vec<u8>)> {
    let with = |base: Vec<u8>, tail: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = base;
        tail(&mut bytes);
        bytes
    };
    let size = |value: i32| with(hello(), &|out| chunk::control(out, 1, &value.to_be_bytes()));
    let name = |name: &str| with(connected(), &|out| command(out, "publish", &[Value::string(name)]));
    let mut nested = vec![2, 0, 7];
    nested.extend_from_slice(b"connect");
    nested.extend_from_slice(&[0, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    for _ in 0..10_000 {
        nested.extend_from_slice(&[3, 0, 1, b'a']);
    }
    vec![
        ("C0 is not 3", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a proxy prefix of 65535 bytes", vec![0xf3, 0xff, 0xff, 1, 2, 3, 4]),
        ("chunk size 0", size(0)),
        ("chunk size 1", size(1)),
        ("a negative chunk size", size(-1)),
        ("Set Chunk Size without a body", with(hello(), &|out| chunk::control(out, 1, &[0]))),
        ("format 3 first", with(hello(), &|out| out.extend_from_slice(&[0xc3, 1, 2, 3]))),
        (
            "a flood of chunk streams",
            with(hello(), &|out| {
                for id in 0..=255u8 {
                    out.extend_from_slice(&[0, id, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0]);
                }
            }),
        ),
        ("a command of 16 MB", with(hello(), &|out| chunk::header_full(out, 3, COMMAND, 0, 0, 0x00ff_ffff))),
        ("AMF0 10000 levels deep", with(hello(), &|out| chunk::write(out, 128, 3, COMMAND, 0, 0, &nested))),
        ("a command before connect", with(hello(), &|out| command(out, "createStream", &[]))),
        ("connect without an object", with(hello(), &|out| command(out, "connect", &[Value::Number(1.0)]))),
        (
            "connect without tcUrl",
            with(hello(), &|out| {
                let values = [Value::string("connect"), Value::Number(1.0), Value::Object(vec![])];
                chunk::write(out, 128, 3, COMMAND, 0, 0, &encode_all(&values));
            }),
        ),
        ("an empty name", name("")),
        ("a name that leaves its folder", name("../../etc/x")),
        ("an encoded one", name("%2e%2e/x")),
        ("a name with a line's end", name("a\r\nb")),
        ("a name with NUL", name("a\0b")),
        ("a name of 60 KB", name(&"x".repeat(60_000))),
        (
            "a length that changes inside a message",
            with(publishing("b1"), &|out| {
                chunk::header_full(out, 4, 9, 1, 0, 300);
                out.extend_from_slice(&[0; 128]);
                chunk::header_delta(out, 4, 9, 0, 200);
            }),
        ),
        (
            "format 0 inside a message",
            with(publishing("b2"), &|out| {
                chunk::header_full(out, 4, 9, 1, 0, 300);
                out.extend_from_slice(&[0; 128]);
                chunk::header_full(out, 4, 9, 1, 0, 300);
            }),
        ),
        ("a second publish", with(publishing("b3"), &|out| command(out, "publish", &[Value::string("b3")]))),
    ]
}

#[test]
fn broken_rtmp_ends_its_own_connection_only() {
    let server = TestServer::start("", "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    let player = std::thread::spawn({
        let url = server.rtmp("live/livestream");
        move || play(&url, "4")
    });
    for (what, bytes) in broken_rtmp() {
        assert_closes(&server, Service::Rtmp, what, &bytes);
    }
    let busy = assert_closes(
        &server,
        Service::Rtmp,
        "a stream that is published already",
        &publishing("livestream"),
    );
    assert!(String::from_utf8_lossy(&busy).contains("NetStream.Publish.BadName"));
    let output = player.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    wait_until("only the publisher is left", || server.running().server.stat.client_count() == 1);
    wait_until("and its source", || server.running().server.sources.len() == 1);
}

#[test]
fn garbage_media_is_passed_or_closed_but_never_harms() {
    let server = TestServer::start("http_remux { enabled on; }", "");
    let mut stream = connect(&server, Service::Rtmp);
    let mut bytes = publishing("garbage");
    for (index, payload) in [
        &[][..],
        &[0x17],
        &[0x17, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xe1, 0xff, 0xff],
        &[0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 4, 0x67, 0, 0, 0],
        &[0xaf, 0],
        &[0xaf, 0, 0xff, 0xff],
        &[0x17, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[0xff; 300],
    ]
    .into_iter()
    .enumerate()
    {
        // Timestamps wrap, jump and go back.
        let time = [0, 0x7fff_ffff, 5, 0xffff_ffff, 0, 0x00ff_ffff, 3, 0x0100_0000][index];
        let kind = if payload.first() == Some(&0xaf) { 8 } else { 9 };
        chunk::write(&mut bytes, 128, 4, kind, 1, time, payload);
        chunk::write(&mut bytes, 128, 5, 18, 1, time, payload);
        chunk::write(&mut bytes, 128, 6, 22, 1, time, payload);
    }
    stream.write_all(&bytes).unwrap();
    wait_until("the garbage is in the ring", || {
        server
            .running()
            .server
            .sources
            .all()
            .iter()
            .any(|source| source.stat.frames.load(std::sync::atomic::Ordering::Relaxed) >= 4)
    });
    assert_eq!(server.api("/api/v1/streams")["code"], 0);
    let mut player = connect(&server, Service::Http);
    player.write_all(b"GET /live/garbage.flv HTTP/1.1\r\n\r\n").unwrap();
    let mut head = [0; 12];
    player.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}

#[test]
fn broken_http_is_answered_with_an_error() {
    let server = TestServer::start("http_remux { enabled on; }", "");
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
    for service in [Service::Api, Service::Http] {
        for (what, bytes, status) in [
            ("not HTTP", "\x03\0\0\0\r\n\r\n".as_bytes(), "400"),
            ("a line of 100 KB", long.as_bytes(), "431"),
            ("1000 fields", many.as_bytes(), "431"),
        ] {
            let answer = assert_closes(&server, service, what, bytes);
            let text = String::from_utf8_lossy(&answer);
            // A reset may swallow the answer to what was not read to its end.
            assert!(text.is_empty() || text.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {text}");
        }
        assert!(
            common::request(server.address(service), "GET", "/healthz", &[]).0.starts_with("HTTP/1.1 200")
        );
    }
    for path in ["/live/../../etc/passwd.flv", "/live/%2e%2e/x.flv", "/live/a%0d%0ab.flv?vhost=x"] {
        let (head, _) = common::request(server.address(Service::Http), "POST", path, &[]);
        assert!(head.starts_with("HTTP/1.1 4"), "{path}: {head}");
    }
}

#[test]
fn half_open_and_silent_peers_are_not_clients() {
    let server = TestServer::start("", "");
    let silent: Vec<TcpStream> = (0..50).map(|_| connect(&server, Service::Rtmp)).collect();
    let half = connect(&server, Service::Rtmp);
    half.shutdown(Shutdown::Write).unwrap();
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    assert_eq!(server.running().server.stat.client_count(), 1);
    drop(silent);
    let connections = &server.running().server.connections;
    wait_until("the silent are gone", || connections.load(std::sync::atomic::Ordering::Relaxed) <= 1);
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let server = TestServer::start("", "max_connections 5;");
    let mut held: Vec<TcpStream> = (0..5).map(|_| connect(&server, Service::Rtmp)).collect();
    let connections = &server.running().server.connections;
    wait_until("five are held", || connections.load(std::sync::atomic::Ordering::Relaxed) == 5);
    assert_closes(&server, Service::Rtmp, "the sixth", &[]);
    held.pop();
    wait_until("one has left", || connections.load(std::sync::atomic::Ordering::Relaxed) == 4);
    let mut stream = connect(&server, Service::Rtmp);
    stream.write_all(&hello()).unwrap();
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [3]);
}

/// A player that reads nothing: its stream's ring stays bounded, and it goes on at a keyframe when it reads again.
#[test]
fn a_player_that_does_not_read_holds_no_more_than_the_queue_length() {
    let server = TestServer::start("play { queue_length 1; mw_latency 100; }", "");
    let mut player = connect(&server, Service::Rtmp);
    let mut bytes = connected();
    command(&mut bytes, "createStream", &[]);
    command(&mut bytes, "play", &[Value::string("big")]);
    player.write_all(&bytes).unwrap();
    wait_until("it plays", || server.running().server.stat.client_count() == 1);
    let mut publisher = connect(&server, Service::Rtmp);
    let mut bytes = publishing("big");
    chunk::control(&mut bytes, 1, &60_000u32.to_be_bytes());
    publisher.write_all(&bytes).unwrap();
    // 120 MB in 600 frames of 40 ms, a keyframe every second: far more than sockets buffer.
    let mut keyframe = vec![0x55; 200_000];
    keyframe[..5].copy_from_slice(&[0x17, 1, 0, 0, 0]);
    let mut inter = keyframe.clone();
    inter[0] = 0x27;
    for index in 0..600u32 {
        let payload = if index % 25 == 0 { &mut keyframe } else { &mut inter };
        payload[5..9].copy_from_slice(&index.to_be_bytes());
        let mut bytes = Vec::new();
        chunk::write(&mut bytes, 60_000, 6, 9, 1, index * 40, payload);
        publisher.write_all(&bytes).unwrap();
        if index == 1 {
            let clients = server.running().server.stat.clients();
            let client = clients.into_iter().find(|client| !client.publish).unwrap();
            wait_until("it gets the first frame", || {
                client.traffic.send.load(std::sync::atomic::Ordering::Relaxed) > 200_000
            });
        }
    }
    let source = server.running().server.sources.all().pop().unwrap();
    wait_until("all frames are there", || {
        source.stat.frames.load(std::sync::atomic::Ordering::Relaxed) == 600
    });
    assert!(source.ring_bytes() <= 60 * 200_000, "{} bytes are held", source.ring_bytes());
    // Its pings are answered between batches, never inside of one that is written in part.
    let mut pings = Vec::new();
    for index in 0..100u8 {
        chunk::control(&mut pings, 4, &[0, 6, 0, 0, 0, index]);
    }
    player.write_all(&pings).unwrap();
    // It still gets valid chunks, with a gap.
    let mut answered = 0;
    let mut reader = chunk::Reader::new(1 << 20);
    let mut buffer = vec![0; 1 << 20];
    let mut skip = 1 + 2 * handshake::SIZE;
    let mut last = None;
    let mut jumps = 0;
    while last != Some(599) || answered < 100 {
        let count = player.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed");
        let mut input = &buffer[..count];
        let skipped = skip.min(count);
        skip -= skipped;
        input = &input[skipped..];
        while let Some(message) = reader.read(&mut input).unwrap() {
            if message.kind == 1 {
                reader.set_chunk_size(60_000).unwrap();
            }
            answered += u32::from(message.kind == 4 && message.payload[..2] == [0, 7]);
            if message.kind == 9 {
                let index = u32::from_be_bytes(message.payload[5..9].try_into().unwrap());
                let previous = last.replace(index);
                let jumped = previous.is_some_and(|previous| index != previous + 1);
                assert!(
                    !jumped || index % 25 == 0,
                    "a jump goes to a keyframe, not from {previous:?} to {index}"
                );
                jumps += u32::from(jumped);
            }
        }
    }
    assert!(jumps > 0, "nothing was left out");
}

/// Ever-new names leave nothing behind.
#[test]
fn streams_are_forgotten_when_nobody_uses_them() {
    let server = TestServer::start("", "");
    for round in 0..200 {
        let mut stream = connect(&server, Service::Rtmp);
        stream.write_all(&publishing(&format!("name{round}"))).unwrap();
        let mut answer = vec![0; 3500];
        stream.read_exact(&mut answer).unwrap();
    }
    wait_until("all are forgotten", || server.running().server.sources.is_empty());
    wait_until("by the statistics too", || server.running().server.stat.streams().is_empty());
}
