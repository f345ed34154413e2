//! Whether a plan may be carried out: what the user must say, and what was said. Pure.

use std::collections::BTreeSet;

use clap::ValueEnum;

use super::error::Error;
use crate::kinds::Guard;
use crate::plan::{Change, Plan};
use crate::ui::summary::counted;
use crate::ui::terminal::plan::guard_word;
use crate::ui::terminal::{object, text};

impl ValueEnum for Guard {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::LoadBalancers, Self::Namespaces, Self::Volumes, Self::Crds]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(guard_word(*self)))
    }
}

/// What was said on the command line, and whether anybody can be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// `--yes`
    pub(crate) yes: bool,
    /// `--delete`
    pub(crate) delete: BTreeSet<Guard>,
    /// Standard input and standard error are a terminal.
    pub(crate) terminal: bool,
    /// The environment's name if it is protected.
    pub(crate) protected_by: Option<String>,
    /// Columns of the terminal.
    pub(crate) width: usize,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// Go on.
    Given,
    /// Ask, and go on only if the answer is this word.
    Ask { question: String, word: String },
}

/// Decides. `down`: the whole stack goes.
pub(crate) fn consent(plan: &Plan, down: bool, said: &Said) -> Result<Consent, Error> {
    let guarded: Vec<&Change> = plan.changes.iter().filter(|change| change.guard.is_some()).collect();
    let guards: BTreeSet<Guard> = guarded.iter().filter_map(|change| change.guard).collect();
    if let Some(environment) = &said.protected_by
        && (down || !guarded.is_empty())
    {
        let what = if down { "`down`".to_owned() } else { list_of(&guarded, &plan.namespace) };
        return Err(Error::refused(format_args!(
            "environment {environment} is protected: {what} is refused"
        ))
        .hint("take `protected` out of the environment file if it is meant"));
    }
    if said.yes {
        let missing: Vec<Guard> = guards.difference(&said.delete).copied().collect();
        if missing.is_empty() {
            return Ok(Consent::Given);
        }
        let unagreed: Vec<&Change> = guarded
            .into_iter()
            .filter(|change| change.guard.is_some_and(|guard| missing.contains(&guard)))
            .collect();
        let all: Vec<Guard> = guards.union(&said.delete).copied().collect();
        return Err(hurts(&unagreed, &plan.namespace, "--yes alone does not agree to what hurts")
            .hint(format_args!("`--yes --delete {}` agrees to it", words(&all))));
    }
    let verb = if down { "down" } else { "up" };
    if !said.terminal {
        let guards: Vec<Guard> = guards.into_iter().collect();
        let delete = if guards.is_empty() { String::new() } else { format!(" --delete {}", words(&guards)) };
        return Err(hurts(&guarded, &plan.namespace, "nobody can be asked here, and nothing was agreed to")
            .hint(format_args!("`{verb} --yes{delete}` goes on without asking")));
    }
    let cluster =
        format!("cluster {} ({}), namespace {}", plan.cluster.context, plan.cluster.server, plan.namespace);
    let these = if plan.changes.len() == 1 { "this" } else { "these" };
    let changes = counted(plan.changes.len(), if down { "object" } else { "change" });
    let act =
        if down { format!("Delete {these} {changes} on") } else { format!("Apply {these} {changes} to") };
    let word = if down || !guarded.is_empty() { plan.stack.clone() } else { "yes".to_owned() };
    let mut question = String::new();
    if !guarded.is_empty() {
        question.push_str("What hurts:\n");
        for change in &guarded {
            question.push_str(&format!("  {}\n", hurt(change, &plan.namespace)));
        }
    }
    let how =
        if word == "yes" { " Type yes:".to_owned() } else { format!("\nType the stack's name ({word}):") };
    let line = format!("{act} {cluster}?{how} ");
    let broken = line.lines().next().is_some_and(|line| text::width(line) + 4 > said.width);
    question.push_str(&if broken { line.replacen("? Type", "?\nType", 1) } else { line });
    Ok(Consent::Ask { question: text::clean(&question), word })
}

fn hurts(guarded: &[&Change], home: &str, message: &str) -> Error {
    guarded.iter().fold(Error::refused(message), |error, change| error.cause(hurt(change, home)))
}

fn hurt(change: &Change, home: &str) -> String {
    let loses =
        if change.loses.is_empty() { String::new() } else { format!(": loses {}", change.loses.join("; ")) };
    format!("{}{loses}", object(&change.id, home))
}

fn list_of(guarded: &[&Change], home: &str) -> String {
    let names: Vec<String> = guarded.iter().map(|change| object(&change.id, home)).collect();
    format!("to delete or replace {}", names.join(", "))
}

fn words(guards: &[Guard]) -> String {
    guards.iter().copied().map(guard_word).collect::<Vec<_>>().join(",")
}
