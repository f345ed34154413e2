//! `load`: many players or publishers, and what they and the server saw.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::publish::numbered;
use super::swarm::{Pace, Swarm};
use super::{Failure, LoadArgs, print, resolve, say};
use crate::flv;
use crate::rtmp::url::Target;

/// Connections that are opened before the ones before them are answered.
const RAMP: usize = 200;
/// How long all connections may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Every so many players one reads messages and tells latencies.
const SAMPLE: usize = 20;

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
        let address = resolve::lookup(&target.host, target.port)?[0];
        for index in 0..publishing {
            // Spread over a second, so that many publishers do not send in one beat.
            let delay = Duration::from_millis((index * 7919 % 1000) as u64);
            let delay = if publishing > 1 { delay } else { Duration::ZERO };
            swarm.publish(address, numbered(&target, index, publishing), delay)?;
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
    say(&format!(
        "{} connected, {} failed; measuring {} s",
        swarm.connected(),
        swarm.counters.failed.0,
        args.seconds
    ));
    let before = (swarm.counters.received, swarm.counters.sent, args.pid.map(usage));
    swarm.measuring = true;
    let since = Instant::now();
    swarm.run(since + Duration::from_secs(args.seconds), |_| false)?;
    report(&mut swarm, args, before, since.elapsed());
    Ok(if swarm.counters.failed.0 == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn players(swarm: &mut Swarm<'_>, args: &LoadArgs, before: usize) -> Result<usize, Failure> {
    if let Some(rest) = args.url.strip_prefix("http://") {
        let (authority, path) = rest.split_once('/').ok_or("the URL has no path")?;
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let address = resolve::lookup(host, port.parse()?)?[0];
        for index in 0..args.players {
            swarm.get(address, authority, &format!("/{path}"))?;
            if index % RAMP == RAMP - 1 {
                settle(swarm, before + index + 1)?;
            }
        }
    } else {
        let target = Target::from_url(&args.url)?;
        let address = resolve::lookup(&target.host, target.port)?[0];
        for index in 0..args.players {
            swarm.play(address, target.clone(), index % SAMPLE == 0)?;
            if index % RAMP == RAMP - 1 {
                settle(swarm, before + index + 1)?;
            }
        }
    }
    Ok(args.players)
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

type Before = (u64, u64, Option<(f64, f64, u64)>);

fn report(swarm: &mut Swarm<'_>, args: &LoadArgs, before: Before, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    let seen = &mut swarm.counters;
    let received = (seen.received - before.0) as f64 * 8.0 / 1e9;
    let sent = (seen.sent - before.1) as f64 * 8.0 / 1e9;
    print(&format!("received        {:.3} Gbit/s", received / seconds));
    print(&format!("sent            {:.3} Gbit/s", sent / seconds));
    if !seen.latencies.is_empty() {
        seen.latencies.sort_unstable();
        let at = |share: f64| {
            let index = ((seen.latencies.len() - 1) as f64 * share) as usize;
            f64::from(seen.latencies[index]) / 1000.0
        };
        print(&format!(
            "latency         p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({} samples)",
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
            seen.latencies.len()
        ));
    }
    if let (Some(pid), Some((user, system, _))) = (args.pid, before.2) {
        let (user_now, system_now, resident) = usage(pid);
        let (user, system) = ((user_now - user) / seconds * 100.0, (system_now - system) / seconds * 100.0);
        print(&format!("server CPU      {user:.1} + {system:.1} = {:.1} % of a core", user + system));
        print(&format!("server memory   {:.1} MB resident", resident as f64 / 1000.0));
        let delivered = received.max(sent);
        if delivered > 0.0 {
            print(&format!("CPU per Gbit    {:.3} s", (user + system) / 100.0 * seconds / delivered));
        }
    }
    if let (failed, Some(reason)) = &seen.failed {
        say(&format!("{failed} clients failed: {reason}"));
    }
}
