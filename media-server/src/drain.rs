//! Leaving without a viewer noticing: how far quitting has come, who is still here, and who is moved when. The pure
//! part of it; `cli::quit` waits and tells the cores, `core::leave` does it to a connection.
//!
//! ```text
//!  signal ── grace_start_wait ──┬─ clients leave by themselves ─┬──── grace_handover ────┬─ grace_final_wait ─ exit
//!            all is served,     │  no new ones                  │ publishers, then       │         before
//!            /readyz fails      └─ listeners close              └ players, spread evenly ┘         grace_deadline
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

/// How far quitting has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nobody wants it to quit.
    #[default]
    Serving,
    /// `grace_start_wait`: all is as always, only `/readyz` fails.
    StartWait,
    /// No new clients come, the old ones leave when they like.
    Waiting,
    /// Clients are moved to other servers.
    HandOver,
    /// `grace_final_wait`.
    FinalWait,
}

impl Phase {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Serving => "serving",
            Phase::StartWait => "start_wait",
            Phase::Waiting => "waiting",
            Phase::HandOver => "handover",
            Phase::FinalWait => "final_wait",
        }
    }
}

/// A drain as the API shows it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// How far it is.
    pub phase: Phase,
    /// When the first signal came.
    pub since: Option<SystemTime>,
    /// When the process is gone; none when it waits as long as clients stay.
    pub deadline: Option<SystemTime>,
}

/// The drain of a server.
#[derive(Debug)]
pub struct Drain {
    status: Mutex<Status>,
    guests: Arc<AtomicUsize>,
    closed: watch::Sender<bool>,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { status: Mutex::default(), guests: Arc::default(), closed: watch::Sender::new(false) }
    }
}

/// A connection that quitting waits for; it is counted until this is dropped.
#[derive(Debug)]
pub struct Guest(Arc<AtomicUsize>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drain {
    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        *self.lock()
    }

    /// The server is about to go: new clients are better off elsewhere.
    pub fn has_begun(&self) -> bool {
        self.lock().phase > Phase::Serving
    }

    /// The first signal came; `time` is what `grace_deadline` gives.
    pub fn begin(&self, time: Option<Duration>) {
        let now = SystemTime::now();
        let deadline = time.and_then(|time| now.checked_add(time));
        *self.lock() = Status { phase: Phase::StartWait, since: Some(now), deadline };
    }

    /// The next phase begins.
    pub fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
        if phase > Phase::StartWait {
            self.closed.send_replace(true);
        }
    }

    /// Counts a connection.
    pub fn guest(&self) -> Guest {
        self.guests.fetch_add(1, Ordering::Relaxed);
        Guest(Arc::clone(&self.guests))
    }

    /// Connections that quitting waits for.
    pub fn guests(&self) -> usize {
        self.guests.load(Ordering::Relaxed)
    }

    /// Returns when no new clients are taken any more: who waits for another request closes then.
    pub async fn closed(&self) {
        // An error means that the server is gone.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

/// How a client is made to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It is asked to connect again, where it announced that it understands; else as [`Leave::AtKeyframe`].
    Asked,
    /// A player gets all up to the next keyframe, a publisher is closed.
    AtKeyframe,
    /// A player gets what it has begun to get.
    Now,
}

/// The time that closing sockets and completing files has before the deadline.
const CLOSING: Duration = Duration::from_secs(1);
/// A client that was asked to connect again has done so by then.
const ASKED: Duration = Duration::from_secs(5);
/// The next keyframe comes by then.
const GOP: Duration = Duration::from_secs(10);

/// When clients are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The first is told.
    pub start: Instant,
    /// The last was told.
    told: Instant,
    /// Who is still here ends.
    end: Instant,
    /// How long a client may take to follow a request to connect again.
    patience: Duration,
}

