//! The commands that a client calls, and what they make of it.

use super::chunk;
use super::farewell::CAPS_RECONNECT;
use super::session::{Connect, Event, Follows, MAX_COMMAND, PublishKind, Session};
use super::url::Target;
use super::{Error, STREAM_ID};
use crate::amf0::{self, Value};

impl Session {
    pub(super) fn command(
        &mut self,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Error> {
        if body.len() > MAX_COMMAND {
            return Err(chunk::Error::MessageSize(body.len(), MAX_COMMAND).into());
        }
        let values = amf0::decode_prefix(body);
        let Some(name) = values.first().and_then(Value::as_str) else {
            amf0::decode_all(body)?;
            return Ok(None);
        };
        let id = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        let text = |index: usize| values.get(index).and_then(Value::as_str).unwrap_or_default();
        if self.connect.is_none() && name != "connect" {
            return Err(Error::Order(shorten(name), "before connect"));
        }
        match name {
            "connect" => {
                if self.connect.is_some() {
                    return Err(Error::Order("connect".into(), "twice"));
                }
                let connect = read_connect(values.get(2), values.get(3), values.len())?;
                self.connect_id = id;
                self.connect = Some(connect.clone());
                return Ok(Some(Event::Connect(Box::new(connect))));
            }
            "createStream" => {
                self.created = true;
                self.result(out, id, &[Value::Null, Value::Number(f64::from(STREAM_ID))]);
            }
            "releaseStream" => {
                self.released = true;
                self.result(out, id, &[Value::Null, Value::Undefined]);
            }
            "FCPublish" => {
                self.fc_after_create = self.created && !self.released;
                self.result(out, id, &[Value::Null, Value::Undefined]);
            }
            "publish" => {
                self.idle(name)?;
                let target = self.target(text(3))?;
                self.publish_id = id;
                return Ok(Some(Event::Publish(target, self.publish_kind())));
            }
            "play" => {
                self.idle(name)?;
                let target = self.target(text(3))?;
                self.playing = true;
                self.play_started(out);
                return Ok(Some(Event::Play(target)));
            }
            "pause" if self.playing => {
                let paused = !matches!(values.get(3), Some(Value::Bool(false)));
                self.pause_answer(out, paused);
                return Ok(Some(Event::Pause(paused)));
            }
            "FCUnpublish" if self.publishing => {
                self.status(out, "onFCUnpublish", "NetStream.Unpublish.Success", "Stop publishing stream.");
                self.result(out, id, &[Value::Null, Value::Undefined]);
                self.status(out, "onStatus", "NetStream.Unpublish.Success", "Stream is now unpublished");
                self.publishing = false;
                return Ok(Some(Event::Unpublish));
            }
            "closeStream" | "deleteStream" => {
                if std::mem::take(&mut self.publishing) {
                    return Ok(Some(Event::Unpublish));
                }
                if std::mem::take(&mut self.playing) {
                    return Ok(Some(Event::Stop));
                }
            }
            // What SRS does not know it answers too: old flash players wait for it. `_result`s are not calls.
            name if id != 0.0 && !name.starts_with('_') => self.result(out, id, &[Value::Null, Value::Null]),
            _ => {}
        }
        Ok(None)
    }

    fn idle(&self, name: &str) -> Result<(), Error> {
        match self.publishing || self.playing {
            true => Err(Error::Order(shorten(name), "while another stream is open")),
            false => Ok(()),
        }
    }

    fn target(&self, stream: &str) -> Result<Target, Error> {
        let connect =
            self.connect.as_ref().ok_or_else(|| Error::Order("publish".into(), "before connect"))?;
        if stream.is_empty() {
            return Err(Error::StreamName);
        }
        connect.target.with_stream(stream).map_err(|error| Error::Connect(error.to_string()))
    }

    fn publish_kind(&self) -> PublishKind {
        match (self.released, self.fc_after_create) {
            (true, _) => PublishKind::Fmle,
            (false, true) => PublishKind::Haivision,
            (false, false) => PublishKind::Flash,
        }
    }
}

fn shorten(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn read_connect(arguments: Option<&Value>, args: Option<&Value>, count: usize) -> Result<Connect, Error> {
    let Some(Value::Object(_) | Value::EcmaArray(_)) = arguments else {
        return Err(Error::Connect(format!("an object is expected after the name, {count} values came")));
    };
    let text = |name: &str| -> String {
        let value = arguments.and_then(|fields| fields.get(name)).and_then(Value::as_str).unwrap_or_default();
        value.chars().filter(|c| !c.is_control()).take(4096).collect()
    };
    let tc_url = text("tcUrl");
    if tc_url.is_empty() {
        return Err(Error::Connect("tcUrl is missing".into()));
    }
    let target = Target::from_connect(&tc_url, &text("app")).map_err(|e| Error::Connect(e.to_string()))?;
    let has = |name: &str| arguments.is_some_and(|fields| fields.get(name).is_some());
    let enhanced = ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"].into_iter().any(has);
    let caps = arguments.and_then(|fields| fields.get("capsEx")).and_then(Value::as_number);
    let follows = match caps {
        _ if args.is_some_and(|args| args.get("srs_sig").is_some()) => Follows::Redirect,
        Some(caps) if caps as u64 & u64::from(CAPS_RECONNECT) != 0 => Follows::Reconnect,
        _ => Follows::Nothing,
    };
    Ok(Connect { tc_url, page_url: text("pageUrl"), swf_url: text("swfUrl"), target, follows, enhanced })
}
