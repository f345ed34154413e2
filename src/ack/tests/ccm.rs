//! When CCM is done.

use super::*;
use crate::ack::Service;
use crate::graph::Policy;
use crate::kinds::tests::{APPLIED, at, event, missing, short};
use crate::kinds::{Context, KindRules, Verdict};

/// The verdict 10 s after our apply on a Service that was `before`.
fn assess(service: &Value, before: Option<&Value>, related: &[Value]) -> Verdict {
    let policy = Policy::default();
    let context = Context {
        now: APPLIED + 10.0,
        applied_at: APPLIED,
        applied_uid: Some("uid"),
        applied_generation: None,
        before,
        policy: &policy,
        related,
    };
    Service.assess(service, &context)
}

/// A Service as CCM leaves it: finalizer, hash if it has synced, address if it has one.
fn traced(service: &Value, hash: Option<&str>, address: bool) -> Value {
    let traced = with(
        service,
        json!({"metadata": {"finalizers": ["service.k8s.alibaba/resources"],
        "managedFields": [{"manager": "stackctl.live", "time": at(0)}]}}),
    );
    let hashed = hash.map_or(traced.clone(), |hash| {
        with(&traced, json!({"metadata": {"labels": {"service.beta.kubernetes.io/hash": hash}}}))
    });
    if address {
        with(&hashed, json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}))
    } else {
        hashed
    }
}

#[test]
fn a_new_load_balancer_is_ready_when_ccm_is_done() {
    let plain = clb(&[]);
    let ensured = event(&plain, "EnsuredLoadBalancer", "Ensured load balancer [lb-a]", 1, 3);
    let failed = |message: &str| event(&plain, "SyncLoadBalancerFailed", message, 1, 3);
    let hopeless = "Error syncing load balancer [lb-a]: alicloud: can not change LoadBalancer AddressType once created. delete and retry";
    for (service, related, expected) in [
        (traced(&plain, None, false), vec![], "progressing LoadBalancerNotSynced"),
        (traced(&plain, Some("1"), false), vec![], "progressing LoadBalancerNotSynced"),
        (traced(&plain, None, true), vec![], "progressing LoadBalancerNotSynced"),
        (traced(&plain, Some("1"), true), vec![], "ready"),
        (traced(&plain, None, true), vec![ensured.clone()], "ready"),
        (traced(&plain, None, false), vec![failed("Throttling.User")], "stuck SyncLoadBalancerFailed"),
        (traced(&plain, None, false), vec![failed(hopeless)], "failed SyncLoadBalancerFailed"),
        // The first word of CCM is a failure: no finalizer, no label.
        (
            plain.clone(),
            vec![failed("create public address slb is not allowed")],
            "failed SyncLoadBalancerFailed",
        ),
        // Without a trace of CCM the cluster is any cluster.
        (plain.clone(), vec![], "progressing NoAddress"),
        (
            with(&plain, json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}})),
            vec![],
            "ready",
        ),
    ] {
        let verdict = assess(&service, None, &related);
        assert_eq!(short(&verdict), expected, "{service} {related:?}");
        if let [event] = related.as_slice()
            && expected.ends_with("Failed")
        {
            assert_eq!(missing(&verdict).evidence[0].message, event["message"]);
        }
    }
}

#[test]
fn a_change_is_ready_when_ccm_has_made_it() {
    let before = traced(&clb(&[("spec", "slb.s1.small")]), Some("1"), true);
    let changed = |hash| traced(&clb(&[("spec", "slb.s2.small")]), Some(hash), true);
    let about = |reason: &str, seconds| event(&before, reason, "words", 1, seconds);
    for (service, related, expected) in [
        // The same address as ever says nothing.
        (changed("1"), vec![], "progressing LoadBalancerNotSynced"),
        (changed("2"), vec![], "ready"),
        (changed("1"), vec![about("EnsuredLoadBalancer", 4)], "ready"),
        (changed("1"), vec![about("EnsuredLoadBalancer", -4)], "progressing LoadBalancerNotSynced"),
        (changed("1"), vec![about("SyncLoadBalancerFailed", 4)], "stuck SyncLoadBalancerFailed"),
        (changed("1"), vec![about("SyncLoadBalancerFailed", -4)], "progressing LoadBalancerNotSynced"),
        // What CCM doesn't look at needs no sync.
        (with(&before, json!({"metadata": {"labels": {"app": "srs"}}})), vec![], "ready"),
        (with(&before, json!({"spec": {"selector": {"app": "srs"}}})), vec![], "ready"),
    ] {
        assert_eq!(short(&assess(&service, Some(&before), &related)), expected, "{service} {related:?}");
    }
}
