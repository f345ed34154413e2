//! `render`

use clap::Args;

use super::error::Error;
use super::exit::Exit;
use super::session::Session;
use crate::ui;

/// Write the stack's objects as YAML; asks no server
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// The stack; may be left out if the program has one only
    stack: Option<String>,
}

pub(crate) async fn run(session: &mut Session<'_>, args: RenderArgs) -> Result<Exit, Error> {
    let RenderArgs { stack } = args;
    let chosen = session.choose(stack.as_deref()).await?;
    let yaml = ui::yaml::graph(&chosen.graph)
        .map_err(|error| Error::failed(format_args!("an object can't be written as YAML: {error}")))?;
    session.output.data(&yaml)?;
    Ok(Exit::Done)
}
