//! `plan`

use clap::Args;

use super::carry_out::tell_warnings;
use super::error::Error;
use super::exit::Exit;
use super::session::Session;
use crate::ui;

/// Show what `up` would change; only reads
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The stack; may be left out if the program has one only
    stack: Option<String>,
    /// Show defaults and long texts too, and ask the server about everything, also what is proven unchanged
    #[arg(long)]
    full: bool,
    /// Write the plan as JSON
    #[arg(long)]
    json: bool,
    /// Exit with 2 if there are changes
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(crate) async fn run(session: &mut Session<'_>, args: PlanArgs) -> Result<Exit, Error> {
    let PlanArgs { stack, full, json, detailed_exitcode } = args;
    let chosen = session.choose(stack.as_deref()).await?;
    let engine = session.reach(&chosen).await?;
    let plan = engine.prepare(&chosen.graph, full).await?.plan;
    let view = session.view(&chosen, full);
    if json {
        session.output.document(&ui::json::plan(&plan, view.environment.as_deref()))?;
    } else {
        session.output.data(&ui::terminal::plan::plan(&plan, &view))?;
    }
    tell_warnings(session, engine.as_ref());
    Ok(match Exit::of_refusals(&plan.refusals) {
        Some(refused) => refused,
        None if detailed_exitcode && !plan.changes.is_empty() => Exit::Changes,
        None => Exit::Done,
    })
}
