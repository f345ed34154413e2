//! The client's side of one RTMP connection: publishing (in ffmpeg's order) and playing.

use std::borrow::Cow;

use super::chunk::{self, Reader};
use super::url::Target;
use super::{Error, OUT_CHUNK_SIZE, STREAM_ID, WINDOW, handshake, message_type};
use crate::amf0::{self, Value};
use crate::flv::TagKind;

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To send a stream.
    Publish,
    /// To receive one.
    Play,
}

/// What the server said.
#[derive(Debug)]
pub enum Event<'a> {
    /// Publish or play was accepted; media may go out.
    Started,
    /// Media of the stream that is played.
    Media(TagKind, u32, Cow<'a, [u8]>),
}

#[derive(Debug)]
enum Stage {
    /// S0, S1, S2 are being collected.
    Hello(Vec<u8>),
    Chunks,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stage: Stage,
    reader: Reader,
    target: Target,
    intent: Intent,
    received: u64,
    acknowledged: u64,
    seed: u64,
}

const CONNECT: f64 = 1.0;
const CREATE: f64 = 4.0;

impl Client {
    /// A new connection; what must be sent first is appended to `out`.
    pub fn new(target: Target, intent: Intent, seed: u64, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&handshake::client_hello(0, seed));
        let reader = Reader::new(super::session::MAX_MEDIA);
        Client { stage: Stage::Hello(Vec::new()), reader, target, intent, received: 0, acknowledged: 0, seed }
    }

    /// The next event in `input`, which is moved behind what was read; what must be sent goes to `out`.
    pub fn read<'a>(&mut self, input: &mut &'a [u8], out: &mut Vec<u8>) -> Result<Option<Event<'a>>, Error> {
        if let Stage::Hello(bytes) = &mut self.stage {
            let want = 1 + 2 * handshake::SIZE;
            let take = (want - bytes.len()).min(input.len());
            bytes.extend_from_slice(&input[..take]);
            *input = &input[take..];
            if bytes.first().is_some_and(|version| *version != 3) {
                return Err(Error::Version(bytes[0]));
            }
            if bytes.len() < want {
                return Ok(None);
            }
            let mut s1 = [0; handshake::SIZE];
            s1.copy_from_slice(&bytes[1..=handshake::SIZE]);
            out.extend_from_slice(&handshake::client_answer(&s1, self.seed));
            self.stage = Stage::Chunks;
            self.connect(out);
        }
        loop {
            let before = input.len();
            let message = self.reader.read(input)?;
            self.received += (before - input.len()) as u64;
            if self.received - self.acknowledged >= u64::from(WINDOW) / 2 {
                self.acknowledged = self.received;
                chunk::control(out, message_type::ACK, &(self.received as u32).to_be_bytes());
            }
            let Some(message) = message else { return Ok(None) };
            let kind = match message.kind {
                message_type::AUDIO => TagKind::Audio,
                message_type::VIDEO => TagKind::Video,
                message_type::DATA_AMF0 => TagKind::Script,
                message_type::SET_CHUNK_SIZE => {
                    let raw = message.payload.get(..4).and_then(|b| b.try_into().ok());
                    self.reader.set_chunk_size(raw.map_or(-1, |raw| i64::from(i32::from_be_bytes(raw))))?;
                    continue;
                }
                message_type::USER_CONTROL => {
                    if let (Some([0, 6]), Some(time)) = (message.payload.get(..2), message.payload.get(2..6))
                    {
                        chunk::control(out, message_type::USER_CONTROL, &[&[0, 7], time].concat());
                    }
                    continue;
                }
                message_type::COMMAND_AMF0 => {
                    if self.command(&message.payload, out)? {
                        return Ok(Some(Event::Started));
                    }
                    continue;
                }
                _ => continue,
            };
            return Ok(Some(Event::Media(kind, message.timestamp, message.payload)));
        }
    }

    fn connect(&self, out: &mut Vec<u8>) {
        let field = |name: &str, value: &str| (name.to_owned(), Value::string(value));
        let mut app = self.target.app.clone();
        if self.target.vhost != self.target.host {
            app = format!("{app}?vhost={}", self.target.vhost);
        }
        let fields = Value::Object(vec![
            field("app", &app),
            field("flashVer", "LNX 9,0,124,2"),
            field("tcUrl", &self.target.tc_url()),
            ("fpad".to_owned(), Value::Bool(false)),
            ("capabilities".to_owned(), Value::Number(15.0)),
            ("audioCodecs".to_owned(), Value::Number(4071.0)),
            ("videoCodecs".to_owned(), Value::Number(252.0)),
            ("videoFunction".to_owned(), Value::Number(1.0)),
        ]);
        chunk::write(
            out,
            128,
            3,
            message_type::COMMAND_AMF0,
            0,
            0,
            &amf0::encode_all(&[Value::string("connect"), Value::Number(CONNECT), fields]),
        );
        chunk::control(out, message_type::SET_CHUNK_SIZE, &(OUT_CHUNK_SIZE as u32).to_be_bytes());
    }

    /// True when the stream has started.
    fn command(&self, body: &[u8], out: &mut Vec<u8>) -> Result<bool, Error> {
        let values = amf0::decode_prefix(body);
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let id = values.get(1).and_then(Value::as_number).unwrap_or_default();
        let stream = Value::string(format!("{}{}", self.target.stream, self.target.param));
        let call = |out: &mut Vec<u8>, name: &str, id: f64, rest: &[Value]| {
            let mut values = vec![Value::string(name), Value::Number(id), Value::Null];
            values.extend_from_slice(rest);
            chunk::command(out, &values);
        };
        match name {
            "_result" if id == CONNECT => {
                if self.intent == Intent::Publish {
                    call(out, "releaseStream", 2.0, std::slice::from_ref(&stream));
                    call(out, "FCPublish", 3.0, std::slice::from_ref(&stream));
                }
                call(out, "createStream", CREATE, &[]);
            }
            "_result" if id == CREATE => {
                let command = match self.intent {
                    Intent::Publish => [Value::string("publish"), Value::string("live")],
                    Intent::Play => [Value::string("play"), Value::Number(-2000.0)],
                };
                let [name, last] = command;
                let values = [name, Value::Number(5.0), Value::Null, stream, last];
                chunk::write(
                    out,
                    OUT_CHUNK_SIZE,
                    8,
                    message_type::COMMAND_AMF0,
                    STREAM_ID,
                    0,
                    &amf0::encode_all(&values),
                );
            }
            "_error" => return Err(Error::Refused(describe(&values))),
            "onStatus" => {
                let info = values.get(3);
                let text =
                    |field: &str| info.and_then(|i| i.get(field)).and_then(Value::as_str).unwrap_or_default();
                if text("level") == "error" {
                    return Err(Error::Refused(describe(&values)));
                }
                return Ok(matches!(text("code"), "NetStream.Publish.Start" | "NetStream.Play.Start"));
            }
            _ => {}
        }
        Ok(false)
    }

    /// Appends one message of the stream that is published; `timestamp` in milliseconds.
    pub fn send(&self, out: &mut Vec<u8>, kind: TagKind, timestamp: u32, payload: &[u8]) {
        let chunk_stream = match kind {
            TagKind::Video => 6,
            TagKind::Audio | TagKind::Script => 4,
        };
        chunk::write(out, OUT_CHUNK_SIZE, chunk_stream, kind as u8, STREAM_ID, timestamp, payload);
    }

    /// Appends the polite end of a published stream.
    pub fn unpublish(&self, out: &mut Vec<u8>) {
        let stream = Value::string(self.target.stream.clone());
        chunk::command(out, &[Value::string("FCUnpublish"), Value::Number(6.0), Value::Null, stream]);
        let id = Value::Number(f64::from(STREAM_ID));
        chunk::command(out, &[Value::string("deleteStream"), Value::Number(7.0), Value::Null, id]);
    }
}

