//! `graph`

use clap::Args;

use super::error::Error;
use super::exit::Exit;
use super::session::Session;
use crate::ui;

/// Show the stack's resources and what each needs first; asks no server
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// The stack; may be left out if the program has one only
    stack: Option<String>,
    /// Write Graphviz's DOT, for `dot -Tsvg`
    #[arg(long)]
    dot: bool,
}

pub(crate) async fn run(session: &mut Session<'_>, args: GraphArgs) -> Result<Exit, Error> {
    let GraphArgs { stack, dot } = args;
    let graph = session.choose(stack.as_deref()).await?.graph;
    session.output.data(&if dot { ui::dot::graph(&graph) } else { ui::terminal::graph::graph(&graph) })?;
    Ok(Exit::Done)
}
