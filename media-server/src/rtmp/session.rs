//! The server's side of one RTMP connection.
//!
//! [`Session::read`] takes bytes and gives [`Event`]s; answers are appended to an output buffer. The decisions (may
//! this client publish?) are the caller's: it answers an event with [`Session::accept_publish`] and the like.

use std::borrow::Cow;

use super::aggregate::Aggregate;
use super::chunk::{self, Message, Reader};
use super::url::Target;
use super::{Error, OUT_CHUNK_SIZE, WINDOW, handshake, message_type};
use crate::flv::TagKind;

/// The longest message a client may send before it publishes.
pub const MAX_COMMAND: usize = 64 << 10;
/// The longest message a publisher may send.
pub const MAX_MEDIA: usize = 16 << 20;

/// How a client publishes, in the API's words of SRS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishKind {
    /// releaseStream, FCPublish, createStream, publish.
    Fmle,
    /// createStream, publish.
    Flash,
    /// createStream, FCPublish, publish.
    Haivision,
}

impl PublishKind {
    /// The API's word.
    pub fn name(self) -> &'static str {
        match self {
            PublishKind::Fmle => "fmle-publish",
            PublishKind::Flash => "flash-publish",
            PublishKind::Haivision => "haivision-publish",
        }
    }
}

/// How a client can be sent to another server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Follows {
    /// Not at all: ffmpeg, VLC and OBS fail.
    #[default]
    Nothing,
    /// By SRS's "RTMP 302": an SRS, which says so by its `srs_sig`.
    Redirect,
    /// By Enhanced RTMP's reconnect request, which its `capsEx` announces.
    Reconnect,
}

/// What connect said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connect {
    /// tcUrl.
    pub tc_url: String,
    /// pageUrl.
    pub page_url: String,
    /// swfUrl.
    pub swf_url: String,
    /// Host, vhost, app and parameters; the stream is still empty.
    pub target: Target,
    /// What it understands when the stream is elsewhere.
    pub follows: Follows,
    /// The client speaks Enhanced RTMP.
    pub enhanced: bool,
}

/// What a client did.
#[derive(Debug)]
pub enum Event<'a> {
    /// connect; answer with [`Session::accept_connect`].
    Connect(Box<Connect>),
    /// publish; answer with [`Session::accept_publish`] or [`Session::refuse_publish`].
    Publish(Target, PublishKind),
    /// play; answered already, as SRS does.
    Play(Target),
    /// Audio, video or metadata of the publisher.
    Media(TagKind, u32, Cow<'a, [u8]>),
    /// FCUnpublish or closeStream of a publisher.
    Unpublish,
    /// closeStream of a player.
    Stop,
    /// pause (true) or unpause of a player.
    Pause(bool),
}

#[derive(Debug)]
enum Stage {
    /// C0, C1 (with an optional proxy prefix) are being collected.
    Hello(Vec<u8>),
    /// So many bytes of C2 are still to come.
    Answer(usize),
    Chunks,
}

/// What the server says of itself in connect's answer, and in connect to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `SRS/4.0.271(Leo)`.
    pub signature: String,
    /// `4.0.271`.
    pub version: String,
    /// This connection's own address.
    pub server_ip: String,
    /// The process.
    pub pid: u32,
    /// The connection's id.
    pub id: String,
    /// The server, so that it knows itself when it is its own client.
    pub server_id: String,
}

/// What a vhost says of a connection's sizes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// `chunk_size`: that of everything the server sends.
    pub chunk: usize,
    /// `out_ack_size`: the window in which the client is to acknowledge; 0 asks for nothing.
    pub out_ack: u32,
    /// `in_ack_size`: the window in which the server acknowledges until the client asks for one; 0 is never.
    pub in_ack: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { chunk: OUT_CHUNK_SIZE, out_ack: WINDOW, in_ack: 0 }
    }
}

/// A connection.
#[expect(clippy::struct_excessive_bools, reason = "which commands came decides what the client is")]
#[derive(Debug)]
pub struct Session {
    stage: Stage,
    pub(super) reader: Reader,
    /// What is left of an aggregate message.
    aggregate: Option<Aggregate>,
    pub(super) connect: Option<Connect>,
    pub(super) connect_id: f64,
    pub(super) released: bool,
    pub(super) created: bool,
    pub(super) fc_after_create: bool,
    pub(super) publishing: bool,
    pub(super) playing: bool,
    pub(super) publish_id: f64,
    pub(super) sizes: Sizes,
    received: u64,
    acknowledged: u64,
    /// The real client's address, when a proxy named it before the handshake.
    pub proxied_ip: Option<std::net::Ipv4Addr>,
    seed: u64,
    time: u32,
}

