//! Starts programs, starts them again, and stops them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::exec::Variables;
use super::{Order, Program, exec, ingest};
use crate::conf::Settings;

/// The pause before a program that ended is started again (SRS).
const PAUSE: Duration = Duration::from_secs(3);
/// What a program that is told to end gets for that, before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs what the configuration and the streams ask for, until it is told to quit. `port` is RTMP's. Blocks its
/// thread, which must live as long as the server: the programs end with it.
pub fn run(port: u16, mut orders: UnboundedReceiver<Order>) -> io::Result<()> {
    let mut wanted = Wanted { port, ..Wanted::default() };
    // Most servers run nothing, and need no runtime for that.
    let first = loop {
        match orders.blocking_recv() {
            None | Some(Order::Quit) => return Ok(()),
            Some(order) => {
                let owners = wanted.take(order);
                if owners.iter().any(|owner| !wanted.programs(owner).is_empty()) {
                    break owners;
                }
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut running = Running::default();
        let mut changed = first;
        loop {
            for owner in changed {
                let programs = wanted.programs(&owner);
                running.set(owner, programs);
            }
            match orders.recv().await {
                None | Some(Order::Quit) => break,
                Some(order) => changed = wanted.take(order),
            }
        }
        running.stop().await;
    });
    Ok(())
}

/// Whom a program belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    Ingest,
    /// A stream, by its id.
    Stream(String),
}

#[derive(Default)]
struct Wanted {
    port: u16,
    settings: Option<Arc<Settings>>,
    streams: HashMap<String, Box<Variables>>,
    draining: bool,
}

impl Wanted {
    /// Takes an order; gives whose programs may have changed.
    fn take(&mut self, order: Order) -> Vec<Owner> {
        match order {
            Order::Configured(settings) => {
                self.settings = Some(settings);
                let streams = self.streams.keys().cloned().map(Owner::Stream);
                streams.chain([Owner::Ingest]).collect()
            }
            Order::Published { id, variables } => {
                self.streams.insert(id.clone(), variables);
                vec![Owner::Stream(id)]
            }
            Order::Unpublished { id } => {
                self.streams.remove(&id);
                vec![Owner::Stream(id)]
            }
            Order::Draining => {
                self.draining = true;
                vec![Owner::Ingest]
            }
            Order::Quit => Vec::new(),
        }
    }

    fn programs(&self, owner: &Owner) -> Vec<Program> {
        let Some(settings) = &self.settings else { return Vec::new() };
        match owner {
            Owner::Ingest if self.draining => Vec::new(),
            Owner::Ingest => ingest::programs(settings, self.port),
            Owner::Stream(id) => self
                .streams
                .get(id)
                .map_or_else(Vec::new, |variables| exec::programs(settings, variables, self.port)),
        }
    }
}

/// A program that is kept running.
struct Kept {
    program: Program,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Running(HashMap<Owner, Vec<Kept>>);

impl Running {
    /// Stops what is no longer wanted and starts what is new; what did not change is not touched.
    fn set(&mut self, owner: Owner, mut wanted: Vec<Program>) {
        let mut kept = Vec::new();
        for one in self.0.remove(&owner).unwrap_or_default() {
            match wanted.iter().position(|program| *program == one.program) {
                Some(at) => {
                    wanted.remove(at);
                    kept.push(one);
                }
                None => drop(one.stop),
            }
        }
        kept.extend(wanted.into_iter().map(|program| {
            let (stop, stopped) = oneshot::channel();
            let task = tokio::spawn(keep(program.clone(), stopped));
            Kept { program, stop, task }
        }));
        if !kept.is_empty() {
            self.0.insert(owner, kept);
        }
    }

    /// Stops everything, and waits for it.
    async fn stop(self) {
        let mut tasks = JoinSet::new();
        for kept in self.0.into_values().flatten() {
            drop(kept.stop);
            tasks.spawn(kept.task);
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Keeps a program running until `stopped` is gone.
async fn keep(program: Program, mut stopped: oneshot::Receiver<()>) {
    let name = program.argv.first().cloned().unwrap_or_default();
    loop {
        let ended = match start(&program) {
            Ok(mut child) => {
                tracing::info!("{name} is started, pid {}", child.id().unwrap_or(0));
                let group = group(&child);
                tokio::select! {
                    status = child.wait() => {
                        // What it started must not stay behind, or be there twice.
                        if let Some(group) = group {
                            let _ = kill_process_group(group, Signal::KILL);
                        }
                        Some(status)
                    }
                    _ = &mut stopped => {
                        end(&name, &mut child).await;
                        None
                    }
                }
            }
            Err(error) => Some(Err(error)),
        };
        let Some(ended) = ended else { return };
        report(&name, &program, ended);
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = &mut stopped => return,
        }
    }
}

fn report(name: &str, program: &Program, ended: io::Result<ExitStatus>) {
    let errors = program.stderr.as_deref().map_or(String::new(), |path| format!(", see {}", path.display()));
    match ended {
        Ok(status) => tracing::warn!("{name} ended ({status}{errors}), it is started again in 3 s"),
        Err(error) => tracing::error!("{name} can't be started: {error}, it is tried again in 3 s"),
    }
}

fn start(program: &Program) -> io::Result<Child> {
    let command = super::command(&program.argv).ok_or_else(|| io::Error::other("no program is named"))?;
    let mut command = Command::from(command);
    command.stdin(Stdio::null());
    command.stdout(output(program.stdout.as_deref())?);
    command.stderr(output(program.stderr.as_deref())?);
    // Its own group, so that what it starts itself ends with it.
    command.process_group(0).kill_on_drop(true).spawn()
}

fn output(path: Option<&Path>) -> io::Result<Stdio> {
    let Some(path) = path else { return Ok(Stdio::null()) };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // A program that is started again and again must not fill the disk.
    Ok(File::create(path)?.into())
}

/// The group of a program that has not ended.
fn group(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
}

async fn end(name: &str, child: &mut Child) {
    let Some(pid) = group(child) else { return };
    let _ = kill_process_group(pid, Signal::TERM);
    if timeout(PATIENCE, child.wait()).await.is_err() {
        tracing::warn!("{name} did not end within {} s and is killed", PATIENCE.as_secs());
    }
    // What is left of the group.
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = child.wait().await;
}
