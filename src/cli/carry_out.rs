//! What `up` and `down` have in common: show the plan, ask, run it, tell what happens, and how it ended.

use clap::Args;
use tokio::sync::{mpsc, watch};

use super::consent::{Consent, Said, consent};
use super::engine::{Engine, Prepared};
use super::error::Error;
use super::exit::Exit;
use super::output::Output;
use super::session::{Chosen, Session};
use crate::apply::{Outcome, Report, RunEvent};
use crate::graph::ObjectId;
use crate::kinds::{Guard, Missing};
use crate::plan::Plan;
use crate::ui::terminal::progress::{Bars, Events};
use crate::ui::{self, Addresses, addresses, terminal};

/// What is agreed to on the command line.
#[derive(Debug, Args)]
pub(crate) struct Agreement {
    /// Go on without asking; what hurts needs --delete too
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Agree to deletions that hurt
    #[arg(long, value_name = "GUARDS", value_enum, value_delimiter = ',')]
    pub(crate) delete: Vec<Guard>,
}

/// Tells what the API server has warned of, such as versions that will go away.
pub(crate) fn tell_warnings(session: &mut Session<'_>, engine: &dyn Engine) {
    for warning in engine.take_warnings() {
        let words = format!("the API server says: {warning}");
        let width = session.output.width;
        session.output.say(&terminal::plan::labelled(terminal::style::ATTENTION, "warning", &words, width));
    }
}

/// How a plan is carried out.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Carry {
    pub(crate) down: bool,
    pub(crate) no_wait: bool,
    pub(crate) full: bool,
    pub(crate) json: bool,
    pub(crate) agreement: Agreement,
}

pub(crate) async fn carry_out(
    session: &mut Session<'_>,
    chosen: &Chosen,
    engine: &dyn Engine,
    prepared: Prepared,
    carry: Carry,
) -> Result<Exit, Error> {
    let Carry { down, no_wait, full, json, agreement } = carry;
    let view = session.view(chosen, full);
    let plan = prepared.plan.clone();
    let unready = if no_wait { Vec::new() } else { prepared.unready.clone() };
    if json {
        session.output.document(&ui::json::plan(&plan, view.environment.as_deref()))?;
    } else {
        session.output.say(&terminal::plan::plan(&plan, &view));
    }
    if let Some(refused) = Exit::of_refusals(&plan.refusals) {
        return Ok(refused);
    }
    if plan.changes.is_empty() && unready.is_empty() {
        let found = if down { Vec::new() } else { reachable(engine, chosen).await? };
        if json {
            let nothing = Report {
                results: Vec::new(),
                unchanged: Vec::new(),
                outcome: Outcome::Done,
                seconds: 0.0,
                writes: 0,
            };
            session.output.document(&ui::json::report(&nothing, &found))?;
        } else {
            session.output.data(&terminal::report::addresses(&found, &plan.namespace))?;
        }
        return Ok(Exit::Done);
    }
    if plan.changes.is_empty() {
        // Nothing is changed, so there is nothing to agree to.
        if !json {
            session.output.say(&terminal::plan::unready(&unready, &plan.namespace, &view));
        }
    } else {
        agree(session, chosen, &plan, down, json, &agreement)?;
    }
    let report = follow(session, engine, prepared, &unready, !no_wait, json).await?;
    let found = match report.outcome {
        // What the run did is told even if the addresses can't be read any more.
        Outcome::Done if !down => reachable(engine, chosen).await.unwrap_or_else(|error| {
            session.output.say(&error.render(view.width));
            Vec::new()
        }),
        _ => Vec::new(),
    };
    if json {
        session.output.document(&ui::json::report(&report, &found))?;
    } else {
        session.output.say(&format!("\n{}", terminal::report::report(&report, &plan.namespace, &view)));
        session.output.data(&terminal::report::addresses(&found, &plan.namespace))?;
    }
    if report.outcome == Outcome::Done
        && let Some(advice) = chosen.environment.as_ref().and_then(|e| e.how_to_pin(engine.identity()))
    {
        session.output.say(&format!(
            "\n{}",
            terminal::plan::labelled(terminal::style::HINT, "hint", &advice, view.width)
        ));
    }
    Ok(report.outcome.into())
}

