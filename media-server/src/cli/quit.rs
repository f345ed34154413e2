//! Signals, and the two ways to quit that SRS has, with its log lines.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use super::Running;
use crate::children;
use crate::drain::{HandOver, Phase, Present, Schedule};
use crate::log;
use crate::reload;
use crate::server::{Command, Server};

/// How often is looked who is still here.
const LOOK: Duration = Duration::from_millis(100);

/// Why waiting ended.
#[derive(Debug, PartialEq, Eq)]
enum Waited {
    /// The time is over.
    Whole,
    /// A signal says that it is enough.
    Fast,
}

/// Waits for signals until one means the end, and quits as it says.
pub(super) fn wait(running: &mut Running, signals: &Receiver<i32>) -> ExitCode {
    while let Ok(signal) = signals.recv() {
        let server = &running.server;
        match signal {
            SIGHUP => {
                tracing::info!("reload config, signo={signal}");
                // The result is in the log and the API.
                let _ = reload::reload(server, server.path.as_deref());
            }
            SIGUSR1 => {
                log::reopen();
                tracing::info!("sig={signal}, the log file is opened again");
            }
            SIGTERM if server.settings().force_grace_quit => {
                tracing::info!("force gracefully quit, signo={signal}");
                grace(running, signals);
                break;
            }
            SIGQUIT => {
                tracing::info!("sig={signal}, user start gracefully quit");
                grace(running, signals);
                break;
            }
            _ => {
                tracing::info!("sig={signal}, user terminate program, fast quit");
                tracing::info!("cleanup for quit signal fast=1, grace=0");
                tracing::warn!("main cycle terminated, system quit normally.");
                break;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Quits when the clients have gone, or at the deadline with all clients handed over.
fn grace(running: &mut Running, signals: &Receiver<i32>) {
    let began = Instant::now();
    let settings = running.server.settings();
    let deadline = settings.grace_deadline.and_then(|time| began.checked_add(time));
    running.server.drain.begin(settings.grace_deadline);
    tracing::info!("cleanup for quit signal fast=0, grace=1");
    tracing::warn!("main cycle terminated, system quit normally.");
    if let Some(time) = settings.grace_deadline {
        tracing::info!("all clients leave within {}ms, grace_deadline", time.as_millis());
    } else {
        tracing::warn!(
            "grace_deadline is not set: the server stays as long as its clients, until it is killed"
        );
    }
    let forced = settings.force_grace_quit;
    let left = || deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
    tracing::info!("start wait for {}ms", settings.grace_start_wait.as_millis());
    // A deadline that leaves no time to hand over comes first.
    if sleep(signals, settings.grace_start_wait.min(left() / 2), forced) == Waited::Fast {
        return;
    }
    running.server.broadcast(|| Command::StopListening);
    running.server.drain.enter(Phase::Waiting);
    tracing::info!("listeners closed");
    // What is ingested is a client that never leaves.
    running.server.children.send(children::Order::Draining);
    let schedule = deadline
        .map(|at| Schedule::new(Instant::now(), at, settings.grace_handover, settings.grace_final_wait));
    if wait_for_clients(&running.server, signals, schedule, forced) == Waited::Fast {
        return;
    }
    // Files are completed before the last wait, in which other programs may read them.
    running.finish_recording();
    running.server.drain.enter(Phase::FinalWait);
    let last = settings.grace_final_wait.min(left() / 2);
    tracing::info!("final wait for {}ms", last.as_millis());
    if sleep(signals, last, forced) == Waited::Whole {
        tracing::info!("srs gracefully quit");
    }
}

fn wait_for_clients(
    server: &Server,
    signals: &Receiver<i32>,
    schedule: Option<Schedule>,
    forced: bool,
) -> Waited {
    let since = Instant::now();
    let mut handover = schedule.map(HandOver::new);
    // SRS tells after 1 s, 2 s more, 4 s more and so on.
    let (mut next, mut step) = (1, 1);
    while server.drain.guests() > 0 {
        let now = Instant::now();
        if let (Some(schedule), Some(handover)) = (schedule, &mut handover)
            && now >= schedule.start
        {
            if server.drain.status().phase != Phase::HandOver {
                tracing::info!("hand over {} clients", present(server).len());
                server.drain.enter(Phase::HandOver);
            }
            for (id, how) in handover.step(present(server), now) {
                server.leave(&id, how);
            }
            if schedule.is_over(now) {
                tracing::warn!("{} conns are left at the deadline", server.drain.guests());
                break;
            }
        }
        if since.elapsed().as_secs() >= next {
            tracing::info!("wait for {} conns to quit", server.drain.guests());
            step = (step * 2).min(32);
            next += step;
        }
        if sleep(signals, LOOK, forced) == Waited::Fast {
            return Waited::Fast;
        }
    }
    Waited::Whole
}

fn present(server: &Server) -> Vec<Present> {
    let clients = server.stat.clients();
    let live = |active: &std::sync::atomic::AtomicBool| active.load(std::sync::atomic::Ordering::Relaxed);
    clients
        .iter()
        // Who has no connection goes to another server by itself.
        .filter(|client| client.place.is_some())
        .map(|client| Present {
            id: client.id.clone(),
            publishes: client.publish,
            live: live(&client.stream.active),
        })
        .collect()
}

/// Sleeps, unless a signal says that it is enough. With `force_grace_quit` the SIGTERM that the kubelet sends after
/// its preStop hook is expected and changes nothing.
fn sleep(signals: &Receiver<i32>, time: Duration, forced: bool) -> Waited {
    let until = Instant::now() + time;
    loop {
        match signals.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(SIGTERM) if forced => tracing::info!("force gracefully quit, signo={SIGTERM}"),
            Ok(signal @ (SIGINT | SIGTERM)) => {
                tracing::info!("sig={signal}, user terminate program, fast quit");
                return Waited::Fast;
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return Waited::Whole,
            // The thread of the signals is gone; what is left is the time.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                return Waited::Whole;
            }
        }
    }
}
