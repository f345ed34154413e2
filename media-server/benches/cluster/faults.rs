//! Servers and publishers that are killed, or whose packets vanish, and what players see of it.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::system::{Seen, System};

/// Who fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// An origin; its publishers go to another one.
    Origin,
    /// An edge; its players go to another one.
    Edge,
    /// The first stream's publisher; another one takes its place.
    Publisher,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// SIGKILL: its connections are closed.
    Kill,
    /// All its packets are dropped, and nothing is closed.
    BlackHole,
}

/// All faults.
pub const ALL: [(Victim, Way); 6] = [
    (Victim::Origin, Way::Kill),
    (Victim::Edge, Way::Kill),
    (Victim::Publisher, Way::Kill),
    (Victim::Origin, Way::BlackHole),
    (Victim::Edge, Way::BlackHole),
    (Victim::Publisher, Way::BlackHole),
];

impl Way {
    /// How long nothing may play: a black hole is noticed by silence.
    pub fn bound(self) -> Duration {
        match self {
            Way::Kill => Duration::from_secs(3),
            Way::BlackHole => STALL + Duration::from_secs(3),
        }
    }
}

/// Servers and clients take a connection for lost when nothing came for so long.
const STALL: Duration = Duration::from_secs(5);

/// What a fault did.
#[derive(Debug)]
pub struct Outcome {
    /// What players saw.
    pub seen: Seen,
    /// Nothing came to a player any more.
    pub stuck: bool,
}

/// Lets it fail under players and repairs it; each of both is watched for a while.
pub fn happen(system: &mut System, victim: Victim, way: Way, watched: Duration) -> Result<Outcome, Failure> {
    let audience = system.audience()?;
    let since = Instant::now();
    let host = match victim {
        Victim::Origin => system.origins[0].host,
        Victim::Edge => system.edges[0].host,
        Victim::Publisher => system.encoder,
    };
    let server = match victim {
        Victim::Origin => Some(&mut system.origins[0]),
        Victim::Edge => Some(&mut system.edges[0]),
        Victim::Publisher => None,
    };
    match (way, server) {
        (Way::Kill, Some(server)) => {
            server.kill();
            std::thread::sleep(watched);
            server.start(&system.network)?;
        }
        (Way::Kill, None) => {
            system.replace_publisher(0, host)?;
            std::thread::sleep(watched);
        }
        (Way::BlackHole, Some(_)) => {
            system.network.black_hole(host)?;
            std::thread::sleep(STALL + watched);
            system.network.mend(host)?;
        }
        (Way::BlackHole, None) => {
            system.network.black_hole(host)?;
            // It is silent for more than a second before the next one comes.
            std::thread::sleep(Duration::from_secs(2));
            let other = system.encoders();
            system.replace_publisher(0, other)?;
            std::thread::sleep(watched);
            system.network.mend(host)?;
        }
    }
    std::thread::sleep(watched);
    system.wait_for_streams()?;
    let elapsed = since.elapsed();
    let seen = audience.leave()?;
    let stuck = seen.pause.1 >= elapsed.as_secs_f64() * 1000.0;
    Ok(Outcome { seen, stuck })
}
