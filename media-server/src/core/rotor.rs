//! The players of a realtime stream, served in a circle.
//!
//! What comes in during a round lets it go on from where it stands, and a player that is reached gets all there is by
//! then; a round from rest starts elsewhere each time, so that no player is always the last. So nobody waits longer than one round, however messages fall together; and rounds that cost more CPU than
//! their share grow slower instead of piling up. Before they get that far, a round waits a little for the next
//! message to come along.

use std::time::{Duration, Instant};

/// What all cores together may spend on the rounds of one realtime stream, as a share of one core.
const SHARE: f64 = 0.5;
/// CPU seconds that a quiet time saves for messages that come close together.
const MOST_CREDIT: f64 = 0.03;
/// Rounds that cost more than their share go on in steps of at least this, so that each does some work.
const STEP: f64 = 0.0005;

/// A round that starts from rest with the last of the credit waits so long for more to send.
const LONGEST_HOLD: f64 = 0.005;

/// A round from rest starts this part of the circle further on: the golden ratio, with which starts stay spread.
const STRIDE: f64 = 0.618;

/// Where the round stands and what it may still spend.
#[derive(Debug)]
pub(super) struct Rotor {
    /// The place of the next player.
    pub(super) place: usize,
    /// Players that have not got the newest yet.
    pub(super) left: usize,
    /// CPU seconds that may be spent at once.
    credit: f64,
    /// When the credit was counted.
    counted: Instant,
    /// CPU seconds a second.
    share: f64,
    /// The round goes on no earlier.
    held: Instant,
}

impl Rotor {
    /// A rotor at rest.
    pub(super) fn new(now: Instant) -> Self {
        Rotor { place: 0, left: 0, credit: MOST_CREDIT, counted: now, share: SHARE, held: now }
    }

    /// Something new came, for that many players here of that many on all cores.
    pub(super) fn begin(&mut self, here: usize, everywhere: usize, now: Instant) {
        self.share = SHARE * here as f64 / everywhere.max(here).max(1) as f64;
        self.count(now);
        if self.left == 0 {
            let spent = 1.0 - (self.credit / MOST_CREDIT).clamp(0.0, 1.0);
            self.held = now + Duration::from_secs_f64(LONGEST_HOLD * spent);
            self.place = (self.place + (here as f64 * STRIDE) as usize) % here.max(1);
        }
        self.left = here;
    }

    /// Whether the round goes on now.
    pub(super) fn may_go_on(&mut self, now: Instant) -> bool {
        self.count(now);
        self.left > 0 && self.credit > 0.0 && now >= self.held
    }

    fn count(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.credit = (self.credit + self.share * passed).min(MOST_CREDIT);
        self.counted = now;
    }

    /// Counts what serving took, in CPU time.
    pub(super) fn spend(&mut self, cost: Duration) {
        self.credit -= cost.as_secs_f64();
    }

    /// When the round goes on; none when it is done.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.left == 0 {
            return None;
        }
        let wait = if self.credit > 0.0 { 0.0 } else { (STEP - self.credit) / self.share.max(0.001) };
        Some(self.held.max(self.counted + Duration::from_secs_f64(wait)))
    }

    /// The place of the next player among so many; the end of the circle is its beginning.
    pub(super) fn at(&mut self, players: usize) -> usize {
        if self.place >= players {
            self.place = 0;
        }
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_costs_too_much_waits_for_its_share() {
        let start = Instant::now();
        let mut rotor = Rotor::new(start);
        assert_eq!(rotor.next_due(), None);
        rotor.begin(100, 200, start);
        assert!(rotor.may_go_on(start));
        // Half of all players are here, so a quarter of a core is.
        rotor.spend(Duration::from_millis(40));
        assert!(!rotor.may_go_on(start));
        let due = rotor.next_due().unwrap();
        assert_eq!((due - start).as_millis(), 42);
        assert!(!rotor.may_go_on(start + Duration::from_millis(39)));
        assert!(rotor.may_go_on(due));
    }

    #[test]
    fn a_quiet_time_saves_no_more_than_the_most() {
        let start = Instant::now();
        let mut rotor = Rotor::new(start);
        rotor.begin(1, 1, start);
        assert!(rotor.may_go_on(start + Duration::from_hours(1)));
        rotor.spend(Duration::from_secs_f64(MOST_CREDIT + 0.001));
        assert!(!rotor.may_go_on(start + Duration::from_hours(1)));
    }

    #[test]
    fn a_round_from_rest_waits_for_more_when_little_is_left_to_spend() {
        let start = Instant::now();
        let mut rotor = Rotor::new(start);
        rotor.begin(10, 10, start);
        assert!(rotor.may_go_on(start));
        rotor.spend(Duration::from_secs_f64(MOST_CREDIT));
        rotor.begin(10, 10, start);
        assert_eq!(rotor.held, start, "a round that goes on is not held up");
        rotor.left = 0;
        rotor.begin(10, 10, start);
        assert_eq!(rotor.next_due(), Some(start + Duration::from_secs_f64(LONGEST_HOLD)));
    }

    #[test]
    fn rounds_from_rest_start_all_around_the_circle() {
        let start = Instant::now();
        let mut rotor = Rotor::new(start);
        let mut starts = Vec::new();
        for _ in 0..50 {
            rotor.begin(100, 100, start);
            starts.push(rotor.place);
            rotor.left = 0;
        }
        let widest =
            (0..100).map(|place| starts.iter().map(|start| (start + 100 - place) % 100).min().unwrap());
        assert!(widest.max().unwrap() < 10, "{starts:?}");
        // Nobody is left out: what comes in during a round does not move it.
        rotor.begin(100, 100, start);
        let place = rotor.place;
        rotor.begin(100, 100, start);
        assert_eq!(rotor.place, place);
    }

    #[test]
    fn the_circle_closes_when_players_leave() {
        let mut rotor = Rotor::new(Instant::now());
        rotor.place = 5;
        assert_eq!(rotor.at(6), 5);
        assert_eq!(rotor.at(5), 0);
    }
}
