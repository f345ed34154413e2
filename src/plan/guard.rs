//! What is never deleted in passing (rule 6).

use serde_json::Value;

use crate::graph::{Gvk, PROTECT_ANNOTATION};
use crate::kinds::{Guard, rules};

/// Why `live` stays although the program no longer declares it; `None` if it may go.
pub(super) fn keeps_from_pruning(gvk: &Gvk, live: &Value) -> Option<&'static str> {
    if is_protected(live) {
        return Some("it is protected");
    }
    Some(match rules(gvk).guard(live)? {
        Guard::LoadBalancers => {
            "with a LoadBalancer Service its address is lost; delete it with kubectl if you mean it"
        }
        Guard::Namespaces => {
            "with a Namespace everything in it is lost; delete it with kubectl if you mean it"
        }
        Guard::Volumes => "with a volume its data is lost; delete it with kubectl if you mean it",
        Guard::Crds => {
            "with a CustomResourceDefinition every object of its kind is lost; delete it with kubectl if you mean it"
        }
    })
}

/// Whether the program that made it protects it.
pub(super) fn is_protected(live: &Value) -> bool {
    live.pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(PROTECT_ANNOTATION))
        .is_some()
}

/// Whether a controller made it: its owner takes it along. (Endpoints and EndpointSlices copy our label from the Service.)
pub(super) fn is_owned(live: &Value) -> bool {
    live.pointer("/metadata/ownerReferences").and_then(Value::as_array).is_some_and(|owners| {
        owners.iter().any(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
    })
}
