//! What is different between a live object and what it will be, field by field.

use std::collections::BTreeSet;

use serde_json::Value;

use super::additions::Addition;
use super::cause::Causes;
use super::change::{FieldChange, FieldOp};
use super::mask::masked;
use super::merge_keys::Lists;
use super::noise::Noise;
use super::owners::Sent;
use super::path::{Item, Path, Step};
use super::proof::{Fingerprint, is_secret};
use super::wanted::items;

/// What a diff is made from, beside the two objects.
pub struct DiffContext<'a> {
    /// The body that is sent, late values that are not known yet still in it; `Null` for a deletion.
    pub body: &'a Value,
    /// Our field manager.
    pub manager: &'a str,
    /// What the inventory knows about the body last sent.
    pub sent: Sent,
    /// What is left out.
    pub noise: &'a Noise,
    /// What people added and `after` doesn't have any more ([`super::additions::without`]).
    pub additions: &'a [Addition],
    /// How values of Secrets are shown.
    pub fingerprint: Fingerprint<'a>,
}

/// The changes from `live` (none: it is created) to `after` (none: it is deleted), in the order of their paths.
///
/// What is new is listed field by field, so that each has its own cause; what is gone as one change. A list item that only
/// moved is no change, except in lists whose order means something: then the list has one change from the old to the new order
/// of keys. Texts are whole; values of Secrets are fingerprints.
pub fn diff(live: Option<&Value>, after: Option<&Value>, context: &DiffContext<'_>) -> Vec<FieldChange> {
    let forms = [live, after, Some(context.body)];
    let mut differ = Differ {
        lists: Lists::of(forms.into_iter().flatten().filter(|form| !form.is_null())),
        causes: Causes::new(context, live, after.is_some()),
        secret: forms.into_iter().flatten().any(is_secret),
        context,
        changes: Vec::new(),
    };
    differ.visit(&Path::root(), live, after);
    differ.changes.sort_by(|(a, _), (b, _)| a.cmp(b));
    differ.changes.into_iter().map(|(_, change)| change).collect()
}

struct Differ<'a> {
    lists: Lists,
    causes: Causes<'a>,
    secret: bool,
    context: &'a DiffContext<'a>,
    changes: Vec<(Path, FieldChange)>,
}

