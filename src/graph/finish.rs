//! From a stack to a graph: every check that needs no cluster, the references that stand in bodies, and the order.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    Graph, GraphError, GraphErrors, Need, ObjectId, OnChange, Resource, Scope, Stack, Until, late,
    load_balancers, order, references, shape, shortened,
};

/// On objects that the program protects: the protection outlives their leaving the program.
pub(crate) const PROTECT_ANNOTATION: &str = "stackctl.dev/protect";

/// The first 16 hexadecimal digits of a SHA-256.
pub(super) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn finish(stack: Stack) -> Result<Graph, GraphErrors> {
    let (name, namespace) = (stack.name().to_owned(), stack.namespace().to_owned());
    let Stack { mut resources, mut errors, .. } = stack;
    scopes_from_crds(&mut resources, &namespace);
    for resource in resources.iter_mut().filter(|resource| resource.policy.protect) {
        if let Some(annotations) = shape::object_at(&mut resource.body, &["metadata", "annotations"]) {
            annotations.insert(PROTECT_ANNOTATION.to_owned(), json!("true"));
        }
    }
    let by_id = index(&resources, &mut errors);
    check_late(&resources, &by_id, &mut errors);
    let found = references::find(&resources);
    // What a builder has complained about is not said again in other words.
    let known: Vec<super::Location> = errors.iter().map(|error| error.location.clone()).collect();
    errors.extend(found.errors.into_iter().filter(|error| !known.contains(&error.location)));
    errors.extend(load_balancers::check(&resources, &errors));
    for (from, need) in found.needs {
        if need.on != from
            && !resources[from].needs.iter().any(|known| known.on == need.on && known.until >= need.until)
        {
            resources[from].needs.push(need);
        }
    }
    let order = match order::order(&resources) {
        Ok(order) => order,
        Err(error) => {
            errors.push(error);
            Vec::new()
        }
    };
    if !errors.is_empty() {
        errors.sort_by(|a, b| (&a.location, &a.message).cmp(&(&b.location, &b.message)));
        errors.dedup();
        return Err(GraphErrors { stack: name, errors });
    }
    Ok(Graph { stack: name, namespace, resources: order::reorder(resources, &order) })
}

/// A custom object's scope may be known from the CRD beside it.
fn scopes_from_crds(resources: &mut [Resource], namespace: &str) {
    let crds: BTreeMap<(String, String), Scope> = resources
        .iter()
        .filter(|resource| resource.gvk.kind == "CustomResourceDefinition")
        .filter_map(|crd| {
            let text = |pointer: &str| crd.body.pointer(pointer).and_then(Value::as_str);
            let scope = if text("/spec/scope")? == "Namespaced" { Scope::Namespaced } else { Scope::Cluster };
            Some(((text("/spec/group")?.to_owned(), text("/spec/names/kind")?.to_owned()), scope))
        })
        .collect();
    for resource in resources.iter_mut().filter(|resource| resource.scope.is_none()) {
        if let Some(scope) = crds.get(&(resource.gvk.group.clone(), resource.gvk.kind.clone())) {
            resource.settle_scope(*scope, namespace);
        }
    }
}

fn index(resources: &[Resource], errors: &mut Vec<GraphError>) -> BTreeMap<ObjectId, usize> {
    let mut by_id = BTreeMap::new();
    for (number, resource) in resources.iter().enumerate() {
        if let Some(first) = by_id.insert(resource.id.clone(), number) {
            let first: usize = first;
            errors.push(GraphError {
                location: resource.location.clone(),
                message: format!("{} is declared twice, first at {}", resource.id, resources[first].location),
                hint: Some("give one of them another name or namespace".to_owned()),
            });
        }
    }
    by_id
}

fn check_late(resources: &[Resource], by_id: &BTreeMap<ObjectId, usize>, errors: &mut Vec<GraphError>) {
    for resource in resources {
        for late in late::unresolved(&resource.body) {
            if !by_id.contains_key(&late.id) {
                errors.push(GraphError {
                    location: resource.location.clone(),
                    message: format!(
                        "{} waits for a value of {}, which is not in this stack",
                        resource.id, late.id
                    ),
                    hint: Some("a handle belongs to the stack that gave it".to_owned()),
                });
            }
        }
    }
}

