//! The field diff of a change: one line a field where it fits, long values below it, long texts line by line.

use similar::{ChangeTag, TextDiff};

use super::{View, object, style, text, tree};
use crate::graph::ObjectId;
use crate::plan::{Action, Cause, Change, FieldChange};

/// Unchanged lines shown around a changed one.
const CONTEXT: usize = 3;

/// Columns before a field's sign.
const INDENT: usize = 6;

/// The fields of a change as lines, and how many of them are defaults that were left out.
pub(super) fn fields(change: &Change, home: &str, view: &View) -> (String, usize) {
    let shown = |field: &&FieldChange| {
        (view.full || field.cause != Cause::Default) && !says_the_headline(&field.path)
    };
    let hidden = change.diff.iter().filter(|field| field.cause == Cause::Default && !view.full).count();
    let shown: Vec<&FieldChange> = change.diff.iter().filter(shown).collect();
    let out = if change.action == Action::Create {
        creation(&shown, home, view)
    } else {
        difference(&shown, home, view)
    };
    (out, hidden)
}

fn says_the_headline(path: &str) -> bool {
    matches!(path, "apiVersion" | "kind" | "metadata.name" | "metadata.namespace")
}

fn creation(fields: &[&FieldChange], home: &str, view: &View) -> String {
    let mut tree = tree::Tree::default();
    for field in fields {
        let remark = remark(&field.cause, view);
        match (&field.cause, &field.after) {
            (Cause::KnownAfterApply { of }, _) => {
                tree.insert(&text::clean(&field.path), &known_after(of, home).into(), None);
            }
            (_, Some(after)) => tree.insert(&text::clean(&field.path), after, remark.as_deref()),
            (_, None) => {}
        }
    }
    let mut out = String::new();
    tree.write(&mut out, INDENT, view);
    out
}

fn difference(fields: &[&FieldChange], home: &str, view: &View) -> String {
    let lines: Vec<Line<'_>> = fields.iter().map(|field| Line::of(field, home, view)).collect();
    // Values are aligned among the fields that fit into one line.
    let column = lines.iter().filter(|line| line.fits(view, 0)).map(Line::path_width).max().unwrap_or(0);
    lines.iter().map(|line| line.write(column, view)).collect()
}

/// One field, with its values as they will be shown.
struct Line<'a> {
    field: &'a FieldChange,
    path: String,
    before: Option<String>,
    after: Option<String>,
    remark: Option<String>,
}

impl<'a> Line<'a> {
    fn of(field: &'a FieldChange, home: &str, view: &View) -> Self {
        let one_line = |value: &serde_json::Value| text::clean(&text::value(value));
        let after = match &field.cause {
            Cause::KnownAfterApply { of } => Some(known_after(of, home)),
            _ => field.after.as_ref().map(one_line),
        };
        Self {
            field,
            path: text::clean(&field.path),
            before: field.before.as_ref().map(one_line),
            after,
            remark: remark(&field.cause, view),
        }
    }

    fn path_width(&self) -> usize {
        text::width(&self.path)
    }

    /// Whether it must be shown line by line.
    fn is_long(&self) -> bool {
        let several = |value: &Option<serde_json::Value>| {
            value.as_ref().is_some_and(|value| text::several_lines(value).is_some())
        };
        several(&self.field.before) || several(&self.field.after)
    }

    /// Whether path and values fit into one line when the values begin at `column`.
    fn fits(&self, view: &View, column: usize) -> bool {
        !self.is_long() && self.nested().is_none() && self.width_at(column) <= view.width
    }

    fn width_at(&self, column: usize) -> usize {
        let values =
            self.before.as_deref().map_or(0, text::width) + self.after.as_deref().map_or(0, text::width);
        let arrow = if self.before.is_some() && self.after.is_some() { 3 } else { 0 };
        INDENT + 2 + self.path_width().max(column) + 2 + values + arrow
    }

