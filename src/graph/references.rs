//! References that stand in the bodies themselves: they make the order, and those that can't be right are errors.
//!
//! A name that nothing in the stack has may well be in the cluster already, so it is left to the server. A port, key or label
//! of something that *is* in the stack is checked here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::finish::late_need;
use super::{GraphError, Need, Resource, Until, late, pods};

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// Edges, as `(from, need)`.
    pub(super) needs: Vec<(usize, Need)>,
    /// What can't be right.
    pub(super) errors: Vec<GraphError>,
}

/// Looks through every body.
pub(super) fn find(resources: &[Resource]) -> Found {
    let names = Names::new(resources);
    let mut found = Found::default();
    for (from, resource) in resources.iter().enumerate() {
        let mut need = |on: Option<usize>, until: Until, why: &str| {
            if let Some(on) = on {
                found.needs.push((from, Need { on, until, why: why.to_owned() }));
            }
        };
        if let Some(namespace) = resource.id.namespace.as_deref() {
            need(names.get("Namespace", None, namespace), Until::Ready, "its namespace");
        }
        need(names.crd(resource), Until::Ready, "its kind");
        by_kind(resource, &names, &mut need);
        for late in late::unresolved(&resource.body) {
            if let Some(on) = resources.iter().position(|other| other.id == late.id) {
                found.needs.push((from, late_need(on)));
            }
        }
        if resource.gvk.kind == "Service" {
            found.errors.extend(check_target_ports(resource, resources));
        }
        in_pods(from, resources, &names, &mut found);
    }
    found
}

/// What the fields of single kinds name.
fn by_kind(resource: &Resource, names: &Names<'_>, need: &mut dyn FnMut(Option<usize>, Until, &str)) {
    let namespace = resource.id.namespace.as_deref();
    let text = |pointer: &str| resource.body.pointer(pointer).and_then(Value::as_str);
    match resource.gvk.kind.as_str() {
        "StatefulSet" => {
            need(
                text("/spec/serviceName").and_then(|name| names.get("Service", namespace, name)),
                Until::Applied,
                "its Service",
            );
        }
        "PersistentVolumeClaim" => {
            need(
                text("/spec/volumeName").and_then(|name| names.get("PersistentVolume", None, name)),
                Until::Applied,
                "its volume",
            );
            need(
                text("/spec/storageClassName").and_then(|name| names.get("StorageClass", None, name)),
                Until::Applied,
                "its class",
            );
        }
        "PersistentVolume" => {
            need(
                text("/spec/storageClassName").and_then(|name| names.get("StorageClass", None, name)),
                Until::Applied,
                "its class",
            );
        }
        "HorizontalPodAutoscaler" => {
            if let (Some(kind), Some(name)) =
                (text("/spec/scaleTargetRef/kind"), text("/spec/scaleTargetRef/name"))
            {
                need(names.get(kind, namespace, name), Until::Applied, "it scales it");
            }
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            if let (Some(kind), Some(name)) = (text("/roleRef/kind"), text("/roleRef/name")) {
                let of = if kind == "Role" { namespace } else { None };
                need(names.get(kind, of, name), Until::Applied, "its role");
            }
            for subject in list(&resource.body, "/subjects") {
                let part = |name: &str| subject.get(name).and_then(Value::as_str);
                if part("kind") == Some("ServiceAccount") {
                    let on = part("name")
                        .and_then(|name| names.get("ServiceAccount", part("namespace").or(namespace), name));
                    need(on, Until::Applied, "its subject");
                }
            }
        }
        "Ingress" => {
            for name in
                values_of(&resource.body, "service").filter_map(|service| service.get("name")?.as_str())
            {
                need(names.get("Service", namespace, name), Until::Applied, "it routes to it");
            }
        }
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" | "APIService" => {
            for service in values_of(&resource.body, "service") {
                let part = |name: &str| service.get(name).and_then(Value::as_str);
                let on = part("name").and_then(|name| names.get("Service", part("namespace"), name));
                need(on, Until::Ready, "the API server calls it");
            }
        }
        _ => {}
    }
}

/// What a pod template names.
fn in_pods(from: usize, resources: &[Resource], names: &Names<'_>, found: &mut Found) {
    let resource = &resources[from];
    let namespace = resource.id.namespace.as_deref();
    if let Some(template) = pods::template(&resource.gvk.kind, &resource.body) {
        for reference in pods::references(template) {
            let Some(on) = names.get(reference.kind, namespace, &reference.name) else { continue };
            if let Some(key) = &reference.key
                && !reference.optional
                && !has_key(&resources[on].body, key)
            {
                found.errors.push(missing_key(resource, &resources[on], key));
            }
            found.needs.push((from, Need { on, until: Until::Applied, why: reference.why.to_owned() }));
        }
        // A pod that acts on the API needs its rights before it starts.
        let account = template.pointer("/spec/serviceAccountName").and_then(Value::as_str);
        for binding in account.into_iter().flat_map(|account| names.bindings(resources, namespace, account)) {
            found
                .needs
                .push((from, Need { on: binding, until: Until::Applied, why: "its rights".to_owned() }));
        }
    }
}

