//! The verbs end to end, against an engine that plays a cluster.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clap::Parser as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::engine::{Engine, Interrupt, Prepared, Target};
use super::output::Shared;
use super::*;
use crate::apply::{Outcome, Report, ResultOf, RunEvent};
use crate::graph::{Graph, ObjectId, Resource};
use crate::kinds::{Missing, Verdict};
use crate::observation::ClusterIdentity;
use crate::plan::Plan;
use crate::ui::ResourceStatus;
use crate::ui::tests::samples;

/// A cluster with one plan to offer; remembers what it was asked for.
#[derive(Clone)]
struct Fake {
    plan: Plan,
    unready: Vec<(ObjectId, Missing)>,
    /// The run waits for Ctrl-C, and then ends in order or not at all.
    hangs: Option<EndsInOrder>,
    seen: Arc<Mutex<Seen>>,
    identity: ClusterIdentity,
}

#[derive(Clone, Copy)]
struct EndsInOrder(bool);

#[derive(Default)]
struct Seen {
    target: Option<Target>,
    /// Whether the run waited; `None`: there was none.
    waited: Option<bool>,
    /// What the server will have warned of.
    warnings: Vec<String>,
}

impl Fake {
    fn new(plan: Plan) -> Self {
        Self { plan, unready: Vec::new(), hangs: None, seen: Arc::default(), identity: samples::cluster() }
    }
}

#[async_trait]
impl Connect for Fake {
    async fn namespace(&self, _target: &Target) -> Result<String, Error> {
        Ok("live".to_owned())
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Engine>, Error> {
        self.seen.lock().unwrap().target = Some(target.clone());
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Engine for Fake {
    fn identity(&self) -> &ClusterIdentity {
        &self.identity
    }

    async fn prepare(&self, _graph: &Graph, _full: bool) -> Result<Prepared, Error> {
        Ok(Prepared { plan: self.plan.clone(), unready: self.unready.clone(), inner: Box::new(()) })
    }

    async fn prepare_down(&self, graph: &Graph) -> Result<Prepared, Error> {
        self.prepare(graph, false).await
    }

    async fn run(
        &self,
        prepared: Prepared,
        wait: bool,
        events: mpsc::UnboundedSender<RunEvent>,
        mut interrupt: Interrupt,
    ) -> Result<Report, Error> {
        self.seen.lock().unwrap().waited = Some(wait);
        let mut outcome = Outcome::Done;
        if let Some(EndsInOrder(in_order)) = self.hangs {
            interrupt.wait_for(|stop| *stop).await.unwrap();
            if !in_order {
                std::future::pending::<()>().await;
            }
            outcome = Outcome::Interrupted;
        }
        let mut results = Vec::new();
        for (change, planned) in prepared.plan.changes.iter().enumerate() {
            let (id, action) = (planned.id.clone(), planned.action);
            events.send(RunEvent::Started { change, id: id.clone(), action }).unwrap();
            events.send(RunEvent::Ready { change, id: id.clone(), note: None, seconds: 1.0 }).unwrap();
            results.push((id, action, ResultOf::Done));
        }
        let mut unchanged = Vec::new();
        for (id, missing) in &prepared.unready {
            let result = ResultOf::NotReady { missing: missing.clone(), logs: Vec::new(), terminal: false };
            unchanged.push((id.clone(), result));
            outcome = Outcome::NotReady;
        }
        Ok(Report { results, unchanged, outcome, seconds: 1.5, writes: 1 })
    }

    async fn status(&self, graph: &Graph) -> Result<Vec<ResourceStatus>, Error> {
        let status = |resource: &Resource| ResourceStatus {
            id: resource.id.clone(),
            location: resource.location.clone(),
            verdict: Some(Verdict::Ready { note: None }),
            live: None,
        };
        Ok(graph.resources.iter().map(status).collect())
    }

    fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap().warnings)
    }

    async fn live(&self, resource: &Resource) -> Result<Option<Value>, Error> {
        let mut object = resource.body.clone();
        object["spec"]["ports"] = json!([{"port": 1935}]);
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "127.64.0.1"}]}});
        Ok(Some(object))
    }
}

fn definition(name: &str) -> Definition {
    Definition {
        name: name.to_owned(),
        about: format!("the stack {name}"),
        defaults: json!({"image": "srs:4", "replicas": 1}),
        build: Box::new(|settings, namespace| {
            let mut graph = samples::graph();
            graph.namespace = namespace.to_owned();
            graph.resources[2].body["spec"]["image"] = settings["image"].clone();
            Ok(graph)
        }),
    }
}

