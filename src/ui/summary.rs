//! The plan and the run in numbers.

use std::fmt;

use serde::Serialize;

use crate::apply::{Report, ResultOf};
use crate::plan::{Action, Plan};

/// How many objects are created, updated, replaced and deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `+`
    pub create: usize,
    /// `~`
    pub update: usize,
    /// `-/+`
    pub replace: usize,
    /// `-`
    pub delete: usize,
    /// Neither.
    pub unchanged: usize,
}

impl Summary {
    /// Of what a plan would do.
    pub fn of_plan(plan: &Plan) -> Self {
        let mut summary = Self { unchanged: plan.unchanged.len(), ..Self::default() };
        for change in &plan.changes {
            summary.count(change.action);
        }
        summary
    }

    /// Of what a run has done.
    pub fn of_report(report: &Report) -> Self {
        let mut summary = Self::default();
        for (_, action, result) in &report.results {
            if *result == ResultOf::Done {
                summary.count(*action);
            }
        }
        summary
    }

    /// Number of changes.
    pub fn changes(self) -> usize {
        self.create + self.update + self.replace + self.delete
    }

    fn count(&mut self, action: Action) {
        match action {
            Action::Create => self.create += 1,
            Action::Update => self.update += 1,
            Action::Replace => self.replace += 1,
            Action::Delete => self.delete += 1,
        }
    }
}

/// A number with its noun: `1 change`, `3 changes`.
pub fn counted(number: usize, noun: &str) -> impl fmt::Display {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}
