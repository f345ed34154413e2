//! Namespace.

use serde_json::Value;

use super::common::noise;
use super::json::text;
use super::{Context, Guard, KindRules, Missing, Verdict};

/// The rules of `v1 Namespace`. One that is being deleted is `Terminating`, with what still holds it.
pub(super) struct Namespace;

impl KindRules for Namespace {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        match text(object, "/status/phase") {
            "Active" => Verdict::ready(),
            "Terminating" => Verdict::Stuck(Missing::new("NamespaceTerminating", "it is being deleted")),
            _ => Verdict::Progressing(
                Missing::new("NamespacePending", "it is not active yet").progress(vec![0]),
            ),
        }
    }

    fn noise(&self) -> &'static [&'static str] {
        noise!["metadata.labels.kubernetes.io/metadata.name", "spec.finalizers"]
    }

    /// Its name is all that it is, and policies go by it.
    fn name_is_spec(&self) -> bool {
        true
    }

    fn replacement_loses(&self, _live: &Value) -> Vec<String> {
        vec!["everything in it".to_owned()]
    }

    fn guard(&self, _live: &Value) -> Option<Guard> {
        Some(Guard::Namespaces)
    }
}
