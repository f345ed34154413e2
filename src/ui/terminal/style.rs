//! What is painted how. Views name the meaning; the colours are chosen here alone.

use std::fmt;

use anstyle::{AnsiColor, Style};

use crate::plan::{Action, FieldOp};

/// The first line of a view.
pub const HEADING: Style = Style::new().bold();
/// Less important than its surroundings.
pub const QUIET: Style = Style::new().dimmed();
/// More important than its surroundings.
pub const STRONG: Style = Style::new().bold();
/// Comes or works.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Goes or is broken.
pub const BAD: Style = AnsiColor::Red.on_default();
/// Changes, waits, or wants a look.
pub const ATTENTION: Style = AnsiColor::Yellow.on_default();
/// Advice.
pub const HINT: Style = AnsiColor::Cyan.on_default();
/// `error:` and `refused:`.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Text in a style.
pub fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The sign of an action, as wide as the widest of them.
pub fn sign(action: Action) -> String {
    let (style, sign) = match action {
        Action::Create => (GOOD, "+"),
        Action::Update => (ATTENTION, "~"),
        Action::Replace => (BAD, "-/+"),
        Action::Delete => (BAD, "-"),
    };
    paint(style.bold(), format_args!("{sign:>3}"))
}

/// The sign of a field's change.
pub fn field_sign(op: FieldOp) -> String {
    match op {
        FieldOp::Add => paint(GOOD, "+"),
        FieldOp::Remove => paint(BAD, "-"),
        FieldOp::Change => paint(ATTENTION, "~"),
    }
}
