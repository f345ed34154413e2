//! `completions`

use clap::Args;
use clap_complete::Shell;

use super::error::Error;
use super::exit::Exit;
use super::session::Session;

/// Write the completion script of a shell
///
/// For bash: `source <(stackctl completions bash)`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(
    session: &mut Session<'_>,
    args: &CompletionsArgs,
    mut command: clap::Command,
    program: &str,
) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, program, &mut script);
    session.output.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
