//! The plan.

use super::{View, fields, heading, object, style, text};
use crate::graph::ObjectId;
use crate::kinds::{Guard, Missing};
use crate::plan::{Action, Change, Checked, Note, Plan, Refusal, Severity};
use crate::ui::Summary;
use crate::ui::summary::counted;

/// The whole plan: where, the changes in order, notes, refusals, and the numbers in the last line.
pub fn plan(plan: &Plan, view: &View) -> String {
    let mut out = heading(&plan.stack, &plan.namespace, &plan.cluster, view);
    out.push('\n');
    for shown in &plan.changes {
        out.push_str(&change(shown, &plan.namespace, view));
        out.push('\n');
    }
    let legend = probe_legend(plan, view);
    if !legend.is_empty() {
        out.push_str(&legend);
        out.push('\n');
    }
    for note in &plan.notes {
        out.push_str(&self::note(note, &plan.namespace, view));
    }
    if !plan.notes.is_empty() {
        out.push('\n');
    }
    for refusal in &plan.refusals {
        out.push_str(&self::refusal(refusal, &plan.namespace, view));
        out.push('\n');
    }
    out.push_str(&last_line(plan));
    out
}

/// `Plan: 2 to create, …`, or that nothing changes; what was refused goes first.
pub fn last_line(plan: &Plan) -> String {
    let summary = Summary::of_plan(plan);
    let nothing = summary.changes() == 0 && plan.refusals.is_empty();
    let mut line = if nothing && summary.unchanged == 0 {
        "No changes. The stack has no resources here.".to_owned()
    } else if nothing {
        let verb = if summary.unchanged == 1 { "is" } else { "are" };
        format!("No changes. {} {verb} as declared.", counted(summary.unchanged, "resource"))
    } else {
        format!(
            "Plan: {} to create, {} to update, {} to replace, {} to delete. {} unchanged.",
            summary.create, summary.update, summary.replace, summary.delete, summary.unchanged
        )
    };
    if !plan.refusals.is_empty() {
        let refused = counted(plan.refusals.len(), "refusal");
        line.push_str(&format!("\nThis plan can't be carried out: {refused}, named above."));
    }
    format!("{}\n", style::paint(style::STRONG, line))
}

/// What doesn't change, but doesn't work either, each with what is missing at first look.
pub fn unready(unready: &[(ObjectId, Missing)], home: &str, view: &View) -> String {
    let verb = if unready.len() == 1 { "is" } else { "are" };
    let mut out = format!("{} of them {verb} not ready yet:\n", unready.len());
    for (id, missing) in unready {
        let line = text::clean(&format!("{}: {}", object(id, home), missing.reason));
        out.push_str(&lines(style::ATTENTION, &line, view.width, "  ", "    "));
    }
    out
}

fn change(change: &Change, home: &str, view: &View) -> String {
    let mut out =
        format!("{} {}", style::sign(change.action), style::paint(style::STRONG, object(&change.id, home)));
    match &change.checked {
        Checked::Server => {}
        Checked::Probe { .. } => out.push_str(&style::paint(style::QUIET, "  (checked under a probe name)")),
        Checked::Offline { .. } => {
            out.push_str(&style::paint(style::ATTENTION, "  (not checked by the server)"));
        }
    }
    if let (true, Some(location)) = (view.full, &change.location) {
        out.push_str(&style::paint(style::QUIET, format_args!("  {}", text::clean(&location.to_string()))));
    }
    out.push('\n');
    let mut say = |style, sentence: &str| {
        for line in text::wrapped(&text::clean(sentence), view.width, "      ", "        ") {
            out.push_str(&style::paint(style, line));
            out.push('\n');
        }
    };
    if let Checked::Offline { why } = &change.checked {
        say(style::ATTENTION, &format!("not checked: {why}"));
    }
    for reason in &change.reasons {
        say(style::ATTENTION, &format!("because {reason}"));
    }
    for loss in &change.loses {
        say(style::BAD, &format!("loses {loss}"));
    }
    if let Some(guard) = change.guard {
        say(style::BAD, &format!("guarded: must be confirmed by name, or by --delete {}", guard_word(guard)));
    }
    if change.action != Action::Delete {
        let (lines, defaults) = fields::fields(change, home, view);
        out.push_str(&lines);
        if defaults > 0 {
            let defaults = format!("      and {} (--full shows them)", counted(defaults, "default"));
            out.push_str(&style::paint(style::QUIET, defaults));
            out.push('\n');
        }
    }
    out
}

/// Said once for all changes that were asked about elsewhere.
fn probe_legend(plan: &Plan, view: &View) -> String {
    let Some(probed_in) = plan.changes.iter().find_map(|change| match &change.checked {
        Checked::Probe { namespace } => Some(namespace),
        Checked::Server | Checked::Offline { .. } => None,
    }) else {
        return String::new();
    };
    let legend = format!(
        "Checked under a probe name: the server was asked about these objects in namespace {probed_in}, because their \
         own namespace isn't there yet."
    );
    lines(style::QUIET, &text::clean(&legend), view.width, "", "")
}

fn note(note: &Note, home: &str, view: &View) -> String {
    let (style, word) = match note.severity {
        Severity::Info => (style::HINT, "note"),
        Severity::Warning => (style::ATTENTION, "warning"),
    };
    let about = note.id.as_ref().map(|id| format!("{}: ", object(id, home))).unwrap_or_default();
    labelled(style, word, &format!("{about}{}", note.message), view.width)
}

fn refusal(refusal: &Refusal, home: &str, view: &View) -> String {
    let about = refusal.id.as_ref().map(|id| object(id, home));
    let place = refusal.location.as_ref().map(ToString::to_string);
    let head: Vec<String> = about.into_iter().chain(place.map(|place| format!("({place})"))).collect();
    let mut out = if head.is_empty() {
        labelled(style::ERROR, "refused", &refusal.message, view.width)
    } else {
        let mut out = labelled(style::ERROR, "refused", &head.join(" "), view.width);
        out.push_str(&lines(anstyle::Style::new(), &text::clean(&refusal.message), view.width, "  ", "  "));
        out
    };
    if let Some(hint) = &refusal.hint {
        out.push_str(&indented(&labelled(style::HINT, "hint", hint, view.width.saturating_sub(2))));
    }
    out
}

/// A paragraph in one style.
fn lines(style: anstyle::Style, words: &str, width: usize, first: &str, rest: &str) -> String {
    text::wrapped(words, width, first, rest)
        .into_iter()
        .map(|line| style::paint(style, line) + "\n")
        .collect()
}

/// Two columns to the right.
pub(super) fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}

/// `word: text`, wrapped, with the word painted.
pub fn labelled(style: anstyle::Style, word: &str, words: &str, width: usize) -> String {
    let plain = format!("{word}: {}", text::clean(words));
    let lines = text::wrapped(&plain, width, "", "  ").join("\n");
    let label = format!("{word}:");
    format!("{}{}\n", style::paint(style, &label), &lines[label.len()..])
}

/// How a guard is written after `--delete`.
pub fn guard_word(guard: Guard) -> &'static str {
    match guard {
        Guard::LoadBalancers => "load-balancers",
        Guard::Namespaces => "namespaces",
        Guard::Volumes => "volumes",
        Guard::Crds => "crds",
    }
}
