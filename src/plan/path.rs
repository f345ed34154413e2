//! Where a field is in an object: `spec.template.spec.containers[name=srs].image`.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// A JSON value with a total order, so that list items can be sorted and found by their keys.
///
/// Integers are compared exactly, and come before fractions.
#[derive(Clone, Debug)]
pub struct Atom(pub Value);

/// The total order of [`Atom`], on borrowed values.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    fn rank(value: &Value) -> u8 {
        match value {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
        }
    }
    fn integer(number: &serde_json::Number) -> Option<i128> {
        number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
    }
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => a
            .iter()
            .zip(b)
            .map(|(a, b)| compare(a, b))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.len().cmp(&b.len())),
        (Value::Object(a), Value::Object(b)) => a
            .iter()
            .zip(b)
            .map(|((a_key, a), (b_key, b))| a_key.cmp(b_key).then_with(|| compare(a, b)))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.len().cmp(&b.len())),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

impl PartialEq for Atom {
    fn eq(&self, other: &Self) -> bool {
        compare(&self.0, &other.0).is_eq()
    }
}

impl Eq for Atom {}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Atom {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

/// One item of a list, named in one of the three ways that managedFields know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// By the values of its key fields, sorted by their names (`k:`).
    Key(Vec<(String, Atom)>),
    /// By its own value, in a set (`v:`).
    Value(Atom),
    /// By its place, from 0 (`i:`).
    Index(usize),
}

impl Item {
    /// The item's key by these key fields; `None` if a key field is missing and has no default.
    pub fn key_of<'k>(item: &Value, names: impl IntoIterator<Item = &'k str>) -> Option<Self> {
        let mut keys = names
            .into_iter()
            .map(|name| Some((name.to_owned(), Atom(key_field(item, name)?.clone()))))
            .collect::<Option<Vec<_>>>()?;
        keys.sort();
        Some(Self::Key(keys))
    }

    /// Whether `value`, at `index` of its list, is this item.
    pub fn is(&self, value: &Value, index: usize) -> bool {
        match self {
            Self::Key(keys) => keys.iter().all(|(name, key)| {
                key_field(value, name).is_some_and(|field| compare(field, &key.0).is_eq())
            }),
            Self::Value(own) => compare(&own.0, value).is_eq(),
            Self::Index(own) => *own == index,
        }
    }

    /// Where the first such item is in `list`.
    pub fn position(&self, list: &[Value]) -> Option<usize> {
        match self {
            Self::Index(index) => (*index < list.len()).then_some(*index),
            _ => list.iter().enumerate().position(|(index, value)| self.is(value, index)),
        }
    }
}

/// A key field of a list's item. `protocol` is the one key field with a default in Kubernetes' schemas: TCP.
pub fn key_field<'v>(item: &'v Value, name: &str) -> Option<&'v Value> {
    static TCP: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::from("TCP"));
    let object = item.as_object()?;
    object.get(name).or_else(|| (name == "protocol").then_some(&*TCP))
}

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a field.
    Field(String),
    /// Into a list's item.
    Item(Item),
}

/// A field's place in an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// The object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The fields of these names, one inside the other.
    pub fn of_fields<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(|name| Step::Field(name.to_owned())).collect())
    }

    /// One step further.
    pub fn field(&self, name: &str) -> Self {
        self.then(Step::Field(name.to_owned()))
    }

    /// One step further.
    pub fn item(&self, item: Item) -> Self {
        self.then(Step::Item(item))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend_from_slice(&self.0);
        steps.push(step);
        Self(steps)
    }

    /// Whether `other` is this place or one inside it.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// What is at this place in `object`.
    pub fn find<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(object, |value, step| match step {
            Step::Field(name) => value.as_object()?.get(name),
            Step::Item(item) => {
                let list = value.as_array()?;
                list.get(item.position(list)?)
            }
        })
    }

    /// Takes what is at this place out of `object`.
    pub fn remove(&self, object: &mut Value) -> Option<Value> {
        let (last, parents) = self.0.split_last()?;
        let parent = parents.iter().try_fold(object, |value, step| match step {
            Step::Field(name) => value.as_object_mut()?.get_mut(name),
            Step::Item(item) => {
                let items = value.as_array_mut()?;
                let index = item.position(items)?;
                items.get_mut(index)
            }
        })?;
        match last {
            Step::Field(name) => parent.as_object_mut()?.remove(name),
            Step::Item(item) => {
                let items = parent.as_array_mut()?;
                let index = item.position(items)?;
                Some(items.remove(index))
            }
        }
    }

    /// The names of the fields on the way, joined by dots, without list items: the form in which rules and policies name
    /// fields, such as `spec.template.spec.containers.image`.
    pub fn dotted(&self) -> String {
        let names = self.0.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Item(_) => None,
        });
        names.collect::<Vec<_>>().join(".")
    }
}

