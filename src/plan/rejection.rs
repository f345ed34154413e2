//! What a rejected update means (rule 5 of the design: never delete on a guess).

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::path::{self, Path};
use super::question::Answer;
use crate::observation::Rejection;

/// What follows from the rejection of an update's dry-run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Only a replacement can bring the change about.
    Replace {
        /// Why, in the server's words, one for each field.
        reasons: Vec<String>,
    },
    /// Whether the object as such is valid must be asked under a probe name ([`probe_body`]).
    NeedsProbe,
    /// The object is not valid, or the request was refused for another reason.
    Refused {
        /// The server's words.
        message: String,
    },
    /// An admission policy, webhook or plugin denies it.
    DeniedByAdmission {
        /// Its words.
        message: String,
    },
    /// We may not: RBAC.
    Forbidden {
        /// The server's words.
        message: String,
    },
    /// A ResourceQuota is exceeded.
    Quota {
        /// The server's words.
        message: String,
    },
}

/// Rules on the rejection of an update's dry-run.
///
/// `differences` are the fields that the update would change ([`super::wanted::differences`]); `immutable` and `name_is_spec`
/// are the kind's rules ([`crate::kinds::KindRules`]); `probe` is the answer about the same object under a probe name, once
/// there is one.
///
/// A replacement takes a 422 Invalid whose every cause names a field that the update changes, and of every cause that either
/// the field is in the table of immutable fields and the message speaks of that, or that the probe was accepted.
pub fn classify(
    rejection: &Rejection,
    differences: &[Path],
    immutable: &[&str],
    name_is_spec: bool,
    probe: Option<&Answer>,
) -> Ruling {
    let message = rejection.message.clone();
    if let Some(ruling) = refusal(rejection) {
        return ruling;
    }
    let causes = &rejection.causes;
    if rejection.code != 422 || rejection.reason != "Invalid" || causes.is_empty() {
        return Ruling::Refused { message };
    }
    let changed: Vec<String> = differences.iter().map(Path::dotted).collect();
    let immutable: Vec<String> = immutable.iter().map(|path| path::dotted(path)).collect();
    let mut all_in_table = true;
    for cause in causes {
        let field = field_of(&cause.field);
        let mut touched =
            changed.iter().filter(|changed| !field.is_empty() && related(&field, changed)).peekable();
        if touched.peek().is_none() {
            return Ruling::Refused { message };
        }
        // A cause may name all of `spec`; then it is about those of our changes that can't be made.
        let in_table = touched
            .any(|changed| immutable.iter().any(|fixed| related(fixed, changed) && related(fixed, &field)));
        all_in_table &= in_table && speaks_of_immutability(essence(&cause.message));
    }
    let reasons =
        || causes.iter().map(|cause| format!("{}: {}", cause.field, essence(&cause.message))).collect();
    match probe {
        _ if all_in_table => Ruling::Replace { reasons: reasons() },
        _ if name_is_spec => Ruling::Refused { message },
        None => Ruling::NeedsProbe,
        Some(Answer::Accepted(_)) => Ruling::Replace { reasons: reasons() },
        Some(Answer::Rejected(rejection)) => {
            let refused = || Ruling::Refused { message: rejection.message.clone() };
            refusal(rejection).unwrap_or_else(refused)
        }
    }
}

/// Rules on a rejection that has nothing to do with a transition: of a create, or of a probe.
pub fn classify_create(rejection: &Rejection) -> Ruling {
    refusal(rejection).unwrap_or_else(|| Ruling::Refused { message: rejection.message.clone() })
}

/// Denied by admission, by RBAC or by a quota; `None` if it is none of these.
fn refusal(rejection: &Rejection) -> Option<Ruling> {
    let message = rejection.message.clone();
    let said =
        || std::iter::once(&rejection.message).chain(rejection.causes.iter().map(|cause| &cause.message));
    if said().any(|text| is_from_admission(text)) {
        return Some(Ruling::DeniedByAdmission { message });
    }
    if rejection.code != 403 {
        return None;
    }
    if said().any(|text| text.contains("exceeded quota")) {
        return Some(Ruling::Quota { message });
    }
    // `deployments.apps "x" is forbidden: User "y" cannot patch resource "deployments" in API group "apps"…`
    if said().any(|text| text.contains(" cannot ") && text.contains(" resource ")) {
        return Some(Ruling::Forbidden { message });
    }
    // What else answers 403 after authorization is an admission plugin (PodSecurity, LimitRanger…).
    Some(Ruling::DeniedByAdmission { message })
}

