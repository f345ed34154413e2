//! One measurement: a server, a paced publisher, the mass of players, and a few players that tell latencies.
//!
//! The players that tell latencies are a process of their own: the mass shares its core with others and would be
//! late itself. The mass gives way to all others (`nice`), as viewers on machines of their own would: else the latency
//! would be mostly theirs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::process::{Process, Spent, Usage, memory};
use crate::servers::{PROGRAM, Server};

/// Players that tell latencies; they are part of the number.
const PROBES: usize = 50;
/// Players of one process.
const PER_PROCESS: usize = 5000;
/// How long all players may take to connect.
const CONNECTING: Duration = Duration::from_mins(5);
/// How long a process may take to say what it should.
const PATIENCE: Duration = Duration::from_mins(1);
/// The longest that loads run; they are ended before.
const LONGEST: &str = "3600";

/// What was measured.
#[derive(Debug)]
pub struct Figures {
    /// CPU time of the server's process.
    pub spent: Spent,
    /// Resident and proportional memory with all clients, in MB.
    pub memory: (f64, f64),
    /// Resident memory that each client added, in kB.
    pub per_client: f64,
    /// p50 and p99 of what the server added, in milliseconds.
    pub latency: Option<(f64, f64)>,
    /// Gigabits a second that clients received or sent.
    pub gigabits: f64,
    /// Clients that failed.
    pub failed: u64,
}

impl Figures {
    /// User and system time, % of one core.
    pub fn cpu(&self) -> f64 {
        self.spent.user + self.spent.system
    }
}

/// Players of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Players {
    /// How many.
    pub count: usize,
    /// The vhost of their stream; the default one if none.
    pub vhost: Option<&'static str>,
    /// How they play.
    pub by: By,
}

/// What players speak.
#[derive(Debug, Clone, Copy)]
pub enum By {
    /// RTMP.
    Rtmp,
    /// HTTP-FLV.
    Http,
    /// HTTP-FLV over TLS.
    Https,
}

/// Measures a server with players; the first kind tells latencies.
pub fn players(
    server: &Server,
    media: &Path,
    kinds: &[Players],
    window: Duration,
) -> Result<Figures, Failure> {
    let mut publishers = Vec::new();
    for players in kinds {
        let mut command = Command::new(PROGRAM);
        command.args(["publish", "--loop", "--marks"]).arg(media);
        let mut publisher = Process::start(command.arg(server.publish("livestream", players.vhost)))?;
        publisher.wait_for_line("publishing", PATIENCE)?;
        publishers.push(publisher);
    }
    // The GOP is cached and everything has its size.
    std::thread::sleep(Duration::from_secs(3));
    let pid = server.process.pid();
    let (before, _) = memory(pid);
    let mut loads = Vec::new();
    let mut address = 0;
    for (index, players) in kinds.iter().enumerate() {
        let mut left = if index == 0 { players.count.saturating_sub(PROBES) } else { players.count };
        while left > 0 {
            let some = left.min(PER_PROCESS);
            let mut load = load(mass(), &url(server, address, players), some, usize::MAX, LONGEST)?;
            load.wait_for_line("measuring", CONNECTING)?;
            loads.push(load);
            left -= some;
            address += 1;
        }
    }
    let Some(first) = kinds.first() else { return Err("no players".into()) };
    let seconds = window.as_secs().to_string();
    let probes = PROBES.min(first.count);
    let mut probe = load(Command::new(PROGRAM), &url(server, address, first), probes, 1, &seconds)?;
    probe.wait_for_line("measuring", PATIENCE)?;
    let usage = Usage::now(pid)?;
    let told = Told::read(&probe.output(window + PATIENCE)?)?;
    let spent = usage.spent(pid)?;
    let full = memory(pid);
    let mut figures = Figures {
        per_client: (full.0 - before) * 1000.0
            / kinds.iter().map(|players| players.count as f64).sum::<f64>(),
        spent,
        memory: full,
        latency: told.latency,
        gigabits: told.rate,
        failed: told.failed,
    };
    for load in loads {
        let told = Told::read(&load.finish(PATIENCE)?)?;
        figures.gigabits += told.rate;
        figures.failed += told.failed;
    }
    Ok(figures)
}

fn url(server: &Server, address: usize, players: &Players) -> String {
    match players.by {
        By::Rtmp => server.rtmp(address, "livestream", players.vhost),
        By::Http => server.flv("livestream"),
        By::Https => server.secure_flv("livestream"),
    }
}

/// The program at a low priority.
fn mass() -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "10", PROGRAM]);
    command
}

fn load(
    mut command: Command,
    url: &str,
    players: usize,
    sample: usize,
    seconds: &str,
) -> Result<Process, Failure> {
    command.args(["load", "--json", "--seconds", seconds, "--sample", &sample.to_string()]);
    Process::start(command.args(["--players", &players.to_string(), url]))
}

/// Measures a server with publishers, each of a stream of its own; `burst` zero is tag by tag.
pub fn publishers(
    server: &Server,
    media: &Path,
    count: usize,
    burst: Duration,
    window: Duration,
) -> Result<Figures, Failure> {
    let pid = server.process.pid();
    let (before, _) = memory(pid);
    let mut command = Command::new(PROGRAM);
    command.args(["load", "--json", "--seconds", LONGEST, "--file"]).arg(media);
    command.args(["--publishers", &count.to_string(), "--burst", &burst.as_millis().to_string()]);
    let mut load = Process::start(command.arg(server.rtmp(0, "livestream", None)))?;
    load.wait_for_line("measuring", CONNECTING)?;
    // Every stream has had a keyframe, so that its GOP is cached.
    std::thread::sleep(Duration::from_secs(10));
    let usage = Usage::now(pid)?;
    std::thread::sleep(window);
    let spent = usage.spent(pid)?;
    let full = memory(pid);
    let told = Told::read(&load.finish(PATIENCE)?)?;
    Ok(Figures {
        per_client: (full.0 - before) * 1000.0 / count as f64,
        spent,
        memory: full,
        latency: None,
        gigabits: told.rate,
        failed: told.failed,
    })
}

/// Measures a server that nobody uses.
pub fn idle(server: &Server, window: Duration) -> Result<Figures, Failure> {
    let pid = server.process.pid();
    // What it does at its start is over.
    std::thread::sleep(Duration::from_secs(3));
    let usage = Usage::now(pid)?;
    std::thread::sleep(window);
    let spent = usage.spent(pid)?;
    Ok(Figures { spent, memory: memory(pid), per_client: 0.0, latency: None, gigabits: 0.0, failed: 0 })
}

/// What `load --json` said.
struct Told {
    rate: f64,
    latency: Option<(f64, f64)>,
    failed: u64,
}

impl Told {
    fn read(text: &str) -> Result<Self, Failure> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("load said {text:?}: {error}"))?;
        let number = |name: &str| value[name].as_f64().unwrap_or(0.0);
        let latency = &value["latency_ms"];
        Ok(Told {
            rate: number("received_gbit").max(number("sent_gbit")) / number("seconds").max(0.001),
            latency: latency["p50"].as_f64().zip(latency["p99"].as_f64()),
            failed: value["failed"].as_u64().unwrap_or(0),
        })
    }
}
