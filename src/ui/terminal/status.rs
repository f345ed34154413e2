//! The stack as it is now.

use super::{View, heading, object, style, text};
use crate::kinds::{Missing, Verdict};
use crate::observation::ClusterIdentity;
use crate::ui::summary::counted;
use crate::ui::{ResourceStatus, addresses};

/// Each resource with its verdict, then the numbers.
pub fn status(
    stack: &str,
    namespace: &str,
    cluster: &ClusterIdentity,
    resources: &[ResourceStatus],
    view: &View,
) -> String {
    let mut out = heading(stack, namespace, cluster, view);
    if view.environment.is_none() || view.full {
        // What `cluster = …` in an environment pins.
        out.push_str(&style::paint(
            style::QUIET,
            format_args!("cluster uid {}\n", text::clean(&cluster.uid)),
        ));
    }
    out.push('\n');
    let column =
        resources.iter().map(|resource| text::width(&object(&resource.id, namespace))).max().unwrap_or(0);
    for resource in resources {
        out.push_str(&line(resource, namespace, column, view));
    }
    let ready = resources.iter().filter(|resource| is_ready(resource.verdict.as_ref())).count();
    let total = resources.len();
    let last = if ready == total {
        format!("All {} ready.", counted(total, "resource"))
    } else {
        format!("{ready} of {} ready.", counted(total, "resource"))
    };
    out.push_str(&format!("\n{}\n", style::paint(style::STRONG, last)));
    out
}

/// Ready, or paused by intent.
pub fn is_ready(verdict: Option<&Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Ready { .. } | Verdict::Suspended { .. }))
}

fn line(resource: &ResourceStatus, home: &str, column: usize, view: &View) -> String {
    let (style, word, mut remarks) = match &resource.verdict {
        None => (style::BAD, "absent", Vec::new()),
        Some(Verdict::Ready { note }) => (style::GOOD, "ready", note.iter().cloned().collect()),
        Some(Verdict::Progressing(missing)) => (style::ATTENTION, "waiting", told(missing)),
        Some(Verdict::Stuck(missing)) => (style::ATTENTION, "stuck", told(missing)),
        Some(Verdict::Failed(missing)) => (style::BAD, "failed", told(missing)),
        Some(Verdict::Suspended { reason }) => (style::ATTENTION, "paused", vec![reason.clone()]),
        Some(Verdict::Terminating { finalizers }) => {
            let held = format!("held by {}", finalizers.join(", "));
            (style::ATTENTION, "deleting", if finalizers.is_empty() { Vec::new() } else { vec![held] })
        }
    };
    if let Some(found) = resource.live.as_ref().and_then(addresses) {
        remarks.insert(0, format!("{}  {}", found.hosts.join(","), found.ports.join(",")));
    }
    let name = object(&resource.id, home);
    let gap = column.saturating_sub(text::width(&name)) + 2;
    let mut out = format!("{} {name}", style::paint(style, format_args!("{word:<8}")));
    let mut remarks = remarks.iter();
    let hanging = 9 + column + 2;
    if let Some(first) = remarks.next() {
        let first = text::clean(first);
        if hanging + text::width(&first) <= view.width {
            out.push_str(&format!("{:gap$}{first}", ""));
        } else {
            out.push_str(&format!(
                "\n{}",
                text::wrapped(&first, view.width, "           ", "           ").join("\n")
            ));
        }
    }
    out.push('\n');
    for remark in remarks {
        for line in text::wrapped(&text::clean(remark), view.width, "           ", "             ") {
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

fn told(missing: &Missing) -> Vec<String> {
    std::iter::once(missing.reason.clone())
        .chain(missing.evidence.iter().map(super::report::evidence_line))
        .collect()
}