/// `ValidatingAdmissionPolicy 'x' with binding 'y' denied request: …`, `admission webhook "x" denied the request: …`, with
/// whatever status the policy or webhook chose.
fn is_from_admission(message: &str) -> bool {
    message.contains("denied request")
        || message.contains("denied the request")
        || message.contains("AdmissionPolicy '")
        || message.contains("admission webhook")
}

/// A cause's message without the values that the server repeats in it: `Invalid value: …: field is immutable`, and the
/// difference of two specs on the lines after the first.
fn essence(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    match line.strip_prefix("Forbidden: ") {
        Some(rest) => rest,
        None if message.starts_with("Invalid value: ") => message.rsplit(": ").next().unwrap_or(line),
        None => line,
    }
}

/// The words in which Kubernetes 1.34's own validation says that a value can't change.
fn speaks_of_immutability(message: &str) -> bool {
    const WORDS: &[&str] = &[
        "immutable",
        "may not be changed",
        "may not be updated",
        "may not change",
        "cannot be changed",
        "cannot be updated",
        "cannot change",
        "can not be changed",
        "updates to ",
    ];
    WORDS.iter().any(|words| message.contains(words))
}

/// The dotted form of a cause's field, with the names that the server uses for fields of other names.
fn field_of(field: &str) -> String {
    let dotted = path::dotted(field);
    match dotted.as_str() {
        // The list is what is validated; people set the first one.
        "spec.clusterIPs" => "spec.clusterIP".to_owned(),
        // A PersistentVolume's source is inline in its spec.
        "spec.persistentvolumesource" => "spec".to_owned(),
        _ => dotted,
    }
}

fn related(a: &str, b: &str) -> bool {
    path::inside(a, b) || path::inside(b, a)
}

/// The name under which an object is asked about when it can't be under its own: a DNS label, the same for the same name.
pub fn probe_name(name: &str) -> String {
    let hash = Sha256::digest(name.as_bytes());
    let short = hash.iter().take(4).fold(0_u32, |short, byte| short << 8 | u32::from(*byte));
    format!("stackctl-probe-{short:08x}")
}

