//! How lists are told apart: by key fields, as sets, or as a whole.
//!
//! For built-in kinds from the `x-kubernetes-list-type` and `x-kubernetes-list-map-keys` of Kubernetes 1.34's OpenAPI;
//! for other kinds from the `k:` entries of the object's own managedFields.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fields::FieldSet;
use super::managed;

/// How a list's items are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    /// By these fields of each item.
    Keyed(Vec<String>),
    /// By their values.
    Set,
    /// Not at all: the list is one value.
    Atomic,
}

/// Keyed lists inside a pod's spec.
const POD: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("resourceClaims", &["name"]),
    ("resources.claims", &["name"]),
    ("schedulingGates", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumes", &["name"]),
];

/// Keyed lists inside each container.
const CONTAINER: &[(&str, &[&str])] = &[
    ("env", &["name"]),
    ("ports", &["containerPort", "protocol"]),
    ("resources.claims", &["name"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
];

/// Keyed lists of other kinds. `versions` of a CRD is atomic to the server; telling its items apart by name makes the
/// diff readable.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("Service", "spec.ports", &["port", "protocol"]),
    ("ServiceAccount", "secrets", &["name"]),
    ("CustomResourceDefinition", "spec.versions", &["name"]),
    ("ValidatingWebhookConfiguration", "webhooks", &["name"]),
    ("ValidatingWebhookConfiguration", "webhooks.matchConditions", &["name"]),
    ("MutatingWebhookConfiguration", "webhooks", &["name"]),
    ("MutatingWebhookConfiguration", "webhooks.matchConditions", &["name"]),
    ("ValidatingAdmissionPolicy", "spec.matchConditions", &["name"]),
    ("ValidatingAdmissionPolicy", "spec.variables", &["name"]),
    ("MutatingAdmissionPolicy", "spec.matchConditions", &["name"]),
    ("CSINode", "spec.drivers", &["name"]),
    ("Pod", "status.podIPs", &["ip"]),
    ("Node", "status.addresses", &["type"]),
];

/// Lists in which the order of the items means something although they are keyed.
const ORDERED: &[&str] = &["containers", "initContainers", "env"];

/// API groups whose lists the tables above describe in full.
const BUILT_IN: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// The lists of one object's kind.
#[derive(Clone, Debug)]
pub struct Lists {
    group: String,
    kind: String,
    pod_spec: Option<&'static str>,
    /// By dotted path.
    learned: BTreeMap<String, ListType>,
}

impl Lists {
    /// The lists of the kind that `objects` (forms of one object: live, after a dry-run, our body) are of.
    pub fn of<'v>(objects: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut lists =
            Self { group: String::new(), kind: String::new(), pod_spec: None, learned: BTreeMap::new() };
        for object in objects {
            let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
            if lists.kind.is_empty() {
                lists.group =
                    text("apiVersion").rsplit_once('/').map(|(group, _)| group.into()).unwrap_or_default();
                lists.kind = text("kind").into();
                lists.pod_spec = pod_spec(&lists.kind).filter(|_| lists.is_built_in());
            }
            if !lists.is_built_in() {
                for entry in managed::entries(object) {
                    learn(&entry.fields(), &mut Vec::new(), &mut lists.learned);
                }
            }
        }
        lists
    }

    fn is_built_in(&self) -> bool {
        BUILT_IN.contains(&self.group.as_str())
    }

    /// How the items of the list at `path` (the field names, without items) are told apart.
    pub fn at(&self, path: &[&str]) -> ListType {
        match path {
            ["metadata", "ownerReferences"] => return keyed(&["uid"]),
            ["metadata", "finalizers"] => return ListType::Set,
            // Jobs keep theirs as a whole; telling them apart by type is still how people read them.
            ["status", "conditions"] => return keyed(&["type"]),
            _ => {}
        }
        let dotted = path.join(".");
        if !self.is_built_in() {
            return self.learned.get(&dotted).cloned().unwrap_or(ListType::Atomic);
        }
        if let Some(inner) = self.in_pod_spec(&dotted) {
            let in_container = ["containers.", "initContainers.", "ephemeralContainers."]
                .iter()
                .find_map(|list| inner.strip_prefix(list))
                .and_then(|inner| find(CONTAINER, inner));
            return find(POD, inner).or(in_container).map_or(ListType::Atomic, keyed);
        }
        let found = KINDS.iter().find(|(kind, list, _)| *kind == self.kind && *list == dotted);
        found.map_or(ListType::Atomic, |(_, _, keys)| keyed(keys))
    }

    /// Whether the order of the items of a keyed list means something. Of unknown kinds nobody knows, so it does.
    pub fn is_ordered(&self, path: &[&str]) -> bool {
        if !self.is_built_in() {
            return path.first() != Some(&"metadata");
        }
        self.in_pod_spec(&path.join(".")).is_some() && path.last().is_some_and(|last| ORDERED.contains(last))
    }

    fn in_pod_spec<'p>(&self, dotted: &'p str) -> Option<&'p str> {
        dotted.strip_prefix(self.pod_spec?)?.strip_prefix('.')
    }
}

