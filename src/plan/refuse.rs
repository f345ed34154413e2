//! The refusals of a plan, in words for the reader.

use super::conflict::Conflict;
use super::rejection::Ruling;
use super::{Change, Refusal, RefusalCode};
use crate::graph::Resource;

pub(super) fn refusal(
    resource: &Resource,
    code: RefusalCode,
    message: String,
    hint: Option<&str>,
) -> Refusal {
    Refusal {
        code,
        id: Some(resource.id.clone()),
        location: Some(resource.location.clone()),
        message,
        hint: hint.map(str::to_owned),
    }
}

pub(super) fn conflict(resource: &Resource, conflict: &Conflict) -> Refusal {
    let when = conflict.owner.time.as_deref().map(|time| format!(" since {time}")).unwrap_or_default();
    let hint = format!(
        "say whose it is: stack.policy(&…).fields.insert({:?}.into(), OnConflict::Take) or Yield",
        conflict.path.dotted()
    );
    let message = format!(
        "{} of {} belongs to {}{when}; it is {} there and {} here",
        conflict.path, resource.id, conflict.owner.manager, conflict.live, conflict.ours
    );
    refusal(resource, RefusalCode::Conflict, message, Some(&hint))
}

/// What a ruling that isn't for a replacement says.
pub(super) fn ruling(resource: &Resource, ruling: Ruling) -> Option<Refusal> {
    let (code, message, hint) = match ruling {
        Ruling::Refused { message } => (RefusalCode::RefusedByServer, message, None),
        Ruling::DeniedByAdmission { message } => (
            RefusalCode::DeniedByAdmission,
            message,
            Some("a policy of the cluster decides this; nothing was changed"),
        ),
        Ruling::Forbidden { message } => {
            (RefusalCode::Forbidden, message, Some("ask the cluster's administrator for this right"))
        }
        Ruling::Quota { message } => {
            (RefusalCode::Quota, message, Some("raise the ResourceQuota, or ask for less"))
        }
        Ruling::Replace { .. } | Ruling::NeedsProbe => return None,
    };
    Some(refusal(resource, code, message, hint))
}

pub(super) fn foreign_replacement(resource: &Resource, change: &Change) -> Refusal {
    let message = format!(
        "{} is not the stack's, and can only be taken in by deleting it ({})",
        resource.id,
        change.reasons.join("; ")
    );
    let hint = "delete it yourself if you mean it, or give the resource another name";
    refusal(resource, RefusalCode::Replacement, message, Some(hint))
}

pub(super) fn replacement(resource: &Resource, change: &Change) -> Refusal {
    let loses = if change.loses.is_empty() {
        String::new()
    } else {
        format!("; it loses {}", change.loses.join(", "))
    };
    let (why, hint) = if resource.policy.protect {
        ("but it is protected", "take the protection away, or leave the fields as they are")
    } else {
        (
            "which the program has not agreed to",
            "agree with stack.policy(&…).allow_replace = true, or leave the fields as they are",
        )
    };
    let message = format!(
        "{} can only be deleted and created again ({}), {why}{loses}",
        resource.id,
        change.reasons.join("; ")
    );
    refusal(resource, RefusalCode::Replacement, message, Some(hint))
}
