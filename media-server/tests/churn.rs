//! Streams come and go under ever-new names, and the server keeps its size.
//!
//! ```text
//! cargo test --package media-server --test churn                                                 some rounds
//! CHURN_MINUTES=60 cargo test --release --package media-server --test churn -- --nocapture       an hour
//! ```
//!
//! In each round streams of new names are published, played by RTMP and by HTTP-FLV, asked for at the API and left, half
//! of them without a word. Another stream is watched all the while.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::witness::Witness;
use common::{request, wait_until};
use media_server::amf0::{Value, encode_all};
use media_server::rtmp::{chunk, handshake};

/// Streams of a round.
const STREAMS: usize = 20;
/// Rounds until the allocator and all tables have their size.
const WARM_UP: usize = 40;
/// Rounds of the short version: a stream that leaves 4 kB behind is found.
const ROUNDS: usize = 75;
/// What the process may grow by after the warm-up.
const MARGIN_KB: u64 = 6 << 10;

fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Reads so many bytes.
fn read(stream: &mut TcpStream, what: &str, count: usize) {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// A whole client up to its command on the stream.
fn client(command: &str, name: &str) -> Vec<u8> {
    let mut bytes = handshake::client_hello(1, 2);
    bytes.resize(1 + 2 * handshake::SIZE, 0);
    let fields = vec![
        ("app".to_owned(), Value::string("churn")),
        ("tcUrl".to_owned(), Value::string("rtmp://127.0.0.1/churn")),
    ];
    let calls = [
        vec![Value::string("connect"), Value::Number(1.0), Value::Object(fields)],
        vec![Value::string("createStream"), Value::Number(2.0), Value::Null],
        vec![Value::string(command), Value::Number(3.0), Value::Null, Value::string(name)],
    ];
    for call in calls {
        chunk::write(&mut bytes, 128, 3, 20, 0, 0, &encode_all(&call));
    }
    bytes
}

fn publisher(name: &str) -> Vec<u8> {
    let header = [
        0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1e, 1, 0, 4, 0x68, 0xce,
        0x3c, 0x80,
    ];
    let mut bytes = client("publish", name);
    chunk::write(&mut bytes, 128, 6, 9, 1, 0, &header);
    for index in 0..50u32 {
        let mut frame = vec![0x55; 1000];
        frame[..9].copy_from_slice(&[if index == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0, 0, 0, 3, 0xdf]);
        chunk::write(&mut bytes, 128, 6, 9, 1, index * 40, &frame);
    }
    bytes
}

fn round(witness: &Witness, number: usize) {
    let names: Vec<String> = (0..STREAMS).map(|index| format!("stream-{number}-{index}")).collect();
    let mut publishers: Vec<TcpStream> =
        names.iter().map(|name| connect(witness.rtmp, &publisher(name))).collect();
    let mut players = Vec::new();
    for name in &names {
        players.push(connect(witness.rtmp, &client("play", name)));
        let get = format!("GET /churn/{name}.flv HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        players.push(connect(witness.http, get.as_bytes()));
    }
    for player in &mut players {
        // More than answers to commands: media.
        read(player, "a player", 20_000);
    }
    let (_, body) = request(witness.api, "GET", "/api/v1/streams/?count=100", &[]);
    assert!(body.starts_with("{\"code\":0"), "{body}");
    let mut delete = Vec::new();
    let values = [Value::string("deleteStream"), Value::Number(4.0), Value::Null, Value::Number(1.0)];
    chunk::write(&mut delete, 128, 3, 20, 0, 0, &encode_all(&values));
    for stream in publishers.iter_mut().step_by(2) {
        let _ = stream.write_all(&delete);
    }
}

#[test]
fn ever_new_names_leave_nothing_behind() {
    let witness = Witness::start("");
    churn(&witness, false);
    witness.assert_unharmed();
}

#[test]
fn ever_new_names_leave_their_files_behind_without_disposal_and_nothing_else() {
    let witness = Witness::with_hls("", "");
    churn(&witness, true);
    witness.assert_unharmed();
}

fn churn(witness: &Witness, keeps_files: bool) {
    let segments = witness.dir.path().join("hls/churn");
    let streams = || request(witness.api, "GET", "/api/v1/streams/?count=100", &[]).1;
    let gone = || {
        wait_until("all have left", || witness.clients() == 2);
        // The recorder writes their last segments first.
        wait_until("their streams are forgotten", || streams().matches("\"stream-").count() == 0);
        if keeps_files {
            // Somebody else's business, or an hour would fill the disk.
            std::fs::remove_dir_all(&segments).unwrap();
        }
    };
    for number in 0..WARM_UP {
        round(witness, number);
        gone();
    }
    let before = witness.status("VmRSS:");
    let minutes =
        std::env::var("CHURN_MINUTES").ok().map(|text| text.parse().expect("CHURN_MINUTES is a number"));
    let until = Instant::now() + Duration::from_mins(minutes.unwrap_or(0));
    let mut told = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS || Instant::now() < until {
        round(witness, WARM_UP + rounds);
        gone();
        rounds += 1;
        if minutes.is_some() && told.elapsed() >= Duration::from_mins(1) {
            told = Instant::now();
            let now = witness.status("VmRSS:");
            eprintln!("{} streams: {now} kB resident, {before} kB after the warm-up", rounds * STREAMS);
        }
    }
    let after = witness.status("VmRSS:");
    eprintln!("{} streams: {after} kB resident, {before} kB after the warm-up", rounds * STREAMS);
    assert!(after <= before + MARGIN_KB, "the server grew from {before} kB to {after} kB");
}