/// Where a kind has its pod's spec.
pub fn pod_spec(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("spec"),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            Some("spec.template.spec")
        }
        "CronJob" => Some("spec.jobTemplate.spec.template.spec"),
        "PodTemplate" => Some("template.spec"),
        _ => None,
    }
}

fn find(table: &'static [(&str, &[&str])], list: &str) -> Option<&'static [&'static str]> {
    table.iter().find(|(name, _)| *name == list).map(|(_, keys)| *keys)
}

fn keyed(names: &[&str]) -> ListType {
    ListType::Keyed(names.iter().map(|name| (*name).to_owned()).collect())
}

fn learn<'a>(fields: &FieldSet<'a>, path: &mut Vec<&'a str>, learned: &mut BTreeMap<String, ListType>) {
    if let Some(names) = fields.key_names() {
        learned.insert(path.join("."), ListType::Keyed(names));
    } else if fields.items().any(|(item, _)| matches!(item, super::path::Item::Value(_))) {
        learned.entry(path.join(".")).or_insert(ListType::Set);
    }
    for (name, inner) in fields.fields() {
        path.push(name);
        learn(inner, path, learned);
        path.pop();
    }
    for (_, inner) in fields.items() {
        learn(inner, path, learned);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(api_version: &str, kind: &str, path: &str) -> ListType {
        let lists = Lists::of([&json!({"apiVersion": api_version, "kind": kind})]);
        lists.at(&path.split('.').collect::<Vec<_>>())
    }

    #[test]
    fn built_in_lists() {
        for (api, kind, path, want) in [
            ("v1", "Pod", "spec.containers", &["name"][..]),
            ("apps/v1", "Deployment", "spec.template.spec.containers", &["name"]),
            ("apps/v1", "StatefulSet", "spec.template.spec.initContainers.env", &["name"]),
            ("apps/v1", "DaemonSet", "spec.template.spec.containers.ports", &["containerPort", "protocol"]),
            ("batch/v1", "CronJob", "spec.jobTemplate.spec.template.spec.volumes", &["name"]),
            ("batch/v1", "Job", "spec.template.spec.containers.volumeMounts", &["mountPath"]),
            ("v1", "Pod", "spec.topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
            ("v1", "Service", "spec.ports", &["port", "protocol"]),
            ("v1", "Service", "metadata.ownerReferences", &["uid"]),
            ("v1", "Service", "status.conditions", &["type"]),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "spec.versions", &["name"]),
        ] {
            assert_eq!(at(api, kind, path), keyed(want), "{kind} {path}");
        }
        for (api, kind, path) in [
            ("v1", "Pod", "spec.tolerations"),
            ("v1", "Pod", "spec.containers.args"),
            ("v1", "Pod", "spec.env"),
            ("apps/v1", "StatefulSet", "spec.volumeClaimTemplates"),
            ("rbac.authorization.k8s.io/v1", "Role", "rules"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding", "subjects"),
            ("networking.k8s.io/v1", "Ingress", "spec.rules"),
        ] {
            assert_eq!(at(api, kind, path), ListType::Atomic, "{kind} {path}");
        }
        assert_eq!(at("v1", "Pod", "metadata.finalizers"), ListType::Set);
    }

    #[test]
    fn other_kinds_are_learned_from_managed_fields() {
        let object = json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"managedFields": [{"manager": "m", "fieldsV1":
            {"f:spec": {"f:list": {"k:{\"id\":1}": {"f:inner": {"k:{\"a\":1,\"b\":2}": {}}}}, "f:set": {"v:\"a\"": {}}}}}]}});
        let lists = Lists::of([&object]);
        assert_eq!(lists.at(&["spec", "list"]), keyed(&["id"]));
        assert_eq!(lists.at(&["spec", "list", "inner"]), keyed(&["a", "b"]));
        assert_eq!(lists.at(&["spec", "set"]), ListType::Set);
        assert_eq!(lists.at(&["spec", "ports"]), ListType::Atomic);
    }

    #[test]
    fn only_some_orders_mean_something() {
        let lists = Lists::of([&json!({"apiVersion": "v1", "kind": "Pod"})]);
        assert!(lists.is_ordered(&["spec", "containers"]));
        assert!(lists.is_ordered(&["spec", "containers", "env"]));
        assert!(!lists.is_ordered(&["spec", "volumes"]));
        assert!(!lists.is_ordered(&["metadata", "ownerReferences"]));
    }
}