impl Schedule {
    /// For what `grace_deadline`, `grace_handover` and `grace_final_wait` say; a deadline that leaves no time for all
    /// of it shortens the hand-over.
    pub fn new(now: Instant, deadline: Instant, handover: Duration, final_wait: Duration) -> Self {
        let left = deadline.saturating_duration_since(now);
        let reserve = (final_wait + CLOSING).min(left / 2);
        let end = now + left.saturating_sub(reserve);
        let start = end.checked_sub(handover.saturating_sub(reserve)).unwrap_or(now).max(now);
        let window = end - start;
        // Whoever is told last still needs its time.
        let tail = (ASKED + GOP).min(window / 2);
        Schedule { start, told: start + window.saturating_sub(tail), end, patience: tail / 3 }
    }

    /// Who was ended has had half of the time that is kept for closing.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.end + CLOSING / 2
    }
}

/// A client that is still here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its id.
    pub id: String,
    /// It publishes.
    pub publishes: bool,
    /// Somebody sends its stream.
    pub live: bool,
}

/// Who was told what.
#[derive(Debug)]
pub struct HandOver {
    schedule: Schedule,
    told: HashMap<String, (Leave, Instant)>,
    /// How many were told, those that have gone since among them.
    count: usize,
}

impl HandOver {
    /// Nobody was told yet.
    pub fn new(schedule: Schedule) -> Self {
        HandOver { schedule, told: HashMap::new(), count: 0 }
    }

