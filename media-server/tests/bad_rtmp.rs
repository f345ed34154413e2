//! Every hostile thing that can be said in RTMP, by name: the connection is closed or goes on unharmed, a stream that is
//! watched all the while has no gap, and the server's memory stays bounded.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]
#![allow(clippy::cast_possible_truncation, reason = "bytes that are made to be wrong")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use common::witness::Witness;
use media_server::amf0::{Value, encode_all};
use media_server::rtmp::{chunk, handshake};

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const DATA: u8 = 18;
const COMMAND: u8 = 20;
const AGGREGATE: u8 = 22;

/// What the server does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It closes the connection.
    Closes,
    /// The connection goes on: a ping behind it is answered.
    GoesOn,
}
use Then::{Closes, GoesOn};

/// Bytes that are put together.
struct Bytes(Vec<u8>);

impl Bytes {
    /// C0, C1, C2.
    fn hello() -> Self {
        let mut bytes = handshake::client_hello(1, 2);
        bytes.resize(1 + 2 * handshake::SIZE, 0);
        Bytes(bytes)
    }

    /// And connect.
    fn connected() -> Self {
        Self::hello().connect("live", Value::Number(1.0))
    }

    /// And publish.
    fn publishing(name: &str) -> Self {
        Self::connected().command("createStream", &[]).command("publish", &[Value::string(name)])
    }

    fn connect(self, app: &str, id: Value) -> Self {
        let fields = vec![
            ("app".to_owned(), Value::string(app)),
            ("tcUrl".to_owned(), Value::string("rtmp://127.0.0.1/live")),
        ];
        self.message(3, COMMAND, 0, &encode_all(&[Value::string("connect"), id, Value::Object(fields)]))
    }

    fn command(self, name: &str, rest: &[Value]) -> Self {
        let mut values = vec![Value::string(name), Value::Number(2.0), Value::Null];
        values.extend_from_slice(rest);
        self.message(3, COMMAND, 0, &encode_all(&values))
    }

