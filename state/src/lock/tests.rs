use proptest::prelude::*;

use super::*;
use crate::store::{Fault, MemoryStore, Operation};

const TTL: Duration = Duration::from_secs(15);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn request(holder: &str) -> LockRequest {
    LockRequest { holder: holder.into(), ttl: TTL }
}

fn lock(store: &MemoryStore) -> Lock {
    Lock::new(Arc::new(store.clone()), &StackId::new("c", "n", "s").unwrap())
}

#[tokio::test]
async fn one_has_it_until_it_is_given_up() {
    let store = MemoryStore::new();
    let (mut alice, mut bob) = (lock(&store), lock(&store));
    let grant = alice.acquire(&request("alice"), at(0)).await.unwrap();
    assert_eq!((grant.fencing, grant.expires), (1, at(15)));

    let LockError::Locked(locked) = bob.acquire(&request("bob"), at(3)).await.unwrap_err() else { panic!() };
    assert_eq!(
        locked.to_string(),
        "locked by alice since 2023-11-14T22:13:20Z, until 2023-11-14T22:13:35Z unless it is renewed"
    );
    let grant = alice.renew(&grant, at(10)).await.unwrap();
    assert_eq!((grant.fencing, grant.expires), (1, at(25)));
    assert!(bob.acquire(&request("bob"), at(16)).await.is_err());

    alice.release(&grant).await.unwrap();
    alice.release(&grant).await.unwrap();
    assert_eq!(bob.acquire(&request("bob"), at(17)).await.unwrap().fencing, 2);
    assert!(matches!(alice.release(&grant).await, Err(LockError::Lost(_))));
}

#[tokio::test]
async fn an_expired_one_is_taken_over_and_its_holder_is_told() {
    let store = MemoryStore::new();
    let (mut killed, mut next) = (lock(&store), lock(&store));
    let old = killed.acquire(&request("killed"), at(0)).await.unwrap();
    assert!(next.acquire(&request("next"), at(19)).await.is_err(), "clocks may differ by 5 s");
    assert!(!old.is_valid(at(15)), "but the holder stops at once");
    assert_eq!(next.acquire(&request("next"), at(20)).await.unwrap().fencing, 2);

    let LockError::Lost(lost) = killed.renew(&old, at(21)).await.unwrap_err() else { panic!() };
    assert_eq!(
        lost.to_string(),
        "the lock of killed (number 1) expired and was taken over by next; stop and plan again"
    );
}

#[test]
fn a_record_from_a_clock_that_ran_ahead_does_not_lock_for_ever() {
    let year = 365 * 24 * 3600;
    let ahead = LeaseRecord::acquire(None, &request("killed"), at(year), Duration::ZERO).unwrap();
    let try_after =
        |seconds| LeaseRecord::acquire(Some(&ahead), &request("next"), at(0), Duration::from_secs(seconds));
    assert!(try_after(19).is_err());
    assert_eq!(try_after(20).unwrap().fencing, 2);
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_lock() {
    let store = MemoryStore::new();
    let lossy = store.with_faults(|operation| match operation {
        Operation::Put(_) => Some(Fault::After),
        _ => None,
    });
    assert!(matches!(lock(&lossy).acquire(&request("a"), at(0)).await, Err(LockError::Store(_))));
    assert_eq!(lock(&store).acquire(&request("a"), at(1)).await.unwrap().fencing, 1);
}

#[tokio::test]
async fn many_at_once_and_one_gets_it() {
    let store = MemoryStore::new();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let mut lock = lock(&store);
        tasks.spawn(async move { lock.acquire(&request(&format!("run {number}")), at(0)).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(LockError::Locked(_)))));
}

