use serde_json::json;

use super::super::terminal::report::{addresses, report};
use super::super::{Addresses, json};
use super::{coloured, plain, samples, view};
use crate::apply::{Outcome, Report, ResultOf};
use crate::plan::Action;

fn done() -> Report {
    Report {
        results: vec![
            (samples::id("ConfigMap", "srs-config"), Action::Create, ResultOf::Done),
            (samples::id("Deployment", "srs-deploy"), Action::Update, ResultOf::Done),
        ],
        unchanged: Vec::new(),
        outcome: Outcome::Done,
        seconds: 4.24,
        writes: 2,
    }
}

#[test]
fn failures_tell_all_that_is_known() {
    insta::assert_snapshot!(plain(&report(&samples::failed(), "live", &view(80))), @r#"
    failed: Deployment srs-deploy does not work: 0 of 1 replicas available
      (ImagePullBackOff)
      Pod srs-deploy-7c9f-x2x4z, container srs, image ossrs/srs:nope: failed to
        pull: manifest unknown: manifest tagged by "nope" is not found
      hint: check the image's name and tag, and that the nodes may pull it
        (imagePullSecrets)

    failed: Deployment srs-edge is not ready in time: 1 of 3 replicas available
      (CrashLoopBackOff)
      Pod srs-edge-6d5-aaaaa, container srs: exited with 255, 4 restarts
      last log lines of srs-edge-6d5-aaaaa/srs:
        │ parse srs.conf
        │ \u{1b}[31mline 3: illegal directive
      hint: the container ends right after its start: its last log lines say why

    skipped: Service srs-origin-service (it needs Deployment srs-deploy)

    Not ready after 12s: 1 created, 2 failed, 1 skipped.
    "#);
}

#[test]
fn failures_in_colour() {
    insta::assert_snapshot!(coloured(&report(&samples::failed(), "live", &view(80))), @r#"
    <bold><red>failed:</> Deployment srs-deploy does not work: 0 of 1 replicas available
      (ImagePullBackOff)
      Pod srs-deploy-7c9f-x2x4z, container srs, image ossrs/srs:nope: failed to
        pull: manifest unknown: manifest tagged by "nope" is not found
      <cyan>hint:</> check the image's name and tag, and that the nodes may pull it
        (imagePullSecrets)

    <bold><red>failed:</> Deployment srs-edge is not ready in time: 1 of 3 replicas available
      (CrashLoopBackOff)
      Pod srs-edge-6d5-aaaaa, container srs: exited with 255, 4 restarts
      last log lines of srs-edge-6d5-aaaaa/srs:
        <dim>│</> parse srs.conf
        <dim>│</> \u{1b}[31mline 3: illegal directive
      <cyan>hint:</> the container ends right after its start: its last log lines say why

    <yellow>skipped:</> Service srs-origin-service (it needs Deployment srs-deploy)

    <bold><red>Not ready after 12s: 1 created, 2 failed, 1 skipped.</>
    "#);
}

#[test]
fn other_ends() {
    let mut other = done();
    let mut told = plain(&report(&other, "live", &view(80)));
    other.results.push((
        samples::id("Service", "a"),
        Action::Delete,
        ResultOf::Stale { message: "resourceVersion 7 became 9, and spec.type would change too".to_owned() },
    ));
    other.outcome = Outcome::Stale;
    told += &plain(&report(&other, "live", &view(80)));
    other.results[2].2 = ResultOf::Refused { message: "services \"a\" is forbidden".to_owned() };
    other.outcome = Outcome::Failed;
    told += &plain(&report(&other, "live", &view(80)));
    other.results[2].2 = ResultOf::Skipped { because: "the run was stopped".to_owned() };
    other.outcome = Outcome::Interrupted;
    told += &plain(&report(&other, "live", &view(80)));
    insta::assert_snapshot!(told, @r#"
    Done in 4.2s: 1 created, 1 updated.
    failed: delete Service a: it has changed since the plan: resourceVersion 7
      became 9, and spec.type would change too
      hint: run `plan` again and look at what would be done now

    Stopped after 4.2s, because the plan is stale: 1 created, 1 updated, 1 failed.
    failed: delete Service a: refused by the server: services "a" is forbidden

    Failed after 4.2s: 1 created, 1 updated, 1 failed. Run it again to go on.
    skipped: Service a (the run was stopped)

    Interrupted after 4.2s: 1 created, 1 updated, 1 skipped. Run it again to go on.
    "#);
}

#[test]
fn addresses_are_lines_to_cut() {
    let service = |name: &str, host: &str, ports: &[&str]| Addresses {
        id: samples::id("Service", name),
        hosts: vec![host.to_owned()],
        ports: ports.iter().map(|port| (*port).to_owned()).collect(),
    };
    let found = [
        service("srs-origin-service", "127.64.0.1", &["1935", "1985", "8080"]),
        service("web", "127.64.0.2", &["80"]),
    ];
    insta::assert_snapshot!(addresses(&found, "live"), @"
    Service srs-origin-service  127.64.0.1  1935,1985,8080
    Service web                 127.64.0.2  80
    ");
}

#[test]
fn as_json() {
    let document = json::report(&samples::failed(), &[]);
    assert_eq!(document["version"], json!(1));
    assert_eq!(document["kind"], json!("report"));
    assert_eq!(document["outcome"], json!("not-ready"));
    assert_eq!(document["results"][1]["missing"]["code"], json!("ImagePullBackOff"));
    assert_eq!(document["results"][3]["result"], json!("skipped"));
}
