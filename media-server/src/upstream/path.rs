//! Which server a link tries next: the list in its order, every address of a name, redirects, and how long to wait
//! when nothing is left.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Endpoint, rendezvous};

/// Redirects that are followed in a row; SRS follows any number, also in a circle.
pub const MAX_HOPS: usize = 3;
/// The longest wait between two rounds over all servers: SRS's fixed one.
pub const MAX_WAIT: Duration = Duration::from_secs(3);
/// The first wait; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 64;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look a name up, answer with [`Path::resolved`]. After a failure what is remembered should not be used.
    Resolve(Endpoint, bool),
    /// Connect; the endpoint is what the address was found by.
    Connect(SocketAddr, Endpoint),
    /// Nothing is left of this round.
    Wait(Duration),
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misled {
    /// It is no URL of RTMP.
    #[error("redirected to {0:?}, which is no rtmp:// URL")]
    Url(String),
    /// It was there already.
    #[error("redirected to {0} again: a loop")]
    Loop(Endpoint),
    /// Too many.
    #[error("redirected more than {MAX_HOPS} times, at last to {0}")]
    Hops(Endpoint),
}

/// The way to a stream's server.
#[derive(Debug)]
pub struct Path {
    servers: Vec<Endpoint>,
    /// The next of `servers`, and how many of them this round has left.
    next: usize,
    left: usize,
    /// Whole rounds without success.
    rounds: u32,
    /// Of the server that is tried now.
    addresses: VecDeque<SocketAddr>,
    server: Option<Endpoint>,
    redirect: Option<Endpoint>,
    /// Where redirects led since the last server of the list.
    seen: Vec<Endpoint>,
    /// Addresses of one name are put into the order of this stream.
    key: Option<String>,
}

impl Path {
    /// Over servers in their order.
    pub fn new(servers: Vec<Endpoint>) -> Self {
        Path {
            next: 0,
            left: servers.len(),
            rounds: 0,
            addresses: VecDeque::new(),
            server: None,
            redirect: None,
            seen: Vec::new(),
            key: None,
            servers,
        }
    }

    /// Over servers, and the addresses of each, in the order that belongs to a stream.
    pub fn by_rendezvous(mut servers: Vec<Endpoint>, key: &str) -> Self {
        rendezvous::order(key, &mut servers, ToString::to_string);
        Path { key: Some(key.to_owned()), ..Path::new(servers) }
    }

    /// Goes over other servers from now on.
    pub fn change(&mut self, mut servers: Vec<Endpoint>) {
        if let Some(key) = &self.key {
            rendezvous::order(key, &mut servers, ToString::to_string);
        }
        if servers != self.servers {
            self.left = servers.len();
            self.next = 0;
            self.servers = servers;
        }
    }

    /// There is another server or address to try before waiting.
    pub fn has_more(&self) -> bool {
        self.left > 0 || !self.addresses.is_empty() || self.redirect.is_some()
    }

    /// Whole rounds without success.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// What is to be done next.
    pub fn next_step(&mut self) -> Step {
        if let (Some(address), Some(server)) = (self.addresses.pop_front(), &self.server) {
            return Step::Connect(address, server.clone());
        }
        let server = self.redirect.take().or_else(|| {
            self.left = self.left.checked_sub(1)?;
            let server = self.servers.get(self.next)?.clone();
            self.next = (self.next + 1) % self.servers.len();
            self.seen = vec![server.clone()];
            Some(server)
        });
        let Some(server) = server else {
            self.left = self.servers.len();
            self.rounds = self.rounds.saturating_add(1);
            return Step::Wait(FIRST_WAIT.saturating_mul(1 << (self.rounds - 1).min(8)).min(MAX_WAIT));
        };
        self.server = Some(server.clone());
        match server.address() {
            Some(address) => Step::Connect(address, server),
            None => Step::Resolve(server, self.rounds > 0),
        }
    }

    /// The addresses of the name that was asked for; empty when it has none.
    pub fn resolved(&mut self, mut addresses: Vec<SocketAddr>) {
        if let Some(key) = &self.key {
            rendezvous::order(key, &mut addresses, ToString::to_string);
        }
        addresses.truncate(MAX_ADDRESSES);
        self.addresses = addresses.into();
    }

