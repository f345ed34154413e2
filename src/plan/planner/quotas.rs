//! Whether all changes together fit into the ResourceQuotas.

use serde_json::Value;

use super::Planner;
use crate::plan::{Change, Note, Refusal, RefusalCode, Severity, quota};

impl Planner {
    /// A dry-run sees each object alone; whether all fit together is computed here. Prunes make no room: they come last.
    pub(super) fn check_quotas(&mut self, changes: &[Change], bodies: &[Value]) {
        let kinds = &self.inputs.observation.kinds;
        let uses: Vec<quota::QuotaChange<'_>> = changes
            .iter()
            .zip(bodies)
            .filter_map(|(change, after)| {
                Some(quota::QuotaChange {
                    namespace: change.id.namespace.as_deref()?,
                    plural: &kinds.get(&change.gvk)?.plural,
                    group: &change.gvk.group,
                    before: change.live.as_ref(),
                    after: Some(after),
                })
            })
            .collect();
        let report = quota::exceeded(&self.inputs.observation.quotas, &uses);
        self.notes.extend(report.notes.into_iter().map(|message| Note {
            severity: Severity::Info,
            id: None,
            message,
        }));
        self.refusals.extend(report.exceeded.into_iter().map(|exceeded| Refusal {
            code: RefusalCode::Quota,
            id: None,
            location: None,
            message: format!(
                "the ResourceQuota {} of namespace {} allows {} {}; {} are used and this plan adds {}",
                exceeded.quota,
                exceeded.namespace,
                exceeded.hard,
                exceeded.resource,
                exceeded.used,
                exceeded.adds
            ),
            hint: Some("raise the ResourceQuota, or ask for less".to_owned()),
        }));
    }
}