/// Makes sure that the plan is agreed to, on the command line or by an answer.
fn agree(
    session: &mut Session<'_>,
    chosen: &Chosen,
    plan: &Plan,
    down: bool,
    json: bool,
    agreement: &Agreement,
) -> Result<(), Error> {
    let said = Said {
        yes: agreement.yes,
        delete: agreement.delete.iter().copied().collect(),
        terminal: session.output.terminal && !json,
        width: session.output.width,
        protected_by: chosen
            .environment
            .as_ref()
            .filter(|environment| environment.protected)
            .map(|environment| environment.name.clone()),
    };
    if let Consent::Ask { question, word } = consent(plan, down, &said)?
        && session.output.ask(&format!("\n{question}"))? != word
    {
        return Err(Error::refused("not agreed; nothing was done"));
    }
    Ok(())
}

/// Runs the plan and tells its events, until it ends or the user has had enough.
async fn follow(
    session: &mut Session<'_>,
    engine: &dyn Engine,
    prepared: Prepared,
    unready: &[(ObjectId, Missing)],
    wait: bool,
    json: bool,
) -> Result<Report, Error> {
    let mut interrupts = (session.interrupts)()
        .map_err(|error| Error::failed(format_args!("cannot catch Ctrl-C: {error}")))?;
    let (stop, interrupt) = watch::channel(false);
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut teller = Teller::new(&prepared.plan, unready, &session.output, json, session.options.verbose > 0);
    let mut run = engine.run(prepared, wait, sender, interrupt);
    let report = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => teller.tell(&event, &mut session.output),
            report = &mut run => break report,
            Some(()) = interrupts.recv() => {
                if *stop.borrow() {
                    drop(teller);
                    return Err(Error::new(Exit::Interrupted, "ended at once; what was under way may be half done")
                        .hint("run it again to go on"));
                }
                // The receiver lives as long as the run.
                let _ = stop.send(true);
                teller.say(
                    "Stopping: nothing more is begun, what is under way is ended. Ctrl-C again ends at once.\n",
                    &mut session.output,
                );
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        teller.tell(&event, &mut session.output);
    }
    report
}

/// Tells events in the form that the reader takes.
enum Teller {
    Json,
    Lines(Events),
    Moving(Box<Bars>),
}

impl Teller {
    fn new(plan: &Plan, unready: &[(ObjectId, Missing)], output: &Output, json: bool, verbose: bool) -> Self {
        if json {
            Self::Json
        } else if output.moving && !verbose {
            Self::Moving(Box::new(Bars::new(plan, unready, output.colour)))
        } else {
            Self::Lines(Events::new(plan, unready))
        }
    }

    fn tell(&mut self, event: &RunEvent, output: &mut Output) {
        match self {
            // A reader that has gone away must not stop a run half-way.
            Self::Json => drop(output.document(&ui::json::event(event))),
            Self::Lines(events) => {
                let line = events.tell(event);
                output.say(&format!("{line}\n"));
            }
            Self::Moving(bars) => bars.tell(event),
        }
    }

    fn say(&self, line: &str, output: &mut Output) {
        match self {
            Self::Moving(bars) => bars.say(line.trim_end()),
            Self::Json | Self::Lines(_) => output.say(line),
        }
    }
}

/// The addresses that the stack's load balancers have.
async fn reachable(engine: &dyn Engine, chosen: &Chosen) -> Result<Vec<Addresses>, Error> {
    let mut found = Vec::new();
    for resource in &chosen.graph.resources {
        let kind = resource.body.pointer("/spec/type").and_then(serde_json::Value::as_str);
        if resource.id.kind == "Service" && kind == Some("LoadBalancer") {
            found.extend(engine.live(resource).await?.as_ref().and_then(addresses));
        }
    }
    Ok(found)
}
