//! rml_rtmp, written by others from the same specification, agrees with our RTMP in both directions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use common::{TestServer, media};
use media_server::amf0::{self, Value};
use media_server::flv::{self, TagKind};
use media_server::rtmp::client::{Client, Event, Intent};
use media_server::rtmp::url::Target;
use media_server::rtmp::{chunk, handshake};
use media_server::server::Service;
use proptest::prelude::*;
use rml_rtmp::chunk_io::{ChunkDeserializer, ChunkSerializer};
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::rml_amf0::{self, Amf0Value};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType,
    ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult, StreamMetadata,
};
use rml_rtmp::time::RtmpTimestamp;

/// What a handshake says: bytes to send, and what came behind it when it is complete.
fn shaken(result: HandshakeProcessResult) -> (Vec<u8>, Option<Vec<u8>>) {
    match result {
        HandshakeProcessResult::InProgress { response_bytes } => (response_bytes, None),
        HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
            (response_bytes, Some(remaining_bytes))
        }
    }
}

#[test]
fn its_client_takes_our_handshake() {
    for seed in 1..50 {
        let mut client = Handshake::new(PeerType::Client);
        let hello = client.generate_outbound_p0_and_p1().unwrap();
        let c1: &[u8; handshake::SIZE] = hello[1..].try_into().unwrap();
        let (answer, rest) = shaken(client.process_bytes(&handshake::server_answer(c1, 1, seed)).unwrap());
        assert_eq!((answer.len(), rest), (handshake::SIZE, Some(vec![])), "seed {seed}");
    }
}

#[test]
fn its_server_takes_our_handshake() {
    for seed in 1..50 {
        let mut server = Handshake::new(PeerType::Server);
        let (answer, done) = shaken(server.process_bytes(&handshake::client_hello(0, seed)).unwrap());
        assert_eq!((answer.len(), done), (1 + 2 * handshake::SIZE, None), "seed {seed}");
        let s1: &[u8; handshake::SIZE] = answer[1..=handshake::SIZE].try_into().unwrap();
        let (_, rest) = shaken(server.process_bytes(&handshake::client_answer(s1, seed)).unwrap());
        assert_eq!(rest, Some(vec![]), "seed {seed}");
    }
}

/// Kind, timestamp and body of messages, with rising timestamps as streams have them.
fn messages() -> impl Strategy<Value = Vec<(u8, u32, Vec<u8>)>> {
    let body = prop::collection::vec(any::<u8>(), 1..700);
    let message = (prop_oneof![Just(8u8), Just(9), Just(18)], 0u32..70_000, body);
    (0u32..0x0200_0000, prop::collection::vec(message, 1..20)).prop_map(|(start, messages)| {
        let mut time = start;
        let rising = messages.into_iter().map(|(kind, step, body)| {
            time += step;
            (kind, time, body)
        });
        rising.collect()
    })
}

fn amf0_values() -> impl Strategy<Value = Vec<Value>> {
    let leaf = prop_oneof![
        any::<f64>().prop_filter("NaN is not equal to itself", |n| !n.is_nan()).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Bool),
        "[a-zA-Zé漢]{0,40}".prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
    ];
    let value = leaf.prop_recursive(3, 30, 5, |inner| {
        // Its objects are maps: names stand once.
        let fields = prop::collection::btree_map("[a-z]{1,8}", inner.clone(), 0..5);
        prop_oneof![
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            prop::collection::vec(inner, 0..5).prop_map(Value::StrictArray),
        ]
    });
    prop::collection::vec(value, 0..5)
}

fn to_its(value: &Value) -> Amf0Value {
    match value {
        Value::Number(number) => Amf0Value::Number(*number),
        Value::Bool(bool) => Amf0Value::Boolean(*bool),
        Value::String(text) => Amf0Value::Utf8String(text.clone()),
        Value::Object(fields) | Value::EcmaArray(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), to_its(value)));
            Amf0Value::Object(fields.collect::<HashMap<_, _>>())
        }
        Value::StrictArray(items) => Amf0Value::StrictArray(items.iter().map(to_its).collect()),
        Value::Null => Amf0Value::Null,
        _ => Amf0Value::Undefined,
    }
}

