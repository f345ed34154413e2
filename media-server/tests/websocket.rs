//! FLV over WebSocket, read by an independent client and decoded by real ffmpeg.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::{TestServer, ffmpeg, media, publish, wait_until};
use media_server::flv::{self, Role, TagKind};
use media_server::server::Service;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

const REMUX: &str = "http_remux { enabled on; }";

fn open(server: &TestServer, path: &str, protocol: Option<&str>) -> (WebSocket<TcpStream>, Option<String>) {
    let address = server.address(Service::Http);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut request = format!("ws://{address}/{path}").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    }
    let (socket, response) = tungstenite::client(request, stream).unwrap();
    let chosen = response.headers().get("sec-websocket-protocol");
    (socket, chosen.map(|value| value.to_str().unwrap().to_owned()))
}

/// Reads binary messages until so many bytes are there; other messages go to `others`.
fn read(socket: &mut WebSocket<TcpStream>, length: usize, others: &mut Vec<Message>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match socket.read().unwrap() {
            Message::Binary(part) => bytes.extend_from_slice(&part),
            other => others.push(other),
        }
    }
    bytes
}

#[test]
fn an_independent_client_gets_a_file_that_ffmpeg_decodes() {
    let server = TestServer::start(REMUX, "");
    let _publisher = publish(&media(), &server.rtmp("live/s"));
    server.wait_for_stream("s");
    let (mut socket, protocol) = open(&server, "live/s.flv", None);
    assert_eq!(protocol, None);
    let mut others = Vec::new();
    let mut bytes = read(&mut socket, 1000, &mut others);
    // A ping in the middle is answered between two messages.
    socket.send(Message::Ping(b"are you there".to_vec().into())).unwrap();
    socket.send(Message::Text("ignored".into())).unwrap();
    bytes.extend(read(&mut socket, 150_000, &mut others));
    assert_eq!(others, [Message::Pong(b"are you there".to_vec().into())]);
    // Every message ends with a whole tag.
    let tags = flv::tags(&bytes).unwrap();
    let video = tags.iter().filter(|tag| tag.kind == TagKind::Video);
    let roles: Vec<Role> = video.map(|tag| flv::video_role(tag.payload)).take(2).collect();
    assert_eq!(roles, [Role::SequenceHeader, Role::Keyframe]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.flv");
    std::fs::write(&file, &bytes).unwrap();
    let output = ffmpeg("ffmpeg").arg("-i").arg(&file).args(["-f", "null", "-"]).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The goodbye is returned.
    socket.close(None).unwrap();
    let end = loop {
        match socket.read() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    wait_until("it is no client any more", || server.running().server.stat.client_count() == 1);
}

#[test]
fn a_viewer_may_come_first_ask_for_a_subprotocol_and_sees_the_end() {
    let server = TestServer::start(REMUX, "");
    let (mut socket, protocol) = open(&server, "live/later.flv?token=1", Some("flv, x"));
    assert_eq!(protocol.as_deref(), Some("flv"));
    socket.send(Message::Ping(b"early".to_vec().into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(b"early".to_vec().into()));
    let publisher = publish(&media(), &server.rtmp("live/later"));
    let bytes = read(&mut socket, 5000, &mut Vec::new());
    assert!(bytes.starts_with(b"FLV"));
    drop(publisher);
    let frame = loop {
        match socket.read().unwrap() {
            Message::Close(frame) => break frame,
            Message::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(frame.unwrap().code, CloseCode::Normal);
}

#[test]
fn transport_streams_go_by_websocket_too() {
    let server = TestServer::start("http_remux { enabled on; mount [vhost]/[app]/[stream].ts; }", "");
    let _publisher = publish(&media(), &server.rtmp("live/s"));
    server.wait_for_stream("s");
    let (mut socket, _) = open(&server, "live/s.ts", None);
    let bytes = read(&mut socket, 188 * 200, &mut Vec::new());
    assert!(bytes.chunks_exact(188).all(|packet| packet[0] == 0x47));
}

/// Sends bytes behind a good handshake and gives everything up to the end of the connection.
fn raw(server: &TestServer, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address(Service::Http)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = "GET /live/nothing.flv HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(text.starts_with("HTTP/1.1 101 ") && text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    stream.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    // A reset after the close frame is as good an end as any.
    let _ = stream.read_to_end(&mut rest);
    rest
}

#[test]
fn hostile_frames_close_the_connection() {
    let server = TestServer::start(REMUX, "");
    for bytes in [
        &b"\x82\x01x"[..],
        b"\xf2\x81\0\0\0\0x",
        b"\x89\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"\x80\x81\0\0\0\0x",
    ] {
        assert_eq!(raw(&server, bytes), [0x88, 2, 3, 0xea], "{bytes:x?}");
    }
    let huge = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    assert_eq!(raw(&server, huge), [0x88, 2, 3, 0xf1]);
    wait_until("all are gone", || server.running().server.stat.client_count() == 0);
}

#[test]
fn a_flood_of_pings_that_nobody_reads_ends() {
    let server = TestServer::start(REMUX, "");
    let (mut socket, _) = open(&server, "live/s.flv", None);
    let stream = socket.get_mut();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let ping = [&[0x89, 0xfd, 0, 0, 0, 0][..], &[b'x'; 125]].concat().repeat(500);
    // The kernel's buffers take some megabytes, then the server closes: far before this bound.
    let refused = (0..2000).any(|_| stream.write_all(&ping).is_err());
    assert!(refused, "128 MB of pings were taken and no answer read");
    wait_until("it is gone", || server.running().server.stat.client_count() == 0);
}

#[test]
fn bad_handshakes_are_answered() {
    let server = TestServer::start(REMUX, "");
    let http = server.address(Service::Http);
    let good = ["Upgrade: websocket", "Connection: Upgrade"];
    let ask = |fields: &[&str]| common::request(http, "GET", "/live/s.flv", fields).0;
    let head = ask(&[good[0], good[1], "Sec-WebSocket-Version: 8"]);
    assert!(head.starts_with("HTTP/1.1 426 ") && head.contains("Sec-WebSocket-Version: 13"), "{head}");
    let head = ask(&[good[0], good[1], "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"]);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}
