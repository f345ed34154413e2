use super::super::terminal::progress::Events;
use super::{plain, samples};
use crate::apply::{ResultOf, RunEvent};
use crate::plan::Action;

#[test]
fn one_line_an_event() {
    let plan = samples::creates();
    let mut events = Events::new(&plan, &[]);
    let (config, deployment, service) = (
        samples::id("ConfigMap", "srs-config"),
        samples::id("Deployment", "srs-deploy"),
        samples::id("Service", "srs-origin-service"),
    );
    let told: Vec<String> = [
        RunEvent::Started { change: 1, id: config.clone(), action: Action::Create },
        RunEvent::Applied { change: 1, id: config.clone(), adopted: true, done: false },
        RunEvent::Ready { change: 1, id: config, note: None, seconds: 0.14 },
        RunEvent::Started { change: 2, id: deployment.clone(), action: Action::Create },
        RunEvent::Applied { change: 2, id: deployment.clone(), adopted: false, done: false },
        RunEvent::Waiting { change: 2, id: deployment.clone(), missing: samples::missing() },
        RunEvent::Failed {
            change: 2,
            id: deployment,
            result: ResultOf::NotReady { missing: samples::missing(), logs: Vec::new(), terminal: true },
        },
        RunEvent::Skipped { change: 3, id: service, because: "it needs Deployment srs-deploy".to_owned() },
    ]
    .iter()
    .map(|event| plain(&events.tell(event)))
    .collect();
    insta::assert_snapshot!(told.join("\n"), @"
    + ConfigMap srs-config        creating
    + ConfigMap srs-config        was already there, and is taken in
    + ConfigMap srs-config        ready after 0.1s
    + Deployment srs-deploy       creating
    + Deployment srs-deploy       applied
    + Deployment srs-deploy       waiting: 0 of 1 replicas available
    + Deployment srs-deploy       failed: 0 of 1 replicas available
    + Service srs-origin-service  skipped: it needs Deployment srs-deploy
    ");
}
