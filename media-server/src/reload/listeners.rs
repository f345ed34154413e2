//! Listeners that follow the configuration: all new ones are there, or everything stays as it was.
//!
//! A port that only changes its service keeps its socket. Where an old address stands in the way of a new one
//! (`1985` and `127.0.0.1:1985` can't both be listened at) it is closed first, and opened again if the new one can't be had.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use super::{Error, listen};
use crate::server::{Command, Server, Service};

/// What is listened at, and for which service.
pub(super) type Place = (Service, SocketAddr);

/// The core gives up a listener at once; this only bounds the wait for one that has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// New listeners, and the places that are closed when they take over.
#[derive(Debug)]
pub(super) struct Change {
    opened: Vec<(Place, TcpListener)>,
    closed: Vec<Place>,
}

impl Change {
    /// Opens what `after` has and `before` has not.
    ///
    /// # Errors
    /// An address that can't be listened at. Then the old listeners listen as before.
    pub(super) fn open(
        server: &Server,
        before: &BTreeSet<Place>,
        after: &BTreeSet<Place>,
    ) -> Result<Self, Error> {
        let new: Vec<Place> = after.difference(before).copied().collect();
        let (hindering, closed): (Vec<Place>, Vec<Place>) =
            before.difference(after).partition(|old| new.iter().any(|new| overlap(old.1, new.1)));
        let (hindered, free): (Vec<Place>, Vec<Place>) =
            new.into_iter().partition(|new| hindering.iter().any(|old| overlap(old.1, new.1)));
        // As long as nothing is taken away nothing must be given back.
        let mut opened = free.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut taken = take(server, &hindering);
        let replaced: Vec<Place> = taken.iter().map(|(place, _)| *place).collect();
        let mut kept = Vec::new();
        for new in &hindered {
            if let Some(same) = taken.iter().position(|(old, _)| old.1 == new.1) {
                kept.push((*new, taken.swap_remove(same)));
            }
        }
        drop(taken);
        let is_kept = |new: &Place| kept.iter().any(|(place, _)| place == new);
        match hindered.into_iter().filter(|new| !is_kept(new)).map(open).collect::<Result<Vec<_>, _>>() {
            Ok(others) => {
                opened.extend(others);
                opened.extend(kept.into_iter().map(|(new, (_, listener))| (new, listener)));
                Ok(Change { opened, closed })
            }
            Err(error) => {
                let kept: Vec<_> = kept.into_iter().map(|(_, old)| old).collect();
                restore(server, &replaced, kept);
                Err(error)
            }
        }
    }

    /// Listens at the new places, and at those that are gone no more.
    pub(super) fn take_over(self, server: &Server) {
        for ((service, address), listener) in self.opened {
            server.cores[0].send(Command::Listen(listener, service, address));
        }
        for (service, address) in self.closed {
            server.cores[0].send(Command::Unlisten(service, address));
        }
    }
}

fn open((service, address): Place) -> Result<(Place, TcpListener), Error> {
    let listener = listen(address).map_err(|source| Error::Listen { address, source })?;
    Ok(((service, address), listener))
}

/// Whether one address can't be listened at while the other is.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (any || one.ip() == other.ip())
}

/// Takes listeners from the core that accepts.
fn take(server: &Server, places: &[Place]) -> Vec<(Place, TcpListener)> {
    let (sender, listeners) = mpsc::channel();
    for (service, address) in places {
        server.cores[0].send(Command::Surrender(*service, *address, sender.clone()));
    }
    drop(sender);
    // The core forgets the sender with the command: places at which it does not listen end the wait too.
    std::iter::from_fn(|| listeners.recv_timeout(PATIENCE).ok()).collect()
}

/// Gives the core its listeners back, those that were closed in the meantime opened anew.
fn restore(server: &Server, replaced: &[Place], mut kept: Vec<(Place, TcpListener)>) {
    let closed: Vec<Place> =
        replaced.iter().copied().filter(|place| kept.iter().all(|(old, _)| old != place)).collect();
    for place in closed {
        match open(place) {
            Ok(again) => kept.push(again),
            Err(error) => tracing::error!("{error}: nobody listens there any more"),
        }
    }
    for ((service, address), listener) in kept {
        server.cores[0].send(Command::Listen(listener, service, address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_in_the_way_of_all_addresses_of_its_port() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (one, other, expected) in [
            ("0.0.0.0:1985", "127.0.0.1:1985", true),
            ("127.0.0.1:1985", "[::]:1985", true),
            ("127.0.0.1:1985", "127.0.0.1:1985", true),
            ("127.0.0.1:1985", "127.0.0.2:1985", false),
            ("0.0.0.0:1985", "0.0.0.0:1986", false),
        ] {
            assert_eq!(overlap(address(one), address(other)), expected, "{one} {other}");
            assert_eq!(overlap(address(other), address(one)), expected, "{other} {one}");
        }
    }
}
