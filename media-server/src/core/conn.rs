//! A connection of a core: its socket, what is still to be written, and what it is.

use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::admit::Pending;
use super::outgoing::Outgoing;
use super::player::Player;
use super::transport::Transport;
use crate::drain::Guest;
use crate::hooks::Watched;
use crate::limits::Place;
use crate::rtmp::session::Session;
use crate::rtmp::{FIRST_CHUNK_SIZE, chunk};
use crate::server::Service;
use crate::source::Source;
use crate::stat::ClientStat;
use crate::upstream::{Endpoint, Route};

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

    /// Puts bytes before all that is left.
    pub(super) fn put_first(&mut self, bytes: &[u8]) {
        self.bytes.splice(..self.written, bytes.iter().copied());
        self.written = 0;
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
    /// On an edge: the source under which the stream is known here, while the media go into a ring of their own.
    pub(super) public: Option<Arc<Source>>,
}

impl Publisher {
    /// A link brings the stream.
    pub(super) fn is_pull(&self) -> bool {
        self.route.is_none() && self.public.is_none()
    }
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
    /// The socket, and TLS where the port has it.
    pub(super) transport: Transport,
    /// The client's address, as far as is known: the socket's, or what a trusted proxy said.
    pub(super) peer: SocketAddr,
    /// A PROXY header may come before anything else.
    pub(super) awaits_proxy: bool,
    /// The client has sent something.
    pub(super) heard: bool,
    /// Its place among the connections of its address, where that is limited.
    pub(super) place: Option<Place>,
    /// Quitting waits for it.
    pub(super) guest: Option<Guest>,
    /// Which port it came to.
    pub(super) service: Service,
    /// Its id in logs and API.
    pub(super) id: String,
    /// What it is.
    pub(super) role: Role,
    /// What is still to be written before media.
    pub(super) out: Out,
    /// The size of RTMP's chunks that the peer was told.
    pub(super) chunk_size: usize,
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
    /// Bytes sent and received for streams that it has left.
    pub(super) left: Option<(u64, u64)>,
    /// The server that has the stream it plays, in an origin cluster.
    pub(super) owner: Option<Endpoint>,
    /// Bytes that the peer's side has taken.
    pub(super) taken: u64,
    /// It is closed when everything is written.
    pub(super) closing: bool,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadResult {
    /// So many bytes; there may be more in the socket.
    Bytes { count: usize, more: bool },
    /// Nothing for now.
    Blocked,
    /// The peer closed or the connection broke.
    Closed,
    /// What came is no TLS, or none that this server takes.
    Broken(String),
}

impl Conn {
    /// A connection of which nothing is known but this.
    pub(super) fn new(
        transport: Transport,
        peer: SocketAddr,
        service: Service,
        id: String,
        role: Role,
    ) -> Self {
        Conn {
            transport,
            peer,
            awaits_proxy: false,
            heard: false,
            place: None,
            guest: None,
            service,
            id,
            role,
            out: Out::default(),
            chunk_size: FIRST_CHUNK_SIZE,
            blocked: false,
            deadline: None,
            publisher: None,
            player: None,
            stat: None,
            pending: None,
            watched: None,
            left: None,
            owner: None,
            taken: 0,
            closing: false,
        }
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> ReadResult {
        let result = self.transport.read(buffer);
        if self.transport.is_pending() && !self.flush_transport() {
            return ReadResult::Closed;
        }
        result
    }

    /// Writes what the transport has taken; false when the connection broke.
    pub(super) fn flush_transport(&mut self) -> bool {
        let before = self.transport.pending_len();
        let flushed = self.transport.flush();
        self.taken += before.saturating_sub(self.transport.pending_len()) as u64;
        self.blocked |= matches!(flushed, Ok(false));
        flushed.is_ok()
    }

    /// Writes some of `slices`, which hold `offered` bytes; tells how many, and whether the socket takes no more.
    pub(super) fn write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        offered: usize,
    ) -> std::io::Result<(usize, bool)> {
        let written = self.transport.write_vectored(slices)?;
        Ok((written, written < offered || self.transport.is_pending()))
    }

    /// Writes what waits in `out`; false when the connection broke.
    pub(super) fn flush(&mut self) -> bool {
        if !self.flush_transport() {
            return false;
        }
        while !self.out.is_empty() {
            match self.transport.write(&self.out.bytes[self.out.written..]) {
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
        self.blocked |= self.transport.is_pending();
        true
    }

    /// Says that everything behind what waits is in chunks of another size.
    pub(super) fn tell_chunk_size(&mut self, size: usize) {
        chunk::set_size(&mut self.out.bytes, size);
        self.chunk_size = size;
        self.note_chunk_size();
    }

    /// Lets the session know, unless it is being read: then its reader does.
    pub(super) fn note_chunk_size(&mut self) {
        match &mut self.role {
            Role::Rtmp(session) => session.told_chunk_size(self.chunk_size),
            Role::Outgoing(outgoing) => outgoing.told_chunk_size(self.chunk_size),
            Role::HttpHead(_) | Role::HttpPlay | Role::WebSocket(_) => {}
        }
    }

    /// It plays no more; an answer will not stand inside a batch that is written in part.
    pub(super) fn take_player(&mut self) -> Option<Box<Player>> {
        let player = self.player.take()?;
        self.out.put_first(player.rest());
        Some(player)
    }

    /// Counts sent bytes for the API.
    pub(super) fn count_sent(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        if let Some(stat) = &self.stat {
            stat.traffic.add_send(bytes);
        }
    }
}
