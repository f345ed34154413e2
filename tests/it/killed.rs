//! Killed at any point, run again, done.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;
use stackctl_tests::stackctl::Stackctl;

use crate::harness::plane;

const OBJECTS: &str = "objects=80";

/// Runs `up` until it has told so many events of this kind, and kills it then.
fn killed_after(stackctl: &Stackctl, kind: &str, number: usize) {
    let mut child = stackctl
        .command(&["up", "thousand", "--set", OBJECTS, "--yes", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let reached = told.filter(|told| told["event"] == kind).take(number).count();
    // SIGKILL
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(reached, number, "it ended before");
    assert!(!status.success(), "it ended by itself");
}

fn ends_in_the_same_state(label: &str, kind: &str, number: usize) {
    let (namespace, stackctl) = plane(label);
    killed_after(&stackctl, kind, number);
    let up = ["up", "thousand", "--set", OBJECTS, "--yes"];
    stackctl.ok(&up);
    let names = namespace.kubectl(["get", "configmaps,services,deployments", "--output", "name"]).unwrap();
    assert_eq!(names.lines().filter(|name| name.contains("/x-")).count(), 60, "{names}");
    assert!(stackctl.ok(&up).stderr.contains("No changes"));
}

#[test]
fn killed_before_the_first_answer() {
    ends_in_the_same_state("killed-first", "started", 1);
}

#[test]
fn killed_after_a_few_objects() {
    ends_in_the_same_state("killed-few", "applied", 3);
}

#[test]
fn killed_half_way() {
    ends_in_the_same_state("killed-half", "applied", 40);
}

#[test]
fn killed_before_the_last_object() {
    ends_in_the_same_state("killed-last", "applied", 79);
}
