//! The client's side of one RTMP connection: publishing and playing, in ffmpeg's words for encoders and players
//! ([`Client::new`]), in SRS's for servers that relay to or from another ([`Client::relay`]).

use std::borrow::Cow;

use super::aggregate::Aggregate;
use super::chunk::{self, Reader};
use super::farewell::{CAPS_RECONNECT, RECONNECT_REQUEST};
use super::session::Identity;
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
    /// To know whether the server accepts connect.
    Connect,
}

/// What a relay says in its commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relay {
    /// app of connect.
    pub app: String,
    /// tcUrl of connect.
    pub tc_url: String,
    /// swfUrl of connect.
    pub swf_url: String,
    /// pageUrl of connect.
    pub page_url: String,
    /// The stream with its parameters.
    pub stream: String,
    /// Who this server is, behind connect's object; none where `debug_srs_upnode` is off.
    pub identity: Option<Identity>,
}

/// What the server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// connect was accepted by the server of that id, where it tells one.
    Connected(Option<String>),
    /// Publish or play was accepted; media may go out.
    Started,
    /// The stream is at that URL: SRS's "RTMP 302".
    Redirect(String),
    /// The server is about to go and asks to connect again, perhaps to another URL; media go on until then.
    Reconnect(Option<String>),
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
    /// What is left of an aggregate message.
    aggregate: Option<Aggregate>,
    words: Words,
    intent: Intent,
    /// The size of the chunks that this side sends.
    chunk_size: usize,
    received: u64,
    acknowledged: u64,
    seed: u64,
}

#[derive(Debug)]
enum Words {
    /// ffmpeg's.
    Encoder(Target),
    /// SRS's.
    Relay(Box<Relay>),
}

const CONNECT: f64 = 1.0;
/// createStream's number: ffmpeg sends two calls before it.
const CREATE: f64 = 4.0;
/// createStream's number of SRS.
const RELAY_CREATE: f64 = 2.0;
/// How much a relay asks to be buffered, in milliseconds.
const BUFFER: u32 = 1000;

impl Client {
    /// A new connection; what must be sent first is appended to `out`.
    pub fn new(target: Target, intent: Intent, seed: u64, out: &mut Vec<u8>) -> Self {
        Client::with(Words::Encoder(target), intent, seed, out)
    }

    /// A new connection from one server to another.
    pub fn relay(relay: Relay, intent: Intent, seed: u64, out: &mut Vec<u8>) -> Self {
        Client::with(Words::Relay(Box::new(relay)), intent, seed, out)
    }

