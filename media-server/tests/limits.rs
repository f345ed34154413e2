//! What peers may hold of the server: half-open and silent ones, those beyond the limit, and a player that is too slow.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::{TestServer, media, publish, wait_until};
use media_server::amf0::{Value, encode_all};
use media_server::rtmp::{chunk, handshake};
use media_server::server::Service;

const COMMAND: u8 = 20;

fn connect(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.address(Service::Rtmp)).unwrap();
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

#[test]
fn half_open_and_silent_peers_are_not_clients() {
    let server = TestServer::start("", "");
    let silent: Vec<TcpStream> = (0..50).map(|_| connect(&server)).collect();
    let half = connect(&server);
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
    let mut held: Vec<TcpStream> = (0..5).map(|_| connect(&server)).collect();
    let connections = &server.running().server.connections;
    wait_until("five are held", || connections.load(std::sync::atomic::Ordering::Relaxed) == 5);
    let mut answer = Vec::new();
    match connect(&server).read_to_end(&mut answer) {
        Ok(_) => assert!(answer.is_empty(), "the sixth is answered"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the sixth: {error}"),
    }
    held.pop();
    wait_until("one has left", || connections.load(std::sync::atomic::Ordering::Relaxed) == 4);
    let mut stream = connect(&server);
    stream.write_all(&hello()).unwrap();
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [3]);
}

/// A player that reads nothing: its stream's ring stays bounded, and it goes on at a keyframe when it reads again.
#[test]
fn a_player_that_does_not_read_holds_no_more_than_the_queue_length() {
    let server = TestServer::start("play { queue_length 1; mw_latency 100; }", "");
    let mut player = connect(&server);
    let mut bytes = connected();
    command(&mut bytes, "createStream", &[]);
    command(&mut bytes, "play", &[Value::string("big")]);
    player.write_all(&bytes).unwrap();
    wait_until("it plays", || server.running().server.stat.client_count() == 1);
    let mut publisher = connect(&server);
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

#[test]
fn a_stream_has_one_publisher() {
    let server = TestServer::start("", "");
    let mut first = connect(&server);
    first.write_all(&publishing("taken")).unwrap();
    wait_until("it publishes", || {
        server.running().server.sources.all().iter().any(|source| source.is_live())
    });
    let mut second = connect(&server);
    second.write_all(&publishing("taken")).unwrap();
    let mut answer = Vec::new();
    second.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("NetStream.Publish.BadName"));
    assert_eq!(server.running().server.stat.client_count(), 1);
}
