//! Fields that a person added inside our objects. A server-side apply leaves them alone, so they are taken out by a JSON
//! patch of their own (rule 7 of the design).

use serde_json::{Value, json};

use super::fields::FieldSet;
use super::human::is_human;
use super::managed::{self, Entry};
use super::noise::Noise;
use super::path::{Item, Path, Step};

/// A field, or all of a list item or map, that a person added.
#[derive(Clone, Debug, PartialEq)]
pub struct Addition {
    /// Where.
    pub path: Path,
    /// Through which program.
    pub manager: String,
    /// When that program last wrote to the object, RFC 3339.
    pub time: Option<String>,
    /// What is there.
    pub value: Value,
}

/// Kept although a person set them: taking a finalizer or an owner out lets things be deleted.
const KEPT: &[&str] = &["metadata.finalizers", "metadata.ownerReferences"];

/// What people added to an object of ours, in the order of the paths.
///
/// A field counts if a person's program owns it, neither we nor any controller own it or something inside it, our body
/// doesn't have it, and it is no noise. What was written through a subresource (`scale`, `status`) doesn't count.
///
/// An object that we have never applied is not ours yet, so nothing was added to it; and what people wrote before our last
/// apply was there when that apply was agreed to. The server notes whole seconds, so the same second counts as after. Removals must
/// therefore be carried out before the apply that goes with them.
pub fn additions(live: &Value, body: &Value, manager: &str, noise: &Noise) -> Vec<Addition> {
    let people = |entry: &Entry<'_>| entry.subresource.is_none() && is_human(entry.manager);
    if !managed::entries(live).any(|entry| people(&entry)) {
        return Vec::new();
    }
    let Some(ours) = managed::applied(live, manager) else { return Vec::new() };
    let others = managed::entries(live)
        .filter(|entry| !people(entry))
        .fold(FieldSet::default(), |others, entry| others.union(&entry.fields()));
    let mut found: Vec<Addition> = Vec::new();
    for entry in managed::entries(live).filter(people) {
        // RFC 3339 in UTC and whole seconds sorts as text.
        if entry.time.zip(ours.time).is_some_and(|(theirs, ours)| theirs < ours) {
            continue;
        }
        let fields = entry.fields();
        let mut walk = Walk { live, noise, others: &others, entry, found: &mut found };
        walk.visit(&Path::root(), &fields, Some(body));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    // Of two people who added the same, the first is named; what is inside a whole goes with it.
    found.dedup_by(|inner, outer| outer.path.contains(&inner.path));
    found
}

struct Walk<'w> {
    live: &'w Value,
    noise: &'w Noise,
    others: &'w FieldSet<'w>,
    entry: Entry<'w>,
    found: &'w mut Vec<Addition>,
}

impl Walk<'_> {
    /// Looks for additions at and inside `path`, where the person owns `fields` and our body has `body`.
    fn visit(&mut self, path: &Path, fields: &FieldSet<'_>, body: Option<&Value>) {
        if body.is_none()
            && fields.is_member()
            && !self.others.touches(path)
            && !fields_inside(path, fields).iter().any(|inner| self.keeps(inner))
        {
            if let Some(value) = path.find(self.live) {
                self.found.push(Addition {
                    path: path.clone(),
                    manager: self.entry.manager.to_owned(),
                    time: self.entry.time.map(str::to_owned),
                    value: value.clone(),
                });
            }
            return;
        }
        for (name, inner) in fields.fields() {
            self.visit(&path.field(name), inner, body.and_then(|body| body.as_object()?.get(name)));
        }
        for (item, inner) in fields.items() {
            // Without its neighbours an index is nobody's: such lists have no keys to go by.
            if matches!(item, Item::Index(_)) {
                continue;
            }
            let ours = body.and_then(Value::as_array).and_then(|list| list.get(item.position(list)?));
            // A key field goes with its item.
            self.visit(&path.item(item.clone()), inner, ours);
        }
    }

    fn keeps(&self, path: &Path) -> bool {
        let dotted = path.dotted();
        self.noise.contains(path) || KEPT.iter().any(|kept| super::path::inside(&dotted, kept))
    }
}

fn fields_inside(path: &Path, fields: &FieldSet<'_>) -> Vec<Path> {
    if fields.is_leaf() {
        return vec![path.clone()];
    }
    let under = |leaf: Path| Path(path.0.iter().cloned().chain(leaf.0).collect());
    fields.leaves().into_iter().map(under).collect()
}

/// The JSON patch (RFC 6902) that takes the additions out of `live`, last indices first so that all indices stay right. It
/// begins with a `test` of the resourceVersion. Empty if there is nothing to take out.
pub fn removals(live: &Value, additions: &[Addition]) -> Vec<Value> {
    let mut pointers: Vec<_> =
        additions.iter().filter_map(|addition| pointer(live, &addition.path)).collect();
    pointers.sort();
    pointers.dedup_by(|inner, outer| inner.starts_with(outer));
    if pointers.is_empty() {
        return Vec::new();
    }
    let version = live.pointer("/metadata/resourceVersion").cloned().unwrap_or(Value::Null);
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
    let removals = pointers.iter().rev().map(|tokens| {
        let names: Vec<String> = tokens.iter().map(ToString::to_string).collect();
        json!({"op": "remove", "path": format!("/{}", names.join("/"))})
    });
    std::iter::once(test).chain(removals).collect()
}

