//! Sets of fields, as `metadata.managedFields[].fieldsV1` has them: a tree of `f:` fields, `k:` keyed items, `v:` set
//! items, `i:` indices and `.` for the place itself (structured-merge-diff, `fieldpath/serialize.go`).

use serde_json::Value;

use super::path::{Atom, Item, Path, Step, compare, key_field};

/// A set of places in an object.
///
/// A member without members inside it stands for everything inside it: that is how an atomic value is owned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSet<'a> {
    /// The place itself is a member.
    own: bool,
    /// Sorted by name.
    fields: Vec<(&'a str, FieldSet<'a>)>,
    /// Sorted.
    items: Vec<(Item, FieldSet<'a>)>,
}

impl<'a> FieldSet<'a> {
    /// Reads a `fieldsV1`. What is not in the format is left out.
    pub fn parse(fields_v1: &'a Value) -> Self {
        let mut set = Self::parse_children(fields_v1);
        // At the root `{}` says "no field", everywhere else "this place".
        set.own = false;
        set
    }

    fn parse_children(node: &'a Value) -> Self {
        let mut set = Self::default();
        let Some(children) = node.as_object() else { return set };
        set.own = children.is_empty();
        for (name, child) in children {
            match name.split_once(':') {
                Some(("f", name)) => set.fields.push((name, Self::parse_children(child))),
                Some((kind @ ("k" | "v" | "i"), text)) => {
                    if let Some(item) = parse_item(kind, text) {
                        set.items.push((item, Self::parse_children(child)));
                    }
                }
                _ if name == "." => set.own = true,
                _ => {}
            }
        }
        set.fields.sort_by(|a, b| a.0.cmp(b.0));
        set.items.sort_by(|a, b| a.0.cmp(&b.0));
        set.items.dedup_by(|a, b| a.0 == b.0);
        set
    }

    /// Whether no place is a member.
    pub fn is_empty(&self) -> bool {
        !self.own
            && self.fields.iter().all(|(_, set)| set.is_empty())
            && self.items.iter().all(|(_, set)| set.is_empty())
    }

    /// Whether the place itself is a member.
    pub fn is_member(&self) -> bool {
        self.own
    }

    /// Whether the place is a member as a whole: nothing inside it is told apart.
    pub fn is_leaf(&self) -> bool {
        self.own && self.fields.is_empty() && self.items.is_empty()
    }

