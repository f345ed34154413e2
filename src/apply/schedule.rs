//! Which change of a plan may begin now: pure, so that every legal order can be tested.
//!
//! A change goes from blocked to free to working (it holds one of the slots while its request is under way) to waiting (it holds
//! none) to done. A replacement goes through *parked* in between: deleted, not gone yet, and holding no slot either.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A wait takes longer than a request by about this much; so the longest chain is measured.
const WAIT_WEIGHT: u64 = 20;

/// The plan's order can't be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A change comes after one that the plan doesn't have.
    #[error(
        "change {change} of the plan comes after change {on}, which the plan does not have; make the plan anew"
    )]
    Unknown {
        /// The change.
        change: usize,
        /// What it names.
        on: usize,
    },
    /// Changes wait for each other.
    #[error("the plan's changes {changes:?} wait for each other; make the plan anew")]
    Cycle {
        /// Their numbers.
        changes: Vec<usize>,
    },
}

/// A change that is not done because another one failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    /// The change.
    pub(crate) change: usize,
    /// The one it needs that failed or was itself skipped.
    pub(crate) needs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Blocked,
    Free,
    Working,
    Parked,
    Resumed,
    Waiting,
    Done,
    Failed,
    Skipped,
}

#[derive(Debug)]
struct Node {
    state: State,
    /// Needs that are not met yet.
    missing: usize,
    /// Who comes after it, and whether they want it ready.
    dependents: Vec<(usize, bool)>,
    /// Length of the longest chain behind it.
    chain: u64,
}

/// The order in which changes are begun.
#[derive(Debug)]
pub(crate) struct Schedule {
    nodes: Vec<Node>,
    free: BinaryHeap<(u64, Reverse<usize>)>,
    working: usize,
    limit: usize,
    stopped: bool,
}

impl Schedule {
    /// `after[n]`: what change `n` comes after, and whether that must be ready (`true`) or only applied. At most `limit` (at least
    /// one) changes work at the same time.
    pub(crate) fn new<'a>(
        after: impl IntoIterator<Item = &'a BTreeMap<usize, bool>>,
        limit: usize,
    ) -> Result<Self, ScheduleError> {
        let after: Vec<_> = after.into_iter().collect();
        let mut nodes: Vec<Node> = after
            .iter()
            .map(|needs| Node {
                state: State::Blocked,
                missing: needs.len(),
                dependents: Vec::new(),
                chain: 0,
            })
            .collect();
        for (change, needs) in after.iter().enumerate() {
            for (&on, &ready) in *needs {
                let node = nodes.get_mut(on).ok_or(ScheduleError::Unknown { change, on })?;
                node.dependents.push((change, ready));
            }
        }
        let order = topological(&nodes)?;
        for &n in order.iter().rev() {
            let longest = nodes[n]
                .dependents
                .iter()
                .map(|&(dependent, ready)| nodes[dependent].chain + if ready { WAIT_WEIGHT } else { 1 });
            nodes[n].chain = longest.max().unwrap_or(0);
        }
        let mut schedule =
            Self { nodes, free: BinaryHeap::new(), working: 0, limit: limit.max(1), stopped: false };
        for n in 0..schedule.nodes.len() {
            schedule.free_if_unblocked(n);
        }
        Ok(schedule)
    }

    /// The next change whose request may be sent now, if there is one; it takes a slot. It is given once, and once more after
    /// [`Schedule::resume`].
    pub(crate) fn begin_next(&mut self) -> Option<usize> {
        if self.working >= self.limit {
            return None;
        }
        let (_, Reverse(n)) = self.free.pop()?;
        self.nodes[n].state = State::Working;
        self.working += 1;
        Some(n)
    }

    /// The request of `n` is answered, but the change isn't made before something has been waited for.
    pub(crate) fn park(&mut self, n: usize) {
        self.leave(n, State::Parked);
    }

    /// A parked change may send its next request.
    pub(crate) fn resume(&mut self, n: usize) {
        self.leave(n, State::Resumed);
        self.free.push((self.nodes[n].chain, Reverse(n)));
    }

    /// `n` is made, and now waited for.
    pub(crate) fn applied(&mut self, n: usize) {
        self.leave(n, State::Waiting);
        self.release(n, false);
    }

    /// `n` is made and works.
    pub(crate) fn done(&mut self, n: usize) {
        let applied = self.nodes[n].state == State::Waiting;
        self.leave(n, State::Done);
        if !applied {
            self.release(n, false);
        }
        self.release(n, true);
    }

    /// `n` went wrong: everything that still needed it is skipped, the rest goes on. What needed it only applied, and it was, is not
    /// concerned.
    pub(crate) fn failed(&mut self, n: usize) -> Vec<Skip> {
        let applied = self.nodes[n].state == State::Waiting;
        self.leave(n, State::Failed);
        let mut skipped = Vec::new();
        let mut lost = vec![n];
        while let Some(needs) = lost.pop() {
            let dependents = self.nodes[needs].dependents.clone();
            for (change, ready) in dependents {
                let met = needs == n && applied && !ready;
                if !met && self.nodes[change].state == State::Blocked {
                    self.nodes[change].state = State::Skipped;
                    skipped.push(Skip { change, needs });
                    lost.push(change);
                }
            }
        }
        skipped
    }

    /// Nothing new is begun from now on; a replacement that was deleted is still created.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        let nodes = &self.nodes;
        self.free.retain(|&(_, Reverse(n))| nodes[n].state == State::Resumed);
    }

    /// Changes that were neither begun nor skipped.
    pub(crate) fn unbegun(&self) -> Vec<usize> {
        let unbegun = |n: &usize| matches!(self.nodes[*n].state, State::Blocked | State::Free);
        (0..self.nodes.len()).filter(unbegun).collect()
    }

    /// Whether another change waits for `n` to be ready, rather than only for it to be applied.
    pub(crate) fn is_needed_ready(&self, n: usize) -> bool {
        self.nodes[n].dependents.iter().any(|&(_, ready)| ready)
    }

    /// Whether any change comes after `n`.
    pub(crate) fn is_needed(&self, n: usize) -> bool {
        !self.nodes[n].dependents.is_empty()
    }

    fn leave(&mut self, n: usize, to: State) {
        if self.nodes[n].state == State::Working {
            self.working -= 1;
        }
        self.nodes[n].state = to;
    }

    fn release(&mut self, n: usize, at_ready: bool) {
        let dependents = self.nodes[n].dependents.clone();
        for (dependent, ready) in dependents {
            if ready == at_ready {
                self.nodes[dependent].missing -= 1;
                self.free_if_unblocked(dependent);
            }
        }
    }

    fn free_if_unblocked(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.state == State::Blocked && node.missing == 0 && !self.stopped {
            node.state = State::Free;
            self.free.push((node.chain, Reverse(n)));
        }
    }
}