/// One call of the program.
struct Call {
    fake: Fake,
    stacks: Vec<&'static str>,
    /// What a person at a terminal answers; `None`: there is no terminal.
    answer: Option<&'static str>,
    folder: tempfile::TempDir,
    interrupts: fn() -> std::io::Result<mpsc::UnboundedReceiver<()>>,
}

struct Said {
    exit: Exit,
    data: String,
    rest: String,
}

impl Call {
    fn new(fake: Fake) -> Self {
        Self {
            fake,
            stacks: vec!["quick-start"],
            answer: None,
            folder: tempfile::tempdir().unwrap(),
            interrupts: || Ok(mpsc::unbounded_channel().1),
        }
    }

    fn answering(fake: Fake, answer: &'static str) -> Self {
        Self { answer: Some(answer), ..Self::new(fake) }
    }

    fn run(&self, line: &str) -> Said {
        let arguments = std::iter::once("stackctl").chain(line.split(' '));
        let Arguments { options, verb } = Arguments::try_parse_from(arguments).unwrap();
        let definitions: Vec<Definition> = self.stacks.iter().map(|name| definition(name)).collect();
        let (data, rest) = (Shared::default(), Shared::default());
        let session = Session {
            definitions: &definitions,
            connect: &self.fake,
            options,
            output: Output::of_test(data.clone(), rest.clone(), self.answer),
            variables: vec![("STACKCTL_SET_REPLICAS".to_owned(), "2".to_owned())],
            folder: self.folder.path().to_owned(),
            now: "2026-11-22T20:00:00Z".parse().unwrap(),
            interrupts: self.interrupts,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let exit = runtime.block_on(run(session, verb, "stackctl"));
        Said { exit, data: data.text(), rest: rest.text() }
    }

    fn waited(&self) -> Option<bool> {
        self.fake.seen.lock().unwrap().waited
    }
}

fn harmless() -> Plan {
    let mut plan = samples::updates();
    plan.changes.truncate(1);
    plan.changes[0].diff.truncate(0);
    plan.notes.clear();
    plan
}

#[test]
fn plans_tell_by_their_exit_code() {
    for (plan, line, exit) in [
        (harmless(), "plan", Exit::Done),
        (harmless(), "plan --detailed-exitcode", Exit::Changes),
        (samples::plan(Vec::new()), "plan --detailed-exitcode", Exit::Done),
        (samples::refused(), "plan", Exit::Refused),
        (samples::refused(), "up --yes", Exit::Refused),
    ] {
        assert_eq!(Call::new(Fake::new(plan)).run(line).exit, exit, "{line}");
    }
}

#[test]
fn the_plan_is_data_and_nothing_else_is() {
    let said = Call::new(Fake::new(harmless())).run("plan quick-start");
    assert!(said.data.starts_with("quick-start on cluster kind-x (https://127.0.0.1:6443"), "{}", said.data);
    assert_eq!(said.rest, "");
    let document: Value =
        serde_json::from_str(&Call::new(Fake::new(harmless())).run("plan --json").data).unwrap();
    assert_eq!((&document["version"], &document["kind"]), (&json!(1), &json!("plan")));
}

#[test]
fn up_asks_runs_and_tells_the_addresses() {
    let call = Call::answering(Fake::new(harmless()), "yes\n");
    let said = call.run("up");
    assert_eq!(
        (said.exit, said.data.as_str()),
        (Exit::Done, "Service srs-origin-service  127.64.0.1  1935\n")
    );
    insta::assert_snapshot!(said.rest, @"
    quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live

      ~ ConfigMap srs-config

    Plan: 0 to create, 1 to update, 0 to replace, 0 to delete. 14 unchanged.

    Apply this 1 change to cluster kind-x (https://127.0.0.1:6443), namespace live?
    Type yes:   ~ ConfigMap srs-config  updating
      ~ ConfigMap srs-config  ready after 1.0s

    Done in 1.5s: 1 updated.
    ");
    assert_eq!(call.waited(), Some(true));
}

#[test]
fn what_is_unchanged_and_not_ready_is_waited_for_without_asking() {
    let unready = vec![(samples::id("Deployment", "srs-deploy"), samples::missing())];
    let call = Call::new(Fake { unready, ..Fake::new(samples::plan(Vec::new())) });
    let said = call.run("up");
    assert_eq!((said.exit, call.waited()), (Exit::NotReady, Some(true)));
    insta::assert_snapshot!(said.rest, @r#"
    quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live

    No changes. 14 resources are as declared.
    1 of them is not ready yet:
      Deployment srs-deploy: 0 of 1 replicas available

    failed: Deployment srs-deploy is not ready in time: 0 of 1 replicas available
      (ImagePullBackOff)
      Pod srs-deploy-7c9f-x2x4z, container srs, image ossrs/srs:nope: failed to
        pull: manifest unknown: manifest tagged by "nope" is not found
      hint: check the image's name and tag, and that the nodes may pull it
        (imagePullSecrets)

    Not ready after 1.5s: 1 unchanged and not ready.
    "#);
    let call = Call::new(call.fake);
    call.fake.seen.lock().unwrap().waited = None;
    assert_eq!((call.run("up --no-wait").exit, call.waited()), (Exit::Done, None));
    assert_eq!((call.run("plan --detailed-exitcode").exit, call.waited()), (Exit::Done, None));
}

#[test]
fn the_servers_warnings_are_told_at_the_end() {
    for line in ["plan", "up --yes", "down --yes --json"] {
        let call = Call::new(Fake::new(harmless()));
        call.fake.seen.lock().unwrap().warnings = vec!["autoscaling/v1 is deprecated".to_owned()];
        let said = call.run(line);
        assert!(
            said.rest.ends_with("warning: the API server says: autoscaling/v1 is deprecated\n"),
            "{line}: {}",
            said.rest
        );
        assert!(!said.data.contains("deprecated"), "{line}: {}", said.data);
    }
}

#[test]
fn another_answer_does_nothing() {
    for answer in ["no\n", "\n", "", "YES\n"] {
        let call = Call::answering(Fake::new(harmless()), answer);
        assert_eq!(call.run("up").exit, Exit::Refused, "{answer:?}");
        assert_eq!(call.waited(), None);
    }
}

#[test]
fn without_a_terminal_yes_is_needed() {
    let call = Call::new(Fake::new(harmless()));
    let said = call.run("up");
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.rest.contains("hint: `up --yes` goes on without asking"), "{}", said.rest);
    assert_eq!(call.waited(), None);
    assert_eq!(call.run("up --yes --no-wait").exit, Exit::Done);
    assert_eq!(call.waited(), Some(false));
}

#[test]
fn what_hurts_must_be_named() {
    let call = Call::new(Fake::new(samples::updates()));
    let said = call.run("down --yes --delete volumes");
    assert_eq!(said.exit, Exit::Refused);
    insta::assert_snapshot!(said.rest.rsplit_once("unchanged.\n").unwrap().1, @"
    error: --yes alone does not agree to what hurts
      Service srs-http-service: loses the address 127.64.0.2

    hint: `--yes --delete load-balancers,volumes` agrees to it
    ");
    assert_eq!(call.waited(), None);
    assert_eq!(call.run("down --yes --delete volumes,load-balancers").exit, Exit::Done);
}

#[test]
fn down_asks_for_the_stacks_name() {
    let call = Call::answering(Fake::new(samples::updates()), "yes\n");
    let said = call.run("down");
    assert_eq!(said.exit, Exit::Refused);
    insta::assert_snapshot!(said.rest.rsplit_once("unchanged.\n").unwrap().1, @"
    What hurts:
      PersistentVolumeClaim nas-hls: loses the data of volume d-uf6hq (20Gi)
      Service srs-http-service: loses the address 127.64.0.2
    Delete these 5 objects on cluster kind-x (https://127.0.0.1:6443), namespace live?
    Type the stack's name (quick-start): error: not agreed; nothing was done
    ");
    let call = Call::answering(Fake::new(samples::updates()), "quick-start\n");
    assert_eq!(call.run("down").exit, Exit::Done);
}

#[test]
fn a_protected_environment_has_no_down() {
    let call = Call::new(Fake::new(harmless()));
    let file = "[environments.live]\nnamespace = 'live'\ncontext = 'ack'\nprotected = true\n";
    std::fs::write(call.folder.path().join("stackctl.toml"), file).unwrap();
    let said = call.run("down --env live --yes");
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.rest.contains("error: environment live is protected: `down` is refused"), "{}", said.rest);
    let said = call.run("up --env live --yes");
    assert_eq!(said.exit, Exit::Done);
    assert!(said.rest.contains("cluster = \"0b7a3c1e\""), "how to pin is told: {}", said.rest);
    assert_eq!(call.fake.seen.lock().unwrap().target.as_ref().unwrap().context.as_deref(), Some("ack"));
}

#[test]
fn a_pinned_environment_plans_for_no_other_cluster() {
    let call = Call::new(Fake::new(harmless()));
    std::fs::write(call.folder.path().join("stackctl.toml"), "[environments.live]\ncluster = 'ffff'\n")
        .unwrap();
    for line in ["plan --env live", "up --yes --env live", "down --yes --env live", "status --env live"] {
        let said = call.run(line);
        assert_eq!((said.exit, said.data.as_str()), (Exit::Refused, ""), "{line}");
        assert!(
            said.rest.contains("ffff (stackctl.toml:2)") && said.rest.contains("0b7a3c1e"),
            "{}",
            said.rest
        );
    }
}

#[test]
fn json_lines_of_a_run() {
    let said = Call::new(Fake::new(harmless())).run("up --yes --json");
    let documents: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["plan", "event", "event", "report"]);
    assert!(documents.iter().all(|document| document["version"] == 1));
    assert_eq!(documents[1]["event"], "started");
    assert_eq!(documents[3]["addresses"][0]["hosts"], json!(["127.64.0.1"]));
    assert_eq!(said.rest, "");
}

#[test]
fn ctrl_c_stops_in_order_and_again_at_once() {
    fn pressed(times: usize) -> mpsc::UnboundedReceiver<()> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for _ in 0..times {
            sender.send(()).unwrap();
        }
        receiver
    }
    let mut fake = Fake::new(harmless());
    fake.hangs = Some(EndsInOrder(true));
    let once = Call { interrupts: || Ok(pressed(1)), ..Call::new(fake.clone()) }.run("up --yes");
    assert_eq!(once.exit, Exit::Interrupted);
    assert!(once.rest.contains("Stopping: nothing more is begun"), "{}", once.rest);
    assert!(once.rest.contains("Interrupted after 1.5s: 1 updated."), "{}", once.rest);
    fake.hangs = Some(EndsInOrder(false));
    let twice = Call { interrupts: || Ok(pressed(2)), ..Call::new(fake) }.run("up --yes");
    assert_eq!(twice.exit, Exit::Interrupted);
    assert!(twice.rest.contains("error: ended at once"), "{}", twice.rest);
}

#[test]
fn stacks_are_found_by_name() {
    let call = Call { stacks: vec!["quick-start", "edge"], ..Call::new(Fake::new(harmless())) };
    assert_eq!(call.run("render quick-start").exit, Exit::Done);
    let said = call.run("plan quick-strat");
    assert_eq!(said.exit, Exit::Usage);
    insta::assert_snapshot!(said.rest, @"
    error: there is no stack quick-strat
    hint: did you mean quick-start?
    ");
    let said = call.run("plan");
    assert_eq!(said.exit, Exit::Usage);
    insta::assert_snapshot!(said.rest, @"
    error: which stack? This program has several
      quick-start: the stack quick-start
      edge: the stack edge
    ");
}

#[test]
fn flags_win_over_variables_over_the_file() {
    let call = Call::new(Fake::new(harmless()));
    let file = "[environments.live.settings.quick-start]\nimage = 'srs:file'\nreplicas = 'x'\n";
    std::fs::write(call.folder.path().join("stackctl.toml"), file).unwrap();
    let said = call.run("render --env live");
    assert_eq!(said.exit, Exit::Error, "a wrong type in the file is told, although a variable hides it");
    std::fs::write(call.folder.path().join("stackctl.toml"), file.replace("'x'", "5")).unwrap();
    assert!(call.run("render --env live").data.contains("image: srs:file"));
    assert!(call.run("render --env live --set image=srs:flag").data.contains("image: srs:flag"));
    let said = call.run("render --set imgae=srs:flag");
    assert_eq!(said.exit, Exit::Usage);
    assert!(said.rest.contains("did you mean image?"), "{}", said.rest);
}

#[test]
fn graph_status_and_completions() {
    let call = Call::new(Fake::new(harmless()));
    assert!(call.run("graph").data.contains("└── Deployment srs-deploy"));
    assert!(call.run("graph --dot").data.starts_with("digraph \"quick-start\""));
    assert!(call.run("status").data.contains("All 4 resources ready."));
    let status: Value = serde_json::from_str(&call.run("status --json").data).unwrap();
    assert_eq!(status["kind"], "status");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(call.run(&format!("completions {shell}")).data.contains("detailed-exitcode"), "{shell}");
    }
    assert!(call.run("completions bash").data.contains("quick-start"), "stack names are completed");
}

#[test]
fn the_command_line_is_sound() {
    command(&[definition("quick-start")], true).debug_assert();
    let usage = parse(&[], &["stackctl".into(), "plan".into(), "--what".into()]).unwrap_err();
    assert!(usage.use_stderr());
    assert_eq!(program(&["/usr/bin/live".into()]), "live");
}
