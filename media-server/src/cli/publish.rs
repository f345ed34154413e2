//! `publish FILE URL`: the tutorial's encoder.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::swarm::{Addresses, Pace, Swarm};
use super::{Failure, PublishArgs, resolve, say, serve};
use crate::flv;
use crate::rtmp::url::Target;

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes a file to one or many streams until it ends, or for ever.
pub(super) fn run(args: &PublishArgs) -> Result<ExitCode, Failure> {
    let PublishArgs { file, url, repeat, streams, marks, address } = args;
    let (repeat, streams, marked) = (*repeat, *streams, *marks);
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let tags = flv::tags(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    if tags.is_empty() {
        return Err(format!("{}: the file has no tags", file.display()).into());
    }
    serve::raise_open_files();
    let target = Target::from_url(url)?;
    let list = match address.as_slice() {
        [] => resolve::lookup(&target.host, target.port)?,
        named => named.to_vec(),
    };
    let addresses = Addresses { list, again: true };
    let mut swarm = Swarm::new(&tags, Pace { repeat, burst: Duration::ZERO, marked })?;
    for index in 0..streams {
        swarm.publish(&addresses, numbered(&target, index, streams), Duration::ZERO)?;
    }
    swarm.run(Instant::now() + PATIENCE, |seen| seen.started + seen.failed.0 == streams)?;
    if let Some(reason) = swarm.counters.failed.1 {
        return Err(format!("{url}: {reason}").into());
    }
    if swarm.counters.started < streams {
        let message = format!("{url}: no answer within {} s", PATIENCE.as_secs());
        return Err(message.into());
    }
    say(&format!("publishing {} to {url}, {streams} stream(s)", file.display()));
    swarm.verbose = true;
    let forever = Instant::now() + Duration::from_hours(24 * 3650);
    swarm.run(forever, |seen| {
        seen.finished + seen.failed.0 > 0 && seen.finished + seen.failed.0 >= seen.started.min(1)
    })?;
    if let Some(reason) = swarm.counters.failed.1 {
        return Err(format!("{url}: {reason}").into());
    }
    // The others finish with the first: they send the same file.
    swarm.run(Instant::now() + Duration::from_secs(2), |seen| seen.finished + seen.failed.0 >= streams)?;
    Ok(ExitCode::SUCCESS)
}

/// The target of one of many streams.
pub(super) fn numbered(target: &Target, index: usize, streams: usize) -> Target {
    match streams {
        0 | 1 => target.clone(),
        _ => Target { stream: format!("{}_{}", target.stream, index + 1), ..target.clone() },
    }
}
