//! What the cloud controller manager (CCM) leaves on a Service, and what it means: whether it is done with what we applied.
//!
//! CCM adds its finalizer first. After each sync that went well it writes a hash of its inputs as a label, then the address, then
//! the event `EnsuredLoadBalancer`; after one that failed, only an event, and it tries again after 5 s, then ever less often (300 s
//! at most). So an address alone says nothing about the last change.

use serde_json::{Value, json};

use crate::kinds::common::{reports_since, written_at};
use crate::kinds::events::Event;
use crate::kinds::json::{entry, list, name};
use crate::kinds::service::{endpoints, has_address};
use crate::kinds::{Context, Evidence, Missing, Verdict};

const FINALIZERS: &str = "service.k8s.alibaba/";
const HASH: &str = "service.beta.kubernetes.io/hash";
const LOAD_BALANCER_ID: &str = "service.k8s.alibaba/loadbalancer-id";
const ENSURED: &str = "EnsuredLoadBalancer";
const FAILURES: [&str; 3] = ["SyncLoadBalancerFailed", "UnAvailableLoadBalancer", "CleanLoadBalancerFailed"];

/// Words of failures that no further try mends: what CCM refuses to change, load balancers that it won't take, values that the cloud doesn't know. What
/// isn't among them (throttling, a certificate or vSwitch that is still being made) may heal, and is `Stuck` until the deadline.
const HOPELESS: [&str; 9] = [
    "can not change",
    "delete and retry",
    "can not be reused",
    "can not reuse loadbalancer",
    "has been associated with ip",
    "is not allowed",
    "must be integer",
    "InvalidParameter",
    "IllegalParam",
];

/// Whether CCM looks after this Service.
pub(super) fn owns(service: &Value, events: &[Event<'_>]) -> bool {
    let finalizer = list(service, "/metadata/finalizers")
        .iter()
        .any(|found| found.as_str().is_some_and(|found| found.starts_with(FINALIZERS)));
    finalizer
        || !entry(service, "/metadata/labels", HASH).is_empty()
        || !entry(service, "/metadata/labels", LOAD_BALANCER_ID).is_empty()
        || events.iter().any(|event| {
            event.is_about(service) && (event.reason == ENSURED || FAILURES.contains(&event.reason))
        })
}

/// Whether there is a load balancer for it in the cloud, as far as the Service tells.
pub(super) fn has_load_balancer(service: &Value) -> bool {
    has_address(service) || !entry(service, "/metadata/labels", LOAD_BALANCER_ID).is_empty()
}

/// Whether CCM has done what we applied.
pub(super) fn assess(service: &Value, events: &[Event<'_>], context: &Context<'_>) -> Verdict {
    // Of a Service that we created, every event is later than our apply. Else its second must be a later one: within one second nobody knows.
    let since =
        context.before.map(|_| written_at(service).unwrap_or_else(|| reports_since(service, context)));
    let ours = |event: &&Event<'_>| {
        event.is_about(service) && since.is_none_or(|since| event.last.is_some_and(|last| last > since))
    };
    let synced =
        is_synced(service, context.before) || events.iter().filter(ours).any(|event| event.reason == ENSURED);
    if synced && has_address(service) {
        return endpoints(service, context).unwrap_or_else(Verdict::ready);
    }
    let progress = vec![i64::from(synced), i64::from(has_address(service))];
    let what = if has_address(service) {
        "the load balancer has not taken the change yet"
    } else {
        "its load balancer has no address yet"
    };
    let missing = Missing::new("LoadBalancerNotSynced", what).progress(progress);
    let Some(event) = events.iter().find(ours).filter(|event| FAILURES.contains(&event.reason)) else {
        return Verdict::Progressing(missing);
    };
    let reason = format!("{what}: CCM can't make it so");
    let evidence = Evidence::new(format!("Service {}", name(service)), event.message);
    let missing = Missing { code: event.reason.to_owned(), reason, ..missing }.evidence(evidence);
    if HOPELESS.iter().any(|words| event.message.contains(words)) {
        Verdict::Failed(missing)
    } else {
        Verdict::Stuck(missing)
    }
}

/// By its labels: CCM's inputs are as they were before our apply, or it has written another hash since.
fn is_synced(service: &Value, before: Option<&Value>) -> bool {
    let hash = entry(service, "/metadata/labels", HASH);
    match before {
        None => !hash.is_empty(),
        Some(before) => {
            inputs(service) == inputs(before)
                || (!hash.is_empty() && hash != entry(before, "/metadata/labels", HASH))
        }
    }
}

/// What CCM's hash covers.
fn inputs(service: &Value) -> Value {
    let part = |pointer: &str| service.pointer(pointer).cloned().unwrap_or_default();
    let mut annotations = part("/metadata/annotations");
    if annotations.as_object().is_some_and(serde_json::Map::is_empty) {
        annotations = Value::Null;
    }
    json!([
        part("/spec/ports"),
        part("/spec/type"),
        part("/spec/externalTrafficPolicy"),
        part("/spec/loadBalancerClass"),
        part("/spec/loadBalancerSourceRanges"),
        annotations,
    ])
}
