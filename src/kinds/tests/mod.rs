//! Tables and properties over the rules of all kinds: an object and what is around it, and the verdict.

mod configuration;
mod network;
mod pods;
mod properties;
mod storage;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Context, Missing, Verdict, rules};
use crate::graph::{Gvk, Policy};

/// When «our apply» was answered: 2026-01-01T00:00:00Z.
pub(crate) const APPLIED: f64 = 1_767_225_600.0;

/// The RFC 3339 time so many seconds after the apply.
pub(crate) fn at(seconds: i64) -> String {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap().to_string()
}

/// The verdict on `object`, so many seconds after it was created by our apply.
pub(crate) fn assess_after(object: &Value, seconds: f64, related: &[Value]) -> Verdict {
    assess_changed(object, None, seconds, related, &Policy::default())
}

/// The verdict on `object`, which was `before` our apply.
pub(crate) fn assess_changed(
    object: &Value,
    before: Option<&Value>,
    seconds: f64,
    related: &[Value],
    policy: &Policy,
) -> Verdict {
    let gvk = Gvk::from_api_version(
        object["apiVersion"].as_str().unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default(),
    );
    let context = Context {
        now: APPLIED + seconds,
        applied_at: APPLIED,
        applied_uid: Some("uid"),
        applied_generation: None,
        before,
        policy,
        related,
    };
    rules(&gvk).assess(object, &context)
}

/// `ready`, `ready (note)`, `failed ImagePullBackOff` …
pub(crate) fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ready { note: None } => "ready".to_owned(),
        Verdict::Ready { note: Some(note) } => format!("ready ({note})"),
        Verdict::Progressing(missing) => format!("progressing {}", missing.code),
        Verdict::Stuck(missing) => format!("stuck {}", missing.code),
        Verdict::Failed(missing) => format!("failed {}", missing.code),
        Verdict::Suspended { .. } => "suspended".to_owned(),
        Verdict::Terminating { finalizers } => format!("terminating {}", finalizers.join(",")),
    }
}

/// What is missing by a verdict.
pub(crate) fn missing(verdict: &Verdict) -> &Missing {
    match verdict {
        Verdict::Progressing(missing) | Verdict::Stuck(missing) | Verdict::Failed(missing) => missing,
        other => panic!("nothing is missing: {other:?}"),
    }
}

/// Lays `over` on `base`, maps into maps, everything else replaced.
pub(crate) fn with(base: &Value, over: Value) -> Value {
    let mut result = base.clone();
    lay(&mut result, over);
    result
}

fn lay(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// An object of a kind, with uid `uid`.
pub(crate) fn object(api_version: &str, kind: &str, over: Value) -> Value {
    let base = json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": "srs", "namespace": "live", "uid": "uid", "generation": 2}});
    with(&base, over)
}

/// A condition of `status.conditions`.
pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": at(0), "lastUpdateTime": at(0)})
}

/// An event of a kind's object, so many seconds after the apply.
pub(crate) fn event(about: &Value, reason: &str, message: &str, count: i64, seconds: i64) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "reason": reason, "message": message, "count": count,
        "firstTimestamp": at(seconds), "lastTimestamp": at(seconds),
        "involvedObject": {"kind": about["kind"], "name": about["metadata"]["name"], "uid": about["metadata"]["uid"]}})
}

#[test]
fn what_every_kind_shares() {
    let ready = object(
        "example.org/v1",
        "Widget",
        json!({"status": {"observedGeneration": 2,
        "conditions": [condition("Ready", "True", "", "")]}}),
    );
    for (over, expected) in [
        (json!({}), "ready"),
        (json!({"metadata": {"uid": "another"}}), "failed Replaced"),
        (json!({"metadata": {"deletionTimestamp": at(1), "finalizers": ["a/b"]}}), "terminating a/b"),
        (json!({"metadata": {"generation": 3}}), "progressing NotObserved"),
        (
            json!({"status": {"conditions": [condition("Stalled", "True", "Bad", "no way")]}}),
            "failed Stalled",
        ),
        (
            json!({"status": {"conditions": [condition("Reconciling", "True", "Busy", "")]}}),
            "progressing Reconciling",
        ),
    ] {
        assert_eq!(short(&assess_after(&with(&ready, over.clone()), 1.0, &[])), expected, "{over}");
    }
}

#[test]
fn a_state_before_the_apply_is_not_judged_and_a_later_one_is_named() {
    let widget = |generation: i64| {
        object(
            "example.org/v1",
            "Widget",
            json!({
            "metadata": {"generation": generation, "managedFields": [
                {"manager": "stackctl.live", "operation": "Apply", "time": at(0)},
                {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": at(9)},
                {"manager": "kubectl-edit", "operation": "Update", "time": at(5)}]},
            "status": {"conditions": [condition("Ready", "True", "", "")]}}),
        )
    };
    let policy = Policy::default();
    for (generation, expected) in [
        (4, "progressing NotObserved"),
        (5, "ready"),
        (6, "ready (changed by kubectl-edit since it was applied)"),
    ] {
        let context = Context {
            now: APPLIED,
            applied_at: APPLIED,
            applied_uid: Some("uid"),
            applied_generation: Some(5),
            before: None,
            policy: &policy,
            related: &[],
        };
        let rules = rules(&Gvk::new("example.org", "v1", "Widget"));
        assert_eq!(short(&rules.assess(&widget(generation), &context)), expected);
    }
}
