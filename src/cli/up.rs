//! `up`

use clap::Args;

use super::carry_out::{self, Agreement, Carry};
use super::error::Error;
use super::exit::Exit;
use super::session::Session;

/// Make the cluster as the stack says: plan, ask, apply, wait until it works
///
/// The first Ctrl-C begins nothing more and ends in order; the second ends at once. Run it again to go on.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The stack; may be left out if the program has one only
    stack: Option<String>,
    #[command(flatten)]
    agreement: Agreement,
    /// Don't wait until what was applied works
    #[arg(long)]
    no_wait: bool,
    /// Show defaults and long texts too, and ask the server about everything, also what is proven unchanged
    #[arg(long)]
    full: bool,
    /// Write plan, events and report as JSON, one document a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(session: &mut Session<'_>, args: UpArgs) -> Result<Exit, Error> {
    let UpArgs { stack, agreement, no_wait, full, json } = args;
    let chosen = session.choose(stack.as_deref()).await?;
    let engine = session.reach(&chosen).await?;
    let prepared = engine.prepare(&chosen.graph, full).await?;
    let carry = Carry { down: false, no_wait, full, json, agreement };
    let exit = carry_out::carry_out(session, &chosen, engine.as_ref(), prepared, carry).await;
    carry_out::tell_warnings(session, engine.as_ref());
    exit
}
