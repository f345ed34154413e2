//! Kinds nobody here knows, custom resources above all: their conditions, if they have any.

use serde_json::Value;

use super::json::{Condition, number};
use super::{Context, Evidence, KindRules, Missing, Verdict};

/// A controller that writes a status at all has begun by then.
const STATUS_GRACE_SECONDS: f64 = 5.0;
/// The conditions that mean «it works», in the order in which the first found decides.
const GOOD_CONDITIONS: [&str; 3] = ["Ready", "Available", "Succeeded"];

/// The rules of every other kind.
pub(super) struct Generic;

impl KindRules for Generic {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        let status = object.get("status").and_then(Value::as_object).filter(|status| !status.is_empty());
        if status.is_none() {
            let until = context.applied_at + STATUS_GRACE_SECONDS;
            if context.now >= until {
                return Verdict::ready_with("it has no status to go by");
            }
            let missing =
                Missing::new("NoStatus", "no controller has written its status yet").progress(vec![0]);
            return Verdict::Progressing(missing.look_again_at(until));
        }
        let found = GOOD_CONDITIONS.iter().find_map(|name| Some((*name, Condition::of(object, name)?)));
        let Some((name, condition)) = found else {
            return Verdict::ready_with("its status has no condition to go by");
        };
        let generation = number(object, "/metadata/generation");
        let stale =
            condition.observed_generation.zip(generation).is_some_and(|(observed, now)| observed < now);
        if stale {
            let reason = format!("its controller has not judged {name} for this change yet");
            return Verdict::Progressing(Missing::new("NotObserved", reason).progress(vec![1]));
        }
        if condition.is_true() {
            return Verdict::ready();
        }
        let missing =
            Missing::new(format!("Not{name}"), format!("its controller says {name}={}", condition.status));
        let evidence = Evidence::new("its controller", condition.words());
        Verdict::Progressing(missing.progress(vec![2]).evidence(evidence))
    }
}