    /// Who leaves now, and how: publishers before players, evenly over the time, but players whose stream has left
    /// already at once.
    pub fn step(&mut self, mut clients: Vec<Present>, now: Instant) -> Vec<(String, Leave)> {
        self.told.retain(|id, _| clients.iter().any(|client| client.id == *id));
        let Schedule { start, told, end, patience } = self.schedule;
        if now < start {
            return Vec::new();
        }
        let mut leaves = Vec::new();
        for client in &clients {
            let Some((how, since)) = self.told.get(&client.id) else { continue };
            if now >= end && *how != Leave::Now {
                leaves.push((client.id.clone(), Leave::Now));
            } else if *how == Leave::Asked && now >= *since + patience {
                leaves.push((client.id.clone(), Leave::AtKeyframe));
            }
        }
        clients.retain(|client| !self.told.contains_key(&client.id));
        clients.sort_by_key(|client| (!client.publishes, client.live));
        let passed = match now >= told {
            true => 1.0,
            false => now.duration_since(start).as_secs_f64() / (told - start).as_secs_f64(),
        };
        let due = ((clients.len() + self.count) as f64 * passed).ceil() as usize;
        let mut room = due.saturating_sub(self.count);
        for client in clients {
            let orphan = !client.publishes && !client.live;
            if room == 0 && !orphan {
                continue;
            }
            room = room.saturating_sub(1);
            self.count += 1;
            leaves.push((client.id, if now >= end { Leave::Now } else { Leave::Asked }));
        }
        for (id, how) in &leaves {
            self.told.insert(id.clone(), (*how, now));
        }
        leaves
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clients(publishers: usize, players: usize) -> Vec<Present> {
        let make =
            |index: usize, publishes| Present { id: format!("{publishes}{index}"), publishes, live: true };
        (0..players).map(|i| make(i, false)).chain((0..publishers).map(|i| make(i, true))).collect()
    }

    #[test]
    fn the_schedule_ends_before_the_deadline() {
        let now = Instant::now();
        let schedule = Schedule::new(now, now + 120 * SECOND, 30 * SECOND, Duration::from_millis(3200));
        assert_eq!(schedule.start, now + 90 * SECOND);
        assert_eq!(schedule.end, now + Duration::from_millis(115_800));
        assert!(schedule.start < schedule.told && schedule.told < schedule.end);
        // Less time than a hand-over takes.
        let short = Schedule::new(now, now + 4 * SECOND, 30 * SECOND, Duration::from_millis(3200));
        assert_eq!((short.start, short.end), (now, now + 2 * SECOND));
    }

    #[test]
    fn publishers_go_first_and_all_are_spread_evenly() {
        let now = Instant::now();
        let schedule = Schedule::new(now, now + 100 * SECOND, 50 * SECOND, Duration::ZERO);
        let mut handover = HandOver::new(schedule);
        let mut here = clients(10, 90);
        assert!(handover.step(here.clone(), now).is_empty(), "it has not begun");
        let length = schedule.told - schedule.start;
        let mut order = Vec::new();
        for step in 0..=100u32 {
            let moved = handover.step(here.clone(), schedule.start + length * step / 100);
            assert!(moved.len() <= 2, "{} at once", moved.len());
            assert!(moved.iter().all(|(_, how)| *how == Leave::Asked));
            here.retain(|client| moved.iter().all(|(id, _)| *id != client.id));
            order.extend(moved.into_iter().map(|(id, _)| id));
        }
        assert_eq!(order.len(), 100);
        assert!(order[..10].iter().all(|id| id.starts_with("true")), "{order:?}");
    }

    #[test]
    fn players_follow_their_stream_at_once() {
        let now = Instant::now();
        let mut handover = HandOver::new(Schedule::new(now, now + 60 * SECOND, 60 * SECOND, Duration::ZERO));
        let mut here = clients(0, 40);
        for client in &mut here[..5] {
            client.live = false;
        }
        let moved = handover.step(here, now + SECOND / 10);
        assert!(moved.len() >= 5 && moved.len() <= 7, "{moved:?}");
    }

    #[test]
    fn who_does_not_follow_a_request_is_moved_and_then_ended() {
        let now = Instant::now();
        let schedule = Schedule::new(now, now + 60 * SECOND, 60 * SECOND, Duration::ZERO);
        let mut handover = HandOver::new(schedule);
        let here = clients(0, 1);
        let step = |handover: &mut HandOver, at| {
            handover.step(here.clone(), at).into_iter().map(|(_, how)| how).collect::<Vec<_>>()
        };
        assert_eq!(step(&mut handover, now + SECOND), [Leave::Asked]);
        assert_eq!(step(&mut handover, now + 2 * SECOND), []);
        assert_eq!(step(&mut handover, now + 7 * SECOND), [Leave::AtKeyframe]);
        assert_eq!(step(&mut handover, now + 20 * SECOND), []);
        assert_eq!(step(&mut handover, schedule.end), [Leave::Now]);
        assert_eq!(step(&mut handover, schedule.end + SECOND), []);
    }

    proptest! {
        /// However little time there is and however late it is looked at, everybody is told, and ended at the end.
        #[test]
        fn everybody_is_told(
            deadline in 0u64..200_000, window in 0u64..100_000, last in 0u64..10_000,
            count in 0usize..50, steps in prop::collection::vec(1u64..20_000, 1..40),
        ) {
            let now = Instant::now();
            let ms = Duration::from_millis;
            let schedule = Schedule::new(now, now + ms(deadline), ms(window), ms(last));
            prop_assert!(now <= schedule.start && schedule.start <= schedule.told);
            prop_assert!(schedule.told <= schedule.end && schedule.end <= now + ms(deadline));
            let mut handover = HandOver::new(schedule);
            let here = clients(count / 5, count);
            let mut at = now;
            for step in steps {
                handover.step(here.clone(), at);
                at += ms(step);
            }
            handover.step(here.clone(), at.max(schedule.end));
            prop_assert_eq!(handover.told.len(), here.len());
            prop_assert!(handover.told.values().all(|(how, _)| *how == Leave::Now));
        }
    }

    #[test]
    fn guests_are_counted_while_they_are_here() {
        let drain = Drain::default();
        assert!(!drain.has_begun());
        let one = drain.guest();
        let other = drain.guest();
        assert_eq!(drain.guests(), 2);
        drop(one);
        drain.begin(Some(SECOND));
        assert!(drain.has_begun() && drain.guests() == 1);
        let status = drain.status();
        assert_eq!(status.deadline.unwrap().duration_since(status.since.unwrap()).unwrap(), SECOND);
        drop(other);
        assert_eq!(drain.guests(), 0);
    }
}
