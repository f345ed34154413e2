//! Text that comes from elsewhere, made fit for a terminal.

use jiff::Timestamp;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

/// Makes control characters visible, line feeds and tabs excepted: what a cluster says must not steer a terminal.
pub fn clean(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    text.chars().map(|c| if harmless(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// Columns that a text without colour takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Breaks text into lines of at most `width` columns between words; what it says in several lines stays so.
pub fn wrapped(text: &str, width: usize, first: &str, rest: &str) -> Vec<String> {
    let options = textwrap::Options::new(width.max(20))
        .initial_indent(first)
        .subsequent_indent(rest)
        // Addresses, images and paths are copied out of the terminal: they stay whole.
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace);
    textwrap::wrap(text.trim_end(), options).into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// A value in one line. Strings stand without quotes where they can't be taken for something else.
pub fn value(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => match fingerprint(other) {
            Some(fingerprint) => format!("(secret {})", clean(fingerprint)),
            // JSON leaves some control characters as they are.
            None => clean(&other.to_string()),
        },
    }
}

/// The fingerprint that stands for a value of a Secret in a plan.
pub fn fingerprint(value: &Value) -> Option<&str> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.get("fingerprint")?.as_str()
}

/// Whether a value has parts that are worth a line each.
pub fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty() && fingerprint(value).is_none(),
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    }
}

/// The lines of a string that has several.
pub fn several_lines(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| text.trim_end_matches('\n').contains('\n'))
}

fn is_plain(text: &str) -> bool {
    let first_and_last_are_visible =
        text.chars().next().is_some_and(|c| !c.is_whitespace() && !"\"[{".contains(c))
            && text.chars().next_back().is_some_and(|c| !c.is_whitespace());
    first_and_last_are_visible
        && !text.chars().any(char::is_control)
        && serde_json::from_str::<Value>(text).is_err()
}

/// How long ago a time was that the server noted, such as `3 minutes ago`; the time itself if it can't be read.
pub fn ago(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return clean(time) };
    let seconds = now.as_second().saturating_sub(then.as_second());
    let (number, unit) = match seconds {
        // A server's clock may be a little ahead of ours.
        ..5 => return "just now".to_owned(),
        5..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}s ago")
}

/// Seconds for the reader: `0.4s`, `12s`, `3m 5s`.
pub fn duration(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_secs();
    match whole {
        0..10 => format!("{:.1}s", seconds.max(0.0)),
        10..60 => format!("{whole}s"),
        _ => format!("{}m {}s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_not_taken_for_others() {
        for (given, shown) in [
            (json!(3), "3"),
            (json!("3"), "\"3\""),
            (json!("true"), "\"true\""),
            (json!(""), "\"\""),
            (json!(" a"), "\" a\""),
            (json!("ossrs/srs:4"), "ossrs/srs:4"),
            (json!("a b"), "a b"),
            (json!("\u{1b}[2J"), "\"\\u001b[2J\""),
            (json!({"a": [1]}), "{\"a\":[1]}"),
            (json!("[x]"), "\"[x]\""),
            (json!(["\u{9b}2J\u{7f}"]), "[\"\\u{9b}2J\\u{7f}\"]"),
            (json!({"fingerprint": "ab12cd34"}), "(secret ab12cd34)"),
        ] {
            assert_eq!(value(&given), shown);
        }
    }

    #[test]
    fn what_a_cluster_says_does_not_steer_the_terminal() {
        assert_eq!(clean("a\tb\n\u{1b}[2Jc\r\u{9b}"), "a\tb\n\\u{1b}[2Jc\\r\\u{9b}");
    }

    #[test]
    fn times_are_told_from_now() {
        let now: Timestamp = "2026-11-22T20:00:00Z".parse().unwrap();
        for (time, told) in [
            ("2026-11-22T20:00:01Z", "just now"),
            ("2026-11-22T19:59:20Z", "40 seconds ago"),
            ("2026-11-22T19:57:00Z", "3 minutes ago"),
            ("2026-11-22T14:30:00Z", "5 hours ago"),
            ("2026-11-02T20:00:00Z", "20 days ago"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(ago(time, now), told);
        }
    }

    #[test]
    fn durations() {
        assert_eq!([duration(0.42), duration(12.9), duration(185.0)], ["0.4s", "12s", "3m 5s"]);
    }
}
