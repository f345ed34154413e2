//! APIService (apiregistration.k8s.io).

use serde_json::Value;

use super::common::noise;
use super::json::Condition;
use super::{Context, Evidence, KindRules, Missing, Verdict};

/// The rules of `apiregistration.k8s.io/v1 APIService`.
pub(super) struct ApiService;

impl KindRules for ApiService {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let missing = || Missing::new("NotAvailable", "the API server can't reach it yet").progress(vec![0]);
        match Condition::of(object, "Available") {
            Some(condition) if condition.is_true() => Verdict::ready(),
            Some(condition) => {
                Verdict::Progressing(missing().evidence(Evidence::new("API server", condition.words())))
            }
            None => Verdict::Progressing(missing()),
        }
    }

    fn noise(&self) -> &'static [&'static str] {
        noise!["spec.caBundle"]
    }

    /// `<version>.<group>`.
    fn name_is_spec(&self) -> bool {
        true
    }
}
