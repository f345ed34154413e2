//! The graph as a tree: each resource above what it needs first.

use std::collections::BTreeSet;

use super::{object, style, text};
use crate::graph::{Graph, Need, Until};
use crate::ui::summary::counted;

/// The tree. A resource that several others need is drawn out once; later places say `(above)`. What is needed by way of
/// another need is left out (a pod's namespace, where its ConfigMap is in the same).
pub fn graph(graph: &Graph) -> String {
    let count = counted(graph.resources.len(), "resource");
    let heading = format!("{}: {count} in namespace {}", graph.stack, graph.namespace);
    let mut out = format!("{}\n", style::paint(style::HEADING, text::clean(&heading)));
    let needs = direct_needs(graph);
    let needed: BTreeSet<usize> = needs.iter().flatten().map(|need| need.on).collect();
    let mut drawn = BTreeSet::new();
    for number in (0..graph.resources.len()).filter(|number| !needed.contains(number)) {
        out.push_str(&format!("{}\n", object(&graph.resources[number].id, &graph.namespace)));
        drawn.insert(number);
        branches(graph, &needs, number, "", &mut drawn, &mut out);
    }
    out
}

/// Of each resource, the needs that no other of its needs brings with it.
fn direct_needs(graph: &Graph) -> Vec<Vec<&Need>> {
    // A resource comes after everything it needs, so what those reach is known already.
    let mut reached: Vec<BTreeSet<usize>> = Vec::with_capacity(graph.resources.len());
    let mut direct = Vec::with_capacity(graph.resources.len());
    for resource in &graph.resources {
        let beyond: BTreeSet<usize> =
            resource.needs.iter().filter_map(|need| reached.get(need.on)).flatten().copied().collect();
        direct.push(resource.needs.iter().filter(|need| !beyond.contains(&need.on)).collect());
        reached.push(resource.needs.iter().map(|need| need.on).chain(beyond).collect());
    }
    direct
}

fn branches(
    graph: &Graph,
    needs: &[Vec<&Need>],
    number: usize,
    indent: &str,
    drawn: &mut BTreeSet<usize>,
    out: &mut String,
) {
    let Some(direct) = needs.get(number) else { return };
    for (position, need) in direct.iter().enumerate() {
        let Some(resource) = graph.resources.get(need.on) else { continue };
        let (branch, below) =
            if position + 1 == direct.len() { ("└── ", "    ") } else { ("├── ", "│   ") };
        let first_time = drawn.insert(need.on);
        let ready = if need.until == Until::Ready { ", once it is ready" } else { "" };
        let above = if first_time || resource.needs.is_empty() { "" } else { " (above)" };
        let why = style::paint(style::QUIET, format_args!("({}{ready}){above}", text::clean(&need.why)));
        out.push_str(&format!("{indent}{branch}{}  {why}\n", object(&resource.id, &graph.namespace)));
        if first_time {
            branches(graph, needs, need.on, &format!("{indent}{below}"), drawn, out);
        }
    }
}