/// Brings a path written by a person, a rule or the API server into the form of [`Path::dotted`]: indices and keys
/// (`[0]`, `[name=srs]`) go, map keys (`[a.b/c]`, `["a.b/c"]`) become names.
pub fn dotted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        out.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        let (inside, after) = match inner.strip_prefix('"').and_then(|quoted| quoted.split_once("\"]")) {
            Some(quoted) => quoted,
            None => match inner.split_once(']') {
                Some((inside, after))
                    if inside.contains('=') || inside.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    ("", after)
                }
                Some(named) => named,
                None => (inner, ""),
            },
        };
        if !inside.is_empty() {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(inside);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether the dotted path `inner` is `outer` or inside it.
pub fn inside(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with('.'))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if is_plain(name) => {
                    if index > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(name)?;
                }
                Step::Field(name) => write!(f, "[{}]", Value::from(name.as_str()))?,
                Step::Item(Item::Index(index)) => write!(f, "[{index}]")?,
                Step::Item(Item::Value(value)) => write!(f, "[={}]", value.0)?,
                Step::Item(Item::Key(keys)) => {
                    f.write_str("[")?;
                    for (index, (name, key)) in keys.iter().enumerate() {
                        let comma = if index == 0 { "" } else { "," };
                        match key.0.as_str() {
                            Some(text) if is_plain_key(text) => write!(f, "{comma}{name}={text}")?,
                            _ => write!(f, "{comma}{name}={}", key.0)?,
                        }
                    }
                    f.write_str("]")?;
                }
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'$'))
}

fn is_plain_key(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_shown_as_people_write_it() {
        let containers = Path::of_fields(["spec", "template", "spec", "containers"]);
        let srs = containers.item(Item::key_of(&json!({"name": "srs"}), ["name"]).unwrap());
        assert_eq!(srs.field("image").to_string(), "spec.template.spec.containers[name=srs].image");
        let port = Item::key_of(&json!({"containerPort": 1935}), ["containerPort", "protocol"]).unwrap();
        assert_eq!(
            srs.field("ports").item(port).to_string(),
            "spec.template.spec.containers[name=srs].ports[containerPort=1935,protocol=TCP]"
        );
        assert_eq!(
            Path::of_fields(["metadata", "annotations", "a.b/c"]).to_string(),
            r#"metadata.annotations["a.b/c"]"#
        );
        let finalizer = Path::of_fields(["metadata", "finalizers"]).item(Item::Value(Atom(json!("x/y"))));
        assert_eq!(finalizer.to_string(), r#"metadata.finalizers[="x/y"]"#);
        assert_eq!(Path::of_fields(["data", "srs.conf"]).to_string(), r#"data["srs.conf"]"#);
    }

    #[test]
    fn dotted_form_is_the_same_from_all_sources() {
        for (text, want) in [
            ("spec.template.spec.containers[0].image", "spec.template.spec.containers.image"),
            ("spec.template.spec.containers[name=srs].image", "spec.template.spec.containers.image"),
            (r#"metadata.annotations["a.b/c"]"#, "metadata.annotations.a.b/c"),
            ("metadata.annotations[a.b/c]", "metadata.annotations.a.b/c"),
            ("metadata.annotations.a.b/c", "metadata.annotations.a.b/c"),
            (r#"metadata.finalizers[="x"]"#, "metadata.finalizers"),
            ("spec.ports[containerPort=1,protocol=TCP]", "spec.ports"),
            ("[", ""),
            ("a[", "a"),
        ] {
            assert_eq!(dotted(text), want, "{text}");
        }
        assert!(inside("spec.a", "spec"));
        assert!(inside("spec", "spec"));
        assert!(!inside("specific", "spec"));
    }

    #[test]
    fn finds_and_removes_by_key() {
        let mut object =
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "protocol": "UDP", "name": "b"}]});
        let key = Item::key_of(&json!({"port": 80, "protocol": "UDP"}), ["port", "protocol"]).unwrap();
        let path = Path::of_fields(["ports"]).item(key);
        assert_eq!(path.find(&object), Some(&json!({"port": 80, "protocol": "UDP", "name": "b"})));
        assert!(path.remove(&mut object).is_some());
        assert_eq!(path.find(&object), None);
        let tcp = Item::key_of(&json!({"port": 80, "protocol": "TCP"}), ["port", "protocol"]).unwrap();
        assert_eq!(Path::of_fields(["ports"]).item(tcp).field("name").find(&object), Some(&json!("a")));
    }
}
