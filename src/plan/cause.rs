//! Why a field changes: the program, a person, the server's default, or admission.

use serde_json::Value;

use super::additions::Addition;
use super::change::Cause;
use super::diff::DiffContext;
use super::owners::{Owner, Owners, Sent};
use super::path::{Item, Path, Step};
use super::wanted::satisfied;
use crate::graph::late::unresolved;

/// Attributes changes of one object.
pub(super) struct Causes<'a> {
    context: &'a DiffContext<'a>,
    owners: Owners<'a>,
    /// There is a live object.
    exists: bool,
    /// There is an object after.
    stays: bool,
}

impl<'a> Causes<'a> {
    pub(super) fn new(context: &'a DiffContext<'a>, live: Option<&'a Value>, stays: bool) -> Self {
        let owners = live.map(|live| Owners::of(live, context.manager)).unwrap_or_default();
        Self { context, owners, exists: live.is_some(), stays }
    }

    pub(super) fn of(&self, path: &Path, before: Option<&Value>, after: Option<&Value>) -> Cause {
        let wanted = path.find(self.context.body).filter(|wanted| !wanted.is_null());
        if let Some(of) = wanted.and_then(|wanted| unresolved(wanted).into_iter().next()) {
            return Cause::KnownAfterApply { of: of.id };
        }
        match (wanted, before, after) {
            _ if !self.stays => Cause::Intent,
            (Some(wanted), _, Some(after)) if satisfied(path, wanted, after) => {
                self.back_to_ours(path, before)
            }
            // Sent, but not what came of it.
            (Some(_), ..) => Cause::Admission,
            (None, Some(_), None) => match self.addition(path) {
                Some(addition) => {
                    Cause::Drift { manager: addition.manager.clone(), time: addition.time.clone() }
                }
                None => self.no_longer_ours(path),
            },
            (None, Some(_), Some(_)) => self.no_longer_ours(path),
            (None, None, _) => self.not_asked_for(path),
        }
    }

    /// A keyed list's items come in another order.
    pub(super) fn of_order(&self, path: &Path) -> Cause {
        match self.context.sent {
            Sent::Same => drift(self.owners.other(path).or_else(|| self.owners.remover())),
            Sent::Never | Sent::Changed => Cause::Intent,
        }
    }

    /// The field gets the value that the program says.
    fn back_to_ours(&self, path: &Path, before: Option<&Value>) -> Cause {
        if !self.exists {
            return Cause::Intent;
        }
        let is_ours = self.owners.is_ours(path);
        let other = self.owners.other(path);
        match self.context.sent {
            // It was the server's answer to the same body that the value was another one.
            Sent::Same if is_ours && other.is_none() => Cause::Admission,
            Sent::Same if before.is_none() => drift(self.owners.remover()),
            Sent::Same => drift(other.or_else(|| self.owners.remover())),
            Sent::Changed if !is_ours => match other.filter(|owner| owner.is_human()) {
                Some(owner) => drift(Some(owner)),
                None => Cause::Intent,
            },
            Sent::Changed | Sent::Never => Cause::Intent,
        }
    }

    /// The field was ours and the program doesn't ask for it any more; else the server did it by itself.
    fn no_longer_ours(&self, path: &Path) -> Cause {
        if self.owners.touches_ours(path) { Cause::Intent } else { Cause::Admission }
    }

    /// Nobody asked for it. The server's defaults fill up what is there; they add no items to lists of items and no labels
    /// or annotations, so those come from admission.
    fn not_asked_for(&self, path: &Path) -> Cause {
        let is_own_name =
            matches!(path.0.last(), Some(Step::Field(name)) if name == "kubernetes.io/metadata.name");
        let injected = path.0.iter().enumerate().any(|(index, step)| match step {
            Step::Item(Item::Key(_) | Item::Value(_)) => {
                Path(path.0[..=index].to_vec()).find(self.context.body).is_none()
            }
            Step::Field(name) => {
                (name == "labels" || name == "annotations")
                    && index > 0
                    && matches!(&path.0[index - 1], Step::Field(parent) if parent == "metadata")
            }
            Step::Item(Item::Index(_)) => false,
        });
        if injected && !is_own_name { Cause::Admission } else { Cause::Default }
    }

    fn addition(&self, path: &Path) -> Option<&Addition> {
        let mut additions = self.context.additions.iter();
        additions.find(|addition| addition.path.contains(path) || path.contains(&addition.path))
    }
}

fn drift(owner: Option<&Owner>) -> Cause {
    match owner {
        Some(owner) => Cause::Drift { manager: owner.manager.clone(), time: owner.time.clone() },
        None => Cause::Drift { manager: "unknown".to_owned(), time: None },
    }
}
