//! A core: one thread that owns its connections, and shares nothing with the others but the streams' rings.
//!
//! The first core accepts and hands each connection to the core with the fewest. Players are not woken by messages:
//! each core turns a wheel for every stream and sends to one slot's players at a time, so that load is even and
//! one write carries what came in a whole `mw_latency`.

mod admit;
mod conn;
mod http;
mod player;
mod rtmp;
mod wheel;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::ids;
use crate::rtmp::session::Session;
use crate::server::{Command, Server, Service};
use crate::source::{Policy, Source};
use crate::stat::ClientStat;
use conn::{Conn, Out, ReadResult, Role};
use player::{Format, Player, Pumped, Scratch};
use wheel::Wheel;

/// What is read at once, from any connection.
const READ_BUFFER: usize = 64 << 10;
/// Reads of one connection before the others get their turn.
const READS: usize = 4;
/// Sending goes on so long before the core looks for events again.
const SEND_SLICE: Duration = Duration::from_millis(1);
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

/// A part of a sweep: players of a slot from a place on.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    entry: usize,
    slot: usize,
    place: usize,
    /// CPU time spent on it so far.
    cost: Duration,
}

/// A core's state.
pub struct Core {
    index: usize,
    server: Arc<Server>,
    poll: Poll,
    listeners: Vec<Option<(TcpListener, Service, SocketAddr)>>,
    conns: Vec<Option<Box<Conn>>>,
    free: Vec<usize>,
    /// Closed in this round: their places are used again in the next, when no event can mean them any more.
    closed: Vec<usize>,
    wheels: Vec<Option<Wheel>>,
    wheel_of: HashMap<String, usize>,
    /// Connections with more to read than their turn allowed.
    unread: VecDeque<usize>,
    sweeps: VecDeque<Sweep>,
    urgent: VecDeque<Sweep>,
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
            conns: Vec::new(),
            free: Vec::new(),
            closed: Vec::new(),
            wheels: Vec::new(),
            wheel_of: HashMap::new(),
            unread: VecDeque::new(),
            sweeps: VecDeque::new(),
            urgent: VecDeque::new(),
            buffer: vec![0; READ_BUFFER],
            scratch: Scratch::default(),
            started: now,
            now,
            checked: now,
            quit: false,
        }
    }

    /// Accepts from a listener; `address` is its name in the configuration.
    pub fn listen(
        &mut self,
        listener: std::net::TcpListener,
        service: Service,
        address: SocketAddr,
    ) -> io::Result<()> {
        let mut listener = TcpListener::from_std(listener);
        let place = self.listeners.iter().position(Option::is_none).unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        self.poll.registry().register(&mut listener, Token(LISTENERS + place), Interest::READABLE)?;
        self.listeners[place] = Some((listener, service, address));
        Ok(())
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
            for _ in 0..self.unread.len() {
                if let Some(index) = self.unread.pop_front() {
                    self.readable(index);
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
                            self.readable(index);
                        }
                    }
                }
            }
            let server = Arc::clone(&self.server);
            for command in server.cores[self.index].take() {
                self.command(command);
            }
            self.turn();
            self.check_deadlines();
        }
        let open: Vec<usize> = (0..self.conns.len()).filter(|index| self.conns[*index].is_some()).collect();
        for index in open {
            self.end(index, "server quits");
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() || !self.sweeps.is_empty() || !self.urgent.is_empty() {
            return Some(Duration::ZERO);
        }
        let wheels =
            self.wheels.iter().flatten().filter_map(|wheel| wheel.next_due(self.started, self.now)).min();
        let idle = self.conns.len() == self.free.len() + self.closed.len();
        let check = (!idle).then(|| self.checked + Duration::from_secs(1));
        let next = wheels.into_iter().chain(check).min()?;
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
            Command::Unlisten(service, address) => self.unlisten(|place| *place == (service, address)),
            Command::Decided(index, id, refused) => self.decided(index, &id, refused),
            Command::Reloaded => {
                for wheel in self.wheels.iter_mut().flatten() {
                    wheel.policy = wheel.source.policy();
                }
            }
            Command::StopListening => self.unlisten(|_| true),
            Command::Quit => self.quit = true,
        }
    }

    fn unlisten(&mut self, which: impl Fn(&(Service, SocketAddr)) -> bool) {
        for place in &mut self.listeners {
            if place.as_ref().is_some_and(|(_, service, address)| which(&(*service, *address)))
                && let Some((mut listener, ..)) = place.take()
            {
                let _ = self.poll.registry().deregister(&mut listener);
            }
        }
    }

    fn accept(&mut self, listener: usize) {
        loop {
            let Some(Some((socket, service, _))) = self.listeners.get(listener) else { return };
            let service = *service;
            match socket.accept() {
                Ok((stream, peer)) => {
                    let limit = self.server.settings().max_connections;
                    let count = self.server.connections.load(Ordering::Relaxed);
                    if count >= limit {
                        tracing::warn!(
                            "{peer} refused: {count} connections are open, max_connections is {limit}"
                        );
                        continue;
                    }
                    let core = self.server.idlest_core();
                    self.server.connections.fetch_add(1, Ordering::Relaxed);
                    self.server.cores[core].connections.fetch_add(1, Ordering::Relaxed);
                    if core == self.index {
                        self.adopt_mio(stream, peer, service);
                    } else {
                        self.server.cores[core].send(Command::Accept(stream.into(), peer, service));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    return;
                }
            }
        }
    }

    fn adopt(&mut self, stream: std::net::TcpStream, peer: SocketAddr, service: Service) {
        self.adopt_mio(TcpStream::from_std(stream), peer, service);
    }

    fn adopt_mio(&mut self, stream: TcpStream, peer: SocketAddr, service: Service) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let role = match service {
            Service::Rtmp => Role::Rtmp(Box::new(Session::new(ids::random(), self.uptime_seconds()))),
            Service::Api | Service::Http => Role::HttpHead(Vec::new()),
        };
        // Half-open peers are found by the kernel: players have no deadline of their own.
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(
            &socket2::TcpKeepalive::new()
                .with_time(Duration::from_mins(1))
                .with_interval(Duration::from_secs(15)),
        );
        let mut conn = Box::new(Conn {
            stream,
            peer,
            service,
            id: ids::connection(),
            role,
            out: Out::default(),
            blocked: false,
            deadline: Some(self.now + PATIENCE),
            publisher: None,
            player: None,
            stat: None,
            closing: false,
            pending: None,
            watched: None,
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut conn.stream, Token(index), interest) {
            tracing::error!("{peer}: {error}");
            self.forget(index);
            return;
        }
        self.conns[index] = Some(conn);
    }

    fn uptime_seconds(&self) -> u32 {
        self.server.started.elapsed().as_secs() as u32
    }

    fn forget(&mut self, index: usize) {
        self.closed.push(index);
        self.server.connections.fetch_sub(1, Ordering::Relaxed);
        self.server.cores[self.index].connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends a connection that is in its place.
    fn end(&mut self, index: usize, reason: &str) {
        if let Some(conn) = self.conns[index].take() {
            self.close(index, conn, reason);
        }
    }

    fn close(&mut self, index: usize, mut conn: Box<Conn>, reason: &str) {
        let traffic = conn.stat.as_ref().map(|stat| {
            let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            (load(&stat.traffic.send), load(&stat.traffic.recv))
        });
        self.stop_playing(&mut conn);
        self.stop_publishing(&mut conn);
        // Who was refused has not been there.
        if conn.service == Service::Rtmp
            && let Some((sent, received)) = traffic
        {
            self.tell(&conn, "on_close", &[("send_bytes", sent), ("recv_bytes", received)]);
        }
        if let Role::Rtmp(session) = &conn.role
            && let Some(connect) = session.connected()
        {
            tracing::info!(cid = %conn.id, "{} {} disconnected: {reason}", conn.peer, connect.target.app);
        } else if conn.service != Service::Rtmp || !reason.is_empty() {
            tracing::debug!(cid = %conn.id, "{} closed: {reason}", conn.peer);
        }
        let _ = self.poll.registry().deregister(&mut conn.stream);
        self.forget(index);
    }

    /// Puts a connection back or ends it.
    fn settle(&mut self, index: usize, conn: Box<Conn>, next: Next) {
        match next {
            Next::Keep => self.conns[index] = Some(conn),
            Next::Close(reason) => self.close(index, conn, &reason),
            Next::Gone => self.forget(index),
        }
    }

    fn writable(&mut self, index: usize) {
        let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { return };
        if !conn.blocked {
            self.conns[index] = Some(conn);
            return;
        }
        conn.blocked = false;
        let next = self.send(&mut conn);
        self.settle(index, conn, next);
    }

    /// Sends what waits: answers, then media.
    fn send(&mut self, conn: &mut Conn) -> Next {
        if conn.player.is_none() {
            if !conn.flush() {
                return Next::Close("the connection broke".into());
            }
            if conn.out.len() > conn::MAX_PENDING {
                return Next::Close("the client does not read its answers".into());
            }
            if conn.closing && conn.out.is_empty() {
                return Next::Close("done".into());
            }
            return Next::Keep;
        }
        let Some(entry) = conn.player.as_ref().map(|player| player.entry) else { return Next::Keep };
        let Some(Some(wheel)) = self.wheels.get_mut(entry) else { return Next::Keep };
        let result = player::pump(conn, &wheel.view, &mut self.scratch);
        let live = wheel.view.live;
        let Some(player) = &conn.player else { return Next::Keep };
        wheel.note_needed(player.next);
        match result {
            Pumped::Closed => Next::Close("the connection broke".into()),
            Pumped::Blocked => {
                conn.deadline = Some(conn.deadline.unwrap_or(self.now + PATIENCE));
                Next::Keep
            }
            Pumped::Done => {
                conn.deadline = None;
                if !live && player.format != Format::Rtmp && player.next.is_some() {
                    if player.format == Format::FlvChunked {
                        conn.out.bytes.extend_from_slice(b"0\r\n\r\n");
                        let _ = conn.flush();
                    }
                    return Next::Close("the stream ended".into());
                }
                Next::Keep
            }
        }
    }

    fn readable(&mut self, index: usize) {
        let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { return };
        if conn.pending.is_some() {
            self.conns[index] = Some(conn);
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut next = Next::Keep;
        for round in 0.. {
            if round == READS {
                self.unread.push_back(index);
                break;
            }
            match conn.read(&mut buffer) {
                ReadResult::Blocked => break,
                ReadResult::Closed => {
                    next = Next::Close("the client closed".into());
                    break;
                }
                ReadResult::Bytes(count) => {
                    if let Some(stat) = &conn.stat {
                        stat.traffic.add_recv(count);
                        if stat.publish {
                            stat.stream.traffic.add_recv(count);
                            stat.stream.vhost.traffic.add_recv(count);
                            self.server.stat.traffic.add_recv(count);
                        }
                    }
                    next = match &conn.role {
                        Role::Rtmp(_) => self.read_rtmp(index, &mut conn, &buffer[..count]),
                        Role::HttpHead(_) => self.read_http(index, &mut conn, &buffer[..count]),
                        Role::HttpPlay => Next::Keep,
                    };
                    if !matches!(next, Next::Keep) || count < buffer.len() || conn.pending.is_some() {
                        break;
                    }
                }
            }
        }
        self.buffer = buffer;
        self.settle(index, conn, next);
    }

    /// Sends to all players whose time has come, for at most [`SEND_SLICE`].
    fn turn(&mut self) {
        for entry in 0..self.wheels.len() {
            let Some(wheel) = &mut self.wheels[entry] else { continue };
            let busy = |queue: &VecDeque<Sweep>| queue.iter().any(|sweep| sweep.entry == entry);
            if wheel.policy.realtime && busy(&self.urgent) {
                continue;
            }
            let slots = wheel.due(self.index, self.started, self.now);
            let queue = if wheel.policy.realtime { &mut self.urgent } else { &mut self.sweeps };
            queue.extend(slots.into_iter().map(|slot| Sweep { entry, slot, place: 0, cost: Duration::ZERO }));
        }
        let until = self.now + SEND_SLICE;
        while let Some(sweep) = self.urgent.pop_front() {
            if let Some(rest) = self.sweep(sweep, until) {
                self.urgent.push_front(rest);
                return;
            }
        }
        while let Some(sweep) = self.sweeps.pop_front() {
            if let Some(rest) = self.sweep(sweep, until) {
                self.sweeps.push_front(rest);
                return;
            }
        }
    }

    /// Sends to a slot's players; gives what is left when the time is over.
    fn sweep(&mut self, mut sweep: Sweep, until: Instant) -> Option<Sweep> {
        let mut since_look = 0;
        let began = cpu_time();
        loop {
            let wheel = self.wheels.get(sweep.entry)?.as_ref()?;
            let Some(index) = wheel.slots[sweep.slot].get(sweep.place).copied() else { break };
            let mut conn = self.conns.get_mut(index).and_then(Option::take)?;
            let enough = wheel.policy.mw_msgs;
            let mut next = Next::Keep;
            let wait = match &mut conn.player {
                Some(player) => {
                    let few =
                        wheel.view.live && !player.waited && player.waiting(&wheel.view, enough) < enough;
                    player.waited = few;
                    few
                }
                None => true,
            };
            if conn.blocked || wait {
                let needed = conn.player.as_ref().and_then(|player| player.next);
                if let Some(Some(wheel)) = self.wheels.get_mut(sweep.entry) {
                    wheel.note_needed(needed);
                }
            } else {
                next = self.send(&mut conn);
            }
            let closes = !matches!(next, Next::Keep);
            self.settle(index, conn, next);
            // Who closes leaves its place to the last one of the slot.
            sweep.place += usize::from(!closes);
            since_look += 1;
            if since_look % 16 == 0 && Instant::now() >= until {
                sweep.cost += cpu_time().saturating_sub(began);
                return Some(sweep);
            }
        }
        if let Some(Some(wheel)) = self.wheels.get_mut(sweep.entry)
            && wheel.policy.realtime
        {
            wheel.note_sweep(sweep.cost + cpu_time().saturating_sub(began));
        }
        None
    }

    fn check_deadlines(&mut self) {
        if self.now < self.checked + Duration::from_secs(1) {
            return;
        }
        self.checked = self.now;
        for index in 0..self.conns.len() {
            let Some(conn) = &self.conns[index] else { continue };
            if conn.deadline.is_some_and(|deadline| deadline <= self.now) {
                let reason = match (&conn.publisher, &conn.player) {
                    (Some(_), _) => "the publisher sent nothing in time",
                    (_, Some(_)) => "the player took nothing in time",
                    _ => "nothing was asked for in time",
                };
                self.end(index, reason);
            }
        }
    }

    /// Lets a connection play.
    fn start_playing(&mut self, index: usize, conn: &mut Conn, player: Player, source: Arc<Source>) -> Next {
        let policy = source.policy();
        if policy.nodelay || policy.realtime {
            let _ = conn.stream.set_nodelay(true);
        }
        let key = source.stat.id.clone();
        let entry = if let Some(entry) = self.wheel_of.get(&key) {
            // The wheel holds the source already.
            let entry = *entry;
            self.server.sources.release(&self.server.stat, source);
            entry
        } else {
            let entry = self.wheels.iter().position(Option::is_none).unwrap_or_else(|| {
                self.wheels.push(None);
                self.wheels.len() - 1
            });
            self.wheels[entry] = Some(Wheel::new(source, self.now));
            self.wheel_of.insert(key, entry);
            entry
        };
        let Some(Some(wheel)) = self.wheels.get_mut(entry) else {
            return Next::Close("its stream is gone".into());
        };
        let slot = wheel.add(index);
        wheel.source.count_player(true);
        wheel.sync_for_join(self.index, self.now);
        let mut player = player;
        (player.entry, player.slot) = (entry, slot);
        conn.player = Some(Box::new(player));
        conn.deadline = None;
        self.send(conn)
    }

    fn stop_playing(&mut self, conn: &mut Conn) {
        let Some(player) = conn.player.take() else { return };
        self.tell(conn, "on_stop", &[]);
        self.forget_client(conn);
        let Some(Some(wheel)) = self.wheels.get_mut(player.entry) else { return };
        wheel.source.count_player(false);
        if let Some(moved) = wheel.remove(player.slot)
            && let Some(Some(other)) = self.conns.get_mut(moved)
            && let Some(other) = &mut other.player
        {
            other.slot = player.slot;
        }
        if wheel.players == 0
            && let Some(mut wheel) = self.wheels[player.entry].take()
        {
            wheel.sync(self.index, self.now);
            self.wheel_of.remove(&wheel.source.stat.id);
            self.server.sources.release(&self.server.stat, wheel.source);
        }
    }

    fn forget_client(&self, conn: &mut Conn) {
        if let Some(stat) = conn.stat.take() {
            self.server.stat.remove_client(&stat.id);
            if !stat.publish {
                let sent = stat.traffic.send.load(Ordering::Relaxed) as usize;
                stat.stream.traffic.add_send(sent);
                stat.stream.vhost.traffic.add_send(sent);
                self.server.stat.traffic.add_send(sent);
            }
        }
    }

    fn add_client(
        &self,
        index: usize,
        conn: &mut Conn,
        source: &Source,
        kind: &'static str,
        session: Option<&Session>,
    ) {
        let connect = session.and_then(Session::connected).cloned().unwrap_or_default();
        let ip = session.and_then(|session| session.proxied_ip).map(|ip| ip.to_string());
        let stat = Arc::new(ClientStat {
            id: conn.id.clone(),
            stream: Arc::clone(&source.stat),
            ip: ip.unwrap_or_else(|| conn.peer.ip().to_string()),
            page_url: connect.page_url,
            swf_url: connect.swf_url,
            tc_url: connect.tc_url,
            kind,
            publish: kind.ends_with("-publish"),
            since: self.now,
            traffic: crate::stat::Traffic::default(),
            place: (self.index, index),
        });
        self.server.stat.add_client(&stat);
        conn.stat = Some(stat);
    }

    fn source_of(&self, target: &crate::rtmp::url::Target) -> Result<(Arc<Source>, Policy), Reason> {
        let settings = self.server.settings();
        let vhost = settings
            .vhost(&target.vhost)
            .ok_or_else(|| format!("no vhost {:?} is configured", target.vhost))?;
        let policy = Policy::of(vhost);
        let stat = &self.server.stat;
        Ok((
            self.server.sources.get_or_create(stat, &vhost.name, &target.app, &target.stream, policy),
            policy,
        ))
    }
}

/// What this thread has used of its CPU.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
