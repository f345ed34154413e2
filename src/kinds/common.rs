//! What holds for every kind: the first questions of each assessment, the server's own fields, and whose write was last.

use serde_json::Value;

use super::json::{Condition, list, number, text, time};
use super::{Context, Missing, Verdict};

/// The dotted paths of [`KindRules::noise`](super::KindRules::noise): the server's own fields of every object, and those given.
macro_rules! noise {
    ($($path:literal),* $(,)?) => {
        &[
            "status",
            "metadata.creationTimestamp",
            "metadata.deletionGracePeriodSeconds",
            "metadata.deletionTimestamp",
            "metadata.generateName",
            "metadata.generation",
            "metadata.managedFields",
            "metadata.resourceVersion",
            "metadata.selfLink",
            "metadata.uid",
            "metadata.annotations.kubectl.kubernetes.io/last-applied-configuration",
            $($path),*
        ]
    };
}
pub(super) use noise;

/// The verdict that every kind shares, if one of its questions decides: replaced, being deleted, not yet seen by its controller, stalled.
pub(super) fn prefix(object: &Value, context: &Context<'_>) -> Option<Verdict> {
    let uid = text(object, "/metadata/uid");
    if let Some(applied) = context.applied_uid
        && !uid.is_empty()
        && uid != applied
    {
        let reason = "somebody deleted it and created another one under the same name";
        return Some(Verdict::Failed(Missing::new("Replaced", reason)));
    }
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
        return Some(Verdict::Terminating { finalizers: finalizers(object) });
    }
    let generation = number(object, "/metadata/generation");
    if let (Some(generation), Some(applied)) = (generation, context.applied_generation)
        && generation < applied
    {
        return Some(Verdict::Progressing(Missing::new("NotObserved", "this is its state before the apply")));
    }
    if let (Some(generation), Some(observed)) = (generation, number(object, "/status/observedGeneration"))
        && observed < generation
    {
        return Some(not_observed());
    }
    if let Some(condition) = Condition::of(object, "Stalled")
        && condition.is_true()
    {
        return Some(Verdict::Failed(Missing::new("Stalled", condition.words())));
    }
    if let Some(condition) = Condition::of(object, "Reconciling")
        && condition.is_true()
    {
        return Some(Verdict::Progressing(Missing::new("Reconciling", condition.words())));
    }
    None
}

/// For kinds whose controller always writes `status.observedGeneration`: not even once yet.
pub(super) fn never_observed(object: &Value) -> Option<Verdict> {
    (number(object, "/metadata/generation").is_some()
        && number(object, "/status/observedGeneration").is_none())
    .then(not_observed)
}

fn not_observed() -> Verdict {
    Verdict::Progressing(Missing::new("NotObserved", "its controller has not seen the change yet"))
}

/// What still holds an object that is being deleted.
fn finalizers(object: &Value) -> Vec<String> {
    let names = ["/metadata/finalizers", "/spec/finalizers"].into_iter().flat_map(|path| list(object, path));
    let mut held: Vec<String> = names.filter_map(Value::as_str).map(str::to_owned).collect();
    // A namespace says in conditions what is left in it; their `True` is the bad news.
    for name in [
        "NamespaceDeletionDiscoveryFailure",
        "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceDeletionContentFailure",
        "NamespaceContentRemaining",
        "NamespaceFinalizersRemaining",
    ] {
        if let Some(condition) = Condition::of(object, name)
            && condition.is_true()
        {
            held.push(condition.message.to_owned());
        }
    }
    held
}

/// Adds to a `Ready` that somebody else has changed the object since our apply: it works, but it is not ours any more.
pub(super) fn with_foreign_change(verdict: Verdict, object: &Value, context: &Context<'_>) -> Verdict {
    let Verdict::Ready { note } = verdict else { return verdict };
    let moved = context
        .applied_generation
        .is_some_and(|applied| number(object, "/metadata/generation").is_some_and(|now| now > applied));
    if !moved {
        return Verdict::Ready { note };
    }
    let changed = match last_foreign_manager(object) {
        Some(manager) => format!("changed by {manager} since it was applied"),
        None => "changed by somebody else since it was applied".to_owned(),
    };
    Verdict::Ready { note: Some(note.map_or(changed.clone(), |note| format!("{note}; {changed}"))) }
}

/// Whether a managedFields entry is one of stackctl's own.
fn is_ours(entry: &Value) -> bool {
    let manager = text(entry, "/manager");
    manager == "stackctl" || manager.starts_with("stackctl.")
}

fn last_foreign_manager(object: &Value) -> Option<&str> {
    list(object, "/metadata/managedFields")
        .iter()
        .filter(|entry| !is_ours(entry) && text(entry, "/subresource") != "status")
        .max_by(|a, b| {
            let at = |entry| time(entry, "/time").unwrap_or_default();
            at(a).total_cmp(&at(b))
        })
        .map(|entry| text(entry, "/manager"))
        .filter(|manager| !manager.is_empty())
}

/// From when on reports (events, container states) speak of what we applied, in seconds since the epoch.
///
/// If our apply changed the object, that is the time the server noted for it, since reports carry the server's clock as well and not ours. If
/// it changed nothing, only what happens after it counts: the reports that are there are of an earlier attempt, and somebody may have mended the cause.
pub(crate) fn reports_since(object: &Value, context: &Context<'_>) -> f64 {
    let generation = |object| number(object, "/metadata/generation");
    let unchanged = context
        .before
        .is_some_and(|before| generation(before).is_some() && generation(before) == generation(object));
    if unchanged {
        return context.applied_at.floor();
    }
    written_at(object).unwrap_or_else(|| context.applied_at.floor())
}

/// When one of our applies last changed the object, by the server's clock (to the second).
pub(crate) fn written_at(object: &Value) -> Option<f64> {
    list(object, "/metadata/managedFields")
        .iter()
        .filter(|entry| is_ours(entry) && text(entry, "/subresource").is_empty())
        .filter_map(|entry| time(entry, "/time"))
        .max_by(f64::total_cmp)
}