    fn write(&self, column: usize, view: &View) -> String {
        let sign = style::field_sign(self.field.op);
        let inner = INDENT + 4;
        let mut out = format!("{:INDENT$}{sign} {}", "", self.path);
        let mut last_line = inner;
        match (&self.before, &self.after) {
            _ if self.is_long() => {
                out.push('\n');
                out.push_str(&self.long(inner, view));
                last_line = view.width;
            }
            _ if self.fits(view, column) => {
                let gap = column.saturating_sub(self.path_width());
                out.push_str(&format!("{:gap$}  {}\n", "", self.values()));
                last_line = self.width_at(column);
            }
            // Something with parts comes or goes: one line a part.
            _ if let Some(nested) = self.nested() => {
                out.push('\n');
                let mut tree = tree::Tree::default();
                tree.insert("", nested, None);
                tree.write(&mut out, inner, view);
                last_line = view.width;
            }
            (Some(before), Some(after))
                if inner + text::width(before) + text::width(after) + 3 > view.width =>
            {
                out.push('\n');
                for (style, sign, value) in [(style::BAD, '-', before), (style::GOOD, '+', after)] {
                    let value = style::paint(style, format_args!("{sign} {value}"));
                    out.push_str(&format!("{:inner$}{value}\n", ""));
                }
                last_line = view.width;
            }
            _ => out.push_str(&format!("\n{:inner$}{}\n", "", self.values())),
        }
        if let Some(remark) = &self.remark {
            let painted = style::paint(style::ATTENTION, remark);
            if last_line > inner && last_line + 2 + text::width(remark) <= view.width {
                out.truncate(out.len() - 1);
                out.push_str(&format!("  {painted}\n"));
            } else {
                out.push_str(&format!("{:inner$}{painted}\n", ""));
            }
        }
        out
    }

    /// The only value, if it has parts.
    fn nested(&self) -> Option<&'a serde_json::Value> {
        let ((Some(only), None) | (None, Some(only))) = (&self.field.before, &self.field.after) else {
            return None;
        };
        text::is_nested(only).then_some(only)
    }

    fn values(&self) -> String {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                format!("{} → {}", style::paint(style::BAD, before), style::paint(style::GOOD, after))
            }
            (Some(before), None) => style::paint(style::BAD, before),
            (None, Some(after)) => style::paint(style::GOOD, after),
            (None, None) => String::new(),
        }
    }

    fn long(&self, indent: usize, view: &View) -> String {
        let string = |value: &'a Option<serde_json::Value>| value.as_ref().and_then(|value| value.as_str());
        match (string(&self.field.before), string(&self.field.after)) {
            (Some(before), Some(after)) => unified(before, after, indent, view),
            (Some(only), None) | (None, Some(only)) => tree::block(only, indent, view, ""),
            (None, None) => String::new(),
        }
    }
}

/// A unified diff of two texts, with the changed words of a changed line set off.
fn unified(before: &str, after: &str, indent: usize, view: &View) -> String {
    let diff = TextDiff::from_lines(before, after);
    let context = if view.full { usize::MAX / 4 } else { CONTEXT };
    let mut out = String::new();
    for hunk in diff.unified_diff().context_radius(context).iter_hunks() {
        out.push_str(&format!("{:indent$}{}\n", "", style::paint(style::QUIET, hunk.header())));
        for operation in hunk.ops() {
            for change in diff.iter_inline_changes(operation) {
                let (sign, style) = match change.tag() {
                    ChangeTag::Delete => ("-", style::BAD),
                    ChangeTag::Insert => ("+", style::GOOD),
                    ChangeTag::Equal => (" ", style::QUIET),
                };
                out.push_str(&format!("{:indent$}{}", "", style::paint(style, sign)));
                let mut line = String::new();
                for (emphasized, words) in change.iter_strings_lossy() {
                    let words = text::clean(words.trim_end_matches('\n'));
                    if words.is_empty() {
                        continue;
                    }
                    let style = if emphasized { style.invert() } else { style };
                    line.push_str(&style::paint(style, words));
                }
                if !line.is_empty() {
                    out.push(' ');
                    out.push_str(&line);
                }
                out.push('\n');
                if change.missing_newline() {
                    let missing = style::paint(style::QUIET, "\\ no line feed at the end");
                    out.push_str(&format!("{:indent$}{missing}\n", ""));
                }
            }
        }
    }
    out
}

fn known_after(of: &ObjectId, home: &str) -> String {
    format!("(known after apply of {})", object(of, home))
}

fn remark(cause: &Cause, view: &View) -> Option<String> {
    match cause {
        Cause::Intent | Cause::KnownAfterApply { .. } => None,
        Cause::Default => Some("(default)".to_owned()),
        Cause::Admission => Some("(set by the server's admission)".to_owned()),
        Cause::Drift { manager, time } => {
            let when =
                time.as_ref().map(|time| format!(" {}", text::ago(time, view.now))).unwrap_or_default();
            Some(format!("(changed by {}{when}; will be taken back)", text::clean(manager)))
        }
    }
}
