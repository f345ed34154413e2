//! The command line, as one types it.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use cluster::{
    Tier,
    testing::{TestCluster, wait_for},
};

use crate::inside::Inside;

fn cluster(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cluster")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Takes the cluster away however the test ends.
struct Down(String);

impl Drop for Down {
    fn drop(&mut self) {
        cluster(&["down", "--name", &self.0]);
    }
}

#[test]
fn up_use_and_down_by_hand() {
    let name = format!("cli-{}", std::process::id());
    let down = Down(name.clone());
    let on = |verb: &[&str]| {
        let (first, rest) = verb.split_first().unwrap();
        cluster(&[&[*first, "--name", &name], rest].concat())
    };
    let absent = on(&["status"]);
    assert_eq!(
        (absent.status.code(), text(&absent.stdout)),
        (Some(1), format!("NAME={name}\nSTATE=absent\n"))
    );
    assert!(text(&on(&["kubectl", "version"]).stderr).contains("cluster up"), "it says what to do");

    let first = on(&["up", "--tier", "control-plane"]);
    assert!(first.status.success(), "{first:?}");
    let second = on(&["up", "--tier", "control-plane"]);
    assert!(text(&second.stderr).contains("is up already"));
    assert_eq!(first.stdout, second.stdout, "up twice is one cluster");
    assert_eq!(on(&["status"]).stdout, first.stdout);
    let other = on(&["up", "--tier", "node"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("control-plane"));

    let kubeconfig = text(&on(&["kubeconfig"]).stdout);
    let config = std::fs::read_to_string(Path::new(kubeconfig.trim())).unwrap();
    assert!(config.contains(&format!("current-context: {name}\n")) && config.contains("https://127.0.0.1:"));

    let nodes = on(&["kubectl", "get", "nodes", "-o", "name"]);
    assert_eq!(text(&nodes.stdout), "node/kwok-1\nnode/kwok-2\nnode/kwok-3\n");
    let diff = on(&["kubectl", "get", "pod", "no-such-pod"]);
    assert_eq!(diff.status.code(), Some(1));
    assert!(text(&diff.stderr).contains("no-such-pod"));
    let usage = on(&["kubectl", "diff"]);
    assert_ne!(usage.status.code(), Some(0));

    let load = on(&["load", "no-such.tar"]);
    assert!(text(&load.stderr).contains("no node"));
    assert!(text(&on(&["logs"]).stdout).contains("kube-apiserver"));
    assert!(!on(&["logs", "kube-apiserver"]).stdout.is_empty());

    // After an accident the next `up` begins anew.
    let cluster::Status::Running(running) = cluster::status(&name).unwrap() else { panic!("it runs") };
    let inside = Inside::of(&running);
    Inside::kill(&[inside.init]);
    let stopped = || Ok((on(&["status"]).status.code() == Some(1)).then_some(()));
    wait_for("a cluster that is known to have stopped", Duration::from_mins(1), stopped).unwrap();
    assert!(text(&on(&["status"]).stdout).contains("STATE=stopped"), "its logs are still there");
    assert!(on(&["up", "--tier", "control-plane"]).status.success());
    assert_ne!(Inside::of(&cluster::running(&name).unwrap()).init, inside.init);

    drop(down);
    assert_eq!(on(&["status"]).status.code(), Some(1));
    assert!(text(&on(&["down"]).stderr).contains("no cluster"));
}

#[test]
fn a_command_line_that_is_none_exits_64() {
    for arguments in [&["nonsense"][..], &["up", "--tier", "moon"], &[]] {
        assert_eq!(cluster(arguments).status.code(), Some(64), "{arguments:?}");
    }
    assert_eq!(cluster(&["--help"]).status.code(), Some(0));
    let name = cluster(&["up", "--name", "../x"]);
    assert_eq!(name.status.code(), Some(1));
    assert!(text(&name.stderr).contains("cannot name a cluster"));
}

#[test]
fn an_image_that_is_none_is_refused_with_containerd_s_words() {
    let shared = TestCluster::shared(Tier::Node).unwrap();
    let load = cluster(&["load", "--name", shared.name(), "/etc/hostname"]);
    assert_eq!(load.status.code(), Some(1));
    assert!(text(&load.stderr).contains("ctr"), "{load:?}");
}
