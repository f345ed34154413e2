//! Gateway API (gateway.networking.k8s.io): GatewayClass, Gateway and the routes. An Ingress has no such contract and is ready when accepted.

use serde_json::Value;

use super::json::{Condition, list, number, text};
use super::{Context, Evidence, KindRules, Missing, Verdict};

/// The rules of `GatewayClass`.
pub(super) struct GatewayClass;

impl KindRules for GatewayClass {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let conditions = list(object, "/status/conditions");
        demand(object, "its controller", conditions, &["Accepted"]).unwrap_or_else(Verdict::ready)
    }

    fn immutable(&self) -> &'static [&'static str] {
        &["spec.controllerName"]
    }
}

/// The rules of `Gateway`.
pub(super) struct Gateway;

impl KindRules for Gateway {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let conditions = list(object, "/status/conditions");
        demand(object, "its controller", conditions, &["Accepted", "Programmed"])
            .unwrap_or_else(Verdict::ready)
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        let addresses: Vec<_> =
            list(live, "/status/addresses").iter().map(|address| text(address, "/value")).collect();
        if addresses.is_empty() {
            Vec::new()
        } else {
            vec![format!("its addresses {}", addresses.join(", "))]
        }
    }
}

/// The rules of `HTTPRoute`, `TCPRoute` and the other routes: each parent must take it.
pub(super) struct Route;

impl KindRules for Route {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let parents = list(object, "/status/parents");
        if parents.len() < list(object, "/spec/parentRefs").len() {
            let reason = "not every gateway it names has taken a look at it yet";
            let seen = i64::try_from(parents.len()).unwrap_or(i64::MAX);
            return Verdict::Progressing(Missing::new("NotObserved", reason).progress(vec![seen]));
        }
        parents
            .iter()
            .find_map(|parent| {
                let who = format!("gateway {}", text(parent, "/parentRef/name"));
                demand(object, &who, list(parent, "/conditions"), &["Accepted", "ResolvedRefs"])
            })
            .unwrap_or_else(Verdict::ready)
    }
}

/// What is missing until all of `names` are `True` for this generation.
fn demand(object: &Value, who: &str, conditions: &[Value], names: &[&str]) -> Option<Verdict> {
    let generation = number(object, "/metadata/generation");
    for (met, name) in (0_i64..).zip(names) {
        let progress = vec![met];
        let Some(condition) = Condition::among(conditions, name) else {
            let missing = Missing::new(format!("Not{name}"), format!("{who} has not said {name} yet"));
            return Some(Verdict::Progressing(missing.progress(progress)));
        };
        if condition
            .observed_generation
            .zip(generation)
            .is_some_and(|(observed, generation)| observed < generation)
        {
            let missing = Missing::new("NotObserved", format!("{who} has not seen the change yet"));
            return Some(Verdict::Progressing(missing.progress(progress)));
        }
        if !condition.is_true() {
            let missing =
                Missing::new(format!("Not{name}"), format!("{who} says {name}={}", condition.status))
                    .progress(progress)
                    .evidence(Evidence::new(who, condition.words()));
            // `Pending` is the way there; anything else is a judgement that only a change reverses.
            let on_its_way = matches!(condition.reason, "Pending" | "") || condition.status == "Unknown";
            return Some(if on_its_way { Verdict::Progressing(missing) } else { Verdict::Stuck(missing) });
        }
    }
    None
}