    /// The server that is connected says where the stream is.
    pub fn redirected(&mut self, url: &str) -> Result<(), Misled> {
        let to = Endpoint::of_url(url).ok_or_else(|| Misled::Url(url.chars().take(80).collect()))?;
        if self.seen.contains(&to) {
            return Err(Misled::Loop(to));
        }
        if self.seen.len() > MAX_HOPS {
            return Err(Misled::Hops(to));
        }
        self.seen.push(to.clone());
        self.addresses.clear();
        self.redirect = Some(to);
        Ok(())
    }

    /// A connection went well and has ended: the others may be tried at once.
    pub fn went_well(&mut self) {
        self.rounds = 0;
        self.left = self.servers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(servers: &[&str]) -> Path {
        Path::new(servers.iter().map(|text| Endpoint::parse(text, 1935).unwrap()).collect())
    }

    fn steps(path: &mut Path, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| match path.next_step() {
                Step::Connect(address, _) => address.to_string(),
                Step::Resolve(server, fresh) => {
                    path.resolved(vec!["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()]);
                    format!("{} {fresh}", server.host)
                }
                Step::Wait(time) => format!("{time:?}"),
            })
            .collect()
    }

    #[test]
    fn all_servers_and_addresses_are_tried_before_waiting() {
        let mut path = path(&["1.1.1.1", "name", "2.2.2.2:7"]);
        assert_eq!(
            steps(&mut path, 7),
            ["1.1.1.1:1935", "name false", "10.0.0.1:1", "10.0.0.2:1", "2.2.2.2:7", "250ms", "1.1.1.1:1935"]
        );
        assert_eq!(steps(&mut path, 1), ["name true"]);
    }

    #[test]
    fn waiting_is_bounded_and_starts_anew_after_success() {
        let mut path = path(&["1.1.1.1"]);
        let waits: Vec<String> =
            steps(&mut path, 14).into_iter().filter(|step| !step.contains("1.1.1.1")).collect();
        assert_eq!(waits, ["250ms", "500ms", "1s", "2s", "3s", "3s", "3s"]);
        path.went_well();
        assert_eq!(steps(&mut path, 2), ["1.1.1.1:1935", "250ms"]);
    }

    #[test]
    fn redirects_are_followed_but_not_in_a_circle() {
        let mut path = path(&["1.1.1.1", "2.2.2.2"]);
        steps(&mut path, 1);
        path.redirected("rtmp://3.3.3.3:7/live/s?a=b").unwrap();
        assert_eq!(steps(&mut path, 1), ["3.3.3.3:7"]);
        let back = path.redirected("rtmp://1.1.1.1/live").unwrap_err();
        assert_eq!(back.to_string(), "redirected to 1.1.1.1:1935 again: a loop");
        assert!(matches!(path.redirected("rtmp://3.3.3.3:7/live"), Err(Misled::Loop(_))));
        assert!(matches!(path.redirected("http://4.4.4.4/live"), Err(Misled::Url(_))));
        for hop in 4..6 {
            path.redirected(&format!("rtmp://{hop}.0.0.1/live")).unwrap();
            steps(&mut path, 1);
        }
        assert!(matches!(path.redirected("rtmp://9.0.0.1/live"), Err(Misled::Hops(_))));
        // On with the list.
        assert_eq!(steps(&mut path, 2), ["2.2.2.2:1935", "250ms"]);
    }

    #[test]
    fn no_server_waits() {
        assert_eq!(steps(&mut Path::new(Vec::new()), 2), ["250ms", "500ms"]);
    }

    proptest! {
        #[test]
        fn a_stream_starts_at_its_own_server(stream in "[a-z]{1,8}") {
            let servers: Vec<Endpoint> =
                ["a", "b", "c"].iter().map(|name| Endpoint::parse(name, 1935).unwrap()).collect();
            let mut reversed = servers.clone();
            reversed.reverse();
            let first = Path::by_rendezvous(servers, &stream).next_step();
            prop_assert_eq!(first, Path::by_rendezvous(reversed, &stream).next_step());
        }
    }
}
