//! What must be known of other servers before a client is let in.

use std::time::{Duration, Instant};

use super::coworkers::{Owner, Wanted};
use super::{Endpoint, token};
use crate::resolve::Names;
use crate::rtmp::client::Relay;
use crate::server::Server;

/// A question about a client.
#[derive(Debug)]
pub enum Question {
    /// `token_traverse`: do these origins, in this order, take the client's connect?
    Token(Vec<Endpoint>, Box<Relay>),
    /// `origin_cluster`, of a player: which coworker has the stream?
    Owner(Vec<Endpoint>, Wanted),
    /// `origin_cluster`, of a publisher: has a coworker the stream, or is about to?
    Claim(Vec<Endpoint>, Wanted),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The client may go on.
    Granted,
    /// It may not, for that reason.
    Refused(String),
    /// The stream is at another server.
    Elsewhere(Owner),
    /// The stream is published at another server already.
    Busy(Owner),
}

/// One origin must have answered by then (SRS).
const TOKEN: Duration = Duration::from_secs(3);
/// Coworkers of a player.
pub const LOOKUP: Duration = Duration::from_secs(2);
/// Coworkers of a publisher: who is silent for longer yields.
const CLAIM: Duration = Duration::from_secs(1);

impl Question {
    /// Asks.
    pub async fn ask(self, server: &Server, names: &Names) -> Verdict {
        let own_id = &server.stat.server_id;
        let coworkers = &server.coworkers;
        match self {
            Question::Token(origins, relay) => match token::check(names, &origins, &relay, TOKEN).await {
                Ok(()) => Verdict::Granted,
                Err(reason) => Verdict::Refused(format!("token_traverse: {reason}")),
            },
            Question::Owner(asked, wanted) => {
                match coworkers.find(names, own_id, &asked, &wanted, false, LOOKUP).await {
                    Some(owner) => Verdict::Elsewhere(owner),
                    None => Verdict::Refused("no origin of the cluster has the stream".into()),
                }
            }
            Question::Claim(asked, wanted) => {
                coworkers.claim(&wanted.key(), Instant::now());
                match coworkers.find(names, own_id, &asked, &wanted, true, CLAIM).await {
                    Some(owner) => {
                        coworkers.unclaim(&wanted.key());
                        Verdict::Busy(owner)
                    }
                    None => Verdict::Granted,
                }
            }
        }
    }
}

impl Wanted {
    /// Names the stream among those of this server.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.vhost, self.app, self.stream)
    }
}
