//! A connection of a core: its socket, what is still to be written, and what it is.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpStream;

use super::admit::Pending;
use super::outgoing::Outgoing;
use super::player::Player;
use crate::hooks::Watched;
use crate::limits::Place;
use crate::rtmp::session::Session;
use crate::server::Service;
use crate::source::Source;
use crate::stat::ClientStat;
use crate::upstream::Route;

/// The most bytes of answers that wait for a peer who does not read them.
pub(super) const MAX_PENDING: usize = 1 << 20;

/// Bytes to be written, at the front first.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// All bytes.
    pub(super) bytes: Vec<u8>,
    written: usize,
}

impl Out {
    /// Nothing is left to write.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Bytes left to write.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }
}

/// A publisher's part of a connection.
#[derive(Debug)]
pub(super) struct Publisher {
    /// Where its media go.
    pub(super) source: Arc<Source>,
    /// It has sent media.
    pub(super) started: bool,
    /// Each read is flushed to the players.
    pub(super) realtime: bool,
    /// `publish.normal_timeout`.
    pub(super) timeout: std::time::Duration,
    /// What the publisher asked for; none where a link brings the stream.
    pub(super) route: Option<Arc<Route>>,
    /// The API knows what is sent, by the kinds' bits.
    pub(super) described: u8,
}

/// What a connection is.
#[derive(Debug)]
pub(super) enum Role {
    /// RTMP.
    Rtmp(Box<Session>),
    /// HTTP whose request has not been read to its end.
    HttpHead(Vec<u8>),
    /// HTTP that plays.
    HttpPlay,
    /// WebSocket that plays.
    WebSocket(crate::websocket::Reader),
    /// RTMP to another server.
    Outgoing(Box<Outgoing>),
}

/// A connection.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of one another")]
#[derive(Debug)]
pub(super) struct Conn {
    /// The socket.
    pub(super) stream: TcpStream,
    /// The client's address, as far as is known: the socket's, or what a trusted proxy said.
    pub(super) peer: SocketAddr,
    /// A PROXY header may come before anything else.
    pub(super) awaits_proxy: bool,
    /// The client has sent something.
    pub(super) heard: bool,
    /// Its place among the connections of its address, where that is limited.
    pub(super) place: Option<Place>,
    /// Which port it came to.
    pub(super) service: Service,
    /// Its id in logs and API.
    pub(super) id: String,
    /// What it is.
    pub(super) role: Role,
    /// What is still to be written before media.
    pub(super) out: Out,
    /// The socket takes no more; the next writable event goes on.
    pub(super) blocked: bool,
    /// It is closed then.
    pub(super) deadline: Option<Instant>,
    /// Its publishing.
    pub(super) publisher: Option<Publisher>,
    /// Its playing.
    pub(super) player: Option<Box<Player>>,
    /// Its line in the statistics.
    pub(super) stat: Option<Arc<ClientStat>>,
    /// What it wants, while hooks decide.
    pub(super) pending: Option<Box<Pending>>,
    /// Which hooks are told of its end.
    pub(super) watched: Option<Box<Watched>>,
    /// It is closed when everything is written.
    pub(super) closing: bool,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadResult {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Blocked,
    /// The peer closed or the connection broke.
    Closed,
}

impl Conn {
    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> ReadResult {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => ReadResult::Closed,
                Ok(count) => ReadResult::Bytes(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => ReadResult::Blocked,
                Err(_) => ReadResult::Closed,
            };
        }
    }

    /// Writes what waits in `out`; false when the connection broke.
    pub(super) fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out.bytes[self.out.written..]) {
                Ok(0) => return false,
                Ok(count) => {
                    self.out.written += count;
                    self.count_sent(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return true;
                }
                Err(_) => return false,
            }
        }
        // An idle player keeps no buffer.
        self.out = Out::default();
        true
    }

    /// Counts sent bytes for the API.
    pub(super) fn count_sent(&self, bytes: usize) {
        if let Some(stat) = &self.stat {
            stat.traffic.add_send(bytes);
        }
    }
}