    fn with(words: Words, intent: Intent, seed: u64, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&handshake::client_hello(0, seed));
        let reader = Reader::new(super::session::MAX_MEDIA);
        Client {
            stage: Stage::Hello(Vec::new()),
            reader,
            aggregate: None,
            words,
            intent,
            chunk_size: OUT_CHUNK_SIZE,
            received: 0,
            acknowledged: 0,
            seed,
        }
    }

    /// Sends in chunks of another size: at the start, or when the caller has told the server so.
    pub fn set_chunk_size(&mut self, size: usize) {
        self.chunk_size = size;
    }

    /// The size of the chunks that this side sends.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size
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
            if let Some(aggregate) = &mut self.aggregate {
                if let Some((kind, timestamp, payload)) = aggregate.next()? {
                    return Ok(Some(Event::Media(kind, timestamp, Cow::Owned(payload))));
                }
                self.aggregate = None;
            }
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
                message_type::AGGREGATE => {
                    self.aggregate = Some(Aggregate::new(message.timestamp, message.payload.into_owned()));
                    continue;
                }
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
                    if let Some(event) = self.command(&message.payload, out)? {
                        return Ok(Some(event));
                    }
                    continue;
                }
                _ => continue,
            };
            return Ok(Some(Event::Media(kind, message.timestamp, message.payload)));
        }
    }

    fn connect(&self, out: &mut Vec<u8>) {
        let target = match &self.words {
            Words::Relay(relay) => return relay.connect(out),
            Words::Encoder(target) => target,
        };
        let field = |name: &str, value: &str| (name.to_owned(), Value::string(value));
        let mut app = target.app.clone();
        if target.vhost != target.host {
            app = format!("{app}?vhost={}", target.vhost);
        }
        let fields = Value::Object(vec![
            field("app", &app),
            field("flashVer", "LNX 9,0,124,2"),
            field("tcUrl", &target.tc_url()),
            ("fpad".to_owned(), Value::Bool(false)),
            ("capabilities".to_owned(), Value::Number(15.0)),
            ("audioCodecs".to_owned(), Value::Number(4071.0)),
            ("videoCodecs".to_owned(), Value::Number(252.0)),
            ("videoFunction".to_owned(), Value::Number(1.0)),
            ("capsEx".to_owned(), Value::Number(f64::from(CAPS_RECONNECT))),
        ]);
        command(out, 128, 3, 0, &[Value::string("connect"), Value::Number(CONNECT), fields]);
        chunk::set_size(out, self.chunk_size);
    }

    fn command(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Option<Event<'static>>, Error> {
        let values = amf0::decode_prefix(body);
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let id = values.get(1).and_then(Value::as_number).unwrap_or_default();
        match name {
            "_result" if id == CONNECT => {
                if self.intent != Intent::Connect {
                    self.create(out);
                }
                let data = values.get(3).and_then(|info| info.get("data"));
                let server = data.and_then(|data| data.get("srs_server_id")).and_then(Value::as_str);
                return Ok(Some(Event::Connected(server.map(str::to_owned))));
            }
            "_result" if self.created(id) => self.open(out),
            "_error" => return Err(Error::Refused(describe(&values))),
            "onStatus" => {
                let info = values.get(3);
                let text =
                    |field: &str| info.and_then(|i| i.get(field)).and_then(Value::as_str).unwrap_or_default();
                if let Some(url) = info.and_then(redirect) {
                    return Ok(Some(Event::Redirect(url)));
                }
                if text("code") == RECONNECT_REQUEST {
                    return Ok(Some(Event::Reconnect(
                        Some(text("tcUrl").to_owned()).filter(|url| !url.is_empty()),
                    )));
                }
                if text("level") == "error" {
                    return Err(Error::Refused(describe(&values)));
                }
                let started = matches!(text("code"), "NetStream.Publish.Start" | "NetStream.Play.Start");
                return Ok(started.then_some(Event::Started));
            }
            _ => {}
        }
        Ok(None)
    }

    fn create_id(&self) -> f64 {
        match self.words {
            Words::Encoder(_) => CREATE,
            Words::Relay(_) => RELAY_CREATE,
        }
    }

    /// The answer of that number is createStream's.
    fn created(&self, id: f64) -> bool {
        match self.words {
            Words::Encoder(_) => id == CREATE,
            Words::Relay(_) => id == RELAY_CREATE,
        }
    }

    /// Asks for a message stream.
    fn create(&self, out: &mut Vec<u8>) {
        if let (Words::Encoder(target), Intent::Publish) = (&self.words, self.intent) {
            let stream = Value::string(format!("{}{}", target.stream, target.param));
            for (name, id) in [("releaseStream", 2.0), ("FCPublish", 3.0)] {
                let values = [Value::string(name), Value::Number(id), Value::Null, stream.clone()];
                chunk::command(out, self.chunk_size, &values);
            }
        }
        let id = Value::Number(self.create_id());
        chunk::command(out, self.chunk_size, &[Value::string("createStream"), id, Value::Null]);
    }

    /// Asks to publish or play.
    fn open(&self, out: &mut Vec<u8>) {
        let publish = self.intent == Intent::Publish;
        let name = Value::string(if publish { "publish" } else { "play" });
        match &self.words {
            Words::Encoder(target) => {
                let stream = Value::string(format!("{}{}", target.stream, target.param));
                let last = if publish { Value::string("live") } else { Value::Number(-2000.0) };
                let values = [name, Value::Number(5.0), Value::Null, stream, last];
                command(out, self.chunk_size, 8, STREAM_ID, &values);
            }
            Words::Relay(relay) => {
                let mut values = vec![name, Value::Number(0.0), Value::Null];
                values.push(Value::string(relay.stream.clone()));
                if publish {
                    chunk::set_size(out, self.chunk_size);
                    values.push(Value::string("live"));
                    command(out, self.chunk_size, 5, STREAM_ID, &values);
                } else {
                    command(out, 128, 5, STREAM_ID, &values);
                    let buffer = [&[0, 3], &STREAM_ID.to_be_bytes()[..], &BUFFER.to_be_bytes()[..]].concat();
                    chunk::control(out, message_type::USER_CONTROL, &buffer);
                    chunk::set_size(out, self.chunk_size);
                }
            }
        }
    }

    /// Appends one message of the stream that is published; `timestamp` in milliseconds.
    pub fn send(&self, out: &mut Vec<u8>, kind: TagKind, timestamp: u32, payload: &[u8]) {
        let chunk_stream = match kind {
            TagKind::Video => 6,
            TagKind::Audio | TagKind::Script => 4,
        };
        chunk::write(out, self.chunk_size, chunk_stream, kind as u8, STREAM_ID, timestamp, payload);
    }

    /// Appends the polite end of a published stream.
    pub fn unpublish(&self, out: &mut Vec<u8>) {
        let stream = Value::string(match &self.words {
            Words::Encoder(target) => &target.stream,
            Words::Relay(relay) => &relay.stream,
        });
        chunk::command(
            out,
            self.chunk_size,
            &[Value::string("FCUnpublish"), Value::Number(6.0), Value::Null, stream],
        );
        let id = Value::Number(f64::from(STREAM_ID));
        chunk::command(
            out,
            self.chunk_size,
            &[Value::string("deleteStream"), Value::Number(7.0), Value::Null, id],
        );
    }
}