/// Everything after what it needs.
fn topological(nodes: &[Node]) -> Result<Vec<usize>, ScheduleError> {
    let mut missing: Vec<usize> = nodes.iter().map(|node| node.missing).collect();
    let mut order: Vec<usize> = (0..nodes.len()).filter(|&n| missing[n] == 0).collect();
    let mut next = 0;
    while let Some(&n) = order.get(next) {
        next += 1;
        for &(dependent, _) in &nodes[n].dependents {
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
    if order.len() == nodes.len() {
        Ok(order)
    } else {
        Err(ScheduleError::Cycle { changes: (0..nodes.len()).filter(|&n| missing[n] > 0).collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Needs = Vec<BTreeMap<usize, bool>>;

    fn needs(edges: &[(usize, usize, bool)], count: usize) -> Needs {
        let mut needs = vec![BTreeMap::new(); count];
        for &(change, on, ready) in edges {
            needs[change].insert(on, ready);
        }
        needs
    }

    #[test]
    fn the_longest_chain_goes_first() {
        // 2 has a chain of two behind it, 0 none, 1 one.
        let mut schedule =
            Schedule::new(&needs(&[(3, 1, false), (4, 2, false), (5, 4, false)], 6), 2).unwrap();
        assert_eq!(
            [schedule.begin_next(), schedule.begin_next(), schedule.begin_next()],
            [Some(2), Some(1), None]
        );
        schedule.done(1);
        // 3 and 0 have no chain behind them: the plan's order decides.
        assert_eq!(schedule.begin_next(), Some(0));
    }

    #[test]
    fn a_wait_weighs_more_than_requests() {
        let edges = [(2, 0, true), (3, 1, false), (4, 3, false), (5, 4, false)];
        let mut schedule = Schedule::new(&needs(&edges, 6), 1).unwrap();
        assert_eq!(schedule.begin_next(), Some(0));
    }

    #[test]
    fn waits_hold_no_slot() {
        let mut schedule = Schedule::new(&needs(&[(1, 0, true)], 3), 1).unwrap();
        assert_eq!(schedule.begin_next(), Some(0));
        assert_eq!(schedule.begin_next(), None);
        schedule.applied(0);
        assert_eq!(schedule.begin_next(), Some(2), "1 needs 0 ready");
        schedule.park(2);
        schedule.done(0);
        assert_eq!(schedule.begin_next(), Some(1));
        schedule.resume(2);
        assert_eq!(schedule.begin_next(), None);
        schedule.done(1);
        assert_eq!(schedule.begin_next(), Some(2), "a parked change comes back once it is resumed");
    }

    #[test]
    fn what_needed_it_only_applied_goes_on_when_the_wait_fails() {
        let mut schedule =
            Schedule::new(&needs(&[(1, 0, false), (2, 0, true), (3, 2, false)], 4), 1).unwrap();
        schedule.begin_next();
        schedule.applied(0);
        assert_eq!(schedule.failed(0), [Skip { change: 2, needs: 0 }, Skip { change: 3, needs: 2 }]);
        assert_eq!(schedule.begin_next(), Some(1));
    }

    #[test]
    fn after_a_stop_only_begun_replacements_go_on() {
        let mut schedule = Schedule::new(&needs(&[(2, 0, false)], 3), 2).unwrap();
        assert_eq!(schedule.begin_next(), Some(0));
        schedule.park(0);
        schedule.resume(0);
        schedule.stop();
        assert_eq!(schedule.begin_next(), Some(0));
        schedule.done(0);
        assert_eq!(schedule.begin_next(), None);
        assert_eq!(schedule.unbegun(), [1, 2]);
    }

    #[test]
    fn impossible_orders_are_refused() {
        let cycle = Schedule::new(&needs(&[(0, 1, false), (1, 0, true)], 3), 1).unwrap_err();
        assert_eq!(cycle, ScheduleError::Cycle { changes: vec![0, 1] });
        let unknown = Schedule::new(&needs(&[(0, 7, false)], 1), 1).unwrap_err();
        assert_eq!(unknown, ScheduleError::Unknown { change: 0, on: 7 });
    }

    /// A graph, which changes replace, and which fail: at the request (1) or in the wait (2).
    fn any_plan() -> impl Strategy<Value = (Needs, Vec<bool>, Vec<u8>)> {
        (1_usize..12).prop_flat_map(|count| {
            let edges = prop::collection::vec((0..count, 0..count, any::<bool>()), 0..count * 2);
            let forward = edges.prop_map(move |edges| {
                let forward: Vec<_> = edges
                    .into_iter()
                    .filter(|(a, b, _)| a != b)
                    .map(|(a, b, r)| (a.max(b), a.min(b), r))
                    .collect();
                needs(&forward, count)
            });
            let fails =
                prop::collection::vec(prop_oneof![6 => Just(0_u8), 1 => Just(1), 1 => Just(2)], count);
            (forward, prop::collection::vec(any::<bool>(), count), fails)
        })
    }

    proptest! {
        // Drives the schedule through an arbitrary legal order of completions.
        #[test]
        fn everything_once_after_its_needs_and_failures_skip_exactly_their_dependents(
            (needs, replaces, fails) in any_plan(),
            limit in 1_usize..5,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut schedule = Schedule::new(&needs, limit).unwrap();
            let mut picks = picks.into_iter();
            let (mut working, mut parked, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
            let (mut begun, mut applied, mut ready) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            let (mut failed, mut skipped, mut deleted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            loop {
                while let Some(n) = schedule.begin_next() {
                    if !deleted.contains(&n) {
                        prop_assert!(begun.insert(n), "{n} was begun twice");
                    }
                    for (on, must_be_ready) in &needs[n] {
                        let met = if *must_be_ready { &ready } else { &applied };
                        prop_assert!(met.contains(on), "{n} was begun before {on}");
                    }
                    working.push(n);
                    prop_assert!(working.len() <= limit);
                }
                let under_way = working.len() + parked.len() + waiting.len();
                if under_way == 0 {
                    break;
                }
                let pick = picks.next().map_or(0, |pick| pick.index(under_way));
                if pick < working.len() {
                    let n = working.remove(pick);
                    if fails[n] == 1 {
                        failed.insert(n);
                        skipped.extend(schedule.failed(n).into_iter().map(|skip| skip.change));
                    } else if replaces[n] && deleted.insert(n) {
                        schedule.park(n);
                        parked.push(n);
                    } else {
                        schedule.applied(n);
                        applied.insert(n);
                        waiting.push(n);
                    }
                } else if pick < working.len() + parked.len() {
                    let n = parked.remove(pick - working.len());
                    schedule.resume(n);
                } else {
                    let n = waiting.remove(pick - working.len() - parked.len());
                    if fails[n] == 2 {
                        failed.insert(n);
                        skipped.extend(schedule.failed(n).into_iter().map(|skip| skip.change));
                    } else {
                        schedule.done(n);
                        ready.insert(n);
                    }
                }
            }
            prop_assert!(schedule.unbegun().is_empty(), "a deadlock leaves {:?}", schedule.unbegun());
            // By definition: skipped is what needs, through skipped ones or directly, something it can't have.
            let mut expected = BTreeSet::new();
            for (n, needs) in needs.iter().enumerate() {
                let lost = |(on, must_be_ready): (&usize, &bool)| {
                    expected.contains(on) || fails[*on] == 1 || (fails[*on] == 2 && *must_be_ready)
                };
                if needs.iter().any(lost) {
                    expected.insert(n);
                }
            }
            prop_assert_eq!(&skipped, &expected);
            prop_assert_eq!(begun.len() + skipped.len(), needs.len());
        }
    }
}
