//! A core's players of one stream, spread over the slots of a wheel that turns once in `mw_latency`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::source::{Policy, Source, View};

/// Slots of a wheel; a realtime stream uses the first alone.
pub(super) const SLOTS: usize = 32;
/// What all cores together may spend on the sweeps of one realtime stream, as a share of one core.
const SWEEP_SHARE: f64 = 0.5;
/// Realtime players are swept no more often than this.
const MIN_SWEEP: Duration = Duration::from_millis(2);
/// And waiting for a sweep adds no more than this, whatever it costs.
const MAX_SWEEP: Duration = Duration::from_millis(36);

/// A stream that has players on a core.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The stream.
    pub(super) source: Arc<Source>,
    /// The core's copy of its ring.
    pub(super) view: View,
    /// How its vhost wants it sent.
    pub(super) policy: Policy,
    /// The connections of the players, by slot.
    pub(super) slots: Vec<Vec<usize>>,
    /// How many players.
    pub(super) players: usize,
    /// The last slot that was handled, counted from the core's start.
    turned: u128,
    /// The oldest batch that players need, as of the last whole turn.
    needed: Option<u64>,
    /// The same for the turn that is going on.
    turn_needed: Option<u64>,
    /// When realtime players were swept last.
    swept: Instant,
    /// CPU seconds of the last sweep.
    cost: f64,
    /// CPU seconds that sweeps took beyond their share, at the time of the last one.
    debt: f64,
}

impl Wheel {
    /// A wheel without players.
    pub(super) fn new(source: Arc<Source>, now: Instant) -> Self {
        let policy = source.policy();
        Wheel {
            source,
            view: View::default(),
            policy,
            slots: vec![Vec::new(); SLOTS],
            players: 0,
            turned: 0,
            needed: None,
            turn_needed: None,
            swept: now,
            cost: 0.0,
            debt: 0.0,
        }
    }

    /// Takes a player in; gives its slot and place.
    pub(super) fn add(&mut self, conn: usize) -> (usize, usize) {
        let slot = match self.policy.realtime {
            true => 0,
            false => (0..SLOTS).min_by_key(|slot| self.slots[*slot].len()).unwrap_or(0),
        };
        self.slots[slot].push(conn);
        self.players += 1;
        (slot, self.slots[slot].len() - 1)
    }

    /// Takes a player out; gives the one that took its place.
    pub(super) fn remove(&mut self, (slot, place): (usize, usize)) -> Option<usize> {
        self.slots[slot].swap_remove(place);
        self.players -= 1;
        if self.players == 0 {
            self.needed = None;
            self.turn_needed = None;
        }
        self.slots[slot].get(place).copied()
    }

    /// Brings the view up to date.
    pub(super) fn sync(&mut self, core: usize, now: Instant) {
        self.source.sync(core, self.needed, &mut self.view, now);
    }

    /// Brings the view up to date for a player that joins now.
    pub(super) fn sync_for_join(&mut self, core: usize, now: Instant) {
        self.policy = self.source.policy();
        self.source.sync_for_join(core, self.needed, &mut self.view, now);
    }

    /// Notes what a player still needs.
    pub(super) fn note_needed(&mut self, next: Option<u64>) {
        if let Some(next) = next {
            self.turn_needed = Some(self.turn_needed.map_or(next, |least| least.min(next)));
            // Before the first whole turn the least seen so far is the best that is known.
            if self.needed.is_none() {
                self.needed = Some(next);
            }
        }
    }

    fn end_turn(&mut self) {
        self.needed = self.turn_needed.take();
    }

    fn slot_length(&self) -> Duration {
        (self.policy.mw_latency / SLOTS as u32).max(Duration::from_millis(1))
    }

    /// The slots whose time has come; `since` is the core's start. The view is brought up to date when there are any.
    pub(super) fn due(&mut self, core: usize, since: Instant, now: Instant) -> Vec<usize> {
        if self.players == 0 {
            return Vec::new();
        }
        let live = self.source.is_live();
        let changed = self.source.head() != self.view.head() || live != self.view.live;
        if !live && !changed {
            return Vec::new();
        }
        if self.policy.realtime {
            if !changed || now < self.next_sweep() {
                return Vec::new();
            }
            self.sync(core, now);
            self.end_turn();
            self.debt = (self.debt - self.share() * now.duration_since(self.swept).as_secs_f64()).max(0.0);
            self.swept = now;
            // More than the first are in use where the stream was not realtime before a reload.
            return (0..SLOTS).filter(|slot| !self.slots[*slot].is_empty()).collect();
        }
        let position = now.duration_since(since).as_nanos() / self.slot_length().as_nanos().max(1);
        let passed = (position - self.turned.min(position)).min(SLOTS as u128);
        let slots: Vec<usize> =
            (0..passed).rev().map(|back| ((position - back) % SLOTS as u128) as usize).collect();
        self.turned = position;
        if slots.contains(&0) {
            self.end_turn();
        }
        // A stream that ended is told to all at once.
        let slots: Vec<usize> = if live { slots } else { (0..SLOTS).collect() };
        let slots: Vec<usize> = slots.into_iter().filter(|slot| !self.slots[*slot].is_empty()).collect();
        if !slots.is_empty() {
            self.sync(core, now);
        }
        slots
    }

    /// Notes what a sweep over realtime players took, in CPU time.
    pub(super) fn note_sweep(&mut self, cost: Duration) {
        self.cost = cost.as_secs_f64();
        self.debt += self.cost;
    }

    /// What this core may spend on sweeps a second: as much of the whole as it has players.
    fn share(&self) -> f64 {
        SWEEP_SHARE * self.players as f64 / self.source.players().max(1) as f64
    }

    /// Messages come in pairs of audio and video: two sweeps may follow one another, in the long run the share holds.
    fn next_sweep(&self) -> Instant {
        let wait = (self.debt - self.cost).max(0.0) / self.share().max(0.01);
        self.swept + Duration::from_secs_f64(wait).clamp(MIN_SWEEP, MAX_SWEEP)
    }

    /// When [`Wheel::due`] should be asked next, if no one wakes the core before.
    pub(super) fn next_due(&self, since: Instant, now: Instant) -> Option<Instant> {
        if self.players == 0 || !self.source.is_live() {
            return None;
        }
        if self.policy.realtime {
            return (self.source.head() != self.view.head()).then(|| self.next_sweep());
        }
        let length = self.slot_length().as_nanos().max(1);
        let position = now.duration_since(since).as_nanos() / length;
        Some(since + Duration::from_nanos(((position + 1) * length) as u64))
    }
}
