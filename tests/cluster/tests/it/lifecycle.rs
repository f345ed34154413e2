//! Starting, sharing, ending, and ending after anything was killed.

use std::{fs, time::Duration};

use cluster::{
    Status, Tier,
    testing::{TestCluster, wait_for},
};

use crate::{
    inside::{Inside, network_of_the_machine},
    node::{busybox, pod_running},
};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn many_who_ask_at_the_same_time_share_one_cluster() {
    let clusters: Vec<TestCluster> = std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..8).map(|_| scope.spawn(|| TestCluster::shared(Tier::ControlPlane).unwrap())).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let init = Inside::of(&clusters[0]).init;
    for cluster in &clusters {
        assert_eq!(cluster.name(), clusters[0].name());
        assert_eq!(cluster.server(), clusters[0].server());
        assert_eq!(Inside::of(cluster).init, init);
    }
}

#[test]
fn two_clusters_stand_side_by_side_and_one_goes_alone() {
    let first = TestCluster::own(Tier::Node).unwrap();
    let second = TestCluster::own(Tier::Node).unwrap();
    assert_ne!(first.server(), second.server());
    let (here, there) = (first.namespace("here").unwrap(), second.namespace("there").unwrap());
    assert!(here.kubectl(["get", "namespace", there.name()]).is_err());
    assert!(there.kubectl(["get", "namespace", there.name()]).is_ok());
    let (inside, name) = (Inside::of(&first), first.name().to_owned());
    drop(here);
    drop(first);
    inside.assert_gone();
    assert!(matches!(cluster::status(&name).unwrap(), Status::Absent));
    assert!(there.kubectl(["get", "nodes"]).unwrap().contains("Ready"));
}

#[test]
fn a_cluster_that_nobody_holds_ends_itself_and_one_that_is_held_stays() {
    let idle = Duration::from_secs(2);
    let held = TestCluster::own_with_idle(Tier::ControlPlane, idle).unwrap();
    let left = TestCluster::own_with_idle(Tier::ControlPlane, idle).unwrap();
    let inside = Inside::of(&left);
    left.leave();
    inside.wait_gone(SOON);
    // The held one has been there for longer.
    assert!(held.namespace("held").is_ok());
}

/// Starts a cluster with a running pod, kills what `victims` names, and ends it: nothing may be left.
fn down_after_killing(tier: Tier, victims: Option<fn(&Inside) -> Vec<u32>>) {
    let network = network_of_the_machine();
    let cluster = TestCluster::own(tier).unwrap();
    if tier == Tier::Node {
        busybox(&cluster);
    }
    let namespace = cluster.namespace("victim").unwrap();
    pod_running(&namespace, "sleeper", &["sleep", "10000"]);
    let inside = Inside::of(&cluster);
    if let Some(victims) = victims {
        let victims = victims(&inside);
        assert!(!victims.is_empty());
        Inside::kill(&victims);
    }
    // Its namespace's deletion would wait for an API server that may be dead; `down` takes it along.
    std::mem::forget(namespace);
    let name = cluster.name().to_owned();
    drop(cluster);
    inside.assert_gone();
    assert!(matches!(cluster::status(&name).unwrap(), Status::Absent));
    assert_eq!(network_of_the_machine(), network);
}

#[test]
fn down_leaves_nothing() {
    down_after_killing(Tier::Node, None);
}

#[test]
fn down_leaves_nothing_after_init_was_killed() {
    down_after_killing(Tier::Node, Some(|inside| vec![inside.init]));
}

#[test]
fn down_leaves_nothing_after_the_guardian_was_killed() {
    down_after_killing(Tier::Node, Some(|inside| vec![inside.guardian]));
}

#[test]
fn down_leaves_nothing_after_the_guardian_and_init_were_killed() {
    down_after_killing(Tier::Node, Some(|inside| vec![inside.guardian, inside.init]));
}

#[test]
fn down_leaves_nothing_after_containerd_and_the_kubelet_were_killed() {
    down_after_killing(
        Tier::Node,
        Some(|inside| [inside.program("containerd"), inside.program("kubelet")].concat()),
    );
}

#[test]
fn down_leaves_nothing_after_the_shims_were_killed() {
    down_after_killing(Tier::Node, Some(|inside| inside.program("containerd-shim-runc-v2")));
}

#[test]
fn down_leaves_nothing_after_everything_was_killed() {
    down_after_killing(Tier::Node, Some(Inside::processes));
}

#[test]
fn down_leaves_nothing_without_a_node_either() {
    down_after_killing(Tier::ControlPlane, Some(|inside| vec![inside.init]));
    down_after_killing(Tier::ControlPlane, Some(|inside| vec![inside.guardian, inside.init]));
    down_after_killing(Tier::ControlPlane, Some(|inside| inside.program("etcd")));
}

#[test]
fn down_leaves_nothing_after_the_folder_was_removed() {
    for tier in [Tier::Node, Tier::ControlPlane] {
        let cluster = TestCluster::own(tier).unwrap();
        let inside = Inside::of(&cluster);
        // Its programs may write into it meanwhile.
        let remove = || Ok(fs::remove_dir_all(cluster.dir().path()).is_ok().then_some(()));
        wait_for("the folder's end", SOON, remove).unwrap();
        drop(cluster);
        // Without its folder init may have been about to end by itself, which is nothing to wait for by name.
        inside.wait_gone(SOON);
    }
}

#[test]
fn without_a_node_the_programs_end_with_init() {
    let cluster = TestCluster::own(Tier::ControlPlane).unwrap();
    let inside = Inside::of(&cluster);
    let programs = inside.program("etcd");
    assert_eq!(programs.len(), 1);
    Inside::kill(&[inside.init]);
    let gone = || Ok(inside.program("etcd").is_empty().then_some(()));
    wait_for("etcd's end", SOON, gone).unwrap();
    assert!(matches!(cluster::status(cluster.name()).unwrap(), Status::Stopped(_) | Status::Absent));
}

#[test]
fn what_is_killed_is_started_again() {
    let cluster = TestCluster::own(Tier::Node).unwrap();
    busybox(&cluster);
    let namespace = cluster.namespace("heals").unwrap();
    let inside = Inside::of(&cluster);
    let victims =
        ["etcd", "kube-apiserver", "kube-scheduler", "kube-controller-manager", "containerd", "kubelet"];
    for victim in victims {
        let killed = inside.program(victim);
        assert_eq!(killed.len(), 1, "{victim}");
        Inside::kill(&killed);
    }
    let answers = || Ok(namespace.kubectl(["get", "nodes"]).is_ok().then_some(()));
    wait_for("an API server that answers again", SOON, answers).unwrap();
    pod_running(&namespace, "after", &["sleep", "10000"]);
}

#[test]
fn the_machine_s_settings_stay_as_they_were() {
    let settings = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"];
    let read = || settings.map(|name| fs::read_to_string(format!("/proc/sys/{name}")).unwrap());
    let before = read();
    let cluster = TestCluster::own(Tier::Node).unwrap();
    assert_eq!(read(), before);
    drop(cluster);
    assert_eq!(read(), before);
}
