//! PodDisruptionBudget (policy).

use serde_json::Value;

use super::common;
use super::json::count;
use super::{Context, KindRules, Verdict};

/// The rules of `policy/v1 PodDisruptionBudget`.
pub(super) struct PodDisruptionBudget;

impl KindRules for PodDisruptionBudget {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        if let Some(verdict) = common::never_observed(object) {
            return verdict;
        }
        if count(object, "/status/disruptionsAllowed") == 0 {
            return Verdict::ready_with(
                "it allows no disruption at the moment: a node with its pods can't be drained",
            );
        }
        Verdict::ready()
    }
}
