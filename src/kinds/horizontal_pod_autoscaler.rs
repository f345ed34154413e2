//! HorizontalPodAutoscaler (autoscaling).

use serde_json::Value;

use super::json::Condition;
use super::{Context, KindRules, Missing, Verdict};

/// The rules of `autoscaling/v2 HorizontalPodAutoscaler`.
pub(super) struct HorizontalPodAutoscaler;

impl KindRules for HorizontalPodAutoscaler {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        match Condition::of(object, "AbleToScale") {
            None => Verdict::Progressing(
                Missing::new("NotObserved", "the autoscaler has not looked at it yet").progress(vec![0]),
            ),
            Some(condition) if !condition.is_true() => {
                Verdict::Stuck(Missing::new("NotAbleToScale", condition.words()).progress(vec![1]))
            }
            Some(_) => match Condition::of(object, "ScalingActive").filter(Condition::is_false) {
                Some(condition) => Verdict::ready_with(format!("it doesn't scale: {}", condition.words())),
                None => Verdict::ready(),
            },
        }
    }
}
