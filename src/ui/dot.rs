//! The graph in Graphviz's language.

use std::fmt::Write as _;

use crate::graph::{Graph, Until};

/// Writes the graph as a `digraph`: an arrow leads from a resource to what it needs first, dashed where that one only
/// has to be applied, not ready.
pub fn graph(graph: &Graph) -> String {
    let mut dot = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(&graph.stack));
    for (number, resource) in graph.resources.iter().enumerate() {
        let label = format!("{}\n{}", resource.id.kind, resource.id.name);
        let _ = writeln!(dot, "  r{number} [label={}];", quoted(&label));
    }
    for (number, resource) in graph.resources.iter().enumerate() {
        for need in &resource.needs {
            let style = match need.until {
                Until::Ready => "",
                Until::Applied => ", style=dashed",
            };
            let _ = writeln!(dot, "  r{number} -> r{} [label={}{style}];", need.on, quoted(&need.why));
        }
    }
    dot.push_str("}\n");
    dot
}

/// A double-quoted ID: only quotes, backslashes and line ends need care.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
