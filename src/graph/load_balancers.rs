//! Checks the LoadBalancer Services of a graph, however they were declared: nothing else does before CCM meets them.

use serde_json::{Value, json};

use super::{GraphError, Resource, late};
use crate::ack::{Finding, Severity, lint, shared_listeners};

/// What CCM or the cloud would refuse, and listeners that several Services would take from each other. What is merely doubtful is left to the
/// plan. `known` is what builders have complained about already.
pub(super) fn check(resources: &[Resource], known: &[GraphError]) -> Vec<GraphError> {
    let services: Vec<(&Resource, Value)> = resources
        .iter()
        .filter(|resource| resource.gvk.group.is_empty() && resource.gvk.kind == "Service")
        .map(|resource| {
            let mut body = resource.body.clone();
            // A value that is known only after apply is checked by its sample.
            let _ = late::fill(&mut body, &|late| Some(json!(late.sample)));
            (resource, body)
        })
        .collect();
    let single = services
        .iter()
        .flat_map(|(resource, body)| lint(body).into_iter().map(move |finding| (*resource, finding)));
    let shared = shared_listeners(services.iter().map(|(_, body)| body))
        .into_iter()
        .map(|(place, finding)| (services[place].0, finding));
    single
        .chain(shared)
        .filter(|(_, finding)| finding.severity == Severity::Error)
        .map(|(resource, finding)| error(resource, finding))
        .filter(|error| !known.iter().any(|known| known.message.starts_with(&error.message)))
        .collect()
}

fn error(resource: &Resource, finding: Finding) -> GraphError {
    GraphError {
        location: resource.location.clone(),
        message: format!("Service {}: {}: {}", resource.id.name, finding.annotation, finding.message),
        hint: finding.hint,
    }
}
