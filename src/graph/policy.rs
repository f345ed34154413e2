//! What the program says about a resource beside its body.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What to do with a field that another manager set to another value and that was never ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// Refuse the plan and name the manager.
    #[default]
    Refuse,
    /// Take the field over.
    Take,
    /// Leave the field to the manager that has it.
    Yield,
}

/// What happens to the pods that mount a ConfigMap or Secret when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnChange {
    /// The pods are replaced by a rollout: the pod template carries a hash of the content.
    #[default]
    Roll,
    /// The program in the container reads the mounted file again by itself.
    Reload,
    /// Nothing: the pods see it at their next start.
    Nothing,
}

/// A resource's policies; the default is right for most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// For fields that have no entry in `fields`.
    pub on_conflict: OnConflict,
    /// By dotted path, such as `spec.replicas`.
    pub fields: BTreeMap<String, OnConflict>,
    /// `false`: applied, but not waited for.
    pub no_wait: bool,
    /// How long a wait goes on without progress; `None` is the tool's default of four minutes.
    pub no_progress: Option<Duration>,
    /// Never replaced, pruned or deleted; removing it from the program leaves the object where it is.
    pub protect: bool,
    /// A replacement (delete and create again) is agreed to by the program.
    pub allow_replace: bool,
    /// A LoadBalancer Service's or a workload's count of ready endpoints to wait for.
    pub require_endpoints: Option<u32>,
}
