//! Every parser that reads what strangers send, on inputs that are mutated from a corpus: no panic, no input that is
//! read differently when it comes in pieces, no more out of chunks than went in.
//!
//! ```text
//! cargo test --package media-server --test fuzz                           a second for each target
//! FUZZ_SECONDS=60 cargo test --package media-server --test fuzz           a minute each, as many at a time as there are cores
//! FUZZ_SEED=123 cargo test --package media-server --test fuzz chunks      the inputs of an earlier run
//! ```
//!
//! cargo-fuzz needs a nightly toolchain; this finds what a blind mutator can find on a stable one. Seeds are printed, an
//! input that fails is printed in hexadecimal.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's helpers fail its test")]
#![allow(clippy::cast_possible_truncation, reason = "random bytes are cut to fit")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use common::TestServer;
use fastrand::Rng;
use media_server::amf0::{self, Value};
use media_server::flv::{self, TagKind};
use media_server::rtmp::session::{Event, Session};
use media_server::rtmp::{chunk, handshake};
use media_server::server::Service;
use media_server::{codec, conf, proxy_protocol, websocket};

/// The longest input.
const LONGEST: usize = 16 << 10;

/// Bytes that parsers decide by.
const TELLING: [&[u8]; 12] = [
    &[0],
    &[0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0, 0, 9],
    &[0xc3],
    b"\r\n",
    b"..",
    b"%2e%00",
    b"{;}\"'#",
];

/// Changes an input in a few places; some are taken from another of the corpus.
fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=bytes.len());
        let end = (at + rng.usize(1..40)).min(bytes.len());
        match rng.u8(..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            1 if at < bytes.len() => bytes[at] = rng.u8(..),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copied = bytes[at..end].to_vec();
                let times = if rng.u8(..20) == 0 { 200 } else { 2 };
                bytes.splice(at..at, copied.repeat(times));
            }
            4 => {
                let telling = TELLING[rng.usize(..TELLING.len())];
                bytes.splice(at..(at + telling.len()).min(bytes.len()), telling.iter().copied());
            }
            5 => {
                let telling = TELLING[rng.usize(..TELLING.len())];
                bytes.splice(at..at, telling.iter().copied());
            }
            6 => bytes.truncate(at),
            _ => {
                let other = &corpus[rng.usize(..corpus.len())];
                let from = rng.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// The files of a target's corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Tries a target for its time.
fn fuzz(target: &str, corpus: &[Vec<u8>], mut check: impl FnMut(&mut Rng, &[u8])) {
    let seed = variable("FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let until = Instant::now() + Duration::from_secs(variable("FUZZ_SECONDS").unwrap_or(1));
    eprintln!("{target}: FUZZ_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut inputs = 0u64;
    let mut try_one = |rng: &mut Rng, input: &[u8]| {
        let done = catch_unwind(AssertUnwindSafe(|| check(rng, input)));
        let hex =
            || input.iter().map(|byte| format!("{byte:02x}")).fold(String::new(), |text, byte| text + &byte);
        assert!(done.is_ok(), "{target}, FUZZ_SEED={seed}, {} bytes: {}", input.len(), hex());
    };
    for input in corpus {
        try_one(&mut rng, input);
    }
    while Instant::now() < until {
        let input = mutate(&mut rng, corpus);
        try_one(&mut rng, &input);
        inputs += 1;
    }
    eprintln!("{target}: {inputs} inputs");
}

/// Cuts an input into pieces.
fn pieces<'a>(rng: &mut Rng, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(rng.usize(1..=bytes.len().min(300)));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// What a session made of its bytes: events, and the error it ended with. (When it acknowledges bytes depends on how
/// they come.)
fn talk(pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
    let mut session = Session::new(1, 1);
    let (mut events, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        loop {
            match session.read(&mut input, &mut out) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    let accept = matches!(event, Event::Publish(..));
                    if let Event::Media(kind, time, payload) = &event {
                        look_into(*kind, payload);
                        events.push(format!("{kind:?} {time} {payload:?}"));
                    } else {
                        events.push(format!("{event:?}"));
                    }
                    if accept {
                        session.accept_publish(&mut out);
                    }
                }
                Err(error) => return (events, Some(error.to_string())),
            }
        }
    }
    (events, None)
}

/// Everything that is read of a message's payload.
fn look_into(kind: TagKind, payload: &[u8]) {
    let _ = flv::role(kind, payload);
    let _ = flv::relayed_metadata(payload, "SRS/4.0.271(Leo)", "4.0.271");
    let _ = (codec::video_info(payload), codec::audio_info(payload));
}

fn hello() -> Vec<u8> {
    let mut bytes = handshake::client_hello(1, 2);
    bytes.resize(1 + 2 * handshake::SIZE, 0);
    bytes
}

/// A whole publisher after its handshake, and messages of all kinds.
fn conversations() -> Vec<Vec<u8>> {
    let bodies = corpus("amf0");
    let mut publisher = Vec::new();
    let mut command =
        |values: &[Value]| chunk::write(&mut publisher, 128, 3, 20, 0, 0, &amf0::encode_all(values));
    let fields = vec![
        ("app".to_owned(), Value::string("live?vhost=a")),
        ("tcUrl".to_owned(), Value::string("rtmp://h:1935/live")),
    ];
    command(&[Value::string("connect"), Value::Number(1.0), Value::Object(fields)]);
    for (name, argument) in
        [("releaseStream", "s"), ("FCPublish", "s"), ("createStream", ""), ("publish", "s?a=b")]
    {
        command(&[Value::string(name), Value::Number(2.0), Value::Null, Value::string(argument)]);
    }
    for (index, (kind, body)) in [
        (18, bodies[1].clone()),
        (
            9,
            vec![
                0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1e, 1, 0, 4,
                0x68, 0xce, 0x3c, 0x80,
            ],
        ),
        (8, vec![0xaf, 0, 0x12, 0x10]),
        (9, [vec![0x17, 1, 0, 0, 0, 0, 0, 1, 0], vec![0x65; 256]].concat()),
        (8, vec![0xaf, 1, 0x21, 0x10]),
        (9, vec![0x90, b'h', b'v', b'c', b'1', 1, 2, 3]),
    ]
    .into_iter()
    .enumerate()
    {
        chunk::write(&mut publisher, 128, 4 + index as u8, kind, 1, 0x00ff_fff0 + 8 * index as u32, &body);
    }
    let mut controls = Vec::new();
    for (kind, body) in
        [(1, &[0, 0, 2, 0][..]), (2, &[0, 0, 0, 4]), (4, &[0, 6, 1, 2, 3, 4]), (5, &[0, 0, 16, 0])]
    {
        chunk::control(&mut controls, kind, body);
    }
    chunk::header_delta(&mut controls, 5, 9, 40, 3);
    controls.extend_from_slice(&[0x27, 1, 2, 0xc5, 3, 4, 5]);
    vec![publisher.clone(), controls.clone(), [controls, publisher].concat()]
}

#[test]
fn the_handshake() {
    let proxied = [&[0xf3, 0, 4, 1, 2, 3, 4][..], &hello()].concat();
    fuzz("handshake", &[hello(), proxied, [hello(), conversations()[0].clone()].concat()], |rng, input| {
        let whole = talk(&[input]);
        assert_eq!(talk(&pieces(rng, input)), whole);
        if let Some(c1) = input.get(1..=handshake::SIZE).and_then(|c1| c1.try_into().ok()) {
            assert_eq!(handshake::server_answer(c1, 1, 2).len(), 1 + 2 * handshake::SIZE);
            assert_eq!(handshake::client_answer(c1, 2).len(), handshake::SIZE);
        }
    });
}

#[test]
fn chunks_and_what_they_carry() {
    fuzz("chunks", &conversations(), |rng, input| {
        let mut reader = chunk::Reader::new(1 << 20);
        let mut carried = 0;
        'pieces: for piece in pieces(rng, input) {
            let mut piece = piece;
            loop {
                match reader.read(&mut piece) {
                    Ok(None) => break,
                    Ok(Some(message)) => carried += message.payload.len(),
                    Err(_) => break 'pieces,
                }
            }
        }
        assert!(carried <= input.len(), "{carried} bytes came out");
        let input = [&hello(), input].concat();
        let whole = talk(&[&input]);
        assert_eq!(talk(&pieces(rng, &input)), whole);
    });
}

