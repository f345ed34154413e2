//! How a run ended: what failed and why, what was left, the numbers, and the addresses.

use std::collections::BTreeMap;

use super::plan::{indented, labelled};
use super::{View, object, style, text};
use crate::apply::{Outcome, Report, ResultOf};
use crate::graph::ObjectId;
use crate::kinds::{Evidence, Missing};
use crate::plan::Action;
use crate::ui::{Addresses, Summary};

/// What went wrong, each with its evidence, and the numbers in the last line.
pub fn report(report: &Report, home: &str, view: &View) -> String {
    let mut out = String::new();
    // One reason often stops many.
    let mut skipped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (id, action, result) in &report.results {
        match result {
            ResultOf::Done => {}
            ResultOf::Skipped { because } => skipped.entry(because).or_default().push(object(id, home)),
            failed => {
                out.push_str(&failure(id, infinitive(*action), failed, home, view));
                out.push('\n');
            }
        }
    }
    for (id, result) in report.unchanged.iter().filter(|(_, result)| *result != ResultOf::Done) {
        out.push_str(&failure(id, "wait for", result, home, view));
        out.push('\n');
    }
    for (because, names) in &skipped {
        let words = format!("{} ({because})", names.join(", "));
        out.push_str(&labelled(style::ATTENTION, "skipped", &words, view.width));
    }
    if !skipped.is_empty() {
        out.push('\n');
    }
    out.push_str(&last_line(report));
    out
}

/// One failure with everything that is known about why; `verb`: what was to be done.
fn failure(id: &ObjectId, verb: &str, result: &ResultOf, home: &str, view: &View) -> String {
    let name = object(id, home);
    let failed = |words: &str| labelled(style::ERROR, "failed", words, view.width);
    match result {
        ResultOf::Done | ResultOf::Skipped { .. } => String::new(),
        ResultOf::Refused { message } => failed(&format!("{verb} {name}: refused by the server: {message}")),
        ResultOf::Stale { message } => {
            let mut out = failed(&format!("{verb} {name}: it has changed since the plan: {message}"));
            out.push_str(&hint(view, "run `plan` again and look at what would be done now"));
            out
        }
        ResultOf::Error { message } => failed(&format!("{verb} {name}: {message}")),
        ResultOf::NotReady { missing, logs, terminal } => {
            let end = if *terminal { "does not work" } else { "is not ready in time" };
            let mut out = failed(&format!("{name} {end}: {} ({})", missing.reason, missing.code));
            out.push_str(&evidence(missing, view));
            for (container, lines) in logs {
                if lines.trim().is_empty() {
                    continue;
                }
                out.push_str(&format!("  last log lines of {}:\n", text::clean(container)));
                for line in lines.lines() {
                    let rule = style::paint(style::QUIET, "│");
                    out.push_str(format!("    {rule} {}", text::clean(line)).trim_end());
                    out.push('\n');
                }
            }
            if let Some(advice) = advice(&missing.code) {
                out.push_str(&hint(view, advice));
            }
            out
        }
    }
}

/// The addresses of load balancers, one Service a line: name, hosts, ports. Data, without colour.
pub fn addresses(found: &[Addresses], home: &str) -> String {
    let column = found.iter().map(|service| text::width(&object(&service.id, home))).max().unwrap_or(0);
    let line = |service: &Addresses| {
        let name = object(&service.id, home);
        let gap = column - text::width(&name);
        format!("{name}{:gap$}  {}  {}\n", "", service.hosts.join(","), service.ports.join(","))
    };
    found.iter().map(|service| text::clean(&line(service))).collect()
}

/// Where a fact was observed, and the fact, in one line.
pub(super) fn evidence_line(evidence: &Evidence) -> String {
    let container = evidence.container.as_ref().map(|name| format!(", container {name}")).unwrap_or_default();
    let image = evidence.image.as_ref().map(|image| format!(", image {image}")).unwrap_or_default();
    format!("{}{container}{image}: {}", evidence.object, evidence.message)
}

fn evidence(missing: &Missing, view: &View) -> String {
    let mut out = String::new();
    for evidence in &missing.evidence {
        let line = text::clean(&evidence_line(evidence));
        for line in text::wrapped(&line, view.width, "  ", "    ") {
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

fn hint(view: &View, advice: &str) -> String {
    indented(&labelled(style::HINT, "hint", advice, view.width.saturating_sub(2)))
}

/// What to do about reasons that the kubelet, the scheduler and the controllers give.
fn advice(code: &str) -> Option<&'static str> {
    match code {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            Some("check the image's name and tag, and that the nodes may pull it (imagePullSecrets)")
        }
        "CrashLoopBackOff" => Some("the container ends right after its start: its last log lines say why"),
        "CreateContainerConfigError" => Some("a ConfigMap, Secret or key that the pod names is missing"),
        "Unschedulable" => {
            Some("no node fits: compare the pod's requests, selectors and tolerations with the nodes")
        }
        "OOMKilled" => Some("raise the container's memory limit"),
        _ => None,
    }
}

fn last_line(report: &Report) -> String {
    let is_skipped = |result: &ResultOf| matches!(result, ResultOf::Skipped { .. });
    let skipped = report.results.iter().filter(|(_, _, result)| is_skipped(result)).count();
    let done = Summary::of_report(report);
    let failed = report.results.len() - done.changes() - skipped;
    let ready = report.unchanged.iter().filter(|(_, result)| *result == ResultOf::Done).count();
    let numbers: Vec<String> = [
        (done.create, "created"),
        (done.update, "updated"),
        (done.replace, "replaced"),
        (done.delete, "deleted"),
        (failed, "failed"),
        (skipped, "skipped"),
        (ready, "unchanged and now ready"),
        (report.unchanged.len() - ready, "unchanged and not ready"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, word)| format!("{number} {word}"))
    .collect();
    let numbers = if numbers.is_empty() { "nothing was done".to_owned() } else { numbers.join(", ") };
    let time = text::duration(report.seconds);
    let (style, line) = match report.outcome {
        Outcome::Done => (style::GOOD, format!("Done in {time}: {numbers}.")),
        Outcome::Failed => (style::BAD, format!("Failed after {time}: {numbers}. Run it again to go on.")),
        Outcome::Stale => {
            (style::BAD, format!("Stopped after {time}, because the plan is stale: {numbers}."))
        }
        Outcome::NotReady => (style::BAD, format!("Not ready after {time}: {numbers}.")),
        Outcome::Interrupted => {
            (style::ATTENTION, format!("Interrupted after {time}: {numbers}. Run it again to go on."))
        }
    };
    format!("{}\n", style::paint(style.bold(), line))
}

fn infinitive(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace => "replace",
        Action::Delete => "delete",
    }
}