/// One reference token of a JSON pointer (RFC 6901); indices sort as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Index(usize),
    Name(String),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(&name.replace('~', "~0").replace('/', "~1")),
        }
    }
}

fn pointer(object: &Value, path: &Path) -> Option<Vec<Token>> {
    let mut value = object;
    let mut tokens = Vec::with_capacity(path.0.len());
    for step in &path.0 {
        match step {
            Step::Field(name) => {
                value = value.as_object()?.get(name)?;
                tokens.push(Token::Name(name.clone()));
            }
            Step::Item(item) => {
                let list = value.as_array()?;
                let index = item.position(list)?;
                value = list.get(index)?;
                tokens.push(Token::Index(index));
            }
        }
    }
    Some(tokens)
}

/// What a dry-run says, without what will be taken out: so the diff shows the additions as removed.
pub fn without(after: &Value, additions: &[Addition]) -> Value {
    let mut after = after.clone();
    for addition in additions {
        addition.path.remove(&mut after);
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "resourceVersion": "9", "labels": {"app": "srs", "by-hand": "1"},
                "annotations": {"note/x": "hi", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
                "managedFields": [
                {"manager": "us", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"srs\"}": {
                        ".": {}, "f:name": {}, "f:image": {},
                        "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}}}}}}}},
                {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T00:00:00Z", "fieldsV1": {
                    "f:metadata": {
                        "f:labels": {"f:by-hand": {}},
                        "f:annotations": {".": {}, "f:note/x": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}},
                        "f:finalizers": {".": {}, "v:\"keep/me\"": {}}},
                    "f:spec": {"f:replicas": {}, "f:template": {
                        "f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}},
                        "f:spec": {"f:containers": {
                        "k:{\"name\":\"srs\"}": {"f:image": {}, "f:env": {
                            "k:{\"name\":\"B\"}": {".": {}, "f:name": {}, "f:value": {}},
                            "k:{\"name\":\"C\"}": {".": {}, "f:name": {}, "f:value": {}}}},
                        "k:{\"name\":\"debug\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}}},
                {"manager": "kubectl", "operation": "Update", "subresource": "scale", "time": "2026-01-02T00:00:00Z",
                 "fieldsV1": {"f:spec": {"f:paused": {}}}},
                {"manager": "kube-controller-manager", "operation": "Update", "time": "2026-01-02T00:00:00Z",
                 "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
            "spec": {"replicas": 4, "paused": true, "template": {
                "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "x"}},
                "spec": {"containers": [
                {"name": "debug", "image": "sh"},
                {"name": "srs", "image": "2", "env": [
                    {"name": "B", "value": "2"}, {"name": "A", "value": "1"}, {"name": "C", "value": "3"}]}]}}},
        })
    }

    fn body() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"app": "srs"}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "srs", "image": "1", "env": [{"name": "A", "value": "1"}]}]}}}})
    }

    #[test]
    fn finds_what_people_added_and_nothing_else() {
        let found = additions(&live(), &body(), "us", &Noise::default());
        let paths: Vec<_> = found.iter().map(|addition| addition.path.to_string()).collect();
        assert_eq!(
            paths,
            [
                r#"metadata.annotations["note/x"]"#,
                "metadata.labels.by-hand",
                "spec.template.spec.containers[name=debug]",
                "spec.template.spec.containers[name=srs].env[name=B]",
                "spec.template.spec.containers[name=srs].env[name=C]",
            ]
        );
        assert_eq!(found[0].manager, "kubectl-edit");
        assert_eq!(found[1].value, json!("1"));
    }

    #[test]
    fn patch_keeps_indices_right() {
        let live = live();
        let found = additions(&live, &body(), "us", &Noise::default());
        let patch = removals(&live, &found);
        let paths: Vec<_> = patch.iter().map(|operation| operation["path"].as_str().unwrap()).collect();
        assert_eq!(
            paths,
            [
                "/metadata/resourceVersion",
                "/spec/template/spec/containers/1/env/2",
                "/spec/template/spec/containers/1/env/0",
                "/spec/template/spec/containers/0",
                "/metadata/labels/by-hand",
                "/metadata/annotations/note~1x",
            ]
        );
        assert_eq!(patch[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "9"}));
        let after = without(&live, &found);
        assert_eq!(
            after.pointer("/spec/template/spec/containers").unwrap(),
            &json!([
            {"name": "srs", "image": "2", "env": [{"name": "A", "value": "1"}]}])
        );
        assert_eq!(removals(&live, &[]), Vec::<Value>::new());
    }

    #[test]
    fn an_object_that_is_not_ours_yet_has_no_additions() {
        assert_eq!(additions(&live(), &body(), "other", &Noise::default()), []);
    }

    #[test]
    fn what_was_there_before_our_last_apply_was_agreed_to() {
        let mut live = live();
        live["metadata"]["managedFields"][0]["time"] = json!("2026-01-02T00:00:01Z");
        assert_eq!(additions(&live, &body(), "us", &Noise::default()), []);
        live["metadata"]["managedFields"][0]["time"] = json!("2026-01-02T00:00:00Z");
        assert_eq!(additions(&live, &body(), "us", &Noise::default()).len(), 5);
    }
}
