//! What must be known of other servers before a client is let in.

use std::time::Duration;

use crate::resolve::Names;
use crate::rtmp::client::Relay;

use super::{Endpoint, token};

/// A question about a client.
#[derive(Debug)]
pub enum Question {
    /// `token_traverse`: do these origins, in this order, take the client's connect?
    Token(Vec<Endpoint>, Box<Relay>),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The client may go on.
    Granted,
    /// It may not, for that reason.
    Refused(String),
}

/// One origin must have answered by then (SRS).
const PATIENCE: Duration = Duration::from_secs(3);

impl Question {
    /// Asks.
    pub async fn ask(self, names: &Names) -> Verdict {
        match self {
            Question::Token(origins, relay) => match token::check(names, &origins, &relay, PATIENCE).await {
                Ok(()) => Verdict::Granted,
                Err(reason) => Verdict::Refused(format!("token_traverse: {reason}")),
            },
        }
    }
}