struct Names<'a> {
    by_name: BTreeMap<(&'a str, Option<&'a str>, &'a str), usize>,
    crds: BTreeMap<(&'a str, &'a str), usize>,
}

impl<'a> Names<'a> {
    fn new(resources: &'a [Resource]) -> Self {
        let mut by_name = BTreeMap::new();
        let mut crds = BTreeMap::new();
        for (number, resource) in resources.iter().enumerate() {
            let id = &resource.id;
            by_name.insert((id.kind.as_str(), id.namespace.as_deref(), id.name.as_str()), number);
            if id.kind == "CustomResourceDefinition" {
                let text = |pointer: &str| {
                    resource.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
                };
                crds.insert((text("/spec/group"), text("/spec/names/kind")), number);
            }
        }
        Self { by_name, crds }
    }

    fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<usize> {
        self.by_name.get(&(kind, namespace, name)).copied()
    }

    fn crd(&self, resource: &Resource) -> Option<usize> {
        self.crds.get(&(resource.gvk.group.as_str(), resource.gvk.kind.as_str())).copied()
    }

    fn bindings(&self, resources: &[Resource], namespace: Option<&str>, account: &str) -> Vec<usize> {
        self.by_name
            .iter()
            .filter(|((kind, ..), _)| matches!(*kind, "RoleBinding" | "ClusterRoleBinding"))
            .map(|(_, number)| *number)
            .filter(|number| {
                let binding = &resources[*number];
                list(&binding.body, "/subjects").iter().any(|subject| {
                    let part = |name: &str| subject.get(name).and_then(Value::as_str);
                    part("kind") == Some("ServiceAccount")
                        && part("name") == Some(account)
                        && part("namespace").or(binding.id.namespace.as_deref()) == namespace
                })
            })
            .collect()
    }
}

/// A port name (or, for builders, number) that none of the pods behind a Service has.
fn check_target_ports(service: &Resource, resources: &[Resource]) -> Vec<GraphError> {
    let Some(selector) =
        service.body.pointer("/spec/selector").and_then(Value::as_object).filter(|s| !s.is_empty())
    else {
        return Vec::new();
    };
    let behind: Vec<(&Resource, Vec<pods::ContainerPort<'_>>)> = resources
        .iter()
        .filter(|resource| resource.id.namespace == service.id.namespace)
        .filter_map(|resource| {
            let template = pods::template(&resource.gvk.kind, &resource.body)?;
            let labels = template.pointer("/metadata/labels")?.as_object()?;
            let selected = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            selected.then(|| (resource, pods::ports(template)))
        })
        .collect();
    if behind.is_empty() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for port in list(&service.body, "/spec/ports") {
        let Some(target) = port.get("targetPort").and_then(Value::as_str) else { continue };
        let has: Vec<&str> =
            behind.iter().flat_map(|(_, ports)| ports).filter_map(|port| port.name).collect();
        if has.contains(&target) {
            continue;
        }
        let workloads: Vec<String> =
            behind.iter().map(|(workload, _)| format!("{} ({})", workload.id, workload.location)).collect();
        let one = behind.len() == 1;
        let has = match (has.is_empty(), one) {
            (true, true) => "its ports have no names".to_owned(),
            (true, false) => "their ports have no names".to_owned(),
            (false, true) => format!("it has {}", has.join(", ")),
            (false, false) => format!("they have {}", has.join(", ")),
        };
        errors.push(GraphError {
            location: service.location.clone(),
            message: format!(
                "{} sends to the port named {target:?}, which no container of {} has; {has}",
                service.id,
                workloads.join(", ")
            ),
            hint: Some("name the container's port so, or give the port's number".to_owned()),
        });
    }
    errors
}

fn missing_key(resource: &Resource, config: &Resource, key: &str) -> GraphError {
    let keys: Vec<&str> = ["data", "stringData", "binaryData"]
        .iter()
        .filter_map(|part| config.body.get(part)?.as_object())
        .flat_map(|data| data.keys().map(String::as_str))
        .collect();
    let has = if keys.is_empty() { "it has none".to_owned() } else { format!("it has {}", keys.join(", ")) };
    GraphError {
        location: resource.location.clone(),
        message: format!(
            "{} reads the key {key:?} of {} ({}); {has}",
            resource.id, config.id, config.location
        ),
        hint: None,
    }
}

fn has_key(body: &Value, key: &str) -> bool {
    ["data", "stringData", "binaryData"]
        .iter()
        .any(|part| body.get(part).and_then(|data| data.get(key)).is_some())
}

pub(super) fn list<'a>(body: &'a Value, pointer: &str) -> &'a [Value] {
    body.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Every value that stands under the field `name`, at any depth.
fn values_of<'a>(value: &'a Value, name: &'a str) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
    match value {
        Value::Object(fields) => Box::new(fields.iter().flat_map(move |(key, field)| {
            (key == name).then_some(field).into_iter().chain(values_of(field, name))
        })),
        Value::Array(items) => Box::new(items.iter().flat_map(move |item| values_of(item, name))),
        _ => Box::new(std::iter::empty()),
    }
}
