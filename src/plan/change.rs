//! The plan and what it is made of. Everything here is data: it is shown, written as JSON, and carried out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::{Gvk, Location, ObjectId, Policy};
use crate::kinds::Guard;
use crate::observation::ClusterIdentity;

/// What `up` will do, in full: the run that carries it out has no choices to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The stack's name.
    pub stack: String,
    /// The stack's namespace.
    pub namespace: String,
    /// The cluster it was made for.
    pub cluster: ClusterIdentity,
    /// What changes, in an order in which it could be done one by one.
    pub changes: Vec<Change>,
    /// What stays as it is, and how many of those were proven without asking the server.
    pub unchanged: Vec<ObjectId>,
    /// Remarks.
    pub notes: Vec<Note>,
    /// Why this plan can't be carried out; a plan with refusals is shown, but never run.
    pub refusals: Vec<Refusal>,
}

/// One object's change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Which object.
    pub id: ObjectId,
    /// Through which version of its API.
    pub gvk: Gvk,
    /// What is done.
    pub action: Action,
    /// Field by field, in the order of the paths. For creates: the fields of the new object.
    pub diff: Vec<FieldChange>,
    /// Where the program declares it; none for prunes.
    pub location: Option<Location>,
    /// `metadata.uid` of the live object the change was made from.
    pub uid: Option<String>,
    /// `metadata.resourceVersion` of it.
    pub resource_version: Option<String>,
    /// Hash over action and diff: what was agreed to. The same after the object moved = still agreed.
    pub diff_hash: String,
    /// Who has checked it.
    pub checked: Checked,
    /// Why it is replaced rather than updated.
    pub reasons: Vec<String>,
    /// What is lost by it (an address, data, running pods).
    pub loses: Vec<String>,
    /// What must be confirmed by name before a deletion or replacement.
    pub guard: Option<Guard>,
    /// Numbers (in `changes`) of the changes that must be done first, and whether they must be ready (`true`) or only applied.
    pub after: BTreeMap<usize, bool>,
    /// The body to apply; late values that are not known yet still stand in it. Never shown or written.
    #[serde(skip)]
    pub body: Value,
    /// JSON patch operations that take out fields a human added (server-side apply leaves those alone).
    #[serde(skip)]
    pub removals: Vec<Value>,
    /// The live object the change was made from.
    #[serde(skip)]
    pub live: Option<Value>,
    /// What the program says about the resource.
    #[serde(skip)]
    pub policy: Policy,
    /// Number of the resource in the graph; none for prunes.
    #[serde(skip)]
    pub resource: Option<usize>,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// `+`
    Create,
    /// `~`
    Update,
    /// `-/+`: deleted, then created again.
    Replace,
    /// `-`
    Delete,
}

/// Who has checked a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Checked {
    /// The API server, by a dry-run of exactly this change.
    Server,
    /// The API server, by a dry-run in another namespace under a probe name, because its namespace isn't there yet.
    Probe {
        /// In which namespace.
        namespace: String,
    },
    /// Nobody but us.
    Offline {
        /// Why the server could not be asked.
        why: String,
    },
}

/// One field's change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Path with list keys, such as `spec.template.spec.containers[name=srs].image`.
    pub path: String,
    /// Added, removed or changed.
    pub op: FieldOp,
    /// Before; masked for Secrets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Value>,
    /// After; masked for Secrets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<Value>,
    /// Why it changes.
    pub cause: Cause,
}

/// What happens to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldOp {
    /// `+`
    Add,
    /// `-`
    Remove,
    /// `~`
    Change,
}

/// Why a field changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// The program says so.
    Intent,
    /// Somebody changed it by hand; it is taken back.
    Drift {
        /// `manager` of the managedFields entry.
        manager: String,
        /// When, RFC 3339, as the server noted it.
        time: Option<String>,
    },
    /// The server's default.
    Default,
    /// An admission webhook or another server-side step changed what we sent.
    Admission,
    /// Its value is known only after another resource was applied.
    KnownAfterApply {
        /// Whose value it is.
        of: ObjectId,
    },
}

/// A remark of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How much it matters.
    pub severity: Severity,
    /// About which object.
    pub id: Option<ObjectId>,
    /// For the reader.
    pub message: String,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it.
    Warning,
}

/// A reason why the plan can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Machine-readable.
    pub code: RefusalCode,
    /// About which object.
    pub id: Option<ObjectId>,
    /// Where the program declares it.
    pub location: Option<Location>,
    /// What and why.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The server rejects the object as it is (exit code 1).
    RefusedByServer,
    /// An admission policy or webhook denies it (exit code 4).
    DeniedByAdmission,
    /// We may not (RBAC; exit code 4).
    Forbidden,
    /// Another manager has the field, and the program says neither take nor yield (exit code 4).
    Conflict,
    /// The object belongs to another stack (exit code 4).
    OtherStack,
    /// The server doesn't know the kind (exit code 1).
    UnknownKind,
    /// A replacement that the program has not agreed to, or of a protected resource (exit code 4).
    Replacement,
    /// The namespace is being deleted (exit code 1).
    TerminatingNamespace,
    /// A ResourceQuota would be exceeded (exit code 4).
    Quota,
    /// The namespace is the one the state lives in (exit code 4).
    StateNamespace,
}
