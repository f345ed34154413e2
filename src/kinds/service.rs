//! Service, as Kubernetes itself has it; what a cloud's controller adds is in its own room (`ack`).

use serde_json::Value;

use super::common::{noise, reports_since};
use super::events::Event;
use super::json::{flag, list, name, of_kind, text};
use super::pods::plural;
use super::{Context, Evidence, Guard, KindRules, Missing, Related, Verdict};

/// After this long without an address the reader should know that there may be nobody to give one.
const ADDRESS_GRACE_SECONDS: f64 = 60.0;

/// The rules of `v1 Service` for any cluster.
pub(crate) struct Service;

impl KindRules for Service {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        if is_load_balancer(object) && !has_address(object) {
            return no_address(object, context);
        }
        endpoints(object, context).unwrap_or_else(Verdict::ready)
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        let mut related = Vec::new();
        if is_load_balancer(object) {
            related.push(Related::Events);
        }
        if has_selector(object) {
            related.push(Related::EndpointSlices { service: name(object).to_owned() });
        }
        related
    }

    fn immutable(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies", "spec.loadBalancerClass"]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "metadata.finalizers",
            "metadata.labels.service.beta.kubernetes.io/hash",
            "metadata.labels.service.k8s.alibaba/loadbalancer-id",
            "metadata.labels.service.k8s.alibaba/security-group-id",
            "spec.clusterIP",
            "spec.clusterIPs",
            "spec.healthCheckNodePort",
            "spec.ipFamilies",
            "spec.ipFamilyPolicy",
            "spec.ports.nodePort",
        ]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        let mut loses = Vec::new();
        if is_load_balancer(live) && has_address(live) {
            loses.push(format!("its load balancer with the address {}", addresses(live).join(", ")));
        }
        if !matches!(text(live, "/spec/clusterIP"), "" | "None") {
            loses.push(format!("its cluster IP {}", text(live, "/spec/clusterIP")));
        }
        if has_selector(live) {
            loses.push("connections through it".to_owned());
        }
        loses
    }

    fn guard(&self, live: &Value) -> Option<Guard> {
        is_load_balancer(live).then_some(Guard::LoadBalancers)
    }
}

/// Whether it is of type LoadBalancer.
pub(crate) fn is_load_balancer(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer"
}

/// Whether its load balancer has an address.
pub(crate) fn has_address(service: &Value) -> bool {
    !addresses(service).is_empty()
}

/// The addresses (or host names) in `status.loadBalancer.ingress`.
pub(crate) fn addresses(service: &Value) -> Vec<&str> {
    list(service, "/status/loadBalancer/ingress")
        .iter()
        .map(|ingress| match text(ingress, "/ip") {
            "" => text(ingress, "/hostname"),
            ip => ip,
        })
        .filter(|address| !address.is_empty())
        .collect()
}

fn has_selector(service: &Value) -> bool {
    text(service, "/spec/type") != "ExternalName"
        && service.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|map| !map.is_empty())
}

/// A load balancer without an address, whoever is to give it.
pub(crate) fn no_address(object: &Value, context: &Context<'_>) -> Verdict {
    let since = reports_since(object, context);
    let events = Event::all(context.related);
    let last = events.iter().find(|event| event.is_about(object) && event.happened_since(since));
    let missing = Missing::new("NoAddress", "its load balancer has no address yet").progress(vec![0]);
    if let Some(event) = last {
        let words = format!("{}: {}", event.reason, event.message);
        return Verdict::Progressing(
            missing.evidence(Evidence::new(format!("Service {}", name(object)), words)),
        );
    }
    let until = since.max(context.applied_at) + ADDRESS_GRACE_SECONDS;
    if context.now <= until {
        return Verdict::Progressing(missing.look_again_at(until + 0.001));
    }
    let reason = "its load balancer has no address, and no controller has said a word about it: is there one in this cluster?";
    Verdict::Stuck(Missing { code: "NoController".to_owned(), reason: reason.to_owned(), ..missing })
}

/// The endpoints that the program asks for are not all there.
pub(crate) fn endpoints(object: &Value, context: &Context<'_>) -> Option<Verdict> {
    let wanted = context.policy.require_endpoints.filter(|_| has_selector(object))?;
    let service = name(object);
    let of_this = |slice: &&Value| matches!(super::json::entry(slice, "/metadata/labels", "kubernetes.io/service-name"), found if found == service);
    let mut ready: Vec<&str> = of_kind(context.related, "EndpointSlice")
        .filter(of_this)
        .flat_map(|slice| list(slice, "/endpoints"))
        // An endpoint without the condition counts as ready (discovery/v1).
        .filter(|endpoint| {
            endpoint.pointer("/conditions/ready").is_none_or(Value::is_null)
                || flag(endpoint, "/conditions/ready")
        })
        .filter_map(|endpoint| list(endpoint, "/addresses").first()?.as_str())
        .collect();
    // The same endpoint stands in several slices if the Service has several ports or IP families.
    ready.sort_unstable();
    ready.dedup();
    let ready = ready.len();
    if u32::try_from(ready).unwrap_or(u32::MAX) >= wanted {
        return None;
    }
    let reason = format!("{ready} of {} ready", plural(i64::from(wanted), "endpoint"));
    let progress = vec![1, i64::try_from(ready).unwrap_or(i64::MAX)];
    Some(Verdict::Progressing(Missing::new("NoEndpoints", reason).progress(progress)))
}