impl Relay {
    /// connect, field by field as SRS 4 sends it to another SRS.
    fn connect(&self, out: &mut Vec<u8>) {
        let field = |name: &str, value: &str| (name.to_owned(), Value::string(value));
        let number = |name: &str, value: f64| (name.to_owned(), Value::Number(value));
        let fields = Value::Object(vec![
            field("app", &self.app),
            field("flashVer", "WIN 15,0,0,239"),
            field("swfUrl", &self.swf_url),
            field("tcUrl", &self.tc_url),
            ("fpad".to_owned(), Value::Bool(false)),
            number("capabilities", 239.0),
            number("audioCodecs", 3575.0),
            number("videoCodecs", 252.0),
            number("videoFunction", 1.0),
            field("pageUrl", &self.page_url),
            number("objectEncoding", 0.0),
        ]);
        let mut values = vec![Value::string("connect"), Value::Number(CONNECT), fields];
        values.extend(self.identity.as_ref().map(|identity| {
            Value::Object(vec![
                field("srs_sig", "SRS"),
                field("srs_server", &identity.signature),
                field("srs_license", "MIT"),
                field("srs_url", "https://github.com/ossrs/srs"),
                field("srs_version", &identity.version),
                number("srs_pid", f64::from(identity.pid)),
                field("srs_id", &identity.id),
                field("srs_server_ip", &identity.server_ip),
            ])
        }));
        command(out, 128, 3, 0, &values);
        chunk::control(out, message_type::WINDOW_ACK_SIZE, &WINDOW.to_be_bytes());
    }
}

/// Appends a command in chunks of the size that the server reads at that point.
fn command(out: &mut Vec<u8>, size: usize, chunk_stream: u8, stream_id: u32, values: &[Value]) {
    let body = amf0::encode_all(values);
    chunk::write(out, size, chunk_stream, message_type::COMMAND_AMF0, stream_id, 0, &body);
}

/// Where SRS's "RTMP 302" sends a client: the whole URL of the stream, else the tcUrl of its app.
fn redirect(info: &Value) -> Option<String> {
    let ex = info.get("ex")?;
    let url = ex.get("redirect2").or_else(|| ex.get("redirect"))?;
    Some(url.as_str()?.to_owned())
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
            server_id: "vid-x".into(),
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
                    Event::Connected(_) => {}
                    Event::Redirect(url) => saw_client.push(url),
                    Event::Reconnect(url) => saw_client.push(url.unwrap_or_default()),
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
