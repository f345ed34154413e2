//! A cluster whose parts fail and are restarted under players, as Markdown tables.
//!
//! ```text
//! cargo bench --package media-server --bench cluster
//! cargo bench --package media-server --bench cluster -- --streams 6 --players 20 --only rolling
//! ```
//!
//! Origins, edges, publishers and players are processes on hosts of their own: network namespaces around a router. It
//! needs root, and leaves nothing behind. Publishers know all origins and players all edges, as they do behind an SLB.
//! Milliseconds of media that never came and the longest time without media are what `load` tells; the median stands
//! for the streams' players, the most is that of any player.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "figures for people; the modules are this program's own"
)]

mod faults;
mod network;
#[allow(dead_code, reason = "the other benchmark's, of which this one uses a part")]
#[path = "../relay/process.rs"]
mod process;
mod rolling;
mod system;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rustix::process::Signal;

use rolling::Level;
use system::{Held, Seen, Size, System};

/// Why the benchmark can't go on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Lets a cluster's parts fail and restart, and prints what players missed.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
struct Options {
    /// Origins
    #[arg(long, value_name = "N", default_value_t = 3)]
    origins: usize,
    /// Edges
    #[arg(long, value_name = "N", default_value_t = 2)]
    edges: usize,
    /// Streams, spread over the origins
    #[arg(long, value_name = "N", default_value_t = 30)]
    streams: usize,
    /// Players, spread over edges and streams
    #[arg(long, value_name = "N", default_value_t = 500)]
    players: usize,
    /// How long players are watched after each event
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Only this part
    #[arg(long)]
    only: Option<Part>,
    /// The FLV file that is published
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/image/doc/source.flv"))]
    file: PathBuf,
    /// Cargo says so
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Parts that are killed, and black holes
    Faults,
    /// Rolling restarts
    Rolling,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let Options { origins, edges, streams, players, .. } = options;
    let size = Size { origins, edges, streams, players };
    let watched = Duration::from_secs(options.seconds);
    let mut system = System::start(size, &options.file)?;
    say(&format!("{origins} origins, {edges} edges, {streams} streams, {players} players\n"))?;
    // What a server keeps ready for later is no leak: it is warm before it is measured.
    system.audience()?.leave()?;
    system.rest()?;
    let before = held(&system)?;
    system.publish_all()?;
    let mut met = true;
    if options.only != Some(Part::Rolling) {
        met &= fail(&mut system, watched)?;
    }
    if options.only != Some(Part::Faults) {
        met &= roll(&mut system, watched)?;
    }
    system.rest()?;
    say("\n| server | open files before, after | MB resident before, after |\n|---|---|---|")?;
    for (name, after) in held(&system)? {
        let before = before.iter().find(|(other, _)| *other == name).ok_or("a server has gone")?.1;
        say(&format!(
            "| {name} | {}, {} | {:.1}, {:.1} |",
            before.files, after.files, before.memory, after.memory
        ))?;
    }
    if met { Ok(()) } else { Err("not all was met".into()) }
}

fn held(system: &System) -> Result<Vec<(String, Held)>, Failure> {
    system
        .origins
        .iter()
        .chain(&system.edges)
        .map(|server| Ok((server.name.clone(), server.held()?)))
        .collect()
}

fn fail(system: &mut System, watched: Duration) -> Result<bool, Failure> {
    say(
        "| fault | players | reconnects | media missed, ms: median, most | longest pause, ms: median, most | to reach | |",
    )?;
    say("|---|---|---|---|---|---|---|")?;
    let mut all = true;
    for (victim, way) in faults::ALL {
        let outcome = faults::happen(system, victim, way, watched)?;
        let bound = way.bound().as_millis();
        let met = outcome.seen.failed == 0 && !outcome.stuck && outcome.seen.pause.1 <= bound as f64;
        all &= met;
        let title = format!("{victim:?}, {way:?}");
        row(&title, &outcome.seen, &format!("pause ≤ {bound} ms"), word(met))?;
    }
    Ok(all)
}

fn roll(system: &mut System, watched: Duration) -> Result<bool, Failure> {
    say(
        "\n| rolling restart | players | reconnects | media missed, ms: median, most | longest pause, ms: median, most | to reach | |",
    )?;
    say("|---|---|---|---|---|---|---|")?;
    let mut all = true;
    for level in [Level::Origins, Level::Edges] {
        for (signal, name) in [(Signal::QUIT, "SIGQUIT"), (Signal::TERM, "SIGTERM")] {
            let outcome = rolling::restart(system, level, signal, watched)?;
            let title = format!("{level:?}, {name}");
            if signal == Signal::TERM {
                row(&title, &outcome.seen, "", &outcome.complaints.join("; "))?;
                continue;
            }
            let met =
                outcome.seen.failed == 0 && outcome.seen.missed.1 <= GOP && outcome.complaints.is_empty();
            all &= met;
            let reached = format!("{} {}", word(met), outcome.complaints.join("; "));
            row(
                &title,
                &outcome.seen,
                &format!("missed ≤ {GOP} ms, a clean end for ffmpeg"),
                reached.trim(),
            )?;
        }
    }
    Ok(all)
}

/// The GOP of the demo stream and a frame, in milliseconds.
const GOP: f64 = 2040.0;

fn row(title: &str, seen: &Seen, target: &str, reached: &str) -> Result<(), Failure> {
    let Seen { playing, reconnects, missed, pause, .. } = seen;
    say(&format!(
        "| {title} | {playing} | {reconnects} | {:.0}, {:.0} | {:.0}, {:.0} | {target} | {reached} |",
        missed.0, missed.1, pause.0, pause.1
    ))
}

fn word(met: bool) -> &'static str {
    if met { "met" } else { "not met" }
}

fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