impl Differ<'_> {
    fn visit(&mut self, path: &Path, before: Option<&Value>, after: Option<&Value>) {
        let (before, after) = (before.filter(|v| !v.is_null()), after.filter(|v| !v.is_null()));
        if before == after || self.is_noise(path) {
            return;
        }
        match (before, after) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                for name in names {
                    self.visit(&path.field(name), old.get(name), new.get(name));
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) => self.visit_list(path, old, new),
            (None, Some(Value::Object(new))) if new.values().any(|value| !value.is_null()) => {
                self.visit_new(path, new);
            }
            (None, Some(Value::Array(new))) if new.iter().any(|item| !is_scalar(item)) => {
                self.visit_list(path, &[], new);
            }
            // The object itself, its outermost maps (labels, data), and maps that hold noise beside other fields are taken apart.
            (Some(Value::Object(old)), None)
                if path.0.is_empty()
                    || (path.0.len() <= 2 && old.values().any(|value| !value.is_null()))
                    || old.keys().any(|name| self.is_noise(&path.field(name))) =>
            {
                for (name, value) in old {
                    self.visit(&path.field(name), Some(value), None);
                }
            }
            _ => self.push(path, before, after),
        }
    }

    fn visit_new(&mut self, path: &Path, new: &serde_json::Map<String, Value>) {
        // A new item's keys stand in its path.
        let is_key = |name: &str| match path.0.last() {
            Some(Step::Item(Item::Key(keys))) => keys.iter().any(|(key, _)| key == name),
            _ => false,
        };
        let only_keys = new.keys().all(|name| is_key(name));
        for (name, value) in new {
            if only_keys || !is_key(name) {
                self.visit(&path.field(name), None, Some(value));
            }
        }
    }

    fn visit_list(&mut self, path: &Path, old: &[Value], new: &[Value]) {
        if let (Some(old_items), Some(new_items)) =
            (items(path, old, &self.lists), items(path, new, &self.lists))
        {
            for (item, value) in old_items.iter().zip(old) {
                let counterpart = new_items.iter().position(|new| new == item).map(|index| &new[index]);
                self.visit_item(&path.item(item.clone()), Some(value), counterpart);
            }
            for (item, value) in new_items.iter().zip(new).filter(|(item, _)| !old_items.contains(item)) {
                self.visit_item(&path.item(item.clone()), None, Some(value));
            }
            self.visit_order(path, &old_items, &new_items);
        } else if old.iter().chain(new).all(is_scalar) {
            self.push(path, Some(&Value::from(old)), Some(&Value::from(new)));
        } else {
            // What is the same at both ends is not what changed.
            let start = old.iter().zip(new).take_while(|(old, new)| old == new).count();
            let most = old.len().min(new.len()) - start;
            let end = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
            let (old, new) = (&old[start..old.len() - end], &new[start..new.len() - end]);
            for index in 0..old.len().max(new.len()) {
                self.visit_item(&path.item(Item::Index(start + index)), old.get(index), new.get(index));
            }
        }
    }

    /// In a list, unlike in a map, null is an item.
    fn visit_item(&mut self, path: &Path, before: Option<&Value>, after: Option<&Value>) {
        if before == Some(&Value::Null) || after == Some(&Value::Null) {
            if before != after {
                self.push(path, before, after);
            }
        } else {
            self.visit(path, before, after);
        }
    }

    fn visit_order(&mut self, path: &Path, old: &[Item], new: &[Item]) {
        let names: Vec<&str> = path
            .0
            .iter()
            .filter_map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                Step::Item(_) => None,
            })
            .collect();
        if !self.lists.is_ordered(&names) {
            return;
        }
        let stayed = old.iter().filter(|item| new.contains(item));
        if stayed.eq(new.iter().filter(|item| old.contains(item))) {
            return;
        }
        let cause = self.causes.of_order(path);
        let (before, after) = (order(old), order(new));
        let change = FieldChange {
            path: path.to_string(),
            op: FieldOp::Change,
            before: Some(before),
            after: Some(after),
            cause,
        };
        self.changes.push((path.clone(), change));
    }

    /// What the program sets is never noise, bookkeeping aside.
    fn is_noise(&self, path: &Path) -> bool {
        !path.0.is_empty()
            && self.context.noise.contains(path)
            && (Noise::is_bookkeeping(path) || path.find(self.context.body).is_none())
    }

    fn push(&mut self, path: &Path, before: Option<&Value>, after: Option<&Value>) {
        let op = match (before, after) {
            (None, _) => FieldOp::Add,
            (_, None) => FieldOp::Remove,
            _ => FieldOp::Change,
        };
        let show = |value: &Value| {
            if self.secret { masked(path, value, self.context.fingerprint) } else { value.clone() }
        };
        let cause = self.causes.of(path, before, after);
        let change = FieldChange {
            path: path.to_string(),
            op,
            before: before.map(show),
            after: after.map(show),
            cause,
        };
        self.changes.push((path.clone(), change));
    }
}

fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

/// The keys of a list's items, in their order.
fn order(items: &[Item]) -> Value {
    let key = |item: &Item| match item {
        Item::Key(keys) if keys.len() == 1 => keys[0].1.0.clone(),
        Item::Key(keys) => keys
            .iter()
            .map(|(name, key)| (name.clone(), key.0.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Item::Value(value) => value.0.clone(),
        Item::Index(index) => Value::from(*index),
    };
    items.iter().map(key).collect()
}

#[cfg(test)]
mod tests;