impl Session {
    /// A new connection; `seed` fills the handshake's random fields, `time` is in seconds.
    pub fn new(seed: u64, time: u32) -> Self {
        Session {
            stage: Stage::Hello(Vec::new()),
            reader: Reader::new(MAX_COMMAND),
            aggregate: None,
            connect: None,
            connect_id: 1.0,
            released: false,
            created: false,
            fc_after_create: false,
            publishing: false,
            playing: false,
            publish_id: 0.0,
            sizes: Sizes::default(),
            received: 0,
            acknowledged: 0,
            proxied_ip: None,
            seed,
            time,
        }
    }

    /// The next event in `input`, which is moved behind what was read; answers go to `out`.
    pub fn read<'a>(&mut self, input: &mut &'a [u8], out: &mut Vec<u8>) -> Result<Option<Event<'a>>, Error> {
        while !matches!(self.stage, Stage::Chunks) {
            if input.is_empty() || !self.handshake(input, out)? {
                return Ok(None);
            }
        }
        loop {
            if let Some(aggregate) = &mut self.aggregate {
                if let Some((kind, timestamp, payload)) = aggregate.next()? {
                    return Ok(Some(Event::Media(kind, timestamp, Cow::Owned(payload))));
                }
                self.aggregate = None;
            }
            let before = input.len();
            let message = self.reader.read(input)?;
            self.received += (before - input.len()) as u64;
            self.acknowledge(out);
            let Some(message) = message else { return Ok(None) };
            if let Some(event) = self.message(message, out)? {
                return Ok(Some(event));
            }
        }
    }

    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        let window = u64::from(self.sizes.in_ack);
        if window > 0 && self.received - self.acknowledged >= window / 2 {
            self.acknowledged = self.received;
            chunk::control(out, message_type::ACK, &(self.received as u32).to_be_bytes());
        }
    }

    /// True when a step was made and there may be another.
    fn handshake(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, Error> {
        match &mut self.stage {
            Stage::Hello(bytes) => {
                let mut want = 1 + handshake::SIZE;
                let mut prefix = 0;
                let first = bytes.first().or(input.first()).copied().unwrap_or(3);
                if first == 0xf3 {
                    let at = |i: usize| bytes.get(i).or_else(|| input.get(i.checked_sub(bytes.len())?));
                    let (Some(high), Some(low)) = (at(1), at(2)) else {
                        bytes.extend_from_slice(input);
                        *input = &[];
                        return Ok(false);
                    };
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    if length > 1024 {
                        return Err(Error::ProxyPrefix(length));
                    }
                    prefix = 3 + length;
                    want += prefix;
                } else if first != 3 {
                    return Err(Error::Version(first));
                }
                let take = want.saturating_sub(bytes.len()).min(input.len());
                bytes.extend_from_slice(&input[..take]);
                *input = &input[take..];
                if bytes.len() < want {
                    return Ok(false);
                }
                if prefix >= 7 {
                    self.proxied_ip = Some([bytes[3], bytes[4], bytes[5], bytes[6]].into());
                }
                if bytes[prefix] != 3 {
                    return Err(Error::Version(bytes[prefix]));
                }
                let mut c1 = [0; handshake::SIZE];
                c1.copy_from_slice(&bytes[prefix + 1..]);
                out.extend_from_slice(&handshake::server_answer(&c1, self.time, self.seed));
                self.stage = Stage::Answer(handshake::SIZE);
            }
            Stage::Answer(left) => {
                let take = (*left).min(input.len());
                *input = &input[take..];
                *left -= take;
                if *left > 0 {
                    return Ok(false);
                }
                self.stage = Stage::Chunks;
            }
            Stage::Chunks => {}
        }
        Ok(true)
    }

    fn message<'a>(&mut self, message: Message<'a>, out: &mut Vec<u8>) -> Result<Option<Event<'a>>, Error> {
        let body = &message.payload;
        let number = || -> Option<u32> { Some(u32::from_be_bytes(body.get(..4)?.try_into().ok()?)) };
        match message.kind {
            message_type::SET_CHUNK_SIZE => {
                let size = number().map_or(-1, |raw| i64::from(raw as i32));
                self.reader.set_chunk_size(size)?;
            }
            message_type::ABORT => {
                if let Some(id) = number() {
                    self.reader.abort(id);
                }
            }
            message_type::WINDOW_ACK_SIZE => {
                if let Some(window) = number().filter(|window| *window >= 4096) {
                    self.sizes.in_ack = window;
                }
            }
            message_type::USER_CONTROL => {
                // PingRequest 6 is answered with PingResponse 7.
                if let (Some([0, 6]), Some(time)) = (body.get(..2), body.get(2..6)) {
                    chunk::control(out, message_type::USER_CONTROL, &[&[0, 7], time].concat());
                }
            }
            message_type::AUDIO if self.publishing => {
                return Ok(Some(Event::Media(TagKind::Audio, message.timestamp, message.payload)));
            }
            message_type::VIDEO if self.publishing => {
                return Ok(Some(Event::Media(TagKind::Video, message.timestamp, message.payload)));
            }
            message_type::DATA_AMF0 | message_type::DATA_AMF3 if self.publishing => {
                // AMF3 data messages put one zero byte before the same AMF0 values.
                let payload = match message.kind == message_type::DATA_AMF3 && body.first() == Some(&0) {
                    true => Cow::Owned(body[1..].to_vec()),
                    false => message.payload,
                };
                return Ok(Some(Event::Media(TagKind::Script, message.timestamp, payload)));
            }
            message_type::AGGREGATE if self.publishing => {
                self.aggregate = Some(Aggregate::new(message.timestamp, message.payload.into_owned()));
            }
            message_type::COMMAND_AMF0 => return self.command(body, out),
            message_type::COMMAND_AMF3 => return self.command(body.get(1..).unwrap_or_default(), out),
            _ => {}
        }
        Ok(None)
    }

    /// What the client's vhost says; before [`Session::accept_connect`].
    pub fn set_sizes(&mut self, sizes: Sizes) {
        // What the client has asked for goes first.
        let in_ack = if self.sizes.in_ack == 0 { sizes.in_ack } else { self.sizes.in_ack };
        self.sizes = Sizes { in_ack, ..sizes };
    }

    /// The client was told another chunk size by the caller, with media.
    pub fn told_chunk_size(&mut self, size: usize) {
        self.sizes.chunk = size;
    }

    /// What connect said; none before it.
    pub fn connected(&self) -> Option<&Connect> {
        self.connect.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amf0::{self, Value};
    use proptest::prelude::*;

    fn hello() -> Vec<u8> {
        let mut bytes = handshake::client_hello(1, 2);
        bytes.resize(1 + 2 * handshake::SIZE, 0);
        bytes
    }

    fn connect_command(tc_url: &str) -> Vec<Value> {
        let fields =
            vec![("app".to_owned(), Value::string("live")), ("tcUrl".to_owned(), Value::string(tc_url))];
        vec![Value::string("connect"), Value::Number(1.0), Value::Object(fields)]
    }

    fn call(out: &mut Vec<u8>, name: &str, id: f64, rest: &[Value]) {
        let mut values = vec![Value::string(name), Value::Number(id), Value::Null];
        values.extend_from_slice(rest);
        chunk::write(out, 128, 3, message_type::COMMAND_AMF0, 0, 0, &amf0::encode_all(&values));
    }

    /// Everything the session says to these bytes, as words; publish and connect are accepted.
    fn talk(bytes: &[u8]) -> Result<Vec<String>, Error> {
        let mut session = Session::new(1, 1);
        let mut input = bytes;
        let mut out = Vec::new();
        let mut words = Vec::new();
        while let Some(event) = session.read(&mut input, &mut out)? {
            match event {
                Event::Connect(connect) => words.push(format!("connect {}", connect.target.app)),
                Event::Publish(target, kind) => {
                    session.accept_publish(&mut out);
                    words.push(format!("{} {}", kind.name(), target.stream));
                }
                Event::Play(target) => words.push(format!("play {}", target.stream)),
                Event::Media(kind, time, payload) => {
                    words.push(format!("{kind:?} {time} {}", payload.len()));
                }
                Event::Unpublish => words.push("unpublish".into()),
                Event::Stop => words.push("stop".into()),
                Event::Pause(paused) => words.push(format!("pause {paused}")),
            }
        }
        Ok(words)
    }

    fn connected() -> Vec<u8> {
        let mut bytes = hello();
        let body = amf0::encode_all(&connect_command("rtmp://h/live"));
        chunk::write(&mut bytes, 128, 3, message_type::COMMAND_AMF0, 0, 0, &body);
        bytes
    }

    /// The fields of connect's answer to a client that says this of itself.
    fn answer_to(more: Vec<(String, Value)>) -> Vec<(String, Value)> {
        let mut command = connect_command("rtmp://h/live");
        if let Some(Value::Object(fields)) = command.last_mut() {
            fields.extend(more);
        }
        let mut bytes = hello();
        chunk::write(&mut bytes, 128, 3, message_type::COMMAND_AMF0, 0, 0, &amf0::encode_all(&command));
        let mut session = Session::new(1, 1);
        let (mut input, mut out) = (&bytes[..], Vec::new());
        assert!(matches!(session.read(&mut input, &mut out), Ok(Some(Event::Connect(_)))));
        out.clear();
        let identity = Identity {
            signature: "SRS/4.0.271(Leo)".into(),
            version: "4.0.271".into(),
            server_ip: "127.0.0.1".into(),
            pid: 1,
            id: "abc".into(),
            server_id: "vid-x".into(),
        };
        session.accept_connect(&mut out, &identity);
        let mut reader = Reader::new(1 << 20);
        reader.set_chunk_size(60_000).unwrap();
        let mut answers = &out[..];
        loop {
            let message = reader.read(&mut answers).unwrap().unwrap();
            if message.kind == message_type::COMMAND_AMF0 {
                return amf0::decode_all(&message.payload).unwrap()[2].fields().to_vec();
            }
        }
    }

    #[test]
    fn who_speaks_enhanced_rtmp_is_told_what_is_forwarded() {
        let names =
            |fields: &[(String, Value)]| fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&answer_to(Vec::new())), ["fmsVer", "capabilities", "mode"]);
        let list = Value::StrictArray(vec![Value::string("hvc1")]);
        let answer = answer_to(vec![("fourCcList".to_owned(), list)]);
        let more = ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"];
        assert_eq!(names(&answer)[3..], more);
        let Value::StrictArray(list) = &answer[3].1 else { panic!("{:?}", answer[3]) };
        assert!(list.contains(&Value::string("hvc1")) && list.contains(&Value::string("av01")));
        assert_eq!(answer[4].1.get("*"), Some(&Value::Number(4.0)));
        assert_eq!(answer[6].1, Value::Number(13.0));
        assert_eq!(names(&answer_to(vec![("capsEx".to_owned(), Value::Number(1.0))]))[3..], more);
    }

    #[test]
    fn each_order_of_publishing_is_known() {
        let name = Value::string("s");
        for (order, expected) in [
            (&["releaseStream", "FCPublish", "createStream", "publish"][..], "fmle-publish s"),
            (&["createStream", "publish"][..], "flash-publish s"),
            (&["createStream", "FCPublish", "publish"][..], "haivision-publish s"),
        ] {
            let mut bytes = connected();
            for (index, command) in order.iter().enumerate() {
                call(&mut bytes, command, 2.0 + index as f64, std::slice::from_ref(&name));
            }
            chunk::write(&mut bytes, 128, 4, message_type::AUDIO, 1, 5, &[1; 300]);
            call(&mut bytes, "FCUnpublish", 9.0, std::slice::from_ref(&name));
            assert_eq!(talk(&bytes).unwrap(), ["connect live", expected, "Audio 5 300", "unpublish"]);
        }
    }

    #[test]
    fn aggregates_are_taken_apart() {
        let mut bytes = connected();
        call(&mut bytes, "createStream", 2.0, &[]);
        let mut body = Vec::new();
        crate::flv::push_tag(&mut body, TagKind::Video, 7, &[0x17, 1]);
        crate::flv::push_tag(&mut body, TagKind::Audio, 30, &[0xaf, 1, 2]);
        let send = |bytes: &mut Vec<u8>, kind, body: &[u8]| chunk::write(bytes, 128, 4, kind, 1, 500, body);
        send(&mut bytes, message_type::AGGREGATE, &body);
        call(&mut bytes, "publish", 3.0, &[Value::string("s")]);
        send(&mut bytes, message_type::AGGREGATE, &body);
        send(&mut bytes, message_type::AUDIO, &[1]);
        let expected = ["connect live", "flash-publish s", "Video 500 2", "Audio 523 3", "Audio 500 1"];
        assert_eq!(talk(&bytes).unwrap(), expected);
        send(&mut bytes, message_type::AGGREGATE, &body[..20]);
        assert!(matches!(talk(&bytes), Err(Error::Aggregate(17))));
    }

    #[test]
    fn players_pause_and_stop() {
        let mut bytes = connected();
        call(&mut bytes, "createStream", 2.0, &[]);
        call(&mut bytes, "play", 0.0, &[Value::string("s?token=1")]);
        call(&mut bytes, "pause", 0.0, &[Value::Bool(true), Value::Number(1.0)]);
        call(&mut bytes, "pause", 0.0, &[Value::Bool(false), Value::Number(1.0)]);
        call(&mut bytes, "closeStream", 0.0, &[]);
        assert_eq!(talk(&bytes).unwrap(), ["connect live", "play s", "pause true", "pause false", "stop"]);
    }

    #[test]
    fn clients_that_can_follow_a_stream_say_so() {
        let number = |name: &str, value: f64| (name.to_owned(), Value::Number(value));
        let srs = Value::Object(vec![("srs_sig".to_owned(), Value::string("SRS"))]);
        for (fields, args, expected) in [
            (vec![], None, Follows::Nothing),
            (vec![], Some(Value::Object(Vec::new())), Follows::Nothing),
            (vec![], Some(srs.clone()), Follows::Redirect),
            (vec![number("capsEx", 1.0)], None, Follows::Reconnect),
            (vec![number("capsEx", 6.0)], None, Follows::Nothing),
            (vec![number("capsEx", f64::NAN)], None, Follows::Nothing),
            (vec![number("capsEx", 1.0)], Some(srs), Follows::Redirect),
        ] {
            let mut command = connect_command("rtmp://h/live");
            if let Some(Value::Object(own)) = command.last_mut() {
                own.extend(fields.clone());
            }
            command.extend(args);
            let mut bytes = hello();
            chunk::write(&mut bytes, 128, 3, message_type::COMMAND_AMF0, 0, 0, &amf0::encode_all(&command));
            let mut session = Session::new(1, 1);
            session.read(&mut &bytes[..], &mut Vec::new()).unwrap();
            assert_eq!(session.connected().unwrap().follows, expected, "{fields:?}");
        }
    }

    #[test]
    fn a_proxy_names_the_client() {
        let mut bytes = vec![0xf3, 0, 4, 10, 1, 2, 3];
        bytes.extend_from_slice(&hello());
        for split in [1, 2, 3, 5, 7, 8, 1000] {
            let mut session = Session::new(1, 1);
            let mut out = Vec::new();
            let (mut first, mut second) = bytes.split_at(split);
            assert!(session.read(&mut first, &mut out).unwrap().is_none());
            assert!(session.read(&mut second, &mut out).unwrap().is_none());
            assert_eq!(session.proxied_ip, Some([10, 1, 2, 3].into()), "split at {split}");
            assert_eq!(out.len(), 1 + 2 * handshake::SIZE);
        }
        assert!(matches!(talk(&[0xf3, 0xff, 0xff, 0]), Err(Error::ProxyPrefix(0xffff))));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(matches!(talk(b"GET / HTTP/1.1"), Err(Error::Version(b'G'))));
        let mut early = hello();
        call(&mut early, "createStream", 2.0, &[]);
        assert!(matches!(talk(&early), Err(Error::Order(..))));
        let mut twice = connected();
        let body = amf0::encode_all(&connect_command("rtmp://h/live"));
        chunk::write(&mut twice, 128, 3, message_type::COMMAND_AMF0, 0, 0, &body);
        assert!(matches!(talk(&twice), Err(Error::Order(..))));
        let mut nameless = connected();
        call(&mut nameless, "publish", 2.0, &[Value::string("")]);
        assert!(matches!(talk(&nameless), Err(Error::StreamName)));
        let mut plain = hello();
        let body = amf0::encode_all(&[Value::string("connect"), Value::Number(f64::NAN), Value::Number(1.0)]);
        chunk::write(&mut plain, 128, 3, message_type::COMMAND_AMF0, 0, 0, &body);
        assert!(matches!(talk(&plain), Err(Error::Connect(_))));
        let mut empty_size = hello();
        chunk::write(&mut empty_size, 128, 2, message_type::SET_CHUNK_SIZE, 0, 0, &[1]);
        assert!(matches!(talk(&empty_size), Err(Error::Chunk(chunk::Error::ChunkSize(-1)))));
    }

    #[test]
    fn pings_are_answered_and_bytes_acknowledged() {
        let mut bytes = connected();
        chunk::write(&mut bytes, 128, 2, message_type::USER_CONTROL, 0, 0, &[0, 6, 1, 2, 3, 4]);
        chunk::write(&mut bytes, 128, 2, message_type::WINDOW_ACK_SIZE, 0, 0, &4096u32.to_be_bytes());
        call(&mut bytes, "createStream", 2.0, &[]);
        call(&mut bytes, "publish", 3.0, &[Value::string("s")]);
        chunk::write(&mut bytes, 128, 4, message_type::AUDIO, 1, 5, &[1; 3000]);
        let mut session = Session::new(1, 1);
        let mut out = Vec::new();
        let mut input = &bytes[..];
        while let Some(event) = session.read(&mut input, &mut out).unwrap() {
            if let Event::Publish(..) = event {
                session.accept_publish(&mut out);
            }
        }
        let mut reader = Reader::new(1 << 20);
        reader.set_chunk_size(60_000).unwrap();
        let mut answers = &out[1 + 2 * handshake::SIZE..];
        let mut kinds = Vec::new();
        while let Some(message) = reader.read(&mut answers).unwrap() {
            kinds.push((message.kind, message.payload.into_owned()));
        }
        assert!(kinds.contains(&(message_type::USER_CONTROL, vec![0, 7, 1, 2, 3, 4])));
        assert!(kinds.iter().any(|(kind, _)| *kind == message_type::ACK));
    }

    #[test]
    fn a_vhost_s_sizes_are_told_and_kept() {
        let mut bytes = connected();
        call(&mut bytes, "createStream", 2.0, &[]);
        call(&mut bytes, "publish", 3.0, &[Value::string("s")]);
        chunk::write(&mut bytes, 128, 4, message_type::AUDIO, 1, 5, &[1; 6000]);
        for (sizes, acknowledged) in [
            (Sizes { chunk: 128, out_ack: 0, in_ack: 10_000 }, true),
            (Sizes { chunk: 4096, out_ack: 70_000, in_ack: 0 }, false),
            (Sizes::default(), false),
        ] {
            let mut session = Session::new(1, 1);
            let (mut input, mut out) = (&bytes[..], Vec::new());
            let identity = Identity {
                signature: "SRS/4.0.271(Leo)".into(),
                version: "4.0.271".into(),
                server_ip: "127.0.0.1".into(),
                pid: 1,
                id: "abc".into(),
                server_id: "vid-x".into(),
            };
            while let Some(event) = session.read(&mut input, &mut out).unwrap() {
                match event {
                    Event::Connect(_) => {
                        session.set_sizes(sizes);
                        session.accept_connect(&mut out, &identity);
                    }
                    Event::Publish(..) => session.accept_publish(&mut out),
                    _ => {}
                }
            }
            let mut reader = Reader::new(1 << 20);
            let mut answers = &out[1 + 2 * handshake::SIZE..];
            let mut told = Vec::new();
            let mut commands = 0;
            while let Some(message) = reader.read(&mut answers).unwrap() {
                let number = || u32::from_be_bytes(message.payload[..4].try_into().unwrap());
                match message.kind {
                    message_type::SET_CHUNK_SIZE => {
                        assert_eq!(number() as usize, sizes.chunk);
                        reader.set_chunk_size(i64::from(number())).unwrap();
                    }
                    message_type::COMMAND_AMF0 => {
                        amf0::decode_all(&message.payload).unwrap();
                        commands += 1;
                    }
                    message_type::SET_PEER_BANDWIDTH => {}
                    kind => told.push((kind, number())),
                }
            }
            assert!(answers.is_empty() && commands == 4, "{sizes:?}: {commands} commands");
            let mut expected = Vec::new();
            if sizes.out_ack > 0 {
                expected.push((message_type::WINDOW_ACK_SIZE, sizes.out_ack));
            }
            assert_eq!(told.iter().any(|(kind, _)| *kind == message_type::ACK), acknowledged, "{sizes:?}");
            told.retain(|(kind, _)| *kind != message_type::ACK);
            assert_eq!(told, expected);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..600), connect: bool) {
            let mut bytes = if connect { connected() } else { hello() };
            bytes.extend_from_slice(&tail);
            let _ = talk(&bytes);
            let _ = talk(&tail);
        }

        #[test]
        fn arbitrary_commands_never_panic(body in prop::collection::vec(any::<u8>(), 1..300)) {
            let mut bytes = connected();
            chunk::write(&mut bytes, 128, 3, message_type::COMMAND_AMF0, 0, 0, &body);
            let _ = talk(&bytes);
        }
    }
}
