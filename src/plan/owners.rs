//! Which managers own a field, and whose word counts.

use serde_json::Value;

use super::fields::FieldSet;
use super::human::is_human;
use super::managed;
use super::path::Path;

/// What the inventory knows about the body that was last sent for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing: the object was never ours.
    Never,
    /// The same as is to be sent now.
    Same,
    /// Another one: the program (or its settings) changed.
    Changed,
}

/// A manager that owns a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub manager: String,
    /// When it last wrote to the object, RFC 3339.
    pub time: Option<String>,
}

impl Owner {
    /// Whether it is a person's program.
    pub fn is_human(&self) -> bool {
        is_human(&self.manager)
    }
}

/// The managedFields of one object, read once.
#[derive(Debug, Default)]
pub struct Owners<'a> {
    ours: FieldSet<'a>,
    others: Vec<(Owner, FieldSet<'a>)>,
    time: Option<&'a str>,
}

impl<'a> Owners<'a> {
    /// Reads them from a live object; `manager` is ours.
    pub fn of(live: &'a Value, manager: &str) -> Self {
        let mut owners = Self::default();
        for entry in managed::entries(live).filter(|entry| entry.subresource != Some("status")) {
            let fields = entry.fields();
            if entry.manager == manager {
                owners.ours = owners.ours.union(&fields);
                owners.time = owners.time.max(entry.time);
            } else {
                let owner = Owner { manager: entry.manager.to_owned(), time: entry.time.map(str::to_owned) };
                owners.others.push((owner, fields));
            }
        }
        // The person first, then the latest: that is who is told about.
        owners.others.sort_by(|(a, _), (b, _)| {
            b.is_human()
                .cmp(&a.is_human())
                .then_with(|| b.time.cmp(&a.time))
                .then_with(|| a.manager.cmp(&b.manager))
        });
        owners
    }

    /// All that we own.
    pub fn ours(&self) -> &FieldSet<'a> {
        &self.ours
    }

    /// Whether we own the field.
    pub fn is_ours(&self, path: &Path) -> bool {
        self.ours.contains(path)
    }

    /// Whether we own the field or something inside it.
    pub fn touches_ours(&self, path: &Path) -> bool {
        self.ours.touches(path)
    }

    /// The other manager that owns the field or something inside it: a person before a controller, the latest of several.
    pub fn other(&self, path: &Path) -> Option<&Owner> {
        self.others.iter().find(|(_, fields)| fields.touches(path)).map(|(owner, _)| owner)
    }

    /// Who may have taken a field out: managedFields name nobody for it, so it is the person, or else the manager, that wrote
    /// last since our own last apply.
    pub fn remover(&self) -> Option<&Owner> {
        let since = |owner: &Owner| owner.time.as_deref() >= self.time;
        self.others.iter().map(|(owner, _)| owner).find(|owner| since(owner))
    }
}