proptest! {
    #[test]
    fn it_reads_the_chunks_that_we_write(messages in messages()) {
        let mut bytes = Vec::new();
        for (kind, time, body) in &messages {
            // The ring's chunk streams; a full header each time.
            chunk::write(&mut bytes, 128, kind % 7 + 3, *kind, 1, *time, body);
        }
        let mut reader = ChunkDeserializer::new();
        let mut read = Vec::new();
        let mut input = &bytes[..];
        while let Some(message) = reader.get_next_message(input).unwrap() {
            input = &[];
            read.push((message.type_id, message.timestamp.value, message.data.to_vec()));
        }
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn we_read_the_chunks_that_it_writes(messages in messages(), plain: bool, size in 128u32..5000) {
        let mut writer = ChunkSerializer::new();
        let announced = writer.set_max_chunk_size(size, RtmpTimestamp::new(0)).unwrap();
        let mut bytes = announced.bytes;
        for (kind, time, body) in &messages {
            let message = MessagePayload {
                timestamp: RtmpTimestamp::new(*time),
                type_id: *kind,
                message_stream_id: 1,
                data: Bytes::from(body.clone()),
            };
            // Without compression it writes full headers inside of messages, which nobody should.
            let plain = plain && body.len() <= size as usize;
            bytes.extend(writer.serialize(&message, plain, false).unwrap().bytes);
        }
        let mut reader = chunk::Reader::new(1 << 20);
        let mut read = Vec::new();
        let mut input = &bytes[..];
        while let Some(message) = reader.read(&mut input).unwrap() {
            match message.kind {
                1 => reader.set_chunk_size(i64::from(size)).unwrap(),
                kind => read.push((kind, message.timestamp, message.payload.into_owned())),
            }
        }
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn amf0_is_the_same_to_both(values in amf0_values()) {
        let its: Vec<Amf0Value> = values.iter().map(to_its).collect();
        let ours = amf0::encode_all(&values);
        prop_assert_eq!(&rml_amf0::deserialize(&mut &ours[..]).unwrap(), &its);
        let read = amf0::decode_all(&rml_amf0::serialize(&its).unwrap()).unwrap();
        prop_assert_eq!(read.iter().map(to_its).collect::<Vec<_>>(), its);
    }
}

/// Audio and video as a player got them.
type Received = Vec<(TagKind, u32, Vec<u8>)>;

/// rml_rtmp's client on a socket.
struct Theirs {
    stream: TcpStream,
    session: ClientSession,
    received: Received,
    metadata: Option<StreamMetadata>,
}

impl Theirs {
    fn connect(server: &TestServer) -> Self {
        let address = server.address(Service::Rtmp);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut shake = Handshake::new(PeerType::Client);
        stream.write_all(&shake.generate_outbound_p0_and_p1().unwrap()).unwrap();
        let mut buffer = [0; 4096];
        let rest = loop {
            let count = stream.read(&mut buffer).unwrap();
            let (answer, rest) = shaken(shake.process_bytes(&buffer[..count]).unwrap());
            stream.write_all(&answer).unwrap();
            if let Some(rest) = rest {
                break rest;
            }
        };
        let mut config = ClientSessionConfig::new();
        config.tc_url = Some(format!("rtmp://{address}/live"));
        let (session, first) = ClientSession::new(config).unwrap();
        let mut client = Theirs { stream, session, received: Vec::new(), metadata: None };
        client.handle(first);
        let results = client.session.handle_input(&rest).unwrap();
        client.handle(results);
        let request = client.session.request_connection("live".into()).unwrap();
        client.handle(vec![request]);
        client.wait(|event| *event == ClientSessionEvent::ConnectionRequestAccepted);
        client
    }

    fn handle(&mut self, results: Vec<ClientSessionResult>) -> Vec<ClientSessionEvent> {
        let mut events = Vec::new();
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    self.stream.write_all(&packet.bytes).unwrap();
                }
                ClientSessionResult::RaisedEvent(event) => {
                    match &event {
                        ClientSessionEvent::AudioDataReceived { timestamp, data } => {
                            self.received.push((TagKind::Audio, timestamp.value, data.to_vec()));
                        }
                        ClientSessionEvent::VideoDataReceived { timestamp, data } => {
                            self.received.push((TagKind::Video, timestamp.value, data.to_vec()));
                        }
                        ClientSessionEvent::StreamMetadataReceived { metadata } => {
                            self.metadata = Some(metadata.clone());
                        }
                        _ => {}
                    }
                    events.push(event);
                }
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        events
    }

    /// Reads once.
    fn read(&mut self) -> Vec<ClientSessionEvent> {
        let mut buffer = [0; 16 << 10];
        let count = self.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed");
        let results = self.session.handle_input(&buffer[..count]).unwrap();
        self.handle(results)
    }

    fn wait(&mut self, wanted: impl Fn(&ClientSessionEvent) -> bool) {
        while !self.read().iter().any(&wanted) {}
    }
}

/// Its client publishes a file, its other client plays it from our server: nothing is lost or changed.
#[test]
fn its_clients_publish_and_play_through_our_server() {
    let server = TestServer::start("", "");
    let file = std::fs::read(media()).unwrap();
    let tags = flv::tags(&file).unwrap();
    let sent: Vec<_> = tags.iter().filter(|tag| tag.kind != TagKind::Script).take(200).collect();

    let mut player = Theirs::connect(&server);
    let request = player.session.request_playback("rml".into()).unwrap();
    player.handle(vec![request]);
    player.wait(|event| *event == ClientSessionEvent::PlaybackRequestAccepted);

    let mut publisher = Theirs::connect(&server);
    let request = publisher.session.request_publishing("rml".into(), PublishRequestType::Live).unwrap();
    publisher.handle(vec![request]);
    publisher.wait(|event| *event == ClientSessionEvent::PublishRequestAccepted);
    let mut metadata = StreamMetadata::new();
    (metadata.video_width, metadata.video_height) = (Some(640), Some(360));
    let result = publisher.session.publish_metadata(&metadata).unwrap();
    publisher.handle(vec![result]);
    for (index, tag) in sent.iter().enumerate() {
        let (data, time) = (Bytes::copy_from_slice(tag.payload), RtmpTimestamp::new(tag.timestamp));
        let result = match tag.kind {
            TagKind::Audio => publisher.session.publish_audio_data(data, time, false).unwrap(),
            _ => publisher.session.publish_video_data(data, time, false).unwrap(),
        };
        publisher.handle(vec![result]);
        // A player that waits starts at the newest keyframe when it is told: here at the first.
        while index == 10 && player.received.is_empty() {
            player.read();
        }
    }
    // Sequence headers come first, whatever stood between them; what was before the first keyframe may be left out.
    let is_frame = |kind, payload: &[u8]| flv::role(kind, payload) != flv::Role::SequenceHeader;
    let frames = sent.iter().filter(|tag| is_frame(tag.kind, tag.payload));
    let wanted: Received = frames.map(|tag| (tag.kind, tag.timestamp, tag.payload.to_vec())).collect();
    let last = wanted.last().unwrap().2.clone();
    while player.received.last().is_none_or(|(_, _, payload)| *payload != last) {
        player.read();
    }
    let mut got = player.received;
    got.retain(|(kind, _, payload)| is_frame(*kind, payload));
    let keyframe = |(kind, _, payload): &(TagKind, u32, Vec<u8>)| {
        *kind == TagKind::Video && flv::role(*kind, payload) == flv::Role::Keyframe
    };
    assert!(got.iter().position(keyframe).is_some_and(|at| at <= wanted.iter().position(keyframe).unwrap()));
    let wanted = &wanted[wanted.len() - got.len()..];
    let relative = |frames: &[(TagKind, u32, Vec<u8>)]| -> Received {
        let first = frames[0].1;
        frames.iter().map(|(kind, time, payload)| (*kind, time - first, payload.clone())).collect()
    };
    assert!(relative(&got) == relative(wanted), "frames were lost, changed or moved");
    let metadata = player.metadata.unwrap();
    assert_eq!((metadata.video_width, metadata.video_height), (Some(640), Some(360)));
}

/// Lets our client and its server talk until both are silent; gives what each saw.
fn converse(intent: Intent) -> (Vec<String>, Vec<String>) {
    let target = Target::from_url("rtmp://127.0.0.1/live/s").unwrap();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut client = Client::new(target, intent, 7, &mut to_server);
    let mut shake = Some(Handshake::new(PeerType::Server));
    let (mut server, first) = ServerSession::new(ServerSessionConfig::new()).unwrap();
    let mut waiting = Some(first);
    let (mut saw_client, mut saw_server) = (Vec::new(), Vec::new());
    while !to_server.is_empty() || !to_client.is_empty() {
        let mut bytes = std::mem::take(&mut to_server);
        if let Some(handshake) = &mut shake {
            let (answer, rest) = shaken(handshake.process_bytes(&bytes).unwrap());
            to_client.extend(answer);
            bytes = rest.clone().unwrap_or_default();
            if rest.is_some() {
                shake = None;
            }
        }
        let mut results = if shake.is_none() { waiting.take().unwrap_or_default() } else { Vec::new() };
        results.extend(server.handle_input(&bytes).unwrap());
        while !results.is_empty() {
            for result in std::mem::take(&mut results) {
                match result {
                    ServerSessionResult::OutboundResponse(packet) => to_client.extend(packet.bytes),
                    ServerSessionResult::RaisedEvent(event) => match event {
                        ServerSessionEvent::ConnectionRequested { request_id, app_name } => {
                            saw_server.push(format!("connect {app_name}"));
                            results.extend(server.accept_request(request_id).unwrap());
                        }
                        ServerSessionEvent::PublishStreamRequested { request_id, stream_key, .. } => {
                            saw_server.push(format!("publish {stream_key}"));
                            results.extend(server.accept_request(request_id).unwrap());
                        }
                        ServerSessionEvent::PlayStreamRequested {
                            request_id, stream_key, stream_id, ..
                        } => {
                            saw_server.push(format!("play {stream_key}"));
                            results.extend(server.accept_request(request_id).unwrap());
                            let (data, time) =
                                (Bytes::from_static(&[0x17, 1, 0, 0, 0, 9]), RtmpTimestamp::new(40));
                            let packet = server.send_video_data(stream_id, data, time, false).unwrap();
                            results.push(ServerSessionResult::OutboundResponse(packet));
                        }
                        ServerSessionEvent::AudioDataReceived { timestamp, data, .. } => {
                            saw_server.push(format!("audio {} {}", timestamp.value, data.len()));
                        }
                        ServerSessionEvent::PublishStreamFinished { .. } => {
                            saw_server.push("finished".into());
                        }
                        _ => {}
                    },
                    ServerSessionResult::UnhandleableMessageReceived(_) => {}
                }
            }
        }
        let bytes = std::mem::take(&mut to_client);
        let mut input = &bytes[..];
        while let Some(event) = client.read(&mut input, &mut to_server).unwrap() {
            match event {
                Event::Started => {
                    saw_client.push("started".to_owned());
                    if intent == Intent::Publish {
                        client.send(&mut to_server, TagKind::Audio, 33, &vec![0xaf; 100_000]);
                        client.unpublish(&mut to_server);
                    }
                }
                Event::Media(kind, time, payload) => {
                    saw_client.push(format!("{kind:?} {time} {}", payload.len()));
                }
                _ => {}
            }
        }
    }
    (saw_client, saw_server)
}

#[test]
fn our_client_publishes_to_its_server() {
    let (client, server) = converse(Intent::Publish);
    assert_eq!(client, ["started"]);
    assert_eq!(server, ["connect live", "publish s", "audio 33 100000", "finished"]);
}

#[test]
fn our_client_plays_from_its_server() {
    let (client, server) = converse(Intent::Play);
    assert_eq!(server, ["connect live", "play s"]);
    assert!(client.contains(&"started".to_owned()), "{client:?}");
    assert!(client.contains(&"Video 40 6".to_owned()), "{client:?}");
}
