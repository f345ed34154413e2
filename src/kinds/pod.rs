//! Pod.

use serde_json::Value;

use super::common::{noise, reports_since};
use super::events::Event;
use super::json::{name, text};
use super::pods::{self, View};
use super::workload::loses_pods;
use super::{Context, KindRules, Missing, Related, Verdict};

/// The rules of `v1 Pod`.
pub(super) struct Pod;

impl KindRules for Pod {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        if text(object, "/status/phase") == "Succeeded" {
            return Verdict::ready_with("it has run to its end");
        }
        if pods::is_ready(object) {
            return Verdict::ready();
        }
        let events = Event::all(context.related);
        let since = reports_since(object, context);
        let view = View { now: context.now, since, events: &events, owner_retries: false };
        let progress = vec![pods::stage(object), pods::pulling_minutes(&[object], &view)];
        let Some(mut finding) = pods::diagnose(object, &view) else {
            let missing = Missing::new("PodNotReady", format!("pod {} is not ready", name(object)));
            return Verdict::Progressing(missing.progress(progress));
        };
        finding.missing.progress = progress;
        // Nothing starts a bare pod again.
        if text(object, "/status/phase") == "Failed" {
            Verdict::Failed(finding.missing)
        } else {
            finding.verdict()
        }
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        let _ = object;
        vec![Related::Events]
    }

    /// Everything but images, `activeDeadlineSeconds`, tolerations added, gates removed, and a resize, which goes through a subresource.
    fn immutable(&self) -> &'static [&'static str] {
        &[
            "spec.affinity",
            "spec.automountServiceAccountToken",
            "spec.containers",
            "spec.dnsConfig",
            "spec.dnsPolicy",
            "spec.enableServiceLinks",
            "spec.ephemeralContainers",
            "spec.hostAliases",
            "spec.hostIPC",
            "spec.hostNetwork",
            "spec.hostPID",
            "spec.hostUsers",
            "spec.hostname",
            "spec.imagePullSecrets",
            "spec.initContainers",
            "spec.nodeName",
            "spec.nodeSelector",
            "spec.os",
            "spec.overhead",
            "spec.preemptionPolicy",
            "spec.priority",
            "spec.priorityClassName",
            "spec.readinessGates",
            "spec.resourceClaims",
            "spec.resources",
            "spec.restartPolicy",
            "spec.runtimeClassName",
            "spec.schedulerName",
            "spec.securityContext",
            "spec.serviceAccount",
            "spec.serviceAccountName",
            "spec.setHostnameAsFQDN",
            "spec.shareProcessNamespace",
            "spec.subdomain",
            "spec.terminationGracePeriodSeconds",
            "spec.tolerations",
            "spec.topologySpreadConstraints",
            "spec.volumes",
        ]
    }

    /// Where it runs, and what the admission plug-ins ServiceAccount and Priority give every pod.
    fn noise(&self) -> &'static [&'static str] {
        noise!["spec.nodeName", "spec.preemptionPolicy", "spec.priority", "spec.serviceAccount",]
    }

    fn replacement_loses(&self, _live: &Value) -> Vec<String> {
        loses_pods(1)
    }
}