#[test]
fn reads_version_1_and_refuses_newer() {
    let fixture = include_bytes!("../../tests/fixtures/lock-v1.json");
    format::version(WHAT, VERSION, fixture).unwrap();
    let record: LeaseRecord = format::content(WHAT, fixture).unwrap();
    let expected = LeaseRecord {
        holder: Some("alice@host run 7f3a".into()),
        acquired: at(0),
        renewed: at(5),
        ttl_seconds: 15,
        fencing: 7,
    };
    assert_eq!(record, expected);
    let newer = format::version(WHAT, VERSION, br#"{"version":2}"#).unwrap_err();
    assert!(matches!(newer, FormatError::Newer { found: 2, .. }));
}

#[test]
fn times_at_the_end_of_time_do_no_harm() {
    let record = LeaseRecord {
        holder: Some("a".into()),
        acquired: Timestamp::MIN,
        renewed: Timestamp::MAX,
        ttl_seconds: u32::MAX,
        fencing: u64::MAX,
    };
    assert_eq!(record.expires(), Timestamp::MAX);
    let forever = LockRequest { holder: "b".into(), ttl: Duration::MAX };
    assert!(LeaseRecord::acquire(Some(&record), &forever, at(0), Duration::ZERO).is_err());
}

/// What an actor of the property tests does. A read and the write that follows it are two steps, so that
/// anything can come between them.
#[derive(Debug, Clone)]
enum Step {
    Acquire(usize),
    Renew(usize),
    Release(usize),
    /// Writes what was decided at the last read, if anything.
    Write(usize),
    /// A killed actor forgets everything; its next run has another name.
    Kill(usize),
    /// Time passes, in milliseconds.
    Pass(i64),
    /// An actor's clock is set, to this many milliseconds off the true time.
    SetClock(usize, i64),
}

const ACTORS: usize = 3;

fn steps(max_skew: i64) -> impl Strategy<Value = Vec<Step>> {
    let actor = || 0..ACTORS;
    let step = prop_oneof![
        4 => actor().prop_map(Step::Acquire),
        3 => actor().prop_map(Step::Renew),
        1 => actor().prop_map(Step::Release),
        8 => actor().prop_map(Step::Write),
        1 => actor().prop_map(Step::Kill),
        4 => prop_oneof![0..2_000_i64, 0..25_000_i64, Just(86_400_000)].prop_map(Step::Pass),
        1 => (actor(), -max_skew..=max_skew).prop_map(|(actor, skew)| Step::SetClock(actor, skew)),
    ];
    prop::collection::vec(step, 0..80)
}

#[derive(Default)]
struct Actor {
    run: u32,
    skew: i64,
    /// The version expected and the record to write.
    pending: Option<(u64, LeaseRecord)>,
    grant: Option<Grant>,
    /// The version last read, and the true time at which it was first seen.
    seen: Option<(u64, i64)>,
}

#[derive(Default)]
struct World {
    true_time: i64,
    record: Option<LeaseRecord>,
    version: u64,
    actors: [Actor; ACTORS],
}

impl World {
    fn clock(&self, actor: usize) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + self.true_time + self.actors[actor].skew).unwrap()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(by) => self.true_time += by,
            Step::SetClock(actor, skew) => self.actors[actor].skew = skew,
            Step::Kill(actor) => {
                let Actor { run, skew, .. } = self.actors[actor];
                self.actors[actor] = Actor { run: run + 1, skew, ..Actor::default() };
            }
            Step::Acquire(actor) => {
                let now = self.clock(actor);
                let state = &mut self.actors[actor];
                let since = match state.seen {
                    Some((version, since)) if version == self.version => since,
                    _ => self.true_time,
                };
                state.seen = Some((self.version, since));
                let silence = Duration::from_millis(u64::try_from(self.true_time - since).unwrap());
                let request = request(&format!("actor {actor} run {}", state.run));
                let decided = LeaseRecord::acquire(self.record.as_ref(), &request, now, silence);
                state.pending = decided.ok().map(|record| (self.version, record));
            }
            Step::Renew(actor) => {
                let now = self.clock(actor);
                let state = &mut self.actors[actor];
                let Some(grant) = &state.grant else { return };
                let decided = LeaseRecord::renew(self.record.as_ref(), grant, now);
                state.pending = decided.ok().map(|record| (self.version, record));
            }
            Step::Release(actor) => {
                let state = &mut self.actors[actor];
                // Whoever gives it up stops working before it says so.
                let Some(grant) = state.grant.take() else { return };
                let decided = LeaseRecord::release(self.record.as_ref(), &grant);
                state.pending = decided.ok().map(|record| (self.version, record));
            }
            Step::Write(actor) => {
                let Some((expected, record)) = self.actors[actor].pending.take() else { return };
                if expected == self.version {
                    self.version += 1;
                    self.actors[actor].grant = record.grant();
                    self.record = Some(record);
                }
            }
        }
    }

    fn fencing(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.fencing)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// With clocks that differ by no more than they may, no two actors ever believe at once that they hold it,
    /// whatever the order of reads, writes, kills and time passing.
    #[test]
    fn is_never_held_twice(steps in steps(2_500)) {
        let mut world = World::default();
        for step in steps {
            world.step(&step);
            let holders: Vec<_> = (0..ACTORS)
                .filter(|&actor| {
                    world.actors[actor].grant.as_ref().is_some_and(|grant| grant.is_valid(world.clock(actor)))
                })
                .collect();
            prop_assert!(holders.len() <= 1, "{:?} after {:?}", holders, step);
        }
    }

    /// With clocks that say anything, two may believe that they hold it, but the number tells them apart: it
    /// grows with every change of holder and never goes back, and only its holder can renew or release.
    #[test]
    fn the_number_only_grows_whatever_the_clocks_say(steps in steps(100_000_000)) {
        let mut world = World::default();
        for step in steps {
            let (before, fencing) = (world.record.clone(), world.fencing());
            world.step(&step);
            prop_assert!(world.fencing() >= fencing, "{step:?}");
            let holder = |record: &Option<LeaseRecord>| record.as_ref().and_then(|record| record.holder.clone());
            let (was, is) = (holder(&before), holder(&world.record));
            if is.is_some() && is != was {
                prop_assert_eq!(world.fencing(), fencing + 1);
            }
            for (number, actor) in world.actors.iter().enumerate() {
                let Some(grant) = &actor.grant else { continue };
                let current = world.record.as_ref();
                let is_newest = grant.fencing == world.fencing() && is.as_ref() == Some(&grant.holder);
                prop_assert_eq!(LeaseRecord::renew(current, grant, world.clock(number)).is_ok(), is_newest);
                prop_assert_eq!(LeaseRecord::release(current, grant).is_ok(), is_newest);
            }
        }
    }
}
