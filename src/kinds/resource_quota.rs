//! ResourceQuota.

use serde_json::Value;

use super::json::quantity;
use super::{Context, KindRules, Missing, Verdict};

/// The rules of `v1 ResourceQuota`.
pub(super) struct ResourceQuota;

impl KindRules for ResourceQuota {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let (spec, status) = (object.pointer("/spec/hard"), object.pointer("/status/hard"));
        let wanted = spec.and_then(Value::as_object).into_iter().flatten();
        let same = |name: &str, wanted: &Value| {
            let found = status.and_then(|status| status.get(name));
            found.is_some_and(|found| {
                found == wanted || (quantity(found).is_some() && quantity(found) == quantity(wanted))
            })
        };
        let open: Vec<_> =
            wanted.filter(|(name, wanted)| !same(name, wanted)).map(|(name, _)| name.as_str()).collect();
        if open.is_empty() {
            return Verdict::ready();
        }
        let reason = format!("not in force yet for {}", open.join(", "));
        Verdict::Progressing(Missing::new("QuotaNotInForce", reason).progress(vec![0]))
    }

    fn immutable(&self) -> &'static [&'static str] {
        &["spec.scopes", "spec.scopeSelector"]
    }
}
