//! How a server says goodbye to a client that should go on at another one. Nothing here is of level `error`: players
//! such as ffmpeg would report a failure where a clean end of the stream is meant.

use super::answers::stream_control;
use super::session::{Follows, Session};

/// The code of Enhanced RTMP v2 ("Reconnect Request").
pub const RECONNECT_REQUEST: &str = "NetConnection.Connect.ReconnectRequest";
/// The bit of `capsEx` in connect that announces support of it.
pub const CAPS_RECONNECT: u32 = 0x01;

/// User Control: nothing more comes of the stream.
const STREAM_EOF: u8 = 1;

impl Session {
    /// Whether the client may be sent a [`Session::request_reconnect`].
    pub fn reconnects(&self) -> bool {
        self.connected().is_some_and(|connect| connect.follows == Follows::Reconnect)
    }

    /// Whether the client is an SRS or one of ours, which connects again whenever a connection ends.
    pub fn is_server(&self) -> bool {
        self.connected().is_some_and(|connect| connect.follows == Follows::Redirect)
    }

    /// Asks the client to connect again, by the URL that brought it here: behind a load balancer another server
    /// answers there. Media go on until the client closes.
    pub fn request_reconnect(&self, out: &mut Vec<u8>) {
        let tc_url = self.connected().map(|connect| connect.tc_url.clone()).unwrap_or_default();
        self.reconnect(out, &tc_url);
    }

    /// Tells a player that its stream has ended. Other servers are told nothing: to them the connection's end is
    /// enough, and this would be the end of the stream to some.
    pub fn end_play(&self, out: &mut Vec<u8>) {
        if !self.is_server() {
            stream_control(out, STREAM_EOF);
            self.status(
                out,
                "onStatus",
                "NetStream.Play.UnpublishNotify",
                "The stream goes on at another server.",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amf0::{self, Value};
    use crate::rtmp::session::Event;
    use crate::rtmp::{chunk, handshake, message_type};

    fn connected(more: &[(&str, Value)], arguments: &[Value]) -> Session {
        let mut fields = vec![
            ("app".to_owned(), Value::string("live")),
            ("tcUrl".to_owned(), Value::string("rtmp://lb.example.com/live")),
        ];
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let mut bytes = handshake::client_hello(1, 2);
        bytes.resize(1 + 2 * handshake::SIZE, 0);
        let mut values = vec![Value::string("connect"), Value::Number(1.0), Value::Object(fields)];
        values.extend_from_slice(arguments);
        chunk::write(&mut bytes, 128, 3, message_type::COMMAND_AMF0, 0, 0, &amf0::encode_all(&values));
        let mut session = Session::new(1, 1);
        let mut input = &bytes[..];
        let event = session.read(&mut input, &mut Vec::new()).unwrap();
        assert!(matches!(event, Some(Event::Connect(_))));
        session
    }

    #[test]
    fn capabilities_are_read_from_connect() {
        for (caps, expected) in
            [(0.0, false), (1.0, true), (2.0, false), (15.0, true), (f64::NAN, false), (-1.0, false)]
        {
            let session = connected(&[("capsEx", Value::Number(caps))], &[]);
            assert_eq!(session.reconnects(), expected, "{caps}");
        }
        assert!(!connected(&[("capsEx", Value::string("1"))], &[]).reconnects());
        let srs = Value::Object(vec![("srs_sig".to_owned(), Value::string("SRS"))]);
        assert!(connected(&[], &[srs]).is_server());
        assert!(!connected(&[("srs_sig", Value::string("SRS"))], &[]).is_server());
    }

    #[test]
    fn the_request_names_the_url_that_the_client_came_by() {
        let mut out = Vec::new();
        connected(&[], &[]).request_reconnect(&mut out);
        // Chunk stream 3, message stream 0.
        assert_eq!((out[0], &out[8..12]), (3, &[0, 0, 0, 0][..]));
        let values = amf0::decode_all(&out[12..]).unwrap();
        let info = &values[3];
        let text = |name: &str| info.get(name).and_then(Value::as_str).unwrap();
        assert_eq!(values[0].as_str(), Some("onStatus"));
        assert_eq!((text("level"), text("code")), ("status", RECONNECT_REQUEST));
        assert_eq!(text("tcUrl"), "rtmp://lb.example.com/live");
    }

    #[test]
    fn other_servers_are_told_nothing() {
        let mut out = Vec::new();
        connected(&[], &[Value::Object(vec![("srs_sig".to_owned(), Value::string("SRS"))])])
            .end_play(&mut out);
        assert!(out.is_empty());
        connected(&[], &[]).end_play(&mut out);
        assert!(!out.is_empty());
        assert!(!out.windows(5).any(|bytes| bytes == b"error"));
    }
}
