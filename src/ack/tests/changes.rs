//! What can't change, what must be undone, what the plan is told, and who shares a listener.

use super::*;
use crate::ack::{Service, immutable_change, shared_listeners, undo_removed};
use crate::kinds::KindRules;

#[test]
fn changes_that_need_another_load_balancer() {
    for (before, after, expected) in [
        (
            vec![],
            vec![("address-type", "intranet")],
            Some("address-type can't change from internet to intranet"),
        ),
        (vec![("address-type", "intranet")], vec![("address-type", "intranet")], None),
        // Only what is written is compared.
        (vec![("address-type", "intranet")], vec![], None),
        (vec![], vec![("address-type", "internet")], None),
        (vec![], vec![("id", "lb-a")], Some("id can't be set to lb-a")),
        (vec![("id", "lb-a")], vec![("id", "lb-b")], Some("id can't change from lb-a to lb-b")),
        (vec![("id", "lb-a")], vec![], Some("id can't be removed")),
        (vec![], vec![("master-zoneid", "a")], Some("master-zoneid")),
        (vec![], vec![("ip-version", "ipv6")], Some("ip-version")),
        (vec![("ip-version", "ipv6")], vec![], Some("ip-version can't be removed")),
        (vec![("ip-version", "ipv4")], vec![], None),
        (vec![], vec![("resource-group-id", "rg-a")], Some("resource-group-id")),
        (vec![], vec![("network-type", "classic")], Some("network-type")),
        (vec![], vec![("ip", "10.0.0.1")], Some("ip can't be set")),
        (
            vec![("instance-charge-type", "PayByCLCU")],
            vec![("instance-charge-type", "PayBySpec")],
            Some("not back"),
        ),
        (vec![("instance-charge-type", "PayBySpec")], vec![("instance-charge-type", "PayByCLCU")], None),
        (vec![("spec", "slb.s1.small")], vec![("spec", "slb.s2.small")], None),
        (vec![("vswitch-id", "vsw-a")], vec![("vswitch-id", "vsw-b")], None),
    ] {
        let change = immutable_change(&living(&clb(&before)), &clb(&after));
        match expected {
            None => assert_eq!(change, None, "{before:?} {after:?}"),
            Some(words) => assert!(
                change.clone().is_some_and(|change| change.contains(words)),
                "{before:?} {after:?}: {change:?}"
            ),
        }
        assert_eq!(immutable_change(&clb(&before), &clb(&after)), None, "there is no load balancer yet");
    }
    assert_eq!(immutable_change(&living(&nlb(&[])), &nlb(&[("address-type", "intranet")])), None);
    assert!(immutable_change(&living(&nlb(&[])), &nlb(&[("ip-version", "DualStack")])).is_some());
}

#[test]
fn removed_annotations_are_undone_once() {
    let key = |suffix: &str| format!("{PREFIX}{suffix}");
    let live = living(&clb(&[
        ("scheduler", "wrr"),
        ("spec", "slb.s2.small"),
        ("established-timeout", "900"),
        ("hostname", "a.b"),
        ("address-type", "intranet"),
    ]));
    let undone = undo_removed(&live, &clb(&[("spec", "slb.s2.small")]));
    assert_eq!(undone, BTreeMap::from([(key("scheduler"), "rr".to_owned())]));
    // Once the default is live, the annotation can go.
    assert_eq!(undo_removed(&living(&clb(&[("scheduler", "rr")])), &clb(&[])), BTreeMap::new());
    assert_eq!(
        undo_removed(&clb(&[("scheduler", "wrr")]), &clb(&[])),
        BTreeMap::new(),
        "there is no load balancer yet"
    );
    let notes = Service.notes(Some(&live), &clb(&[("spec", "slb.s2.small")]));
    assert!(
        notes.iter().any(|note| note.starts_with("established-timeout: ") && note.contains("no default")),
        "{notes:?}"
    );
}

#[test]
fn what_the_plan_is_told() {
    let live = living(&clb(&[("vswitch-id", "vsw-a"), ("address-type", "intranet")]));
    let notes = Service.notes(Some(&live), &clb(&[("vswitch-id", "vsw-b"), ("address-type", "intranet")]));
    assert!(notes.iter().any(|note| note.contains("the change has no effect")), "{notes:?}");
    let notes = Service.notes(Some(&live), &with(&clb(&[]), json!({"spec": {"type": "ClusterIP"}})));
    assert!(notes.iter().any(|note| note.contains("192.0.2.1")), "{notes:?}");
    let notes = Service.notes(None, &clb(&[("preserve-lb-on-delete", "true")]));
    assert_eq!(notes, ["preserve-lb-on-delete needs CCM 2.10.0 or newer; an older one ignores it"]);
    assert!(Service.replacement_loses(&live)[0].contains("192.0.2.1"));
    let reused = living(&clb(&[("id", "lb-a"), ("force-override-listeners", "true")]));
    let loses = Service.replacement_loses(&reused);
    assert!(loses.iter().any(|lost| lost.contains("lb-a, which itself stays")), "{loses:?}");
    assert!(!loses.iter().any(|lost| lost.contains("192.0.2.1")), "{loses:?}");
}

#[test]
fn services_that_take_listeners_from_each_other() {
    let on = |name: &str, id: &str, mode: &str, port: u16, protocol: &str| {
        with(
            &clb(&[("id", id), ("force-override-listeners", mode)]),
            json!({"metadata": {"name": name}, "spec": {"ports": [{"port": port, "protocol": protocol}]}}),
        )
    };
    let first = on("a", "lb-a", "true", 8000, "TCP");
    for (second, expected) in [
        (on("b", "lb-a", "true", 8000, "TCP"), 1),
        (on("b", "lb-a", "true", 8000, "UDP"), 0),
        (on("b", "lb-a", "true", 8001, "TCP"), 0),
        (on("b", "lb-b", "true", 8000, "TCP"), 0),
        (on("b", "lb-a", "false", 8000, "TCP"), 0),
    ] {
        let findings = shared_listeners([&first, &second]);
        assert_eq!(findings.len(), expected, "{second}");
        for (last, finding) in findings {
            assert_eq!(last, 1);
            assert!(
                finding.message.contains("live/a and live/b") && finding.message.contains("TCP 8000"),
                "{finding}"
            );
        }
    }
}
