//! What SRS 4 said on the wire as edge and forwarder, replayed: our client must send the same bytes to the recorded
//! server, and our server the same answers to the recorded client.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

use media_server::amf0::{self, Value};
use media_server::rtmp::chunk::Reader;
use media_server::rtmp::client::{Client, Event, Intent, Relay};
use media_server::rtmp::session::{self, Identity, Session};
use media_server::rtmp::{handshake, message_type};

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Who spoke, and what.
fn trace(name: &str) -> Vec<(bool, Vec<u8>)> {
    let path = format!("{}/tests/traces/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines.map(|(from, bytes)| (from == "client", unhex(bytes))).collect()
}

/// A message's kind, message stream and body.
type Message = (u8, u32, Vec<u8>);

/// The messages of one side.
fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut reader = Reader::new(1 << 20);
    let mut input = bytes;
    let mut found = Vec::new();
    while let Some(message) = reader.read(&mut input).unwrap() {
        if message.kind == message_type::SET_CHUNK_SIZE {
            reader.set_chunk_size(60_000).unwrap();
        }
        found.push((message.kind, message.stream_id, message.payload.into_owned()));
    }
    found
}

fn side(trace: &[(bool, Vec<u8>)], client: bool) -> Vec<u8> {
    trace.iter().filter(|(from, _)| *from == client).flat_map(|(_, bytes)| bytes.clone()).collect()
}

/// What the recorded client said of itself.
fn relay(trace: &[(bool, Vec<u8>)]) -> Relay {
    let commands: Vec<Vec<Value>> = messages(&side(trace, true))
        .into_iter()
        .filter(|(kind, ..)| *kind == message_type::COMMAND_AMF0)
        .map(|(_, _, body)| amf0::decode_prefix(&body))
        .collect();
    let connect = &commands[0];
    let text = |value: &Value, name: &str| value.get(name).unwrap().as_str().unwrap().to_owned();
    let identity = connect.get(3).map(|args| Identity {
        signature: text(args, "srs_server"),
        version: text(args, "srs_version"),
        server_ip: text(args, "srs_server_ip"),
        pid: format!("{}", args.get("srs_pid").unwrap().as_number().unwrap()).parse().unwrap(),
        id: text(args, "srs_id"),
        server_id: "vid-x".into(),
    });
    let opened = commands.iter().find(|command| matches!(command[0].as_str(), Some("play" | "publish")));
    Relay {
        app: text(&connect[2], "app"),
        tc_url: text(&connect[2], "tcUrl"),
        stream: opened.map(|command| command[3].as_str().unwrap().to_owned()).unwrap_or_default(),
        identity,
        ..Relay::default()
    }
}

/// Replays the server's side; gives our client's bytes behind the handshake, and what it understood.
fn replay(trace: &[(bool, Vec<u8>)], intent: Intent) -> (Vec<u8>, Vec<String>) {
    let mut out = Vec::new();
    let mut client = Client::relay(relay(trace), intent, 7, &mut out);
    let hello: &[u8; handshake::SIZE] = out[1..].try_into().unwrap();
    let answer = handshake::server_answer(hello, 1, 9);
    let mut seen = Vec::new();
    let mut read = |bytes: &[u8], out: &mut Vec<u8>| {
        let mut input = bytes;
        while let Some(event) = client.read(&mut input, out).unwrap() {
            seen.push(match event {
                Event::Connected(_) => "connected".to_owned(),
                Event::Started => "started".to_owned(),
                Event::Redirect(url) => url,
                Event::Reconnect(url) => url.unwrap_or_default(),
                Event::Media(kind, ..) => format!("{kind:?}"),
            });
        }
    };
    read(&answer, &mut out);
    for (_, bytes) in trace.iter().filter(|(client, _)| !client) {
        read(bytes, &mut out);
    }
    (out[1 + 2 * handshake::SIZE..].to_vec(), seen)
}

