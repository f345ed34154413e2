//! A core's players of one stream, spread over the slots of a wheel that turns once in `mw_latency`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rotor::Rotor;
use crate::source::{Policy, Source, View};

/// Slots of a wheel; a realtime stream uses the first alone.
pub(super) const SLOTS: usize = 32;
/// The slot of players that are other servers: its time comes as often as messages become batches.
const RELAYS: usize = SLOTS;
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
    /// When the other servers were last sent to.
    relayed: Instant,
    /// The last slot that was handled, counted from the core's start.
    turned: u128,
    /// The oldest batch that players need, as of the last whole turn.
    needed: Option<u64>,
    /// The same for the turn that is going on.
    turn_needed: Option<u64>,
    /// The view changed since players were last sent for.
    fresh: bool,
    /// The slots that wait for their sweep to begin, by bits.
    queued: u64,
    /// The round of a realtime stream, over the first slot.
    pub(super) rotor: Rotor,
}

impl Wheel {
    /// A wheel without players.
    pub(super) fn new(source: Arc<Source>, now: Instant) -> Self {
        let policy = source.policy();
        Wheel {
            source,
            view: View::default(),
            policy,
            slots: vec![Vec::new(); SLOTS + 1],
            players: 0,
            relayed: now,
            turned: 0,
            needed: None,
            turn_needed: None,
            fresh: false,
            queued: 0,
            rotor: Rotor::new(now),
        }
    }

    /// Takes a player in, which may be another server; gives its slot and place.
    pub(super) fn add(&mut self, conn: usize, relay: bool) -> (usize, usize) {
        let slot = match (self.policy.realtime, relay) {
            (true, _) => 0,
            (false, true) => RELAYS,
            (false, false) => (0..SLOTS).min_by_key(|slot| self.slots[*slot].len()).unwrap_or(0),
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
        let before = (self.view.head(), self.view.live);
        // Until its players have told what they need, that is what comes from now on.
        let needed = (self.players > 0).then(|| self.needed.unwrap_or(before.0));
        self.source.sync(core, needed, &mut self.view, now);
        if before != (self.view.head(), self.view.live) {
            self.fresh = true;
            self.rotor.begin(self.slots[0].len(), self.source.players(), now);
        }
    }

    /// Something came that not every player was told of.
    fn is_stale(&self) -> bool {
        self.fresh || self.source.head() != self.view.head() || self.source.is_live() != self.view.live
    }

    /// Brings the view up to date for a player that joins now.
    pub(super) fn sync_for_join(&mut self, core: usize, now: Instant) {
        self.source.flush();
        self.sync(core, now);
    }

    /// Notes what a player still needs.
    pub(super) fn note_needed(&mut self, next: Option<u64>) {
        if let Some(next) = next {
            self.turn_needed = Some(self.turn_needed.map_or(next, |least| least.min(next)));
            // A whole turn may raise it; who has just joined may need what is older.
            self.needed = Some(self.needed.map_or(next, |least| least.min(next)));
        }
    }

    fn end_turn(&mut self) {
        if let Some(needed) = self.turn_needed.take() {
            self.needed = Some(needed);
        }
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
        if !live && !self.is_stale() {
            return Vec::new();
        }
        let position = now.duration_since(since).as_nanos() / self.slot_length().as_nanos().max(1);
        let passed = (position - self.turned.min(position)).min(SLOTS as u128);
        let mut slots: Vec<usize> =
            (0..passed).rev().map(|back| ((position - back) % SLOTS as u128) as usize).collect();
        self.turned = position;
        if slots.contains(&0) {
            self.end_turn();
        }
        if now >= self.relayed + self.policy.seal_after() {
            self.relayed = now;
            slots.push(RELAYS);
        }
        // A stream that ended is told to all at once.
        let slots: Vec<usize> = if live { slots } else { (0..=RELAYS).collect() };
        let slots: Vec<usize> = slots.into_iter().filter(|slot| !self.slots[*slot].is_empty()).collect();
        if !slots.is_empty() {
            self.sync(core, now);
            self.fresh = false;
        }
        slots
    }

    /// Notes that a slot's sweep waits; false when one waits already, as under overload.
    pub(super) fn queue(&mut self, slot: usize) -> bool {
        let waits = self.queued & 1 << slot != 0;
        self.queued |= 1 << slot;
        !waits
    }

    /// A slot's sweep has begun.
    pub(super) fn begin(&mut self, slot: usize) {
        self.queued &= !(1 << slot);
    }

    /// Whether realtime players are to be served now; the view is brought up to date when something new came.
    pub(super) fn round(&mut self, core: usize, now: Instant) -> bool {
        if self.players > 0 && self.is_stale() {
            self.sync(core, now);
            self.fresh = false;
        }
        self.rotor.may_go_on(now)
    }

    /// The connection of the next realtime player; the rotor stays with it until [`Wheel::served`].
    pub(super) fn next_realtime(&mut self) -> Option<usize> {
        if self.rotor.left == 0 {
            return None;
        }
        let place = self.rotor.at(self.slots[0].len());
        if place == 0 {
            self.end_turn();
        }
        let next = self.slots[0].get(place).copied();
        if next.is_none() {
            self.rotor.left = 0;
        }
        next
    }

    /// That player has got the newest, or is gone.
    pub(super) fn served(&mut self, gone: bool) {
        self.rotor.left = self.rotor.left.saturating_sub(1);
        // Who is gone left its place to the last one.
        self.rotor.place += usize::from(!gone);
    }

    /// Takes in how the vhost wants its streams sent now; gives where each player is then, if they move.
    pub(super) fn renew_policy(&mut self) -> Vec<(usize, (usize, usize))> {
        let before = std::mem::replace(&mut self.policy, self.source.policy()).realtime;
        if before == self.policy.realtime {
            return Vec::new();
        }
        let slots = self.slots.iter_mut().map(std::mem::take).enumerate();
        let players: Vec<(usize, bool)> = slots
            .flat_map(|(slot, conns)| conns.into_iter().map(move |conn| (conn, slot == RELAYS)))
            .collect();
        self.players = 0;
        self.rotor.left = players.len();
        players.into_iter().map(|(conn, relay)| (conn, self.add(conn, relay))).collect()
    }

    /// When [`Wheel::due`] should be asked next, if no one wakes the core before.
    pub(super) fn next_due(&self, since: Instant, now: Instant) -> Option<Instant> {
        if self.players == 0 {
            return None;
        }
        if self.policy.realtime {
            return if self.is_stale() { Some(now) } else { self.rotor.next_due() };
        }
        if !self.source.is_live() {
            return None;
        }
        let length = self.slot_length().as_nanos().max(1);
        let position = now.duration_since(since).as_nanos() / length;
        Some(since + Duration::from_nanos(((position + 1) * length) as u64))
    }
}
