//! Views for people: text of a given width, with colour.

pub mod graph;
pub mod plan;
pub mod progress;
pub mod report;
pub mod status;

mod fields;
mod tree;

pub mod style;
pub mod text;

use jiff::Timestamp;

use crate::graph::ObjectId;
use crate::observation::ClusterIdentity;

/// How a view is wanted.
#[derive(Clone, Debug)]
pub struct View {
    /// Columns.
    pub width: usize,
    /// Everything, defaults and long texts included.
    pub full: bool,
    /// For «3 minutes ago».
    pub now: Timestamp,
    /// The named environment, if one was chosen.
    pub environment: Option<String>,
}

/// The line that says where: stack, namespace, cluster, environment. It stands at the head of plans and status.
pub fn heading(stack: &str, namespace: &str, cluster: &ClusterIdentity, view: &View) -> String {
    let environment =
        view.environment.as_ref().map(|name| format!("environment {name}, ")).unwrap_or_default();
    let line = format!(
        "{stack} on {environment}cluster {} ({}, {}), namespace {namespace}",
        cluster.context, cluster.server, cluster.version
    );
    let lines = text::wrapped(&text::clean(&line), view.width, "", "  ");
    format!("{}\n", style::paint(style::HEADING, lines.join("\n")))
}

/// An object's kind and name, and its namespace where that isn't the stack's.
pub fn object(id: &ObjectId, home: &str) -> String {
    match &id.namespace {
        Some(namespace) if namespace != home => text::clean(&format!("{id} in namespace {namespace}")),
        _ => text::clean(&id.to_string()),
    }
}
