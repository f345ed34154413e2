//! `down`

use clap::Args;

use super::carry_out::{self, Agreement, Carry};
use super::error::Error;
use super::exit::Exit;
use super::session::Session;

/// Delete everything that the stack has, in reverse order
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// The stack; may be left out if the program has one only
    stack: Option<String>,
    #[command(flatten)]
    agreement: Agreement,
    /// Don't wait until what was deleted is gone
    #[arg(long)]
    no_wait: bool,
    /// Write plan, events and report as JSON, one document a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(session: &mut Session<'_>, args: DownArgs) -> Result<Exit, Error> {
    let DownArgs { stack, agreement, no_wait, json } = args;
    let chosen = session.choose(stack.as_deref()).await?;
    let engine = session.reach(&chosen).await?;
    let prepared = engine.prepare_down(&chosen.graph).await?;
    let carry = Carry { down: true, no_wait, full: false, json, agreement };
    let exit = carry_out::carry_out(session, &chosen, engine.as_ref(), prepared, carry).await;
    carry_out::tell_warnings(session, engine.as_ref());
    exit
}
