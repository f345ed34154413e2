//! PersistentVolume.

use serde_json::Value;

use super::common::noise;
use super::json::text;
use super::{Context, Evidence, Guard, KindRules, Missing, Verdict};

/// The rules of `v1 PersistentVolume`.
pub(super) struct PersistentVolume;

impl KindRules for PersistentVolume {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let message = text(object, "/status/message");
        match text(object, "/status/phase") {
            "Available" | "Bound" => Verdict::ready(),
            "Released" => {
                let claim = format!(
                    "{}/{} (uid {})",
                    text(object, "/spec/claimRef/namespace"),
                    text(object, "/spec/claimRef/name"),
                    text(object, "/spec/claimRef/uid"),
                );
                let reason = format!(
                    "it still belongs to the deleted claim {claim}; no other claim gets it until spec.claimRef is removed"
                );
                Verdict::Stuck(Missing::new("VolumeReleased", reason))
            }
            "Failed" => {
                let missing = Missing::new("VolumeFailed", "its reclamation failed");
                let title = format!("PersistentVolume {}", super::json::name(object));
                Verdict::Failed(missing.evidence(Evidence::new(title, message)))
            }
            _ => Verdict::Progressing(
                Missing::new("VolumePending", "it is not available yet").progress(vec![0]),
            ),
        }
    }

    /// The source can't change, whichever it is.
    fn immutable(&self) -> &'static [&'static str] {
        &[
            "spec.awsElasticBlockStore",
            "spec.azureDisk",
            "spec.azureFile",
            "spec.cephfs",
            "spec.cinder",
            "spec.csi",
            "spec.fc",
            "spec.flexVolume",
            "spec.flocker",
            "spec.gcePersistentDisk",
            "spec.glusterfs",
            "spec.hostPath",
            "spec.iscsi",
            "spec.local",
            "spec.nfs",
            "spec.nodeAffinity",
            "spec.photonPersistentDisk",
            "spec.portworxVolume",
            "spec.quobyte",
            "spec.rbd",
            "spec.scaleIO",
            "spec.storageos",
            "spec.volumeMode",
            "spec.vsphereVolume",
        ]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise![
            "metadata.annotations.pv.kubernetes.io/bound-by-controller",
            "metadata.annotations.pv.kubernetes.io/provisioned-by",
            "metadata.finalizers",
            "spec.claimRef",
        ]
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        let data = match text(live, "/spec/persistentVolumeReclaimPolicy") {
            "Delete" => "its data, if its driver deletes volumes (reclaim policy Delete)".to_owned(),
            policy => format!("nothing on the storage itself (reclaim policy {policy})"),
        };
        match text(live, "/spec/claimRef/name") {
            "" => vec![data],
            claim => {
                vec![data, format!("the binding to claim {}/{claim}", text(live, "/spec/claimRef/namespace"))]
            }
        }
    }

    fn guard(&self, _live: &Value) -> Option<Guard> {
        Some(Guard::Volumes)
    }
}
