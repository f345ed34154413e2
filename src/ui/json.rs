//! Plans, runs and stacks as JSON documents. Each carries `version` and `kind`; within a version fields are only added.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Addresses, ResourceStatus, Summary, addresses};
use crate::apply::{Report, RunEvent};
use crate::observation::ClusterIdentity;
use crate::plan::Plan;

/// Of all documents here.
pub const VERSION: u32 = 1;

/// `kind: plan`. Values of Secrets stand in it as fingerprints only, as in the plan itself.
pub fn plan(plan: &Plan, environment: Option<&str>) -> Value {
    let mut fields = of(plan);
    fields.insert("environment".to_owned(), json!(environment));
    fields.insert("summary".to_owned(), json!(Summary::of_plan(plan)));
    document("plan", fields)
}

/// `kind: event`, one line of what `up` and `down` tell.
pub fn event(event: &RunEvent) -> Value {
    document("event", of(event))
}

/// `kind: report`, the last line of what `up` and `down` tell.
pub fn report(report: &Report, addresses: &[Addresses]) -> Value {
    let results: Vec<Value> = report
        .results
        .iter()
        .map(|(id, action, result)| {
            let mut fields = of(result);
            fields.insert("id".to_owned(), json!(id));
            fields.insert("action".to_owned(), json!(action));
            Value::Object(fields)
        })
        .collect();
    let unchanged: Vec<Value> = report
        .unchanged
        .iter()
        .map(|(id, result)| {
            let mut fields = of(result);
            fields.insert("id".to_owned(), json!(id));
            Value::Object(fields)
        })
        .collect();
    let fields = json!({
        "outcome": report.outcome,
        "seconds": report.seconds,
        "writes": report.writes,
        "summary": Summary::of_report(report),
        "results": results,
        "unchanged": unchanged,
        "addresses": addresses,
    });
    document("report", of(&fields))
}

/// `kind: status`.
pub fn status(
    stack: &str,
    namespace: &str,
    cluster: &ClusterIdentity,
    resources: &[ResourceStatus],
) -> Value {
    let found: Vec<Addresses> =
        resources.iter().filter_map(|resource| resource.live.as_ref().and_then(addresses)).collect();
    let fields = json!({
        "stack": stack,
        "namespace": namespace,
        "cluster": cluster,
        "resources": resources,
        "addresses": found,
    });
    document("status", of(&fields))
}

fn document(kind: &str, fields: Map<String, Value>) -> Value {
    let mut document = Map::new();
    document.insert("version".to_owned(), json!(VERSION));
    document.insert("kind".to_owned(), json!(kind));
    document.extend(fields);
    Value::Object(document)
}

/// The fields of something that serializes as an object; all of ours do.
fn of(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        Ok(other) => Map::from_iter([("value".to_owned(), other)]),
        Err(error) => Map::from_iter([("error".to_owned(), json!(error.to_string()))]),
    }
}