/// The same object under its probe name, in `namespace` if one is given, without values that only one object can have.
pub fn probe_body(body: &Value, namespace: Option<&str>) -> Value {
    let mut probe = body.clone();
    if let Some(metadata) = probe.get_mut("metadata").and_then(Value::as_object_mut) {
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = probe_name(name);
        metadata.insert("name".to_owned(), Value::from(name));
        if let Some(namespace) = namespace {
            metadata.insert("namespace".to_owned(), Value::from(namespace));
        }
        for server_owned in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
            metadata.remove(server_owned);
        }
    }
    let kind = body.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(spec) = probe.get_mut("spec").and_then(Value::as_object_mut) else { return probe };
    match kind {
        "Service" => {
            // Headless is a choice, not an address.
            if spec.get("clusterIP").and_then(Value::as_str) != Some("None") {
                spec.remove("clusterIP");
                spec.remove("clusterIPs");
            }
            spec.remove("healthCheckNodePort");
            spec.remove("loadBalancerIP");
            let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                port.remove("nodePort");
            }
        }
        "PersistentVolumeClaim" => {
            spec.remove("volumeName");
        }
        "PersistentVolume" => {
            spec.remove("claimRef");
        }
        _ => {}
    }
    probe
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observation::RejectionCause;

    fn invalid(causes: &[(&str, &str)]) -> Rejection {
        Rejection {
            code: 422,
            reason: "Invalid".to_owned(),
            message: "is invalid".to_owned(),
            causes: causes
                .iter()
                .map(|(field, message)| RejectionCause {
                    field: (*field).to_owned(),
                    reason: "FieldValueInvalid".to_owned(),
                    message: (*message).to_owned(),
                })
                .collect(),
        }
    }

    fn path(text: &str) -> Path {
        Path::of_fields(text.split('.'))
    }

    const STATEFUL_SET: &str = "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', \
        'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
        'minReadySeconds' are forbidden";

    #[test]
    fn replaced_only_when_sure() {
        let replace = |ruling: &Ruling| matches!(ruling, Ruling::Replace { .. });
        let probe = |ruling: &Ruling| *ruling == Ruling::NeedsProbe;
        let refused = |ruling: &Ruling| matches!(ruling, Ruling::Refused { .. });
        let immutable = "Invalid value: {}: field is immutable";
        let container = "spec.template.spec.containers[0].image";
        for (causes, changed, table, want) in [
            (
                vec![("spec.selector", immutable)],
                "spec.selector.matchLabels.app",
                vec!["spec.selector"],
                &replace as &dyn Fn(&Ruling) -> bool,
            ),
            (vec![("spec", STATEFUL_SET)], "spec.serviceName", vec!["spec.serviceName"], &replace),
            (vec![("spec", STATEFUL_SET)], "spec.replicas", vec!["spec.serviceName"], &probe),
            (
                vec![("spec.clusterIPs[0]", "Invalid value: [\"None\"]: may not change once set")],
                "spec.clusterIP",
                vec!["spec.clusterIP"],
                &replace,
            ),
            (
                vec![(
                    "spec.persistentvolumesource",
                    "Forbidden: spec.persistentvolumesource is immutable after creation",
                )],
                "spec.csi.volumeHandle",
                vec!["spec.csi"],
                &replace,
            ),
            (
                vec![("spec.template", immutable)],
                "spec.template.spec.containers.image",
                vec!["spec.template"],
                &replace,
            ),
            // In an immutable part, but said for another reason: the new object itself may be wrong.
            (
                vec![(container, "Required value")],
                "spec.template.spec.containers.image",
                vec!["spec.template"],
                &probe,
            ),
            (
                vec![("spec.template", immutable), (container, "Required value")],
                "spec.template.spec.containers.image",
                vec!["spec.template"],
                &probe,
            ),
            (vec![("spec.x", "Invalid value: no going back")], "spec.x", vec![], &probe),
            (vec![("spec.y", immutable)], "spec.x", vec!["spec.y"], &refused),
            (vec![("spec.x", immutable), ("", "something else")], "spec.x", vec!["spec.x"], &refused),
            (vec![], "spec.x", vec!["spec.x"], &refused),
        ] {
            let ruling = classify(&invalid(&causes), &[path(changed)], &table, false, None);
            assert!(want(&ruling), "{causes:?} {changed}: {ruling:?}");
        }
        let cel = invalid(&[("spec.x", "Invalid value: no going back")]);
        let changed = [path("spec.x")];
        let accepted = Answer::Accepted(json!({}));
        assert!(replace(&classify(&cel, &changed, &[], false, Some(&accepted))));
        let rejected = Answer::Rejected(invalid(&[("spec.x", "Required value")]));
        assert!(refused(&classify(&cel, &changed, &[], false, Some(&rejected))));
        assert!(
            refused(&classify(&cel, &changed, &[], true, None)),
            "no probe where the name is part of the meaning"
        );
    }

    #[test]
    fn values_that_the_server_repeats_do_not_count() {
        for (message, essence_is) in [
            ("Invalid value: {\"matchLabels\":{\"app\":\"w2\"}}: field is immutable", "field is immutable"),
            ("Forbidden: updates to provisioner are forbidden.", "updates to provisioner are forbidden."),
            (
                "Forbidden: spec.persistentvolumesource is immutable after creation\n@@ -22,7 +22,7 @@\n-  \"a\"",
                "spec.persistentvolumesource is immutable after creation",
            ),
            ("Invalid value: \"field is immutable\": must be a number", "must be a number"),
            ("Required value", "Required value"),
            ("", ""),
        ] {
            assert_eq!(essence(message), essence_is);
        }
        let repeated = invalid(&[("spec.x", "Invalid value: \"field is immutable\": must be a number")]);
        assert_eq!(classify(&repeated, &[path("spec.x")], &["spec.x"], false, None), Ruling::NeedsProbe);
    }

    /// Taken from a kube-apiserver 1.34.4: `Status.details.causes` of updates that it rejects.
    #[test]
    fn real_rejections_of_fixed_fields_are_replacements() {
        for (kind, group, field, message, changed) in [
            ("StatefulSet", "apps", "spec", STATEFUL_SET, "spec.serviceName"),
            (
                "Service",
                "",
                "spec.clusterIPs[0]",
                "Invalid value: [\"None\"]: may not change once set",
                "spec.clusterIP",
            ),
            (
                "PersistentVolume",
                "",
                "spec.persistentvolumesource",
                "Forbidden: spec.persistentvolumesource is immutable after creation\n@@ -22,7 +22,7 @@\n",
                "spec.csi.volumeHandle",
            ),
            (
                "PersistentVolumeClaim",
                "",
                "spec",
                "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n@@",
                "spec.storageClassName",
            ),
            (
                "Job",
                "batch",
                "spec.template",
                "Invalid value: {\"a\":1}: field is immutable",
                "spec.template.spec.containers.image",
            ),
            ("Secret", "", "type", "Invalid value: \"b\": field is immutable", "type"),
            ("ConfigMap", "", "data", "Forbidden: field is immutable when `immutable` is set", "data.a"),
            (
                "RoleBinding",
                "rbac.authorization.k8s.io",
                "roleRef",
                "Invalid value: {\"Name\":\"b\"}: cannot change roleRef",
                "roleRef.name",
            ),
            (
                "StorageClass",
                "storage.k8s.io",
                "provisioner",
                "Forbidden: updates to provisioner are forbidden.",
                "provisioner",
            ),
        ] {
            let rules = crate::kinds::rules(&crate::graph::Gvk::new(group, "v1", kind));
            let ruling = classify(
                &invalid(&[(field, message)]),
                &[path(changed)],
                rules.immutable(),
                rules.name_is_spec(),
                None,
            );
            assert!(matches!(ruling, Ruling::Replace { .. }), "{kind}: {ruling:?}");
        }
    }

    #[test]
    fn who_says_no() {
        let says = |code, reason: &str, message: &str| {
            let rejection = Rejection {
                code,
                reason: reason.to_owned(),
                message: message.to_owned(),
                causes: vec![RejectionCause {
                    field: "spec.x".to_owned(),
                    reason: "FieldValueInvalid".to_owned(),
                    message: message.to_owned(),
                }],
            };
            classify(&rejection, &[path("spec.x")], &["spec.x"], false, Some(&Answer::Accepted(json!({}))))
        };
        let policy = "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'all' denied request: field is immutable";
        assert!(matches!(says(422, "Invalid", policy), Ruling::DeniedByAdmission { .. }));
        let webhook = "admission webhook \"w.example.com\" denied the request: field is immutable";
        for code in [403, 422] {
            assert!(matches!(says(code, "Invalid", webhook), Ruling::DeniedByAdmission { .. }));
        }
        let rbac = "deployments.apps \"a\" is forbidden: User \"u\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"n\"";
        assert!(matches!(says(403, "Forbidden", rbac), Ruling::Forbidden { .. }));
        let quota =
            "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
        assert!(matches!(says(403, "Forbidden", quota), Ruling::Quota { .. }));
        let security = "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": privileged";
        assert!(matches!(says(403, "Forbidden", security), Ruling::DeniedByAdmission { .. }));
        assert!(matches!(says(409, "Conflict", "field is immutable"), Ruling::Refused { .. }));
        assert!(matches!(says(500, "InternalError", "field is immutable"), Ruling::Refused { .. }));
    }

    #[test]
    fn probe_has_no_unique_values() {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "x", "uid": "1"},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "healthCheckNodePort": 30001, "loadBalancerIP": "1.2.3.4",
                     "type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]}});
        let probe = probe_body(&service, Some("default"));
        assert_eq!(
            probe,
            json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": probe_name("a"), "namespace": "default"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}})
        );
        let headless = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIP": "None"}});
        assert_eq!(probe_body(&headless, None)["spec"]["clusterIP"], "None");
        assert_eq!(probe_name("a").len(), 23);
        assert_ne!(probe_name("a"), probe_name("b"));
    }
}