fn describe(values: &[Value]) -> String {
    let info = values.iter().rev().find(|value| !value.fields().is_empty());
    let text = |field: &str| info.and_then(|i| i.get(field)).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}", text("code"), text("description")).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::session::{self, Identity, Session};

    /// Lets a client and a session talk until both are silent; gives what each saw.
    fn converse(intent: Intent) -> (Vec<String>, Vec<String>) {
        let target = Target::from_url("rtmp://127.0.0.1/live/s?token=1").unwrap();
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut client = Client::new(target, intent, 7, &mut to_server);
        let mut server = Session::new(9, 1);
        let identity = Identity {
            signature: "SRS/4.0.271(Leo)".into(),
            version: "4.0.271".into(),
            server_ip: "127.0.0.1".into(),
            pid: 1,
            id: "abc".into(),
        };
        let (mut saw_client, mut saw_server) = (Vec::new(), Vec::new());
        while !to_server.is_empty() || !to_client.is_empty() {
            let bytes = std::mem::take(&mut to_server);
            let mut input = &bytes[..];
            while let Some(event) = server.read(&mut input, &mut to_client).unwrap() {
                match event {
                    session::Event::Connect(_) => server.accept_connect(&mut to_client, &identity),
                    session::Event::Publish(target, kind) => {
                        saw_server.push(format!("{} {}{}", kind.name(), target.stream, target.param));
                        server.accept_publish(&mut to_client);
                    }
                    session::Event::Play(target) => {
                        saw_server.push(format!("play {}{}", target.stream, target.param));
                    }
                    session::Event::Media(kind, time, _) => saw_server.push(format!("{kind:?} {time}")),
                    other => saw_server.push(format!("{other:?}")),
                }
            }
            let bytes = std::mem::take(&mut to_client);
            let mut input = &bytes[..];
            while let Some(event) = client.read(&mut input, &mut to_server).unwrap() {
                match event {
                    Event::Started => {
                        saw_client.push("started".to_owned());
                        if intent == Intent::Publish {
                            client.send(&mut to_server, TagKind::Audio, 33, &[0xaf, 1]);
                            client.unpublish(&mut to_server);
                        }
                    }
                    Event::Media(kind, time, _) => saw_client.push(format!("{kind:?} {time}")),
                }
            }
        }
        (saw_client, saw_server)
    }

    #[test]
    fn a_client_publishes_to_a_session() {
        let (client, server) = converse(Intent::Publish);
        assert_eq!(client, ["started"]);
        assert_eq!(server, ["fmle-publish s?token=1", "Audio 33", "Unpublish"]);
    }

    #[test]
    fn a_client_plays_from_a_session() {
        let (client, server) = converse(Intent::Play);
        assert_eq!(client, ["started", "Script 0", "Script 0"]);
        assert_eq!(server, ["play s?token=1"]);
    }
}
