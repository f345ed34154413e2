//! Services without a cloud, Ingress, the Gateway API.

use serde_json::{Value, json};

use super::*;

fn service(over: Value) -> Value {
    let base = object(
        "v1",
        "Service",
        json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "selector": {"app": "srs"}}}),
    );
    with(&base, over)
}

#[test]
fn services_without_a_load_balancer_are_ready_at_once() {
    for over in [
        json!({}),
        json!({"spec": {"clusterIP": "None"}}),
        json!({"spec": {"selector": null}}),
        json!({"spec": {"type": "NodePort"}}),
        json!({"spec": {"type": "ExternalName", "externalName": "example.org"}}),
    ] {
        assert_eq!(short(&assess_after(&service(over.clone()), 0.0, &[])), "ready", "{over}");
    }
}

#[test]
fn endpoints_that_the_program_asks_for() {
    let slice = |service: &str, addresses: &[(&str, Value)]| {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|(address, ready)| json!({"addresses": [address], "conditions": {"ready": ready}}))
            .collect();
        json!({"kind": "EndpointSlice", "metadata": {"labels": {"kubernetes.io/service-name": service}}, "endpoints": endpoints})
    };
    let policy = |count| Policy { require_endpoints: Some(count), ..Policy::default() };
    let two =
        slice("srs", &[("10.1.0.1", json!(true)), ("10.1.0.2", json!(null)), ("10.1.0.3", json!(false))]);
    let other = slice("other", &[("10.1.0.9", json!(true))]);
    for (wanted, over, related, expected) in [
        (2, json!({}), vec![two.clone()], "ready"),
        (3, json!({}), vec![two.clone(), other.clone()], "progressing NoEndpoints"),
        // The same endpoint in a second slice is no second endpoint.
        (3, json!({}), vec![two.clone(), two.clone()], "progressing NoEndpoints"),
        (1, json!({}), vec![], "progressing NoEndpoints"),
        (1, json!({"spec": {"selector": null}}), vec![], "ready"),
        (1, json!({"spec": {"type": "ExternalName"}}), vec![], "ready"),
    ] {
        let verdict = assess_changed(&service(over.clone()), None, 1.0, &related, &policy(wanted));
        assert_eq!(short(&verdict), expected, "{wanted} {over}");
    }
}

#[test]
fn load_balancers_of_any_cluster() {
    let pending = service(json!({"spec": {"type": "LoadBalancer"}}));
    let with_address =
        |ingress: Value| with(&pending, json!({"status": {"loadBalancer": {"ingress": [ingress]}}}));
    assert_eq!(short(&assess_after(&with_address(json!({"ip": "192.0.2.1"})), 1.0, &[])), "ready");
    assert_eq!(short(&assess_after(&with_address(json!({"hostname": "lb.example"})), 1.0, &[])), "ready");
    assert_eq!(short(&assess_after(&with_address(json!({})), 1.0, &[])), "progressing NoAddress");
    let early = assess_after(&pending, 1.0, &[]);
    assert_eq!(short(&early), "progressing NoAddress");
    let look_again = missing(&early).look_again_at.unwrap() - APPLIED;
    assert_eq!(short(&assess_after(&pending, look_again, &[])), "stuck NoController");
    let spoken = event(&pending, "Allocating", "asking for an address", 1, 3);
    assert_eq!(short(&assess_after(&pending, look_again, &[spoken])), "progressing NoAddress");
}

#[test]
fn what_a_service_costs() {
    let rules = rules(&Gvk::new("", "v1", "Service"));
    let live = service(
        json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
    );
    assert!(rules.replacement_loses(&live)[0].contains("192.0.2.1"));
    assert_eq!(rules.guard(&live), Some(crate::kinds::Guard::LoadBalancers));
    assert_eq!(rules.guard(&service(json!({}))), None);
}

#[test]
fn ingresses_and_gateways() {
    let group = "gateway.networking.k8s.io/v1";
    let accepted = |status: &str| condition("Accepted", status, "Invalid", "no");
    let parent = |conditions: Value| {
        json!({"status": {"parents": [{"parentRef": {"name": "gw"}, "conditions": conditions}]},
        "spec": {"parentRefs": [{"name": "gw"}]}})
    };
    let fresh = |kind: &str| with(&condition(kind, "True", "", ""), json!({"observedGeneration": 2}));
    let stale = |kind: &str| with(&condition(kind, "True", "", ""), json!({"observedGeneration": 1}));
    for (api_version, kind, over, expected) in [
        ("networking.k8s.io/v1", "Ingress", json!({}), "ready"),
        (group, "GatewayClass", json!({}), "progressing NotAccepted"),
        (group, "GatewayClass", json!({"status": {"conditions": [accepted("True")]}}), "ready"),
        (group, "GatewayClass", json!({"status": {"conditions": [accepted("False")]}}), "stuck NotAccepted"),
        (
            group,
            "Gateway",
            json!({"status": {"conditions": [fresh("Accepted")]}}),
            "progressing NotProgrammed",
        ),
        (
            group,
            "Gateway",
            json!({"status": {"conditions": [fresh("Accepted"), stale("Programmed")]}}),
            "progressing NotObserved",
        ),
        (
            group,
            "Gateway",
            json!({"status": {"conditions": [fresh("Accepted"), fresh("Programmed")]}}),
            "ready",
        ),
        (group, "HTTPRoute", json!({"spec": {"parentRefs": [{"name": "gw"}]}}), "progressing NotObserved"),
        (group, "HTTPRoute", parent(json!([fresh("Accepted"), fresh("ResolvedRefs")])), "ready"),
        (
            group,
            "HTTPRoute",
            parent(json!([fresh("Accepted"), condition("ResolvedRefs", "False", "BackendNotFound", "")])),
            "stuck NotResolvedRefs",
        ),
    ] {
        assert_eq!(
            short(&assess_after(&object(api_version, kind, over.clone()), 1.0, &[])),
            expected,
            "{kind} {over}"
        );
    }
}
