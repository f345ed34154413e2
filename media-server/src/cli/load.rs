//! `load`: many players or publishers, and what they and the server saw.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::publish::numbered;
use super::swarm::{Addresses, Pace, Swarm};
use super::{Failure, LoadArgs, print, resolve, say, serve, tls};
use crate::flv;
use crate::rtmp::url::Target;

/// Connections that are opened before the ones before them are answered.
const RAMP: usize = 200;
/// How long all connections may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// What players that join get at once is over by then.
const CALM: Duration = Duration::from_secs(2);

/// Runs a load and prints what was seen.
pub(super) fn run(args: &LoadArgs) -> Result<ExitCode, Failure> {
    let bytes = match &args.file {
        Some(file) => std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?,
        None => flv::file_header(true, true).to_vec(),
    };
    let tags = flv::tags(&bytes)?;
    if args.publishers > 0 && args.file.is_none() {
        return Err("--publishers needs --file: what they send".into());
    }
    if args.players == 0 && args.publishers == 0 {
        return Err("--players or --publishers is needed".into());
    }
    serve::raise_open_files();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let burst = Duration::from_millis(args.burst);
    let mut swarm = Swarm::new(&tags, Pace { repeat: true, burst, marked: args.players > 0 })?;
    let publishing = match (args.players, &args.file) {
        (0, _) => args.publishers,
        (_, Some(_)) => 1,
        (_, None) => 0,
    };
    let mut clients = 0;
    // The stream of the players is published to RTMP's URL; an HTTP one names only what is played.
    if publishing > 0 && args.url.starts_with("rtmp://") {
        let target = Target::from_url(&args.url)?;
        let addresses = addresses(args, &target.host, target.port)?;
        for index in 0..publishing {
            // Spread over a second, so that many publishers do not send in one beat.
            let delay = Duration::from_millis((index * 7919 % 1000) as u64);
            let delay = if publishing > 1 { delay } else { Duration::ZERO };
            swarm.publish(&addresses, numbered(&target, index, publishing), delay)?;
            clients += 1;
            if clients % RAMP == 0 {
                settle(&mut swarm, clients)?;
            }
        }
        settle(&mut swarm, clients)?;
    }
    if args.players > 0 {
        clients += players(&mut swarm, args, clients)?;
    }
    settle(&mut swarm, clients)?;
    swarm.run(Instant::now() + CALM, |_| stop.load(Ordering::Relaxed))?;
    say(&format!(
        "{} connected, {} failed; measuring {} s",
        swarm.connected(),
        swarm.counters.failed.0,
        args.seconds
    ));
    let before = (swarm.counters.received, swarm.counters.sent, args.pid.map(usage));
    let reconnects = swarm.counters.reconnects;
    swarm.measure();
    let since = Instant::now();
    swarm.run(since + Duration::from_secs(args.seconds), |_| stop.load(Ordering::Relaxed))?;
    let mut report = Report::new(&mut swarm, args.pid, before, since.elapsed());
    if args.reconnect {
        let reason = swarm.counters.first_loss.take();
        report.missed = Some(Missed::new(swarm.missed(), swarm.counters.reconnects - reconnects, reason));
    }
    match args.json {
        true => print(&report.json().to_string()),
        false => print(report.text().trim_end()),
    }
    if let Some(reason) = &report.reason {
        say(&format!("{} clients failed: {reason}", report.failed));
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn players(swarm: &mut Swarm<'_>, args: &LoadArgs, before: usize) -> Result<usize, Failure> {
    let plain = args.url.strip_prefix("http://").map(|rest| (rest, "80", None));
    let secure = || args.url.strip_prefix("https://").map(|rest| (rest, "443", Some(tls::config())));
    if let Some((rest, port, tls)) = plain.or_else(secure) {
        let tls = tls.transpose()?;
        let (authority, path) = rest.split_once('/').ok_or("the URL has no path")?;
        let (host, port) = authority.split_once(':').unwrap_or((authority, port));
        let addresses = addresses(args, host, port.parse()?)?;
        for index in 0..args.players {
            let tls = tls.as_ref().map(|config| (config, host));
            swarm.get(&addresses, tls, authority, &format!("/{path}"), sampled(args, index))?;
            if index % RAMP == RAMP - 1 {
                settle(swarm, before + index + 1)?;
            }
        }
    } else {
        let target = Target::from_url(&args.url)?;
        let addresses = addresses(args, &target.host, target.port)?;
        for index in 0..args.players {
            swarm.play(&addresses, target.clone(), sampled(args, index))?;
            if index % RAMP == RAMP - 1 {
                settle(swarm, before + index + 1)?;
            }
        }
    }
    Ok(args.players)
}

/// Whether a player reads messages: each does that must know what it missed.
fn sampled(args: &LoadArgs, index: usize) -> bool {
    args.reconnect || index.is_multiple_of(args.sample.max(1))
}

/// Where clients connect: where they are told to, else where the URL's name leads.
fn addresses(args: &LoadArgs, host: &str, port: u16) -> Result<Addresses, Failure> {
    let mut list = match args.address.as_slice() {
        [] => resolve::lookup(host, port)?,
        named => named.to_vec(),
    };
    if !args.reconnect {
        list.truncate(1);
    }
    Ok(Addresses { list, again: args.reconnect })
}

/// Works until all clients have started or failed.
fn settle(swarm: &mut Swarm<'_>, clients: usize) -> Result<(), Failure> {
    swarm.run(Instant::now() + PATIENCE, |seen| seen.started + seen.failed.0 >= clients)?;
    if swarm.counters.started == 0 {
        let reason = swarm.counters.failed.1.clone().unwrap_or_else(|| "no client was answered".into());
        return Err(reason.into());
    }
    Ok(())
}

/// CPU seconds (user, system) and resident kB of a process.
fn usage(pid: u32) -> (f64, f64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks =
        |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    (ticks(11), ticks(12), resident.unwrap_or(0))
}

/// What players missed while they connected again.
#[derive(Debug)]
struct Missed {
    reconnects: usize,
    /// Why the first of them was needed.
    reason: Option<String>,
    /// Players that missed something.
    players: usize,
    /// Milliseconds of the stream: p50, p99 and the most.
    lost: [f64; 3],
    /// The longest time without media, in milliseconds, likewise.
    pause: [f64; 3],
}

impl Missed {
    /// From what each player missed and how long it waited, in order.
    fn new((missed, pauses): (Vec<f64>, Vec<f64>), reconnects: usize, reason: Option<String>) -> Self {
        let shares = |of: &[f64]| {
            [0.5, 0.99, 1.0].map(|share| {
                let index = (of.len().saturating_sub(1) as f64 * share) as usize;
                of.get(index).copied().unwrap_or(0.0)
            })
        };
        let players = missed.iter().filter(|lost| **lost > 0.0).count();
        Missed { reconnects, reason, players, lost: shares(&missed), pause: shares(&pauses) }
    }

    fn json(&self) -> serde_json::Value {
        let ([p50, p99, max], pause) = (self.lost, self.pause);
        serde_json::json!({
            "reconnects": self.reconnects, "reason": self.reason, "players": self.players,
            "p50_ms": p50, "p99_ms": p99, "max_ms": max,
            "pause": { "p50_ms": pause[0], "p99_ms": pause[1], "max_ms": pause[2] },
        })
    }
}

type Before = (u64, u64, Option<(f64, f64, u64)>);

/// What a load has seen.
#[derive(Debug)]
struct Report {
    seconds: f64,
    connected: usize,
    failed: usize,
    reason: Option<String>,
    /// Gigabits.
    received: f64,
    sent: f64,
    /// Milliseconds: p50, p90, p99 and the longest, and how many there were.
    latency: Option<([f64; 4], usize)>,
    /// User and system time as % of a core, resident kB.
    server: Option<(f64, f64, u64)>,
    missed: Option<Missed>,
}

impl Report {
    fn new(swarm: &mut Swarm<'_>, pid: Option<u32>, before: Before, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let connected = swarm.connected();
        let seen = &mut swarm.counters;
        seen.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (seen.latencies.len().saturating_sub(1) as f64 * share) as usize;
            seen.latencies.get(index).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        let latency = ([at(0.5), at(0.9), at(0.99), at(1.0)], seen.latencies.len());
        let server = pid.zip(before.2).map(|(pid, (user, system, _))| {
            let (user_now, system_now, resident) = usage(pid);
            ((user_now - user) / seconds * 100.0, (system_now - system) / seconds * 100.0, resident)
        });
        Report {
            seconds,
            connected,
            failed: seen.failed.0,
            reason: seen.failed.1.clone(),
            received: (seen.received - before.0) as f64 * 8.0 / 1e9,
            sent: (seen.sent - before.1) as f64 * 8.0 / 1e9,
            latency: (latency.1 > 0).then_some(latency),
            server,
            missed: None,
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "seconds": self.seconds,
            "connected": self.connected,
            "failed": self.failed,
            "reason": self.reason,
            "received_gbit": self.received,
            "sent_gbit": self.sent,
            "latency_ms": self.latency.map(|([p50, p90, p99, max], samples)| serde_json::json!({
                "p50": p50, "p90": p90, "p99": p99, "max": max, "samples": samples,
            })),
            "server": self.server.map(|(user, system, resident)| serde_json::json!({
                "user_percent": user, "system_percent": system, "resident_kb": resident,
            })),
            "missed": self.missed.as_ref().map(Missed::json),
        })
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let seconds = self.seconds;
        let _ = writeln!(text, "received        {:.3} Gbit/s", self.received / seconds);
        let _ = writeln!(text, "sent            {:.3} Gbit/s", self.sent / seconds);
        if let Some(([p50, p90, p99, max], samples)) = self.latency {
            let _ = writeln!(
                text,
                "latency         p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, max {max:.1} ms ({samples} samples)"
            );
        }
        if let Some(Missed { reconnects, players, lost: [p50, p99, max], pause, .. }) = self.missed {
            let _ = writeln!(
                text,
                "missed media    p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms; {players} players missed some, {reconnects} reconnects"
            );
            let [p50, p99, max] = pause;
            let _ = writeln!(text, "longest pause   p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms");
        }
        if let Some((user, system, resident)) = self.server {
            let both = user + system;
            let _ = writeln!(text, "server CPU      {user:.1} + {system:.1} = {both:.1} % of a core");
            let _ = writeln!(text, "server memory   {:.1} MB resident", resident as f64 / 1000.0);
            let delivered = self.received.max(self.sent);
            if delivered > 0.0 {
                let _ = writeln!(text, "CPU per Gbit    {:.3} s", both / 100.0 * seconds / delivered);
            }
        }
        text
    }
}