#[test]
fn our_client_says_what_srs_says() {
    for (name, intent, last) in [
        ("forward", Intent::Publish, "started"),
        ("edge-publish", Intent::Publish, "started"),
        ("edge-pull", Intent::Play, "started"),
        ("token-then-pull", Intent::Play, "started"),
        ("token-check", Intent::Connect, "connected"),
        ("edge-pull-answered-302", Intent::Play, "rtmp://127.0.0.1:12935/live/livestream"),
    ] {
        let trace = trace(name);
        let (ours, seen) = replay(&trace, intent);
        let theirs = side(&trace, true);
        // Media, which a publisher sends behind its commands, are not the client's own words.
        assert!(theirs.starts_with(&ours), "{name}:\n{:?}\n{:?}", messages(&ours), messages(&theirs));
        let rest = messages(&theirs).len() - messages(&ours).len();
        assert!(intent == Intent::Publish || rest == 0, "{name}: {rest} messages are missing");
        let understood = seen.iter().any(|event| event == last);
        assert!(understood, "{name}: {seen:?}");
    }
}

/// Replays the client's side; gives our server's messages and the events.
fn serve(trace: &[(bool, Vec<u8>)]) -> (Vec<Message>, Vec<String>) {
    let mut out = Vec::new();
    let mut session = Session::new(1, 1);
    let identity = Identity {
        signature: "SRS/4.0.271(Leo)".into(),
        version: "4.0.271".into(),
        server_ip: "127.0.0.1".into(),
        pid: 1,
        id: "x".into(),
        server_id: "vid-x".into(),
    };
    let mut events = Vec::new();
    let hello = handshake::client_hello(0, 5);
    let mut bytes = hello;
    bytes.extend_from_slice(&[0; handshake::SIZE]);
    bytes.extend_from_slice(&side(trace, true));
    let mut input = &bytes[..];
    while let Some(event) = session.read(&mut input, &mut out).unwrap() {
        events.push(match event {
            session::Event::Connect(_) => {
                session.accept_connect(&mut out, &identity);
                "connect".to_owned()
            }
            session::Event::Publish(target, kind) => {
                session.accept_publish(&mut out);
                format!("{} {}{}", kind.name(), target.stream, target.param)
            }
            session::Event::Play(target) => format!("play {}{}", target.stream, target.param),
            session::Event::Media(kind, ..) => format!("{kind:?}"),
            other => format!("{other:?}"),
        });
    }
    (messages(&out[1 + 2 * handshake::SIZE..]), events)
}

#[test]
fn our_redirect_is_srs_s() {
    let theirs = messages(&side(&trace("edge-pull-answered-302"), false)).pop().unwrap();
    let mut out = Vec::new();
    Session::new(1, 1).redirect(
        &mut out,
        "rtmp://127.0.0.1:12935/live",
        "rtmp://127.0.0.1:12935/live/livestream",
    );
    let mut reader = Reader::new(1 << 16);
    reader.set_chunk_size(60_000).unwrap();
    let ours = reader.read(&mut &out[..]).unwrap().unwrap();
    assert_eq!((ours.kind, ours.stream_id, ours.payload.into_owned()), theirs);
    assert_eq!(out[0] & 0x3f, 5, "on chunk stream 5");
}

#[test]
fn our_server_answers_srs_as_srs_does() {
    for (name, event) in [
        ("forward", "flash-publish fwd"),
        ("edge-publish", "flash-publish viaedge?k=v"),
        ("edge-pull", "play onzero"),
        ("token-then-pull", "play onzero?token=abc"),
        ("token-check", "connect"),
    ] {
        let trace = trace(name);
        let (ours, events) = serve(&trace);
        assert!(events.iter().any(|seen| seen == event), "{name}: {events:?}");
        let theirs = messages(&side(&trace, false));
        let media = [message_type::AUDIO, message_type::VIDEO];
        let control = |(kind, ..): &&Message| !media.contains(kind);
        for (ours, theirs) in ours.iter().zip(theirs.iter().filter(control)) {
            assert_eq!((ours.0, ours.1), (theirs.0, theirs.1), "{name}");
            let values = amf0::decode_prefix(&theirs.2);
            if values.first().and_then(Value::as_str) != Some("_result") {
                assert_eq!(ours.2, theirs.2, "{name}: {values:?}");
            }
        }
    }
}
