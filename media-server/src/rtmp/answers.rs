//! The server's answers to commands: their fields and order are SRS's, which old players and encoders rely on.

use super::farewell::{CAPS_RECONNECT, RECONNECT_REQUEST};
use super::session::{Identity, MAX_MEDIA, Session};
use super::{STREAM_ID, WINDOW, chunk, message_type};
use crate::amf0::{self, Value};

impl Session {
    /// Answers connect.
    pub fn accept_connect(&mut self, out: &mut Vec<u8>, identity: &Identity) {
        if self.sizes.out_ack > 0 {
            chunk::control(out, message_type::WINDOW_ACK_SIZE, &self.sizes.out_ack.to_be_bytes());
        }
        let [a, b, c, d] = WINDOW.to_be_bytes();
        chunk::control(out, message_type::SET_PEER_BANDWIDTH, &[a, b, c, d, 2]);
        // Before the result: OBS reads the result with the new size already.
        chunk::set_size(out, self.sizes.chunk);
        let field = |name: &str, value: &str| (name.to_owned(), Value::string(value));
        let data = Value::EcmaArray(vec![
            field("version", "3,5,3,888"),
            field("srs_sig", "SRS"),
            field("srs_server", &identity.signature),
            field("srs_license", "MIT"),
            field("srs_url", "https://github.com/ossrs/srs"),
            field("srs_version", &identity.version),
            field("srs_authors", "https://github.com/ossrs/srs/blob/master/AUTHORS"),
            field("srs_server_ip", &identity.server_ip),
            ("srs_pid".to_owned(), Value::Number(f64::from(identity.pid))),
            field("srs_id", &identity.id),
            field("srs_server_id", &identity.server_id),
        ]);
        let mut properties = vec![
            field("fmsVer", "FMS/3,5,3,888"),
            ("capabilities".to_owned(), Value::Number(127.0)),
            ("mode".to_owned(), Value::Number(1.0)),
        ];
        if self.connect.as_ref().is_some_and(|connect| connect.enhanced) {
            properties.extend(capabilities());
        }
        let properties = Value::Object(properties);
        let info = Value::Object(vec![
            field("level", "status"),
            field("code", "NetConnection.Connect.Success"),
            field("description", "Connection succeeded"),
            ("objectEncoding".to_owned(), Value::Number(0.0)),
            ("data".to_owned(), data),
        ]);
        self.result(out, self.connect_id, &[properties, info]);
        self.call(out, &[Value::string("onBWDone"), Value::Number(0.0), Value::Null]);
    }

    /// Answers publish; media may follow.
    pub fn accept_publish(&mut self, out: &mut Vec<u8>) {
        self.publishing = true;
        self.reader.set_max_message(MAX_MEDIA);
        if self.released || self.fc_after_create {
            self.status(out, "onFCPublish", "NetStream.Publish.Start", "Started publishing stream.");
        }
        self.status(out, "onStatus", "NetStream.Publish.Start", "Started publishing stream.");
    }

    /// Sends a player to another server, in SRS's words ("RTMP 302"): `tc_url` and the whole URL of the stream.
    pub fn redirect(&self, out: &mut Vec<u8>, tc_url: &str, url: &str) {
        let field = |name: &str, value: &str| (name.to_owned(), Value::string(value));
        let mut values =
            status_values("onStatus", "error", "NetConnection.Connect.Rejected", "RTMP 302 Redirect");
        if let Some(Value::Object(fields)) = values.last_mut() {
            let ex = vec![
                ("code".to_owned(), Value::Number(302.0)),
                field("redirect", tc_url),
                field("redirect2", url),
            ];
            fields.push(("ex".to_owned(), Value::Object(ex)));
        }
        let body = amf0::encode_all(&values);
        chunk::write(out, self.sizes.chunk, 5, message_type::COMMAND_AMF0, 0, 0, &body);
    }

    /// Asks a client of Enhanced RTMP to connect to another server and go on there.
    pub fn reconnect(&self, out: &mut Vec<u8>, tc_url: &str) {
        let field = |name: &str, value: &str| (name.to_owned(), Value::string(value));
        let info = Value::Object(vec![
            field("level", "status"),
            field("code", RECONNECT_REQUEST),
            field("description", "Another server goes on with the stream"),
            field("tcUrl", tc_url),
        ]);
        self.call(out, &[Value::string("onStatus"), Value::Number(0.0), Value::Null, info]);
    }