impl Resource {
    /// Settles the scope of an object whose kind only the server or a CRD knew, and with it its namespace.
    pub fn settle_scope(&mut self, scope: Scope, namespace: &str) {
        self.scope = Some(scope);
        match scope {
            Scope::Namespaced if self.id.namespace.is_none() => {
                self.id.namespace = Some(namespace.to_owned());
                if let Some(metadata) = shape::object_at(&mut self.body, &["metadata"]) {
                    metadata.insert("namespace".to_owned(), json!(namespace));
                }
            }
            Scope::Cluster => {
                self.id.namespace = None;
                if let Some(metadata) = self.body.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("namespace");
                }
            }
            Scope::Namespaced => {}
        }
    }

    /// The annotations of its pod template, for the kinds that roll.
    fn pod_annotations(&mut self) -> Option<&mut Map<String, Value>> {
        let path = [shape::pod_template(&self.gvk.kind)?, &["metadata", "annotations"]].concat();
        shape::object_at(&mut self.body, &path)
    }
}

impl Graph {
    /// Writes into each pod template a hash of the ConfigMaps and Secrets whose change shall roll its pods. `secret` gives the keyed
    /// fingerprint of a Secret's content: a plain hash of a short password could be guessed.
    pub fn annotate_rolls(&mut self, secret: &dyn Fn(&[u8]) -> String) {
        let digests: Vec<String> = self
            .resources
            .iter()
            .map(|resource| {
                let part = |name: &str| resource.body.get(name).cloned().unwrap_or_default();
                // serde_json's maps are sorted: the same content gives the same text.
                let content = json!([part("data"), part("binaryData"), part("stringData")]).to_string();
                match resource.gvk.kind.as_str() {
                    "ConfigMap" => digest(content.as_bytes()),
                    "Secret" => secret(content.as_bytes()),
                    _ => String::new(),
                }
            })
            .collect();
        let names: Vec<String> = self
            .resources
            .iter()
            .map(|resource| resource.id.to_string().to_lowercase().replace(' ', "-"))
            .collect();
        for resource in &mut self.resources {
            let rolls: Vec<usize> = resource
                .configs
                .iter()
                .filter(|config| config.on_change == OnChange::Roll)
                .map(|config| config.on)
                .collect();
            if rolls.is_empty() {
                continue;
            }
            if let Some(annotations) = resource.pod_annotations() {
                for on in rolls {
                    let name = shortened(&format!("hash-{}", names[on]));
                    annotations.insert(format!("stackctl.dev/{name}"), json!(digests[on]));
                }
            }
        }
    }

    /// Puts the stack's own namespace in front, as a resource that everything in it needs. `label` is the stack's label.
    pub fn add_namespace(&mut self, label: &str) {
        let gvk = super::Gvk::new("", "v1", "Namespace");
        let body = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {super::STACK_LABEL: label}},
        });
        for resource in &mut self.resources {
            resource.needs.iter_mut().for_each(|need| need.on += 1);
            resource.configs.iter_mut().for_each(|config| config.on += 1);
            if resource.id.namespace.as_ref() == Some(&self.namespace) {
                resource
                    .needs
                    .insert(0, Need { on: 0, until: Until::Ready, why: "its namespace".to_owned() });
            }
        }
        let location = super::Location { file: "(the stack's namespace)".to_owned(), line: 0 };
        let resource = Resource {
            id: ObjectId::new(&gvk, None, &self.namespace),
            gvk,
            scope: Some(Scope::Cluster),
            body,
            location,
            policy: super::Policy::default(),
            needs: Vec::new(),
            configs: Vec::new(),
        };
        self.resources.insert(0, resource);
    }

    /// The number of the resource that is this object.
    pub fn position(&self, id: &ObjectId) -> Option<usize> {
        self.resources.iter().position(|resource| resource.id == *id)
    }

    /// The needs of every late value are edges too; this lists all edges as `(from, need)`.
    pub fn edges(&self) -> impl Iterator<Item = (usize, &Need)> {
        self.resources
            .iter()
            .enumerate()
            .flat_map(|(from, resource)| resource.needs.iter().map(move |need| (from, need)))
    }
}

/// The need that a late value makes.
pub(super) fn late_need(on: usize) -> Need {
    Need { on, until: Until::Ready, why: "a value of it is used".to_owned() }
}
