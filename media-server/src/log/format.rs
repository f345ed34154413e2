//! One event as one line: `[time][Trace][pid][connection] message`, or an object of JSON.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

pub(super) struct LineFormat {
    pub(super) pid: u32,
    pub(super) json: &'static AtomicBool,
    pub(super) utc: &'static AtomicBool,
}

#[derive(Debug, Default)]
struct Parts {
    /// The connection's id.
    connection: String,
    message: String,
    fields: Map<String, Value>,
}

impl Parts {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("cid", Value::String(text)) => self.connection = text,
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let (now, level) = (Timestamp::now(), *event.metadata().level());
        let line = match self.json.load(Ordering::Relaxed) {
            true => json(now, level, self.pid, parts),
            false => text(now, self.utc.load(Ordering::Relaxed), level, self.pid, parts),
        };
        out.write_str(&line)
    }
}

/// SRS's form. Its trace is what others call info.
fn text(now: Timestamp, utc: bool, level: Level, pid: u32, parts: Parts) -> String {
    let level = match level {
        Level::ERROR => "Error",
        Level::WARN => "Warn",
        Level::INFO => "Trace",
        Level::DEBUG => "Info",
        Level::TRACE => "Verbose",
    };
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    let time = now.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S%.3f");
    let connection = if parts.connection.is_empty() { "-".to_owned() } else { tame(&parts.connection) };
    let mut line = format!("[{time}][{level}][{pid}][{connection}] {}", tame(&parts.message));
    for (name, value) in parts.fields {
        let value = value.as_str().map_or_else(|| value.to_string(), tame);
        // Writing to a String can't fail.
        let _ = write!(line, " {name}={value}");
    }
    line.push('\n');
    line
}

/// An object; its time is always UTC's.
fn json(now: Timestamp, level: Level, pid: u32, parts: Parts) -> String {
    let mut line = Map::new();
    line.insert("time".into(), format!("{now:.3}").into());
    line.insert("level".into(), level.as_str().to_lowercase().into());
    line.insert("pid".into(), pid.into());
    if !parts.connection.is_empty() {
        line.insert("cid".into(), parts.connection.into());
    }
    line.insert("message".into(), parts.message.into());
    for (name, value) in parts.fields {
        line.entry(name).or_insert(value);
    }
    format!("{}\n", Value::Object(line))
}

/// What clients sent may be in a text: it can neither start a line of its own nor turn the reading direction.
fn tame(text: &str) -> String {
    let wild = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(wild) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut tamed, c| {
        match wild(c) {
            true => tamed.extend(c.escape_default()),
            false => tamed.push(c),
        }
        tamed
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(message: &str) -> Parts {
        let fields = Map::from_iter([("count".to_owned(), Value::from(3))]);
        Parts { connection: "abc".into(), message: message.into(), fields }
    }

    fn moment() -> Timestamp {
        "2026-11-22T15:05:23.388Z".parse().unwrap()
    }

    #[test]
    fn a_line_is_srs_s_or_an_object() {
        assert_eq!(
            text(moment(), true, Level::INFO, 7, parts("hello")),
            "[2026-11-22 15:05:23.388][Trace][7][abc] hello count=3\n"
        );
        let line = json(moment(), Level::WARN, 7, parts("he said \"no\"\n[x]"));
        assert_eq!(line.matches('\n').count(), 1);
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            object,
            serde_json::json!({
                "time": "2026-11-22T15:05:23.388Z", "level": "warn", "pid": 7, "cid": "abc",
                "message": "he said \"no\"\n[x]", "count": 3,
            })
        );
    }

    #[test]
    fn names_of_clients_stay_in_their_line() {
        let line = text(moment(), true, Level::INFO, 7, parts("plays a\r\n[2026]\u{1b}[2J\u{202e}\u{2028}b"));
        assert!(line.ends_with("plays a\\r\\n[2026]\\u{1b}[2J\\u{202e}\\u{2028}b count=3\n"), "{line}");
    }

    proptest! {
        #[test]
        fn a_message_is_one_line(message in "\\PC*[\\x00-\\x1f]{0,3}\\PC*") {
            prop_assert_eq!(text(moment(), true, Level::INFO, 7, parts(&message)).matches('\n').count(), 1);
            prop_assert_eq!(json(moment(), Level::INFO, 7, parts(&message)).matches('\n').count(), 1);
        }
    }
}
