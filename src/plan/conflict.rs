//! Whose field is it (rule 7 of the design): conflicts with other managers, and fields that are left to them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::mask::masked;
use super::merge_keys::Lists;
use super::owners::{Owner, Owners, Sent};
use super::path::{self, Item, Path, Step};
use super::proof::{Fingerprint, is_secret};
use super::wanted::{leaves, satisfied};
use crate::graph::{OnConflict, Policy};

/// A field that our body sets and that was never ours: another manager gave it another value.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Which field.
    pub path: Path,
    /// Who has it.
    pub owner: Owner,
    /// What is there; masked for Secrets.
    pub live: Value,
    /// What we want; masked for Secrets.
    pub ours: Value,
    /// What the program says: [`OnConflict::Refuse`] makes a refusal, [`OnConflict::Take`] is worth a note.
    pub resolution: OnConflict,
}

/// A field of the body that is left to another manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Which field.
    pub path: Path,
    /// To whom.
    pub owner: Owner,
}

/// The conflicts between `body`, as it comes out of [`yielded`], and what is live.
///
/// Of an object whose last body was the same, every field was ours, so a difference is drift. Of one whose body changed, a
/// person's value is drift too, and another controller's is a conflict: nobody knows whether the field was in the last body.
pub fn conflicts(
    live: &Value,
    body: &Value,
    manager: &str,
    sent: Sent,
    policy: &Policy,
    fingerprint: Fingerprint<'_>,
) -> Vec<Conflict> {
    if sent == Sent::Same {
        return Vec::new();
    }
    let lists = Lists::of([live, body]);
    let owners = Owners::of(live, manager);
    let secret = is_secret(body) || is_secret(live);
    let show = |path: &Path, value: &Value| {
        if secret { masked(path, value, fingerprint) } else { value.clone() }
    };
    leaves(body, &lists)
        .into_iter()
        .filter_map(|(path, ours)| {
            let found = path.find(live)?;
            if satisfied(&path, ours, found) || owners.is_ours(&path) {
                return None;
            }
            let owner = owners.other(&path)?;
            if sent == Sent::Changed && owner.is_human() {
                return None;
            }
            Some(Conflict {
                live: show(&path, found),
                ours: show(&path, ours),
                owner: owner.clone(),
                resolution: resolution(policy, &path),
                path,
            })
        })
        .collect()
}

/// The body to send: without the fields that another manager owns and the program yields, and without `spec.replicas` if the
/// object is `autoscaled` (some HorizontalPodAutoscaler scales it) and another manager owns the field already. Before that
/// it is sent: leaving it out would make it 1.
///
/// A field stays yielded while the other manager has it, whatever its value is, so that the body doesn't go back and forth.
pub fn yielded(
    body: &Value,
    live: Option<&Value>,
    manager: &str,
    policy: &Policy,
    autoscaled: bool,
) -> (Value, Vec<Left>) {
    let mut rest = body.clone();
    let yields = |policy: OnConflict| policy == OnConflict::Yield;
    if !(autoscaled || yields(policy.on_conflict) || policy.fields.values().copied().any(yields)) {
        return (rest, Vec::new());
    }
    let Some(live) = live else { return (rest, Vec::new()) };
    let lists = Lists::of([live, body]);
    let owners = Owners::of(live, manager);
    let replicas = Path::of_fields(["spec", "replicas"]);
    let mut left = Vec::new();
    for (path, _) in leaves(body, &lists) {
        let said = autoscaled && path == replicas && policy_for(policy, &path).is_none();
        if is_key(&path) || !(said || yields(resolution(policy, &path))) {
            continue;
        }
        if let Some(owner) = owners.other(&path) {
            path.remove(&mut rest);
            left.push(Left { path, owner: owner.clone() });
        }
    }
    (rest, left)
}

/// The objects that HorizontalPodAutoscalers among `objects` scale: kind, namespace, name. A namespace that isn't given is
/// `namespace`.
pub fn scale_targets<'v>(
    objects: impl IntoIterator<Item = &'v Value>,
    namespace: &str,
) -> BTreeSet<(String, String, String)> {
    let target = |object: &Value| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        (text("/kind")? == "HorizontalPodAutoscaler").then_some(())?;
        let own = text("/metadata/namespace").unwrap_or_else(|| namespace.to_owned());
        Some((text("/spec/scaleTargetRef/kind")?, own, text("/spec/scaleTargetRef/name")?))
    };
    objects.into_iter().filter_map(target).collect()
}

/// What the program says about a field: the entry with the longest path that it is at or inside of, else the default.
fn resolution(policy: &Policy, path: &Path) -> OnConflict {
    policy_for(policy, path).unwrap_or(policy.on_conflict)
}

