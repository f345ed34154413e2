//! What the views look like, from hand-made plans and reports.

pub(crate) mod samples;

mod events;
mod graph;
mod plan;
mod properties;
mod report;
mod status;

use jiff::Timestamp;

use super::terminal::View;

fn view(width: usize) -> View {
    View { width, full: false, now: now(), environment: None }
}

fn now() -> Timestamp {
    "2026-11-22T20:00:00Z".parse().unwrap()
}

/// Without colour.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// With colour, to be read by people: `<b>`, `<green>`… for the escape sequences.
fn coloured(text: &str) -> String {
    let mut told = text.to_owned();
    for (code, name) in [
        ("1", "bold"),
        ("2", "dim"),
        ("7", "invert"),
        ("31", "red"),
        ("32", "green"),
        ("33", "yellow"),
        ("36", "cyan"),
        ("0", "/"),
    ] {
        told = told.replace(&format!("\u{1b}[{code}m"), &format!("<{name}>"));
    }
    assert!(!told.contains('\u{1b}'), "an escape sequence that this test doesn't know: {told:?}");
    told
}
