//! Tables over the annotations and CCM's traces, and the property that what is typed right is right.

mod ccm;
mod changes;
mod rows;
mod typed;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::annotation::{LEGACY_PREFIX, NLB_CLASS, PREFIX};
use super::{Severity, lint};
use crate::kinds::tests::with;

/// A LoadBalancer Service with ports 1935, 8080 (TCP) and 8000 (UDP, if asked for), and these annotations by suffix.
fn service(class: Option<&str>, annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<_, _> =
        annotations.iter().map(|(suffix, value)| (format!("{PREFIX}{suffix}"), *value)).collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "srs", "namespace": "live", "uid": "uid", "annotations": annotations},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": class,
            "ports": [{"port": 1935, "protocol": "TCP"}, {"port": 8080, "protocol": "TCP"}]}})
}

fn clb(annotations: &[(&str, &str)]) -> Value {
    service(None, annotations)
}

const ZONES: (&str, &str) = ("zone-maps", "a:vsw-a,b:vsw-b");

fn nlb(annotations: &[(&str, &str)]) -> Value {
    service(Some(NLB_CLASS), &[&[ZONES], annotations].concat())
}

/// `E suffix` or `W suffix` of each finding, in order, without repetitions.
fn found(service: &Value) -> Vec<String> {
    let mut found: Vec<_> = lint(service)
        .into_iter()
        .map(|finding| {
            let severity = if finding.severity == Severity::Error { 'E' } else { 'W' };
            let suffix = finding
                .annotation
                .strip_prefix(PREFIX)
                .or_else(|| finding.annotation.strip_prefix(LEGACY_PREFIX));
            format!("{severity} {}", suffix.unwrap_or(&finding.annotation))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The same with a load balancer.
fn living(service: &Value) -> Value {
    with(
        service,
        json!({"metadata": {"labels": {"service.k8s.alibaba/loadbalancer-id": "lb-live"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
    )
}
