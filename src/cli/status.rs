//! `status`

use clap::Args;

use super::error::Error;
use super::exit::Exit;
use super::session::Session;
use crate::ui;

/// Show whether each resource works now, and the addresses; only reads
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The stack; may be left out if the program has one only
    stack: Option<String>,
    /// Write the status as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(session: &mut Session<'_>, args: StatusArgs) -> Result<Exit, Error> {
    let StatusArgs { stack, json } = args;
    let chosen = session.choose(stack.as_deref()).await?;
    let engine = session.reach(&chosen).await?;
    let resources = engine.status(&chosen.graph).await?;
    let (graph, cluster) = (&chosen.graph, engine.identity());
    if json {
        session.output.document(&ui::json::status(&graph.stack, &graph.namespace, cluster, &resources))?;
    } else {
        let view = session.view(&chosen, false);
        let text = ui::terminal::status::status(&graph.stack, &graph.namespace, cluster, &resources, &view);
        session.output.data(&text)?;
    }
    Ok(Exit::Done)
}