    /// Refuses publish, with a code that encoders show; the caller closes afterwards.
    pub fn refuse_publish(&mut self, out: &mut Vec<u8>, code: &str, description: &str) {
        self.on_stream(
            out,
            message_type::COMMAND_AMF0,
            &status_values("onStatus", "error", code, description),
        );
    }

    /// A command on the connection.
    fn call(&self, out: &mut Vec<u8>, values: &[Value]) {
        chunk::command(out, self.sizes.chunk, values);
    }

    /// A message on the stream.
    fn on_stream(&self, out: &mut Vec<u8>, kind: u8, values: &[Value]) {
        chunk::on_stream(out, self.sizes.chunk, kind, values);
    }

    pub(super) fn result(&self, out: &mut Vec<u8>, id: f64, values: &[Value]) {
        let mut all = vec![Value::string("_result"), Value::Number(id)];
        all.extend_from_slice(values);
        self.call(out, &all);
    }

    pub(super) fn status(&self, out: &mut Vec<u8>, command: &str, code: &str, description: &str) {
        self.on_stream(out, message_type::COMMAND_AMF0, &status_values(command, "status", code, description));
    }

    pub(super) fn play_started(&self, out: &mut Vec<u8>) {
        stream_control(out, 0);
        for (code, description) in [
            ("NetStream.Play.Reset", "Playing and resetting stream."),
            ("NetStream.Play.Start", "Started playing stream."),
        ] {
            let mut values = status_values("onStatus", "status", code, description);
            if let Some(Value::Object(fields)) = values.last_mut() {
                fields.insert(3, ("details".to_owned(), Value::string("stream")));
            }
            self.on_stream(out, message_type::COMMAND_AMF0, &values);
        }
        let access = [Value::string("|RtmpSampleAccess"), Value::Bool(true), Value::Bool(true)];
        self.on_stream(out, message_type::DATA_AMF0, &access);
        let start = Value::Object(vec![("code".to_owned(), Value::string("NetStream.Data.Start"))]);
        self.on_stream(out, message_type::DATA_AMF0, &[Value::string("onStatus"), start]);
    }

    pub(super) fn pause_answer(&self, out: &mut Vec<u8>, paused: bool) {
        let (code, description, event) = match paused {
            true => ("NetStream.Pause.Notify", "Paused stream.", 1),
            false => ("NetStream.Unpause.Notify", "Unpaused stream.", 0),
        };
        self.status(out, "onStatus", code, description);
        stream_control(out, event);
    }
}

/// What the server says of Enhanced RTMP to clients that speak it ("Enhancing NetConnection connect Command"): every
/// codec is forwarded, and so are nanoseconds of timestamps in their modifiers.
fn capabilities() -> [(String, Value); 4] {
    const CAN_FORWARD: f64 = 4.0;
    const MOD_EX: f64 = 4.0;
    const TIMESTAMP_NANO_OFFSET: f64 = 8.0;
    let four_ccs = ["hvc1", "av01", "vp09", "avc1", "mp4a", "Opus", "ac-3", "ec-3", ".mp3", "fLaC"];
    let any = || Value::Object(vec![("*".to_owned(), Value::Number(CAN_FORWARD))]);
    [
        ("fourCcList".to_owned(), Value::StrictArray(four_ccs.map(Value::string).to_vec())),
        ("videoFourCcInfoMap".to_owned(), any()),
        ("audioFourCcInfoMap".to_owned(), any()),
        ("capsEx".to_owned(), Value::Number(f64::from(CAPS_RECONNECT) + MOD_EX + TIMESTAMP_NANO_OFFSET)),
    ]
}

fn status_values(command: &str, level: &str, code: &str, description: &str) -> Vec<Value> {
    let field = |name: &str, value: &str| (name.to_owned(), Value::string(value));
    let mut fields = Vec::new();
    if command == "onStatus" {
        fields.push(field("level", level));
    }
    fields.push(field("code", code));
    fields.push(field("description", description));
    if command == "onStatus" && level == "status" {
        fields.push(field("clientid", "ASAICiss"));
    }
    vec![Value::string(command), Value::Number(0.0), Value::Null, Value::Object(fields)]
}

/// User Control Message about the one stream.
pub(super) fn stream_control(out: &mut Vec<u8>, event: u8) {
    let [a, b, c, d] = STREAM_ID.to_be_bytes();
    chunk::control(out, message_type::USER_CONTROL, &[0, event, a, b, c, d]);
}