#[test]
fn amf0_values() {
    fuzz("amf0", &corpus("amf0"), |_, input| {
        let _ = amf0::decode_prefix(input);
        if let Ok(values) = amf0::decode_all(input) {
            // Compared as bytes: a NaN is not equal to itself.
            let encoded = amf0::encode_all(&values);
            let again = amf0::decode_all(&encoded).unwrap();
            assert_eq!(amf0::encode_all(&again), encoded);
        }
    });
}

#[test]
fn flv_files() {
    fuzz("flv", &corpus("flv"), |_, input| {
        let Ok(tags) = flv::tags(input) else { return };
        let mut file = flv::file_header(true, true).to_vec();
        for tag in &tags {
            look_into(tag.kind, tag.payload);
            flv::push_tag(&mut file, tag.kind, tag.timestamp, tag.payload);
        }
        assert_eq!(flv::tags(&file).unwrap(), tags);
    });
}

#[test]
fn configurations() {
    fuzz("conf", &corpus("conf"), |_, input| {
        if let Err(fault) = conf::from_text(&String::from_utf8_lossy(input)) {
            assert!(fault.line > 0 && !fault.message.is_empty(), "{fault:?}");
        }
    });
}

#[test]
fn websocket_frames() {
    fuzz("websocket", &corpus("websocket"), |rng, input| {
        let read = |pieces: &[&[u8]]| {
            let mut reader = websocket::Reader::default();
            let mut out = Vec::new();
            let done = pieces.iter().try_for_each(|piece| reader.read(piece, &mut out));
            (done.map_err(|error| error.to_string()), out)
        };
        assert_eq!(read(&pieces(rng, input)), read(&[input]));
    });
}

#[test]
fn proxy_headers() {
    fuzz("proxy", &corpus("proxy"), |_, input| {
        if let proxy_protocol::Start::Header(length, _) = proxy_protocol::start(input) {
            assert!(length <= input.len());
            // What is behind a header does not change it.
            assert_eq!(proxy_protocol::start(&input[..length]), proxy_protocol::start(input));
        }
    });
}

/// Requests go to a running server on both HTTP ports, which must answer a good one behind each hundred of them.
#[test]
fn http_requests() {
    use std::io::{Read as _, Write as _};
    let server = TestServer::start("http_remux { enabled on; } hls { enabled off; }", "");
    let mut count = 0u32;
    fuzz("http", &corpus("http"), |rng, input| {
        count += 1;
        let service = if rng.bool() { Service::Api } else { Service::Http };
        let address = server.address(service);
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        for piece in pieces(rng, input) {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        if count.is_multiple_of(100) {
            let (head, _) = common::request(address, "GET", "/healthz", &[]);
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        } else if rng.u8(..4) == 0 {
            // Some read the answer, the others leave.
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    let connections = &server.running().server.connections;
    common::wait_until("nobody is left", || connections.load(std::sync::atomic::Ordering::Relaxed) == 0);
}
