//! Killed at any request, planned and run again: done.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::bench::{self, roll_out};
use super::*;
use crate::apply::Outcome;
use crate::cluster::fake::Fake;
use crate::graph::ObjectId;
use crate::plan::{Action, Change};

/// What a program wants, each after the one before it or after nothing; names that are gone are deleted.
#[derive(Clone, Debug)]
struct Wanted {
    /// By number: value and whether it comes after the one before.
    objects: BTreeMap<u8, (u8, bool)>,
}

fn body(number: u8, value: u8) -> Value {
    if number.is_multiple_of(2) {
        return config_map(&format!("c{number}"), &value.to_string());
    }
    let mut body = deployment(&format!("d{number}"), &format!("srs:{value}"));
    // What the server lets change in place, and what it doesn't: that is a replacement.
    body["spec"]["immutable"] = (value / 2).into();
    body
}

async fn plan(fake: &Fake, wanted: &Wanted) -> Vec<Change> {
    let mut declared: Vec<(Value, Vec<usize>)> = Vec::new();
    for (number, (value, after)) in &wanted.objects {
        let before = declared.len().checked_sub(1).filter(|_| *after);
        declared.push((body(*number, *value), before.into_iter().collect()));
    }
    let plan = bench::plan(fake, declared).await;
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    plan.changes
}

/// What counts in the end: contents, not versions and uids.
fn contents(fake: &Fake) -> BTreeMap<ObjectId, (Value, Value)> {
    let state = fake.state();
    state
        .objects
        .iter()
        .map(|(id, object)| (id.clone(), (object["data"].clone(), object["spec"].clone())))
        .collect()
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    prop::collection::btree_map(0_u8..8, (0_u8..4, any::<bool>()), 0..7)
        .prop_map(|objects| Wanted { objects })
}

#[tokio::test(start_paused = true)]
async fn the_plans_here_hold_replacements_too() {
    let bench = Bench::new(Fake::new());
    let wanted = |value| Wanted { objects: [(1, (value, false))].into() };
    assert_eq!(bring(&bench, &wanted(0)).await, Outcome::NotReady, "no controller, no pods");
    let actions = |changes: Vec<Change>| changes.into_iter().map(|change| change.action).collect::<Vec<_>>();
    assert_eq!(actions(plan(&bench.fake, &wanted(1)).await), [Action::Update]);
    assert_eq!(actions(plan(&bench.fake, &wanted(2)).await), [Action::Replace]);
}

async fn bring(bench: &Bench, wanted: &Wanted) -> Outcome {
    bench.run(plan(&bench.fake, wanted).await).await.unwrap().0.outcome
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_run_killed_at_any_request_and_run_again_ends_in_the_same_state(
        first in any_wanted(), second in any_wanted(), loses in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let server = || {
                let fake = Fake::new().with_controller(roll_out);
                Bench::new(if loses { fake.losing_answers() } else { fake })
            };
            let straight = server();
            assert_eq!(bring(&straight, &first).await, Outcome::Done);
            let changes = plan(&straight.fake, &second).await;
            let before = straight.fake.state().requests;
            assert_eq!(straight.run(changes).await.unwrap().0.outcome, Outcome::Done);
            let requests = straight.fake.state().requests - before;
            for kill_at in 0..requests {
                let killed = server();
                assert_eq!(bring(&killed, &first).await, Outcome::Done);
                let changes = plan(&killed.fake, &second).await;
                killed.fake.die_after(Some(kill_at));
                let (run, _told) = killed.prepare(changes);
                tokio::select! {
                    _ = run.run() => panic!("it needs all of its {requests} requests"),
                    () = killed.fake.died() => {}
                }
                killed.fake.die_after(None);
                assert_eq!(bring(&killed, &second).await, Outcome::Done, "killed at {kill_at}");
                assert_eq!(contents(&killed.fake), contents(&straight.fake), "killed at {kill_at}");
                assert!(plan(&killed.fake, &second).await.is_empty());
            }
        });
    }
}
