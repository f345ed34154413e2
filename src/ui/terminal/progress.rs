//! A run while it goes on: moving lines on a terminal, one line an event elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{object, style, text};
use crate::apply::{ResultOf, RunEvent};
use crate::graph::ObjectId;
use crate::kinds::Missing;
use crate::plan::{Action, Plan};

/// Changes that are shown moving at the same time; more would push each other out of the window.
const MOVING: usize = 10;

/// What a run tells, as a sequence of lines. Pure: knows neither clock nor terminal.
#[derive(Debug)]
pub struct Events {
    home: String,
    actions: Vec<Action>,
    column: usize,
    active: BTreeMap<usize, String>,
    finished: usize,
}

impl Events {
    /// For a run of this plan that waits for `unready` too.
    pub fn new(plan: &Plan, unready: &[(ObjectId, Missing)]) -> Self {
        let ids = plan.changes.iter().map(|change| &change.id).chain(unready.iter().map(|(id, _)| id));
        let names = ids.map(|id| text::width(&object(id, &plan.namespace)));
        Self {
            home: plan.namespace.clone(),
            actions: plan.changes.iter().map(|change| change.action).collect(),
            column: names.max().unwrap_or(0),
            active: BTreeMap::new(),
            finished: 0,
        }
    }

    /// Takes an event in and gives the line that tells it.
    pub fn tell(&mut self, event: &RunEvent) -> String {
        let (change, id, style, words, ended) = match event {
            RunEvent::Started { change, id, action } => {
                let doing = match action {
                    Action::Create => "creating",
                    Action::Update => "updating",
                    Action::Replace => "replacing",
                    Action::Delete => "deleting",
                };
                (*change, id, style::QUIET, doing.to_owned(), false)
            }
            RunEvent::Applied { change, id, adopted, done } => {
                let words = match (self.actions.get(*change), adopted) {
                    (_, true) => "was already there, and is taken in",
                    (Some(Action::Delete), _) => "deleted",
                    _ => "applied",
                };
                (*change, id, style::QUIET, words.to_owned(), *done)
            }
            RunEvent::Waiting { change, id, missing } => {
                (*change, id, style::ATTENTION, format!("waiting: {}", missing.reason), false)
            }
            RunEvent::Ready { change, id, note, seconds } => {
                let note = note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
                let word = if self.actions.get(*change) == Some(&Action::Delete) { "gone" } else { "ready" };
                let words = format!("{word} after {}{note}", text::duration(*seconds));
                (*change, id, style::GOOD, words, true)
            }
            RunEvent::Failed { change, id, result } => {
                (*change, id, style::BAD, format!("failed: {}", in_short(result)), true)
            }
            RunEvent::Skipped { change, id, because } => {
                (*change, id, style::ATTENTION, format!("skipped: {because}"), true)
            }
            RunEvent::Unrecorded { message } => {
                let words = format!("the inventory could not be written: {message}");
                return style::paint(style::ATTENTION, text::clean(&words));
            }
        };
        let name = object(id, &self.home);
        let gap = self.column.saturating_sub(text::width(&name));
        let sign = self.actions.get(change).map_or_else(|| "   ".to_owned(), |action| style::sign(*action));
        let line = format!("{sign} {name}{:gap$}  {}", "", style::paint(style, text::clean(&words)));
        if ended {
            self.active.remove(&change);
            self.finished += 1;
        } else {
            self.active.insert(change, line.clone());
        }
        line
    }

    /// The changes under way, each with the last that was told of it, and how many more there are than are shown.
    fn moving(&self) -> (impl Iterator<Item = &str>, usize) {
        (self.active.values().take(MOVING).map(String::as_str), self.active.len().saturating_sub(MOVING))
    }
}

fn in_short(result: &ResultOf) -> String {
    match result {
        ResultOf::Done => "done".to_owned(),
        ResultOf::Refused { message } | ResultOf::Stale { message } | ResultOf::Error { message } => {
            message.clone()
        }
        ResultOf::NotReady { missing, .. } => missing.reason.clone(),
        ResultOf::Skipped { because } => because.clone(),
    }
}

/// Lines that move at the bottom of a terminal (standard error), with what has ended above them.
#[derive(Debug)]
pub struct Bars {
    events: Events,
    colour: bool,
    window: MultiProgress,
    slots: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Bars {
    /// For a run of this plan that waits for `unready` too; `colour`: the terminal takes it.
    pub fn new(plan: &Plan, unready: &[(ObjectId, Missing)], colour: bool) -> Self {
        let window = MultiProgress::new();
        let total = window.add(ProgressBar::new((plan.changes.len() + unready.len()) as u64));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} done  {elapsed}{wide_msg}")
        {
            total.set_style(style);
        }
        total.enable_steady_tick(Duration::from_millis(100));
        Self { events: Events::new(plan, unready), colour, window, slots: Vec::new(), total }
    }

    /// Shows an event.
    pub fn tell(&mut self, event: &RunEvent) {
        let before = self.events.finished;
        let line = self.events.tell(event);
        if self.events.finished > before || matches!(event, RunEvent::Unrecorded { .. }) {
            self.say(&line);
        }
        self.draw();
    }

    /// Puts a line above the moving ones.
    pub fn say(&self, line: &str) {
        // A terminal that has gone away gets nothing more; the run goes on.
        let _ = self.window.println(self.fit(line));
    }

    fn draw(&mut self) {
        let (moving, more) = self.events.moving();
        let moving: Vec<String> = moving.map(|line| self.fit(line)).collect();
        while self.slots.len() < moving.len() {
            let slot = self.window.insert_before(&self.total, ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                slot.set_style(style);
            }
            self.slots.push(slot);
        }
        for slot in self.slots.drain(moving.len()..) {
            slot.finish_and_clear();
            self.window.remove(&slot);
        }
        for (slot, line) in self.slots.iter().zip(moving) {
            slot.set_message(line);
        }
        self.total.set_position(self.events.finished as u64);
        let more = if more > 0 { format!(", {more} more under way") } else { String::new() };
        self.total.set_message(more);
    }

    fn fit(&self, line: &str) -> String {
        if self.colour { line.to_owned() } else { anstream::adapter::strip_str(line).to_string() }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for slot in &self.slots {
            slot.finish_and_clear();
        }
        self.total.finish_and_clear();
    }
}
