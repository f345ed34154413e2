//! CustomResourceDefinition (apiextensions.k8s.io).

use serde_json::Value;

use super::common::noise;
use super::json::{Condition, text};
use super::{Context, Guard, KindRules, Missing, Verdict};

/// The rules of `apiextensions.k8s.io/v1 CustomResourceDefinition`. That discovery lists it, too, is for the run to wait for.
pub(super) struct CustomResourceDefinition;

impl KindRules for CustomResourceDefinition {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let accepted = Condition::of(object, "NamesAccepted");
        if let Some(condition) = accepted
            && condition.is_false()
        {
            return Verdict::Failed(Missing::new("NamesNotAccepted", condition.words()));
        }
        let established = Condition::of(object, "Established");
        let is_true =
            |condition: Option<Condition<'_>>| condition.is_some_and(|condition| condition.is_true());
        if is_true(established) && is_true(accepted) {
            return Verdict::ready();
        }
        match established {
            Some(condition)
                if condition.is_false() && !matches!(condition.reason, "Installing" | "NotAccepted") =>
            {
                Verdict::Failed(Missing::new("NotEstablished", condition.words()))
            }
            _ => Verdict::Progressing(
                Missing::new("NotEstablished", "the API server is still installing it")
                    .progress(vec![i64::from(is_true(accepted))]),
            ),
        }
    }

    fn immutable(&self) -> &'static [&'static str] {
        &["spec.group", "spec.names.kind", "spec.names.plural", "spec.scope"]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise!["metadata.finalizers", "spec.conversion.webhook.clientConfig.caBundle"]
    }

    /// `<plural>.<group>`.
    fn name_is_spec(&self) -> bool {
        true
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        vec![format!("every {} in the cluster", text(live, "/spec/names/kind"))]
    }

    fn guard(&self, _live: &Value) -> Option<Guard> {
        Some(Guard::Crds)
    }
}
