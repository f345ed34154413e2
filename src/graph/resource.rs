//! One node of the graph.

use serde_json::Value;

use super::{Gvk, Location, ObjectId, Policy, Scope};

/// A desired object, as the program declared it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Which object.
    pub id: ObjectId,
    /// Through which version of its API.
    pub gvk: Gvk,
    /// Namespaced or not; `None` for an untyped object whose kind only the server (or a CRD in the graph) knows.
    pub scope: Option<Scope>,
    /// The body to apply, our label included. Strings may hold late values ([`super::late`]).
    pub body: Value,
    /// Where the program declared it.
    pub location: Location,
    /// What the program says about it beside the body.
    pub policy: Policy,
    /// What it needs first.
    pub needs: Vec<Need>,
    /// ConfigMaps and Secrets that its pods mount or read.
    pub configs: Vec<Config>,
}

/// An edge of the graph: the resource that has it comes after `on`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Index of the resource that comes first.
    pub on: usize,
    /// How far that one must be.
    pub until: Until,
    /// For the reader, such as `mounts it` or `its namespace`.
    pub why: String,
}

/// How far a resource must be before one that needs it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// The API server has it.
    Applied,
    /// It works.
    Ready,
}

/// A ConfigMap or Secret that a workload's pods read, and what a change of it does to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Index of the ConfigMap or Secret.
    pub on: usize,
    /// What a change does.
    pub on_change: super::OnChange,
}
