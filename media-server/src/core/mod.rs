//! A core: one thread that owns its connections, and shares nothing with the others but the streams' rings.
//!
//! The first core accepts and hands each connection to the core with the fewest. Players are not woken by messages:
//! each core turns a wheel for every stream and sends to one slot's players at a time, so that load is even and
//! one write carries what came in a whole `mw_latency`.

mod accept;
mod admit;
mod clients;
mod close;
mod conn;
mod edge;
mod http;
mod leave;
mod links;
mod outgoing;
mod pace;
mod player;
mod proxy;
mod ready;
mod rotor;
mod rtmp;
mod sweep;
mod transport;
mod websocket;
mod wheel;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Poll, Token};

use crate::server::{Command, Server, Service};
use conn::Conn;
use links::Links;
use pace::Pace;
use player::Scratch;
use sweep::Sweep;
use wheel::Wheel;

/// What is read at once, from any connection.
const READ_BUFFER: usize = 64 << 10;
/// A client must have asked for a stream by then, and take bytes at least so often.
const PATIENCE: Duration = Duration::from_secs(30);

const WAKER: Token = Token(usize::MAX);
const LISTENERS: usize = usize::MAX - 64;

/// The token of a core's waker.
pub const fn waker_token() -> Token {
    WAKER
}

/// Why a connection ends, for the log.
type Reason = String;

enum Next {
    Keep,
    Close(Reason),
    /// The connection was given to somebody else.
    Gone,
}

/// A core's state.
pub struct Core {
    index: usize,
    server: Arc<Server>,
    poll: Poll,
    listeners: Vec<Option<(TcpListener, Service, SocketAddr)>>,
    /// Listeners that had connections for which there was no room.
    stalled: Vec<usize>,
    /// Refused connections that the log has told.
    refused: u64,
    conns: Vec<Option<Box<Conn>>>,
    free: Vec<usize>,
    /// Closed in this round: their places are used again in the next, when no event can mean them any more.
    closed: Vec<usize>,
    wheels: Vec<Option<Wheel>>,
    /// The place of a source's wheel, by the source's address.
    wheel_of: HashMap<usize, usize>,
    links: Links,
    /// Players who get one message at a time.
    pace: Pace,
    /// Connections with more to read than their turn allowed.
    unread: VecDeque<usize>,
    /// Steps of TLS handshakes in this round.
    handshakes: usize,
    sweeps: VecDeque<Sweep>,
    buffer: Vec<u8>,
    scratch: Scratch,
    started: Instant,
    now: Instant,
    checked: Instant,
    quit: bool,
}

impl Core {
    /// A core; its poll has the waker of `server.cores[index]` already.
    pub fn new(index: usize, server: Arc<Server>, poll: Poll) -> Self {
        let now = Instant::now();
        Core {
            index,
            server,
            poll,
            listeners: Vec::new(),
            stalled: Vec::new(),
            refused: 0,
            conns: Vec::new(),
            free: Vec::new(),
            closed: Vec::new(),
            wheels: Vec::new(),
            wheel_of: HashMap::new(),
            links: Links::default(),
            pace: Pace::default(),
            unread: VecDeque::new(),
            handshakes: 0,
            sweeps: VecDeque::new(),
            buffer: vec![0; READ_BUFFER],
            scratch: Scratch::default(),
            started: now,
            now,
            checked: now,
            quit: false,
        }
    }

    /// Works until it is told to quit.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        while !self.quit {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::error!("core {}: poll: {error}", self.index);
                }
                continue;
            }
            self.now = Instant::now();
            self.free.append(&mut self.closed);
            self.handshakes = 0;
            for _ in 0..self.unread.len() {
                if let Some(index) = self.unread.pop_front() {
                    self.readable(index, true);
                }
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(token) if token >= LISTENERS => self.accept(token - LISTENERS),
                    Token(index) => {
                        if event.is_writable() {
                            self.writable(index);
                        }
                        if event.is_readable() || event.is_read_closed() || event.is_error() {
                            self.readable(index, event.is_read_closed() || event.is_error());
                        }
                    }
                }
            }
            let server = Arc::clone(&self.server);
            for command in server.cores[self.index].take() {
                self.command(command);
            }
            self.step_links();
            self.turn();
            self.step_paced();
            self.check_deadlines();
        }
        let open: Vec<usize> = (0..self.conns.len()).filter(|index| self.conns[*index].is_some()).collect();
        for index in open {
            self.end(index, "server quits");
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() || !self.sweeps.is_empty() {
            return Some(Duration::ZERO);
        }
        let wheels =
            self.wheels.iter().flatten().filter_map(|wheel| wheel.next_due(self.started, self.now)).min();
        let idle = self.conns.len() == self.free.len() + self.closed.len();
        let check = (!idle || !self.links.is_empty() || !self.stalled.is_empty())
            .then(|| self.checked + Duration::from_secs(1));
        let timers = self.links.next_due().into_iter().chain(self.pace.next_due());
        let next = wheels.into_iter().chain(check).chain(timers).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Accept(stream, peer, service) => self.adopt(stream, peer, service),
            Command::Kick(index, id) => {
                if self.conns.get(index).and_then(Option::as_ref).is_some_and(|conn| conn.id == id) {
                    self.end(index, "kicked by the API");
                }
            }
            Command::Listen(listener, service, address) => {
                if let Err(error) = self.listen(listener, service, address) {
                    tracing::error!("{address}: {error}");
                }
            }
            Command::Unlisten(service, address) => {
                self.unlisten(|place| *place == (service, address));
            }
            Command::Surrender(service, address, asking) => {
                for listener in self.unlisten(|place| *place == (service, address)) {
                    // Who does not wait any more lets it be closed.
                    let _ = asking.send(((service, address), listener.into()));
                }
            }
            Command::Decided(index, id, refused) => self.decided(index, &id, refused),
            Command::Answered(index, id, verdict) => self.answered(index, &id, verdict),
            Command::Located(link, owner) => self.located(link, owner),
            Command::Resolved(link, addresses) => self.resolved(link, addresses),
            Command::Reloaded => {
                for wheel in self.wheels.iter_mut().flatten() {
                    for (index, slot) in wheel.renew_policy() {
                        if let Some(Some(conn)) = self.conns.get_mut(index)
                            && let Some(player) = &mut conn.player
                        {
                            player.slot = slot;
                        }
                    }
                }
                self.reload_publishers();
                self.reload_links();
            }
            Command::StopListening => {
                // Who has connected already is served.
                for listener in 0..self.listeners.len() {
                    self.accept(listener);
                }
                self.unlisten(|(service, _)| service.without_tls() != Service::Api);
            }
            Command::Leave(index, id, how) => self.leave(index, &id, how),
            Command::Quit => self.quit = true,
        }
    }
}
