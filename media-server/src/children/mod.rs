//! Programs that the server runs: [`ingest`] and [`exec`], mostly ffmpeg.
//!
//! They are started without a shell, again when they end, and stopped with the server, with what the configuration
//! says no more, or with their stream. A thread of its own looks after them; where nothing is configured it sleeps.
//! A server that is killed takes them along: each is started through this program (see [`become_program`]), which
//! asks the kernel for that.

pub mod exec;
pub mod ingest;
mod supervisor;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

pub use supervisor::run;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::conf::Settings;

/// This program, where it is the server's own and knows the subcommand [`SUBCOMMAND`].
static SELF: OnceLock<PathBuf> = OnceLock::new();
/// What starts a program so that it does not outlive the server.
pub const SUBCOMMAND: &str = "child";

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where its output goes; none for nowhere.
    pub stdout: Option<PathBuf>,
    /// Where its errors go; none for nowhere.
    pub stderr: Option<PathBuf>,
}

/// What the supervisor is told.
#[derive(Debug)]
pub enum Order {
    /// The configuration is this.
    Configured(Arc<Settings>),
    /// A stream is published.
    Published {
        /// Its id.
        id: String,
        /// What commands may say about it.
        variables: Box<exec::Variables>,
    },
    /// A stream ended.
    Unpublished {
        /// Its id.
        id: String,
    },
    /// The server waits for its clients to leave: nothing is ingested any more.
    Draining,
    /// The server quits: stop everything.
    Quit,
}

/// The way to the supervisor.
#[derive(Debug)]
pub struct Queue {
    sender: UnboundedSender<Order>,
    receiver: Mutex<Option<UnboundedReceiver<Order>>>,
}

impl Default for Queue {
    fn default() -> Self {
        let (sender, receiver) = unbounded_channel();
        Queue { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Queue {
    /// Tells the supervisor.
    pub fn send(&self, order: Order) {
        // Without it the server is about to end.
        let _ = self.sender.send(order);
    }

    /// The supervisor's end, once.
    pub fn take(&self) -> Option<UnboundedReceiver<Order>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Lets programs be started through this one.
pub fn start_through_self() {
    if let Ok(path) = std::env::current_exe() {
        let _ = SELF.set(path);
    }
}

/// The command that runs a program.
fn command(argv: &[String]) -> Option<Command> {
    let (program, arguments) = argv.split_first()?;
    let mut command = match SELF.get() {
        Some(path) => {
            let mut command = Command::new(path);
            command.args([SUBCOMMAND, &std::process::id().to_string(), "--", program]);
            command
        }
        None => Command::new(program),
    };
    command.args(arguments);
    Some(command)
}

/// Turns this process into the program, which ends when the server does. Gives why that failed.
pub fn become_program(server: u32, argv: &[OsString]) -> io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // The server may have ended before that was asked for.
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() as u32 != server) {
        return io::Error::other("the server has ended");
    }
    match argv.split_first() {
        Some((program, arguments)) => Command::new(program).args(arguments).exec(),
        None => io::Error::other("no program is named"),
    }
}