    fn message(mut self, stream: u8, kind: u8, time: u32, body: &[u8]) -> Self {
        let id = u32::from(stream > 3);
        chunk::write(&mut self.0, 128, stream, kind, id, time, body);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn header(mut self, stream: u8, kind: u8, time: u32, length: usize) -> Self {
        chunk::header_full(&mut self.0, stream, kind, 1, time, length);
        self
    }

    fn delta(mut self, stream: u8, kind: u8, delta: u32, length: usize) -> Self {
        chunk::header_delta(&mut self.0, stream, kind, delta, length);
        self
    }

    fn control(self, kind: u8, body: &[u8]) -> Self {
        self.message(2, kind, 0, body)
    }

    fn repeat(self, count: usize, step: impl Fn(Self, usize) -> Self) -> Self {
        (0..count).fold(self, step)
    }
}

/// Three byte basic headers: chunk streams 64 to 65599.
fn far_chunk_stream(id: u32) -> [u8; 15] {
    let [high, low] = ((id - 64) as u16).to_be_bytes();
    [1, low, high, 0, 0, 0, 0, 0, 1, VIDEO, 1, 0, 0, 0, 0x27]
}

type Case = (&'static str, Then, Bytes);

fn handshakes() -> Vec<Case> {
    vec![
        ("C0 is not 3", Closes, Bytes(b"GET / HTTP/1.1\r\n\r\n".to_vec())),
        ("C0 is 6, as RTMPE has it", Closes, Bytes([6; 1537].to_vec())),
        ("a proxy prefix of 65535 bytes", Closes, Bytes(vec![0xf3, 0xff, 0xff, 1, 2, 3, 4])),
        (
            "a proxy prefix and then no RTMP",
            Closes,
            Bytes([&[0xf3, 0, 4, 1, 2, 3, 4][..], &[9; 1537]].concat()),
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let size = |value: u32| Bytes::hello().control(1, &value.to_be_bytes());
    vec![
        ("a flood of chunk streams up to 65599", Closes, {
            Bytes::hello().repeat(2000, |bytes, index| bytes.raw(&far_chunk_stream(65_599 - index as u32)))
        }),
        ("a flood of those with headers of two bytes", Closes, {
            Bytes::hello()
                .repeat(256, |bytes, id| bytes.raw(&[0, id as u8, 0, 0, 0, 0, 0, 1, VIDEO, 0, 0, 0, 0, 0]))
        }),
        ("16 MB announced on many chunk streams of a publisher", Closes, {
            let open = Bytes::publishing("many").control(1, &0x7fff_ffffu32.to_be_bytes());
            let body = vec![0x27; 600_000];
            open.repeat(40, |bytes, index| {
                // Each is cut off by the next one's header only where chunks are short: here by its length.
                bytes
                    .control(1, &600_000u32.to_be_bytes())
                    .header(4 + index as u8, VIDEO, 0, 0x00ff_ffff)
                    .raw(&body)
            })
        }),
        ("16 MB announced before publishing", Closes, Bytes::hello().header(3, COMMAND, 0, 0x00ff_ffff)),
        ("format 3 first", Closes, Bytes::hello().raw(&[0xc3, 1, 2, 3])),
        ("format 2 first", Closes, Bytes::hello().raw(&[0x83, 1, 2, 3])),
        ("format 0 inside a message", Closes, {
            Bytes::publishing("b2").header(4, VIDEO, 0, 300).raw(&[0; 128]).header(4, VIDEO, 0, 300)
        }),
        ("a length that changes inside a message", Closes, {
            Bytes::publishing("b1").header(4, VIDEO, 0, 300).raw(&[0; 128]).delta(4, VIDEO, 0, 200)
        }),
        ("an extended timestamp that comes and goes", GoesOn, {
            Bytes::publishing("b3").repeat(50, |bytes, index| {
                let time = if index % 2 == 0 { 0x0123_4567 } else { 5 };
                bytes.message(6, VIDEO, time, &[0x27; 300])
            })
        }),
        ("chunk size 0", Closes, size(0)),
        ("chunk size 1", Closes, size(1)),
        ("chunk size 127", Closes, size(127)),
        ("the largest chunk size", GoesOn, Bytes::connected().control(1, &0x7fff_ffffu32.to_be_bytes())),
        ("a negative chunk size", Closes, size(u32::MAX)),
        ("Set Chunk Size without a body", Closes, Bytes::hello().control(1, &[0])),
        ("a window of 0", GoesOn, Bytes::connected().control(5, &[0, 0, 0, 0])),
        ("a window without a body", GoesOn, Bytes::connected().control(5, &[0])),
        ("Abort of a chunk stream that is not there", GoesOn, Bytes::connected().control(2, &[0xff; 4])),
        ("a flood of pings", GoesOn, {
            Bytes::connected()
                .repeat(2000, |bytes, index| bytes.control(4, &[0, 6, 0, 0, (index >> 8) as u8, index as u8]))
        }),
        ("user control without a body", GoesOn, Bytes::connected().control(4, &[0])),
        ("messages without a body", GoesOn, {
            Bytes::connected().repeat(500, |bytes, _| bytes.header(5, VIDEO, 0, 0))
        }),
        ("unknown kinds of messages", GoesOn, {
            Bytes::connected()
                .repeat(250, |bytes, kind| bytes.message(7, 23 + (kind % 200) as u8, 0, &[1, 2, 3]))
        }),
    ]
}

fn commands() -> Vec<Case> {
    let nested = |marker: &[u8]| {
        let head = encode_all(&[Value::string("connect"), Value::Number(1.0)]);
        Bytes::hello().message(3, COMMAND, 0, &[head, marker.repeat(10_000)].concat())
    };
    let body = |bytes: &[u8]| Bytes::hello().message(3, COMMAND, 0, bytes);
    let after = |bytes: &[u8]| Bytes::connected().message(3, COMMAND, 0, bytes);
    let object = |fields: Vec<(String, Value)>| {
        let values = [Value::string("connect"), Value::Number(1.0), Value::Object(fields)];
        Bytes::hello().message(3, COMMAND, 0, &encode_all(&values))
    };
    vec![
        ("AMF0 10000 objects deep", Closes, nested(&[3, 0, 1, b'a'])),
        ("AMF0 10000 arrays deep", Closes, nested(&[10, 0, 0, 0, 1])),
        ("a string longer than the message", Closes, body(&[2, 0xff, 0xff, b'c', b'o'])),
        ("a long string of 4 GB", GoesOn, after(&[2, 0, 1, b'a', 12, 0xff, 0xff, 0xff, 0xff, b'x'])),
        (
            "an ECMA array of 2^32 - 1 fields",
            GoesOn,
            after(&[2, 0, 1, b'a', 8, 0xff, 0xff, 0xff, 0xff, 0, 0, 9]),
        ),
        ("a strict array of 2^32 - 1 items", GoesOn, after(&[2, 0, 1, b'a', 10, 0xff, 0xff, 0xff, 0xff, 5])),
        ("an AMF0 marker that does not exist", GoesOn, after(&[2, 0, 1, b'a', 77])),
        ("a transaction that is NaN", GoesOn, Bytes::hello().connect("live", Value::Number(f64::NAN))),
        ("a transaction that is a string", GoesOn, Bytes::hello().connect("live", Value::string("1"))),
        ("a command before connect", Closes, Bytes::hello().command("createStream", &[])),
        ("connect without an object", Closes, Bytes::hello().command("connect", &[Value::Number(1.0)])),
        ("connect without tcUrl", Closes, object(vec![])),
        ("tcUrl that is no text", Closes, object(vec![("tcUrl".into(), Value::Number(1.0))])),
        ("connect twice", Closes, Bytes::connected().connect("live", Value::Number(1.0))),
        ("publish twice", Closes, Bytes::publishing("twice").command("publish", &[Value::string("twice")])),
        ("publish without a name", Closes, Bytes::connected().command("publish", &[])),
        ("a stream that is published already", Closes, Bytes::publishing("watched")),
        ("createStream a thousand times", GoesOn, {
            Bytes::connected().repeat(1000, |bytes, _| bytes.command("createStream", &[]))
        }),
        ("an app of 60 KB", Closes, Bytes::hello().connect(&"x".repeat(60_000), Value::Number(1.0))),
        ("a command of 64 KB and more", Closes, {
            Bytes::connected().message(
                3,
                COMMAND,
                0,
                &encode_all(&[Value::string("x".repeat(65_535)), Value::string("y".repeat(10_000))]),
            )
        }),
    ]
}

fn names() -> Vec<Case> {
    let long = "x".repeat(60_000);
    let names: [(&'static str, &str); 13] = [
        ("an empty name", ""),
        ("..", ".."),
        ("../", "../../etc/x"),
        ("/../ inside", "a/../../../x"),
        ("%2e%2e", "%2e%2e/x"),
        ("%2E%2e", "%2E%2e/x"),
        ("%2f", "..%2f..%2fx"),
        ("a backslash", "..\\x"),
        ("a line's end", "a\r\nX-Injected: 1"),
        ("NUL", "a\0b"),
        ("an escape of the terminal", "a\x1b[2Jb"),
        ("60 KB", &long),
        ("a name of dots only", "."),
    ];
    let publish = |name: &str| Bytes::connected().command("publish", &[Value::string(name)]);
    // Slashes around a name are SRS's way to write it.
    let mut cases: Vec<Case> = vec![("an absolute path", GoesOn, publish("//etc/x"))];
    let closing = names.iter().map(|(what, name)| (*what, Closes, publish(name)));
    cases.extend(closing);
    for (what, app) in names.iter().filter(|(_, name)| !name.is_empty()) {
        // Control characters of connect are left out: what is behind them is one harmless name.
        let then = if app.chars().any(char::is_control) { GoesOn } else { Closes };
        cases.push((what, then, Bytes::hello().connect(app, Value::Number(1.0))));
    }
    cases
}

fn media() -> Vec<Case> {
    let publishing = |name: &str, messages: &[(u8, u32, &[u8])]| {
        messages
            .iter()
            .fold(Bytes::publishing(name), |bytes, (kind, time, body)| bytes.message(5, *kind, *time, body))
    };
    let header: &[u8] = &[
        0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1e, 1, 0, 4, 0x68, 0xce,
        0x3c, 0x80,
    ];
    let aac: &[u8] = &[0xaf, 0, 0x12, 0x10];
    let nested = {
        // An aggregate that holds itself, as far as 128 KB go.
        let mut body = vec![0x27; 10];
        for _ in 0..200 {
            let [_, high, middle, low] = (body.len() as u32).to_be_bytes();
            body = [&[AGGREGATE, high, middle, low, 0, 0, 0, 0, 0, 0, 0][..], &body, &[0, 0, 0, 0]].concat();
        }
        body
    };
    let times = [0u32, 0x7fff_ffff, 5, 0xffff_ffff, 0, 0x00ff_ffff, 3, 0x0100_0000, 0x8000_0000, 1];
    vec![
        ("a parameter set of garbage", GoesOn, {
            let garbage: &[u8] =
                &[0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 8, 0x67, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];
            publishing("m1", &[(VIDEO, 0, garbage), (VIDEO, 40, &[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65])])
        }),
        ("a parameter set longer than its header", GoesOn, {
            publishing("m2", &[(VIDEO, 0, &[0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0xff, 0xff])])
        }),
        ("a NAL unit longer than its frame", GoesOn, {
            publishing(
                "m3",
                &[(VIDEO, 0, header), (VIDEO, 40, &[0x17, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x65])],
            )
        }),
        ("NAL units without end", GoesOn, {
            publishing(
                "m4",
                &[(VIDEO, 0, header), (VIDEO, 40, &[&[0x17, 1, 0, 0, 0][..], &[0; 4000]].concat())],
            )
        }),
        ("AAC without its configuration", GoesOn, {
            publishing("m5", &[(AUDIO, 0, &[0xaf, 0]), (AUDIO, 20, &[0xaf, 1, 0x21, 0x10])])
        }),
        ("AAC of a sampling rate that does not exist", GoesOn, {
            publishing("m6", &[(AUDIO, 0, &[0xaf, 0, 0xff, 0xff]), (AUDIO, 20, &[0xaf, 1, 0x21, 0x10])])
        }),
        ("AAC frames longer than ADTS can say", GoesOn, {
            publishing("m7", &[(AUDIO, 0, aac), (AUDIO, 20, &[&[0xaf, 1][..], &[0x21; 20_000]].concat())])
        }),
        ("audio and video of no bytes and of one", GoesOn, {
            publishing(
                "m8",
                &[
                    (VIDEO, 0, &[]),
                    (AUDIO, 0, &[]),
                    (VIDEO, 0, &[0x17]),
                    (AUDIO, 0, &[0xaf]),
                    (VIDEO, 9, &[0x90]),
                ],
            )
        }),
        ("timestamps that wrap, jump and go back", GoesOn, {
            let start = publishing("m9", &[(VIDEO, 0, header), (AUDIO, 0, aac)]);
            start.repeat(40, |bytes, index| {
                bytes.message(
                    5,
                    VIDEO,
                    times[index % times.len()],
                    &[0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0x88],
                )
            })
        }),
        ("composition times that go far back", GoesOn, {
            publishing(
                "m10",
                &[(VIDEO, 0, header), (VIDEO, 40, &[0x17, 1, 0x80, 0, 0, 0, 0, 0, 2, 0x65, 0x88])],
            )
        }),
        ("aggregates inside of aggregates", GoesOn, publishing("m11", &[(AGGREGATE, 0, &nested)])),
        (
            "an aggregate shorter than it says",
            Closes,
            publishing("m12", &[(AGGREGATE, 0, &[9, 0xff, 0xff, 0xff, 0, 0, 0])]),
        ),
        (
            "metadata of garbage",
            GoesOn,
            publishing("m13", &[(DATA, 0, &[0xff; 300]), (DATA, 0, &[]), (15, 0, &[0])]),
        ),
        ("enhanced video of an unknown codec", GoesOn, {
            publishing("m14", &[(VIDEO, 0, &[0x90, b'x', b'x', b'x', b'x', 1, 2]), (VIDEO, 1, &[0x9f, 1])])
        }),
        ("a thousand sequence headers", GoesOn, {
            Bytes::publishing("m15").repeat(1000, |bytes, index| {
                let mut changed = header.to_vec();
                changed[7] = index as u8;
                bytes.message(5, VIDEO, index as u32, &changed)
            })
        }),
    ]
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

/// A ping that is not any other's.
const PING: [u8; 6] = [0, 6, 0xca, 0xfe, 0xba, 0xbe];

fn run(witness: &Witness, (what, then, Bytes(bytes)): &Case) {
    let mut stream = connect(witness.rtmp);
    let mut reader = stream.try_clone().unwrap();
    let answers = std::thread::spawn(move || {
        // Everything up to the close, or to the ping's answer.
        let mut got = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return (got, Closes),
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return (got, Closes),
                Err(error) => panic!("no answer and no close: {error}"),
            }
            if got.windows(6).any(|window| window == [0, 7, 0xca, 0xfe, 0xba, 0xbe]) {
                return (got, GoesOn);
            }
        }
    });
    // The server may close before everything is written.
    let _ = stream.write_all(bytes);
    let mut ping = Vec::new();
    chunk::write(&mut ping, 128, 2, 4, 0, 0, &PING);
    let _ = stream.write_all(&ping);
    let (_, did) = answers.join().unwrap_or_else(|_| panic!("{what}"));
    assert_eq!(did, *then, "{what}");
}

fn run_all(witness: Witness, cases: Vec<Case>) {
    for case in cases {
        run(&witness, &case);
    }
    witness.assert_unharmed();
}

#[test]
fn broken_handshakes() {
    run_all(Witness::start(""), handshakes());
}

#[test]
fn broken_chunks() {
    run_all(Witness::start(""), chunks());
}

#[test]
fn broken_commands() {
    run_all(Witness::start(""), commands());
}

#[test]
fn hostile_names() {
    let dvr =
        |ending: &str| format!("dvr {{ enabled on; dvr_path ./dvr/[app]/[stream].[timestamp].{ending}; }}");
    for vhost in [dvr("flv"), dvr("mp4")] {
        let witness = Witness::start(&vhost);
        let recorded = witness.dir.path().join("dvr/live");
        common::wait_until("the watched stream is recorded", || recorded.is_dir());
        run_all(witness, names());
    }
}

#[test]
fn broken_media() {
    run_all(Witness::start(""), media());
}

fn assert_closes(stream: &mut TcpStream, what: &str) {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{what}: the server does not close: {error}"),
    }
}

/// Who says half of C1 and goes, says nothing, or stops inside a message is forgotten.
#[test]
fn peers_that_stop_half_way() {
    let witness = Witness::start("publish { firstpkt_timeout 1000; normal_timeout 1000; }");
    let halves = [
        Bytes(handshake::client_hello(1, 2)[..700].to_vec()),
        Bytes::hello().header(3, COMMAND, 0, 300),
        Bytes::publishing("half").header(4, VIDEO, 0, 300).raw(&[0; 100]),
    ];
    for (index, Bytes(bytes)) in halves.iter().enumerate() {
        let mut stream = connect(witness.rtmp);
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_closes(&mut stream, &format!("half {index}"));
    }
    // A publisher that stays and is silent is closed after `publish`'s timeout.
    let mut stream = connect(witness.rtmp);
    stream.write_all(&Bytes::publishing("silent").0).unwrap();
    assert_closes(&mut stream, "a silent publisher");
    witness.assert_unharmed();
}

/// Players that take nothing hold no more than the stream's own ring.
#[test]
fn players_that_read_nothing() {
    let witness = Witness::start("");
    let bytes =
        Bytes::connected().command("createStream", &[]).command("play", &[Value::string("watched")]).0;
    let players: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = connect(witness.rtmp);
            stream.write_all(&bytes).unwrap();
            stream
        })
        .collect();
    common::wait_until("all play", || witness.clients() == 42);
    for _ in 0..5 {
        witness.sees_more();
    }
    drop(players);
    witness.assert_unharmed();
}