    /// The members inside the field `name`.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields.binary_search_by(|(own, _)| (*own).cmp(name)).ok().map(|index| &self.fields[index].1)
    }

    /// The members inside a list's item.
    pub fn item(&self, item: &Item) -> Option<&Self> {
        self.items.binary_search_by(|(own, _)| own.cmp(item)).ok().map(|index| &self.items[index].1)
    }

    /// The fields inside, with what is a member in them.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &Self)> {
        self.fields.iter().map(|(name, set)| (*name, set))
    }

    /// The list items inside, with what is a member in them.
    pub fn items(&self) -> impl Iterator<Item = (&Item, &Self)> {
        self.items.iter().map(|(item, set)| (item, set))
    }

    /// The members at and inside `path`; for a place inside a member that is whole, that member.
    pub fn at(&self, path: &Path) -> Option<&Self> {
        let mut set = self;
        for step in &path.0 {
            if set.is_leaf() {
                return Some(set);
            }
            set = match step {
                Step::Field(name) => set.field(name)?,
                Step::Item(item) => set.item(item)?,
            };
        }
        Some(set)
    }

    /// Whether `path` is a member, or inside a member that is whole.
    pub fn contains(&self, path: &Path) -> bool {
        self.at(path).is_some_and(Self::is_member)
    }

    /// Whether `path`, something inside it, or a whole around it is a member.
    pub fn touches(&self, path: &Path) -> bool {
        self.at(path).is_some_and(|set| !set.is_empty())
    }

    /// The members of both.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            own: self.own || other.own,
            fields: merge(&self.fields, &other.fields, |a, b| match (a, b) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b).cloned(),
            }),
            items: merge(&self.items, &other.items, |a, b| match (a, b) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b).cloned(),
            }),
        }
    }

    /// The members that `other` has not.
    pub fn difference(&self, other: &Self) -> Self {
        Self {
            own: self.own && !other.own,
            fields: merge(&self.fields, &other.fields, Self::rest),
            items: merge(&self.items, &other.items, Self::rest),
        }
    }

    fn rest(ours: Option<&Self>, other: Option<&Self>) -> Option<Self> {
        let rest = match (ours?, other) {
            (ours, Some(other)) => ours.difference(other),
            (ours, None) => ours.clone(),
        };
        (!rest.is_empty()).then_some(rest)
    }

    /// Every member that has no member inside it, in order.
    pub fn leaves(&self) -> Vec<Path> {
        let mut leaves = Vec::new();
        self.collect_leaves(&Path::root(), &mut leaves);
        leaves
    }

    fn collect_leaves(&self, path: &Path, leaves: &mut Vec<Path>) {
        if self.is_leaf() {
            leaves.push(path.clone());
        }
        for (name, set) in &self.fields {
            set.collect_leaves(&path.field(name), leaves);
        }
        for (item, set) in &self.items {
            set.collect_leaves(&path.item(item.clone()), leaves);
        }
    }

    /// The names of the key fields that tell a list's items apart; none if its items aren't keyed.
    pub fn key_names(&self) -> Option<Vec<String>> {
        self.items.iter().find_map(|(item, _)| match item {
            Item::Key(keys) => Some(keys.iter().map(|(name, _)| name.clone()).collect()),
            _ => None,
        })
    }

    /// For each item of `list` that has members in it, in the list's order: its index and what is a member.
    pub(super) fn select<'s>(&'s self, list: &'s [Value]) -> impl Iterator<Item = (usize, &'s Self)> {
        // Usually one: all items of a list have the same key fields.
        let mut names: Vec<Vec<&str>> = Vec::new();
        for (item, _) in &self.items {
            if let Item::Key(keys) = item
                && !names.iter().any(|known| known.iter().eq(keys.iter().map(|(name, _)| name)))
            {
                names.push(keys.iter().map(|(name, _)| name.as_str()).collect());
            }
        }
        list.iter().enumerate().filter_map(move |(index, value)| {
            let found = names.iter().find_map(|names| self.find_keyed(value, names));
            let found = found.or_else(|| {
                self.find(|item| match item {
                    Item::Key(_) => std::cmp::Ordering::Less,
                    Item::Value(own) => compare(&own.0, value),
                    Item::Index(_) => std::cmp::Ordering::Greater,
                })
            });
            let found = found.or_else(|| self.item(&Item::Index(index)));
            found.map(|set| (index, set))
        })
    }

    fn find_keyed(&self, value: &Value, names: &[&str]) -> Option<&Self> {
        let keys =
            names.iter().map(|name| Some((*name, key_field(value, name)?))).collect::<Option<Vec<_>>>()?;
        self.find(|item| match item {
            Item::Key(own) => {
                let mut order = own.iter().zip(&keys).map(|((own_name, own), (name, key))| {
                    own_name.as_str().cmp(name).then_with(|| compare(&own.0, key))
                });
                order.find(|order| order.is_ne()).unwrap_or_else(|| own.len().cmp(&keys.len()))
            }
            _ => std::cmp::Ordering::Greater,
        })
    }

    fn find(&self, order: impl Fn(&Item) -> std::cmp::Ordering) -> Option<&Self> {
        self.items.binary_search_by(|(item, _)| order(item)).ok().map(|index| &self.items[index].1)
    }
}

