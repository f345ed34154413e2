//! The command line: one file a verb. Verbs choose (stack, environment, settings, cluster), hand over to the engine and
//! show what it says by the views of [`crate::ui`]. They decide nothing about the cluster.

#![expect(
    clippy::format_push_string,
    reason = "writing into a String can't fail, and `write!` would have its Result thrown away on every line"
)]

mod args;
mod carry_out;
mod completions;
mod consent;
mod down;
pub mod engine;
mod environment;
pub mod error;
pub mod exit;
mod graph;
pub mod image;
mod live;
mod nearest;
mod output;
mod plan;
mod render;
mod session;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod up;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory as _, FromArgMatches as _};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::graph::Definition;
use args::{Arguments, Verb};
use engine::Connect;
use error::Error;
use exit::Exit;
use output::Output;
use session::Session;

/// Runs the program's command line with these stacks on real clusters, and gives its exit code: all that a program's own
/// `main` has to do.
pub fn main(definitions: impl IntoIterator<Item = Definition>) -> ExitCode {
    main_with(definitions, &live::Kubeconfig)
}

/// Runs the program's command line with these stacks, and gives its exit code.
///
/// `connect` leads to clusters; a user's own program calls `main`, which knows the real one.
pub fn main_with(definitions: impl IntoIterator<Item = Definition>, connect: &dyn Connect) -> ExitCode {
    let definitions: Vec<Definition> = definitions.into_iter().collect();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let parsed = match parse(&definitions, &arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help goes to standard output and is no error; clap knows.
            let failed = error.use_stderr();
            let _ = error.print();
            return if failed { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let Arguments { options, verb } = parsed;
    log(options.verbose);
    let session = Session {
        definitions: &definitions,
        connect,
        output: Output::of_process(options.color),
        options,
        variables: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        folder: std::env::current_dir().unwrap_or_default(),
        now: Timestamp::now(),
        interrupts,
    };
    // One thread is enough: the work is waiting for the server.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(session, verb, &program(&arguments))).into(),
        Err(error) => {
            let mut output = session.output;
            output.say(&Error::failed(format_args!("cannot start: {error}")).render(output.width));
            Exit::Error.into()
        }
    }
}

/// Runs one verb; an error is told on standard error.
async fn run(mut session: Session<'_>, verb: Verb, program: &str) -> Exit {
    let result = match verb {
        Verb::Plan(args) => plan::run(&mut session, args).await,
        Verb::Up(args) => up::run(&mut session, args).await,
        Verb::Down(args) => down::run(&mut session, args).await,
        Verb::Status(args) => status::run(&mut session, args).await,
        Verb::Graph(args) => graph::run(&mut session, args).await,
        Verb::Render(args) => render::run(&mut session, args).await,
        Verb::Image(args) => image(&mut session, args).await,
        Verb::Completions(args) => {
            let command = command(session.definitions, true);
            completions::run(&mut session, &args, command, program)
        }
    };
    result.unwrap_or_else(|error| {
        session.output.say(&error.render(session.output.width));
        error.exit
    })
}

async fn image(session: &mut Session<'_>, args: image::ImageArgs) -> Result<Exit, Error> {
    let output = Mutex::new(&mut session.output);
    let tell = |progress| {
        if let Ok(mut output) = output.lock() {
            output.say(&format!("{progress}\n"));
        }
    };
    let outcome = image::run(args, &tell).await?;
    session.output.data(&format!("{outcome}\n"))?;
    Ok(Exit::Done)
}

fn parse(definitions: &[Definition], arguments: &[OsString]) -> Result<Arguments, clap::Error> {
    let matches = command(definitions, false).try_get_matches_from(arguments)?;
    Arguments::from_arg_matches(&matches)
}

/// The command line with this program's stacks. `closed`: the names are the only ones that are taken, which is what
/// completions want; else an unknown one gets our own answer.
fn command(definitions: &[Definition], closed: bool) -> clap::Command {
    let mut command = Arguments::command();
    if !definitions.is_empty() {
        let column = definitions.iter().map(|definition| definition.name.len()).max().unwrap_or(0);
        let list: Vec<String> = definitions
            .iter()
            .map(|definition| format!("  {:column$}  {}", definition.name, definition.about))
            .collect();
        command = command.after_help(format!("Stacks:\n{}", list.join("\n")));
    }
    if closed {
        let names: Vec<String> = definitions.iter().map(|definition| definition.name.clone()).collect();
        command = command.mut_subcommands(|verb| {
            let takes_a_stack = verb.get_arguments().any(|argument| argument.get_id() == "stack");
            if !takes_a_stack {
                return verb;
            }
            let names = names.clone();
            verb.mut_arg("stack", |argument| argument.value_parser(PossibleValuesParser::new(names)))
        });
    }
    command
}

/// The name under which the program was called: a user's own program has its own.
fn program(arguments: &[OsString]) -> String {
    let name = arguments.first().and_then(|path| Path::new(path).file_stem());
    name.map_or_else(|| "stackctl".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// `-v`: to standard error, beside whatever `RUST_LOG` asks for.
fn log(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "stackctl=info",
        2 => "stackctl=debug",
        _ => "stackctl=trace,kube=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Catches SIGINT and SIGTERM from now on.
fn interrupts() -> std::io::Result<mpsc::UnboundedReceiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (sender, receiver) = mpsc::unbounded_channel();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let (mut signals, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(()).is_ok() {} });
    }
    Ok(receiver)
}
