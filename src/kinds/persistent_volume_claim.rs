//! PersistentVolumeClaim.

use serde_json::Value;

use super::common::{noise, reports_since};
use super::events::Event;
use super::json::{Condition, list, name, of_kind, quantity, text};
use super::{Context, Evidence, Guard, KindRules, Missing, Related, Verdict};

/// The rules of `v1 PersistentVolumeClaim`.
pub(super) struct PersistentVolumeClaim;

impl KindRules for PersistentVolumeClaim {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        match text(object, "/status/phase") {
            "Bound" => bound(object, context),
            "Lost" => Verdict::Failed(Missing::new(
                "ClaimLost",
                format!("its volume {} is gone", text(object, "/spec/volumeName")),
            )),
            _ => pending(object, context),
        }
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        let mut related = vec![Related::Events];
        if text(object, "/status/phase") != "Bound" {
            let name = object.pointer("/spec/storageClassName").and_then(Value::as_str).map(str::to_owned);
            if name.as_deref() != Some("") {
                related.push(Related::StorageClass { name });
            }
        }
        if resize_waits_for_pod(object) {
            // Which pods mount the claim is known from the pods alone.
            related.push(Related::Pods { selector: String::new() });
        }
        related
    }

    fn immutable(&self) -> &'static [&'static str] {
        &[
            "spec.accessModes",
            "spec.dataSource",
            "spec.dataSourceRef",
            "spec.selector",
            "spec.storageClassName",
            "spec.volumeMode",
            "spec.volumeName",
        ]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "metadata.annotations.pv.kubernetes.io/bind-completed",
            "metadata.annotations.pv.kubernetes.io/bound-by-controller",
            "metadata.annotations.volume.beta.kubernetes.io/storage-provisioner",
            "metadata.annotations.volume.kubernetes.io/selected-node",
            "metadata.annotations.volume.kubernetes.io/storage-provisioner",
            "metadata.annotations.volume.kubernetes.io/storage-resizer",
            "metadata.finalizers",
            "spec.volumeName",
        ]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        match text(live, "/spec/volumeName") {
            "" => Vec::new(),
            volume => vec![format!(
                "the binding to volume {volume}, and its data with it unless the volume's reclaim policy is Retain"
            )],
        }
    }

    fn guard(&self, _live: &Value) -> Option<Guard> {
        Some(Guard::Volumes)
    }
}

fn resize_waits_for_pod(object: &Value) -> bool {
    Condition::of(object, "FileSystemResizePending").is_some_and(|condition| condition.is_true())
}

fn bound(object: &Value, context: &Context<'_>) -> Verdict {
    let wanted = object.pointer("/spec/resources/requests/storage").and_then(quantity);
    let capacity = object.pointer("/status/capacity/storage").and_then(quantity);
    let too_small = wanted.zip(capacity).is_some_and(|(wanted, capacity)| capacity < wanted);
    if !too_small {
        return Verdict::ready();
    }
    if resize_waits_for_pod(object) && !is_mounted(object, context.related) {
        return Verdict::ready_with("its file system grows when a pod mounts it next");
    }
    let reason = format!(
        "{} of {} provided: the volume is being expanded",
        text(object, "/status/capacity/storage"),
        text(object, "/spec/resources/requests/storage"),
    );
    let missing = Missing::new("Resizing", reason).progress(vec![1, i64::from(resize_waits_for_pod(object))]);
    with_event(object, context, missing, &["VolumeResizeFailed"])
}

/// Whether a pod that has not ended has the claim.
fn is_mounted(object: &Value, related: &[Value]) -> bool {
    of_kind(related, "Pod").filter(|pod| !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")).any(
        |pod| {
            list(pod, "/spec/volumes")
                .iter()
                .any(|volume| text(volume, "/persistentVolumeClaim/claimName") == name(object))
        },
    )
}

fn pending(object: &Value, context: &Context<'_>) -> Verdict {
    let class_name = object.pointer("/spec/storageClassName").and_then(Value::as_str);
    let class = of_kind(context.related, "StorageClass")
        .find(|class| class_name.is_none_or(|wanted| wanted == name(class)));
    let by_class = class.is_some_and(|class| text(class, "/volumeBindingMode") == "WaitForFirstConsumer");
    let by_event = Event::all(context.related)
        .iter()
        .any(|event| event.is_about(object) && event.reason == "WaitForFirstConsumer");
    // Waiting here would be waiting for a pod that may itself come after the claim.
    if text(object, "/spec/volumeName").is_empty() && (by_class || by_event) {
        return Verdict::ready_with("it is bound when the first pod uses it (WaitForFirstConsumer)");
    }
    let reason = match (text(object, "/spec/volumeName"), class_name) {
        ("", None | Some("")) => "no volume is bound to it yet".to_owned(),
        ("", Some(class)) => format!("no volume of class {class} is bound to it yet"),
        (volume, _) => format!("volume {volume} is not bound to it yet"),
    };
    let missing = Missing::new("ClaimPending", reason).progress(vec![0]);
    with_event(object, context, missing, &["ProvisioningFailed", "FailedBinding", "VolumeMismatch"])
}

/// Stuck, in the words of the last event, if it is one of `failures`; a human or the provisioner's next try may still help.
fn with_event(object: &Value, context: &Context<'_>, missing: Missing, failures: &[&str]) -> Verdict {
    let since = reports_since(object, context);
    let events = Event::all(context.related);
    let Some(event) = events.iter().find(|event| event.is_about(object) && event.happened_since(since))
    else {
        return Verdict::Progressing(missing);
    };
    let missing =
        missing.evidence(Evidence::new(format!("PersistentVolumeClaim {}", name(object)), event.message));
    if failures.contains(&event.reason) {
        Verdict::Stuck(Missing { code: event.reason.to_owned(), ..missing })
    } else {
        Verdict::Progressing(missing)
    }
}
