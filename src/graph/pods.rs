//! What a pod template says about others: the ConfigMaps, Secrets, claims and accounts it uses, and its ports.

use serde_json::Value;

use super::references::list;

/// The pod template of a workload (of a Pod: itself).
pub(super) fn template<'a>(kind: &str, body: &'a Value) -> Option<&'a Value> {
    match kind {
        "Pod" => Some(body),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            body.pointer("/spec/template")
        }
        "CronJob" => body.pointer("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// A reference out of a pod template.
pub(super) struct Reference {
    /// Kind of the object referred to.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) name: String,
    /// One key of it.
    pub(super) key: Option<String>,
    /// The pod starts without it too.
    pub(super) optional: bool,
    /// For the reader.
    pub(super) why: &'static str,
}

/// One port of a container.
pub(super) struct ContainerPort<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) number: Option<u64>,
    pub(super) protocol: &'a str,
}

/// The ports of all containers.
pub(super) fn ports(template: &Value) -> Vec<ContainerPort<'_>> {
    containers(template)
        .flat_map(|container| list(container, "/ports"))
        .map(|port| ContainerPort {
            name: port.get("name").and_then(Value::as_str),
            number: port.get("containerPort").and_then(Value::as_u64),
            protocol: port.get("protocol").and_then(Value::as_str).unwrap_or("TCP"),
        })
        .collect()
}

fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    ["/spec/initContainers", "/spec/containers"].into_iter().flat_map(|pointer| list(template, pointer))
}

/// Every reference to an object of the same namespace (and to a PriorityClass).
pub(super) fn references(template: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut push = |kind, source: Option<&Value>, field: &str, key: Option<&str>, why| {
        let Some(source) = source else { return };
        let Some(name) = source.get(field).and_then(Value::as_str) else { return };
        let optional = source.get("optional").and_then(Value::as_bool).unwrap_or(false);
        found.push(Reference { kind, name: name.to_owned(), key: key.map(str::to_owned), optional, why });
    };
    for volume in list(template, "/spec/volumes") {
        for (kind, field, name) in [("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")] {
            let source = volume.get(field);
            push(kind, source, name, None, "its pods mount it");
            for item in source.map_or(&[][..], |source| list(source, "/items")) {
                push(kind, source, name, item.get("key").and_then(Value::as_str), "its pods mount it");
            }
        }
        push(
            "PersistentVolumeClaim",
            volume.get("persistentVolumeClaim"),
            "claimName",
            None,
            "its pods mount it",
        );
        for source in list(volume, "/projected/sources") {
            push("ConfigMap", source.get("configMap"), "name", None, "its pods mount it");
            push("Secret", source.get("secret"), "name", None, "its pods mount it");
        }
    }
    for container in containers(template) {
        for variable in list(container, "/env") {
            for (kind, field) in [("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")] {
                let source = variable.get("valueFrom").and_then(|from| from.get(field));
                let key = source.and_then(|source| source.get("key")).and_then(Value::as_str);
                push(kind, source, "name", key, "its pods read it");
            }
        }
        for from in list(container, "/envFrom") {
            push("ConfigMap", from.get("configMapRef"), "name", None, "its pods read it");
            push("Secret", from.get("secretRef"), "name", None, "its pods read it");
        }
    }
    let spec = template.get("spec");
    push("ServiceAccount", spec, "serviceAccountName", None, "its pods run as it");
    for secret in list(template, "/spec/imagePullSecrets") {
        push("Secret", Some(secret), "name", None, "its images are pulled with it");
    }
    found
}