fn policy_for(policy: &Policy, field: &Path) -> Option<OnConflict> {
    let (dotted, exact) = (field.dotted(), field.to_string());
    policy
        .fields
        .iter()
        // A path that names an item is about that item only.
        .filter(|(said, _)| !said.contains('=') || exact.starts_with(said.as_str()))
        .map(|(said, resolution)| (path::dotted(said), resolution))
        .filter(|(said, _)| path::inside(&dotted, said))
        .max_by_key(|(said, _)| said.len())
        .map(|(_, resolution)| *resolution)
}

/// Whether the field is a key of the list item that it is in.
fn is_key(path: &Path) -> bool {
    match path.0.as_slice() {
        [.., Step::Item(Item::Key(keys)), Step::Field(name)] => keys.iter().any(|(key, _)| key == name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(manager: &str, subresource: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "managedFields": [
            {"manager": "us", "operation": "Apply", "fieldsV1": {"f:spec": {"f:paused": {}}}},
            {"manager": manager, "operation": "Update", "subresource": subresource, "time": "2026-01-01T00:00:00Z",
             "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
            "spec": {"replicas": 5, "paused": true, "minReadySeconds": 9}})
    }

    fn body() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"replicas": 3, "paused": false, "minReadySeconds": 1}})
    }

    fn found(manager: &str, sent: Sent, policy: &Policy) -> Vec<(String, OnConflict)> {
        conflicts(&live(manager, ""), &body(), "us", sent, policy, &|_| [0; 16])
            .into_iter()
            .map(|conflict| (conflict.path.to_string(), conflict.resolution))
            .collect()
    }

    #[test]
    fn whose_field_it_is() {
        let (refuse, take) =
            (Policy::default(), Policy { on_conflict: OnConflict::Take, ..Policy::default() });
        let conflict = |resolution| vec![("spec.replicas".to_owned(), resolution)];
        for (manager, sent, policy, want) in [
            ("kubectl", Sent::Never, &refuse, conflict(OnConflict::Refuse)),
            ("kubectl", Sent::Never, &take, conflict(OnConflict::Take)),
            ("kubectl", Sent::Changed, &refuse, vec![]),
            ("kubectl", Sent::Same, &refuse, vec![]),
            ("keda", Sent::Never, &refuse, conflict(OnConflict::Refuse)),
            ("keda", Sent::Changed, &refuse, conflict(OnConflict::Refuse)),
            ("keda", Sent::Same, &refuse, vec![]),
        ] {
            assert_eq!(found(manager, sent, policy), want, "{manager} {sent:?}");
        }
    }

    #[test]
    fn the_nearest_policy_counts() {
        let mut policy = Policy { on_conflict: OnConflict::Yield, ..Policy::default() };
        policy.fields.insert("spec".to_owned(), OnConflict::Refuse);
        policy.fields.insert("spec.replicas".to_owned(), OnConflict::Take);
        assert_eq!(found("keda", Sent::Never, &policy), [("spec.replicas".to_owned(), OnConflict::Take)]);
        let containers = Path::of_fields(["spec", "containers"]);
        let image =
            |name| containers.item(Item::key_of(&json!({"name": name}), ["name"]).unwrap()).field("image");
        policy.fields.insert("spec.containers[name=a].image".to_owned(), OnConflict::Yield);
        assert_eq!(resolution(&policy, &image("a")), OnConflict::Yield);
        assert_eq!(resolution(&policy, &image("b")), OnConflict::Refuse);
    }

    #[test]
    fn replicas_are_left_to_the_autoscaler_once_somebody_has_them() {
        let policy = Policy::default();
        let hpa = live("kube-controller-manager", "scale");
        let (rest, left) = yielded(&body(), Some(&hpa), "us", &policy, true);
        assert_eq!(rest["spec"].get("replicas"), None);
        assert_eq!(left[0].owner.manager, "kube-controller-manager");
        assert_eq!(conflicts(&hpa, &rest, "us", Sent::Never, &policy, &|_| [0; 16]), []);
        assert_eq!(yielded(&body(), Some(&hpa), "us", &policy, false), (body(), vec![]));
        assert_eq!(yielded(&body(), None, "us", &policy, true), (body(), vec![]));
        let ours = json!({"kind": "Deployment", "metadata": {"managedFields": [
            {"manager": "us", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]}});
        assert_eq!(yielded(&body(), Some(&ours), "us", &policy, true), (body(), vec![]));
    }

    #[test]
    fn yield_is_for_fields_that_somebody_has() {
        let policy = Policy { on_conflict: OnConflict::Yield, ..Policy::default() };
        let (rest, left) = yielded(&body(), Some(&live("keda", "")), "us", &policy, false);
        assert_eq!(rest["spec"], json!({"paused": false, "minReadySeconds": 1}));
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn autoscalers_name_their_targets() {
        let hpa = json!({"kind": "HorizontalPodAutoscaler", "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "a"}}});
        let targets = scale_targets([&hpa, &json!({}), &json!(7)], "live");
        assert_eq!(Vec::from_iter(targets), [("Deployment".to_owned(), "live".to_owned(), "a".to_owned())]);
    }
}
