//! The rules of kind Service on a cluster that may be ACK.

use std::collections::BTreeMap;

use serde_json::Value;

use super::annotation::{Mutability, Settings, TABLE, least_ccm};
use super::immutable::{immutable_change, kept_defaults, left_behind, undo_removed};
use super::{Severity, ccm, lint};
use crate::kinds::events::Event;
use crate::kinds::service::{self, is_load_balancer};
use crate::kinds::{Context, Guard, KindRules, Related, Verdict};

/// The rules of `v1 Service`: Kubernetes' own, and CCM's where CCM shows itself.
pub(crate) struct Service;

/// Kubernetes' own rules.
const PLAIN: service::Service = service::Service;

impl KindRules for Service {
    fn judge(&self, object: &Value, context: &Context<'_>) -> Verdict {
        let events = Event::all(context.related);
        if is_load_balancer(object) && Settings::of(object).is_some() && ccm::owns(object, &events) {
            return ccm::assess(object, &events, context);
        }
        PLAIN.judge(object, context)
    }

    fn related(&self, object: &Value) -> Vec<Related> {
        PLAIN.related(object)
    }

    fn immutable(&self) -> &'static [&'static str] {
        PLAIN.immutable()
    }

    fn noise(&self) -> &'static [&'static str] {
        PLAIN.noise()
    }

    fn replaces(&self, live: &Value, desired: &Value) -> Option<String> {
        immutable_change(live, desired)
    }

    fn replacement_loses(&self, live: &Value) -> Vec<String> {
        let Some(settings) = Settings::of(live) else { return PLAIN.replacement_loses(live) };
        let mut loses = PLAIN.replacement_loses(live);
        if let Some(id) = settings.get("id") {
            loses.retain(|lost| !lost.starts_with("its load balancer"));
            loses.push(format!("its listeners on load balancer {id}, which itself stays"));
        } else if settings.get("preserve-lb-on-delete").is_some() {
            loses.retain(|lost| !lost.starts_with("its load balancer"));
            loses.push(format!(
                "its load balancer with the address {}: it is preserved, without listeners, but not used again",
                service::addresses(live).join(", ")
            ));
        }
        loses
    }

    fn notes(&self, live: Option<&Value>, desired: &Value) -> Vec<String> {
        let mut notes = Vec::new();
        if live.is_none()
            && let Some((version, suffix)) = Settings::of(desired).as_ref().and_then(least_ccm)
        {
            notes.push(format!("{suffix} needs CCM {version} or newer; an older one ignores it"));
        }
        if let Some(live) = live {
            notes.extend(left_behind(live, desired).into_iter().map(|suffix| {
                format!("{suffix}: removing it leaves the load balancer as it is, and there is no default to write")
            }));
            notes.extend(ignored_changes(live, desired));
            if is_load_balancer(live) && !is_load_balancer(desired) && service::has_address(live) {
                let address = service::addresses(live).join(", ");
                notes.push(format!("the load balancer goes, and its address {address} with it"));
            }
        }
        notes
    }

    fn warnings(&self, desired: &Value) -> Vec<String> {
        let findings = lint(desired).into_iter();
        findings
            .filter(|finding| finding.severity == Severity::Warning)
            .map(|finding| finding.to_string())
            .collect()
    }

    fn kept_annotations(&self, ours: &Value, desired: &Value) -> BTreeMap<String, String> {
        let mut kept = kept_defaults(ours, desired);
        kept.extend(undo_removed(ours, desired));
        kept
    }

    fn guard(&self, live: &Value) -> Option<Guard> {
        PLAIN.guard(live)
    }
}

/// Changes that CCM takes no notice of.
fn ignored_changes(live: &Value, desired: &Value) -> Vec<String> {
    let (Some(before), Some(after)) = (Settings::of(live), Settings::of(desired)) else { return Vec::new() };
    let changed = |suffix: &&str| after.get(suffix).is_some_and(|new| before.get(suffix) != Some(new));
    TABLE
        .iter()
        .filter(|row| {
            ccm::has_load_balancer(live)
                && row.family == after.family
                && row.mutability == Mutability::CreateOnly
        })
        .map(|row| row.suffix)
        .filter(changed)
        .map(|suffix| {
            format!("{suffix}: it is read when the load balancer is created; the change has no effect")
        })
        .collect()
}
