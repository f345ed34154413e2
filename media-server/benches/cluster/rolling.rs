//! Rolling restarts: one server after the other quits and comes back, under players.

use std::time::Duration;

use rustix::process::Signal;

use crate::Failure;
use crate::system::{Seen, Server, System, wait_until};

/// Which servers are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// All origins.
    Origins,
    /// All edges.
    Edges,
}

/// What a rolling restart did.
#[derive(Debug)]
pub struct Outcome {
    /// What players saw.
    pub seen: Seen,
    /// What ffmpeg complained about at edges where it saw no clean end; only where edges were restarted.
    pub complaints: Vec<String>,
}

/// Restarts all servers of a level, by SIGQUIT or SIGTERM; after each the players are left alone for a while.
pub fn restart(
    system: &mut System,
    level: Level,
    signal: Signal,
    between: Duration,
) -> Result<Outcome, Failure> {
    let audience = system.audience()?;
    let recorders = match level {
        Level::Origins => Vec::new(),
        Level::Edges => system.recorders()?,
    };
    let count = servers(system, level).len();
    for index in 0..count {
        servers(system, level)[index].quit(signal)?;
        let network = &system.network;
        let server = match level {
            Level::Origins => &mut system.origins[index],
            Level::Edges => &mut system.edges[index],
        };
        server.start(network)?;
        system.wait_for_streams()?;
        std::thread::sleep(between);
    }
    let mut complaints = Vec::new();
    for mut recorder in recorders {
        if let Err(error) = wait_until("ffmpeg has ended", || Ok(recorder.try_wait()?.is_some())) {
            complaints.push(error.to_string());
            recorder.kill()?;
        }
        let output = recorder.wait_with_output()?;
        let mut text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if text.is_empty() && !output.status.success() {
            text = output.status.to_string();
        }
        if !text.is_empty() {
            complaints.push(text);
        }
    }
    Ok(Outcome { seen: audience.leave()?, complaints })
}

fn servers(system: &mut System, level: Level) -> &mut Vec<Server> {
    match level {
        Level::Origins => &mut system.origins,
        Level::Edges => &mut system.edges,
    }
}
