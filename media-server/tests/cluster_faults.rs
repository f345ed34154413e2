//! A cluster in namespaces of its own, whose parts fail and are restarted under players: the command of the bench
//! `cluster` with few players.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::duration_suboptimal_units,
    dead_code,
    unreachable_pub,
    reason = "a test, and the modules of a command of which it uses a part"
)]

#[path = "../benches/cluster/faults.rs"]
mod faults;
#[path = "../benches/cluster/network.rs"]
mod network;
#[path = "../benches/relay/process.rs"]
mod process;
#[path = "../benches/cluster/rolling.rs"]
mod rolling;
#[path = "../benches/cluster/system.rs"]
mod system;

use std::path::Path;
use std::time::Duration;

use rolling::Level;
use rustix::process::Signal;
use system::{Size, System};

/// Why it can't go on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const SIZE: Size = Size { origins: 3, edges: 2, streams: 6, players: 18 };
/// The demo stream's GOP and a frame, in milliseconds.
const GOP: f64 = 2040.0;
/// What a busy machine may add, in milliseconds.
const SLACK: f64 = 8000.0;
/// How long players are watched after each event.
const WATCHED: Duration = Duration::from_secs(3);

/// None where this machine does not allow namespaces.
fn system() -> Option<System> {
    if let Err(reason) = network::Network::new() {
        eprintln!("the test of a cluster is left out: {reason}");
        return None;
    }
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/doc/source.flv");
    Some(System::start(SIZE, &media).unwrap())
}

#[test]
fn players_go_on_whatever_fails_and_nothing_leaks() {
    let Some(mut system) = system() else { return };
    system.audience().unwrap().leave().unwrap();
    system.rest().unwrap();
    let held = |system: &System| {
        let servers = system.origins.iter().chain(&system.edges);
        servers.map(|server| server.held().unwrap()).collect::<Vec<_>>()
    };
    let before = held(&system);
    system.publish_all().unwrap();
    for (victim, way) in faults::ALL {
        let outcome = faults::happen(&mut system, victim, way, WATCHED).unwrap();
        assert!(!outcome.stuck, "{victim:?} {way:?}: {outcome:?}");
        assert_eq!((outcome.seen.playing, outcome.seen.failed), (SIZE.players, 0), "{victim:?} {way:?}");
    }
    system.rest().unwrap();
    for (before, after) in before.iter().zip(held(&system)) {
        assert!(after.files <= before.files + 4, "{before:?} {after:?}");
        assert!(after.memory <= before.memory + 20.0, "{before:?} {after:?}");
    }
}

#[test]
fn a_rolling_restart_of_origins_costs_no_more_than_a_gop() {
    let Some(mut system) = system() else { return };
    let outcome = rolling::restart(&mut system, Level::Origins, Signal::QUIT, WATCHED).unwrap();
    assert_eq!((outcome.seen.playing, outcome.seen.failed), (SIZE.players, 0));
    // On a busy machine everybody waits for a turn; `cargo bench --bench cluster` says what it is on a quiet one.
    assert!(outcome.seen.missed.1 <= GOP + SLACK, "{:?}", outcome.seen);
}