fn parse_item(kind: &str, text: &str) -> Option<Item> {
    match kind {
        "i" => text.parse().ok().map(Item::Index),
        "v" => serde_json::from_str(text).ok().map(|value| Item::Value(Atom(value))),
        _ => match serde_json::from_str(text).ok()? {
            Value::Object(keys) => {
                let mut keys: Vec<_> = keys.into_iter().map(|(name, key)| (name, Atom(key))).collect();
                keys.sort();
                Some(Item::Key(keys))
            }
            _ => None,
        },
    }
}

/// Walks two sorted lists side by side.
fn merge<K: Ord + Clone, S>(
    a: &[(K, S)],
    b: &[(K, S)],
    join: impl Fn(Option<&S>, Option<&S>) -> Option<S>,
) -> Vec<(K, S)> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut out = Vec::new();
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return out,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.0.cmp(&b.0),
        };
        let left = if order.is_le() { a.next() } else { None };
        let right = if order.is_ge() { b.next() } else { None };
        if let (Some((key, _)), joined) =
            (left.or(right), join(left.map(|(_, set)| set), right.map(|(_, set)| set)))
            && let Some(joined) = joined
        {
            out.push((key.clone(), joined));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Any JSON, with the names and keys that mean something to this room more often than chance would have it.
    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            Just("name".to_owned()),
            Just("metadata".to_owned()),
            Just("annotations".to_owned()),
            Just("spec".to_owned()),
            Just("f:spec".to_owned()),
            Just("f:a".to_owned()),
            Just(".".to_owned()),
            Just("i:0".to_owned()),
            Just("v:1".to_owned()),
            Just(r#"k:{"name":"a"}"#.to_owned()),
            "[a-c]{1,2}",
            ".{0,3}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2_i64..3).prop_map(Value::from),
            (-9_i32..9).prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn reads_the_documented_format() {
        // Shape of the example in Kubernetes' "Server-Side Apply" page and of KEP-555.
        let json = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"a/b\"": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:template": {"f:spec": {"f:containers": {
                    r#"k:{"name":"srs"}"#: {".": {}, "f:name": {}, "f:image": {}, "f:ports": {
                        r#"k:{"containerPort":1935,"protocol":"TCP"}"#: {".": {}, "f:containerPort": {}}
                    }}
                }}},
                "f:list": {"i:1": {}},
            },
        });
        let set = FieldSet::parse(&json);
        let leaves: Vec<_> = set.leaves().iter().map(ToString::to_string).collect();
        assert_eq!(
            leaves,
            [
                r#"metadata.finalizers[="a/b"]"#,
                "metadata.labels.app",
                "spec.list[1]",
                "spec.replicas",
                "spec.template.spec.containers[name=srs].image",
                "spec.template.spec.containers[name=srs].name",
                "spec.template.spec.containers[name=srs].ports[containerPort=1935,protocol=TCP].containerPort",
            ]
        );
        assert!(set.contains(&Path::of_fields(["metadata", "labels"])));
        assert!(!set.contains(&Path::of_fields(["spec"])));
        assert!(set.touches(&Path::of_fields(["spec"])));
        assert!(
            set.contains(&Path::of_fields(["spec", "replicas", "inside"])),
            "a whole covers what is inside"
        );
        assert!(!set.contains(&Path::of_fields(["spec", "paused"])));
    }

    proptest! {
        #[test]
        fn any_json_is_read(json in any_json()) {
            let set = FieldSet::parse(&json);
            for leaf in set.leaves() {
                prop_assert!(set.contains(&leaf));
                prop_assert!(!leaf.to_string().is_empty());
            }
        }

        #[test]
        fn set_algebra(a in any_json(), b in any_json()) {
            let (a, b) = (FieldSet::parse(&a), FieldSet::parse(&b));
            let both = a.union(&b);
            prop_assert_eq!(&both, &b.union(&a));
            prop_assert_eq!(&both.union(&a), &both);
            prop_assert!(a.difference(&a).is_empty());
            prop_assert!(a.difference(&both).is_empty());
            prop_assert!(both.difference(&a).difference(&b).is_empty());
            for leaf in a.leaves() {
                prop_assert!(both.contains(&leaf));
            }
        }
    }
}
