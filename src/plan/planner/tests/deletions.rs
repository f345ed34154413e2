//! What is deleted, what stays, and in which order.

use serde_json::json;

use super::bench::{Bench, config_map, rejection, with_immutable};
use super::{actions, codes, of, stack};
use crate::graph::{ObjectId, STACK_LABEL, Stack, stack_label};
use crate::plan::{RefusalCode, down};

#[tokio::test]
async fn a_copy_that_somebody_made_of_one_of_ours_is_theirs() {
    let mut bench = Bench::new();
    bench.up(of(&[config_map("a", "1")])).await;
    let mut copy = config_map("copy", "1");
    copy["metadata"]["labels"][STACK_LABEL] = json!(stack_label("live", "media"));
    bench.fake.put(copy);
    let plan = bench.plan(of(&[config_map("a", "1")])).await;
    assert_eq!(actions(&plan), [""; 0]);
    assert!(plan.notes[0].message.contains("never applied it"), "{:?}", plan.notes);
    let plan = down(bench.inputs(of(&[config_map("a", "1")])));
    assert_eq!(actions(&plan), ["- ConfigMap a"]);
}

#[tokio::test]
async fn what_is_protected_is_not_lost_with_its_namespace() {
    let mut bench = Bench::new();
    let media = |protect: bool| {
        let mut media = Stack::new("media", "new");
        let kept =
            media.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}));
        media.policy(&kept).protect = protect;
        media.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "goes"}}));
        media
    };
    bench.up(media(false)).await;
    // The program protects it now, even if that was never applied.
    let plan = down(bench.inputs(media(true)));
    assert_eq!(actions(&plan), ["- ConfigMap goes"]);
    assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
    assert_eq!(actions(&down(bench.inputs(media(false)))).last().unwrap(), "- Namespace new");
}

#[tokio::test]
async fn an_object_that_is_being_deleted_is_made_again() {
    let mut bench = Bench::new();
    bench.up(of(&[config_map("a", "1")])).await;
    let id = ObjectId::of(&config_map("a", "1")).unwrap();
    bench.fake.edit(&id, |object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    let plan = bench.plan(of(&[config_map("a", "1")])).await;
    assert_eq!(actions(&plan), ["-/+ ConfigMap a"]);
    assert!(plan.changes[0].reasons[0].contains("being deleted"));
}

#[tokio::test]
async fn somebody_elses_object_is_not_deleted_to_be_taken_in() {
    let mut bench = Bench::new();
    let mut theirs = with_immutable(json!(1));
    theirs["metadata"]["managedFields"] = json!([]);
    bench.fake.put(theirs);
    let mut take = stack();
    let handle = take.object(with_immutable(json!(2)));
    take.policy(&handle).on_conflict = crate::graph::OnConflict::Take;
    let plan = bench.plan(take).await;
    assert_eq!((codes(&plan), actions(&plan)), (vec![RefusalCode::Replacement], vec![]));
    assert!(plan.refusals[0].message.contains("not the stack's"), "{:?}", plan.refusals);
}

#[tokio::test]
async fn deletions_follow_the_programs_order_even_against_their_kinds() {
    let mut bench = Bench::new();
    let media = || {
        let mut media = stack();
        // An APIService usually goes first; here something uses it, so it goes after that.
        let service =
            media.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "used"}}));
        let user =
            media.object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "user"}}));
        media.after(&user, &service);
        media
    };
    bench.up(media()).await;
    let plan = down(bench.inputs(media()));
    assert_eq!(actions(&plan), ["- Namespace user", "- ConfigMap used"]);
    assert_eq!(plan.changes[1].after.get(&0), Some(&true));
    assert!(plan.changes[0].after.is_empty(), "no circle: {:?}", plan.changes[0].after);
}

#[tokio::test]
async fn what_needs_something_of_the_same_plan_is_not_refused_for_its_absence() {
    let mut bench = Bench::new();
    let mut media = stack();
    media.object(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "worker"}}));
    media.object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"serviceAccountName": "worker", "containers": []}}));
    bench.reject(
        "p",
        rejection(
            403,
            "error looking up service account live/worker: serviceaccount \"worker\" not found",
            &[],
        ),
    );
    let plan = bench.plan(media).await;
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    assert!(
        matches!(&plan.changes[1].checked, crate::plan::Checked::Offline { why } if why.contains("worker"))
    );
}
