//! Many RTMP clients on one thread: what `publish` and `load` are made of.
//!
//! A client that was given several addresses, or is told to, connects [`again`] when its connection ends: a player
//! joins again and counts what it missed by the [`marks`] in the media, a publisher goes on with the next keyframe.

mod again;
mod marks;
mod publisher;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::{Failure, resolve, say};
use crate::flv::Tag;
use crate::rtmp::client::{Client, Event, Intent};
use crate::rtmp::url::Target;
use again::Again;
use marks::{Gaps, MARK_SIZE, now_micros, read_mark, since};
pub(super) use publisher::Pace;

/// The most bytes that wait for a server that does not read.
const MAX_OUT: usize = 64 << 20;

/// What was asked for again must begin by then.
const ANSWER: Duration = Duration::from_secs(5);
/// The most redirections one after the other.
const MAX_REDIRECTS: usize = 3;
/// A player that connects again does so when nothing came for so long.
const STALL: Duration = Duration::from_secs(5);

/// Where clients connect.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    /// Tried in turn.
    pub(super) list: Vec<SocketAddr>,
    /// Whoever loses its connection connects again.
    pub(super) again: bool,
}

/// What a swarm has seen.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Clients whose stream has started.
    pub(super) started: usize,
    /// Publishers that have sent everything.
    pub(super) finished: usize,
    /// Clients that failed, and the first one's reason.
    pub(super) failed: (usize, Option<String>),
    /// Connections that ended and were followed by another.
    pub(super) reconnects: usize,
    /// Why the first of them ended.
    pub(super) first_loss: Option<String>,
    /// Bytes received by players.
    pub(super) received: u64,
    /// Bytes sent by publishers.
    pub(super) sent: u64,
    /// Latencies of marked messages, in microseconds.
    pub(super) latencies: Vec<u32>,
}

/// What a client does.
#[derive(Debug)]
enum Job {
    Publish(publisher::Progress),
    /// An RTMP player; `sampled` ones read messages, the others count bytes.
    Play {
        sampled: bool,
        skip: bool,
    },
    /// An HTTP player; a sampled one keeps the end of what it read, where a mark may begin.
    Http {
        tail: Option<Vec<u8>>,
    },
}

/// What a client connects with, each time.
#[derive(Debug)]
enum Dial {
    Rtmp(Target, Intent),
    Http(Vec<u8>, Option<(Arc<ClientConfig>, ServerName<'static>)>),
}

/// A connection.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    client: Option<Client>,
    out: Vec<u8>,
    written: usize,
    /// The server has given what was asked for.
    started: bool,
    /// When bytes came last.
    heard: Instant,
}

#[derive(Debug)]
struct Member {
    dial: Dial,
    job: Job,
    /// None while it waits to connect again.
    link: Option<Link>,
    /// None where the end of the connection is a failure.
    again: Option<Again>,
    /// It has worked before.
    worked: bool,
    redirects: usize,
    /// When it has something to do; what else is planned for it is out of date.
    due: Option<Instant>,
    gaps: Gaps,
}

/// The clients.
pub(super) struct Swarm<'a> {
    poll: Poll,
    members: Vec<Option<Member>>,
    file: publisher::File<'a>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    buffer: Vec<u8>,
    /// Latencies and gaps are collected.
    measuring: bool,
    /// Connections that end are told on stderr.
    pub(super) verbose: bool,
    /// What was seen.
    pub(super) counters: Counters,
}

impl Dial {
    /// The URL of the stream on a server whose tcUrl is this.
    fn stream_at(&self, tc_url: &str) -> String {
        match self {
            Dial::Rtmp(target, _) => format!("{tc_url}/{}{}", target.stream, target.param),
            Dial::Http(..) => tc_url.to_owned(),
        }
    }

    /// Whether that tcUrl leads to another server than this one.
    fn is_elsewhere(&self, tc_url: &str) -> bool {
        let Dial::Rtmp(target, _) = self else { return false };
        Target::from_url(&self.stream_at(tc_url))
            .is_ok_and(|other| (&other.host, other.port) != (&target.host, target.port))
    }

    fn open(&self, address: SocketAddr) -> Result<Link, Failure> {
        let stream = TcpStream::connect(address)?;
        let (mut out, mut client, mut tls) = (Vec::new(), None, None);
        match self {
            Dial::Rtmp(target, intent) => {
                let _ = stream.set_nodelay(*intent == Intent::Publish);
                // Who only sends is not told by silence that the server is gone.
                let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALL));
                client = Some(Client::new(target.clone(), *intent, crate::ids::random(), &mut out));
            }
            Dial::Http(request, secure) => {
                out.extend_from_slice(request);
                if let Some((config, name)) = secure {
                    tls = Some(Box::new(ClientConnection::new(Arc::clone(config), name.clone())?));
                }
            }
        }
        Ok(Link { stream, tls, client, out, written: 0, started: false, heard: Instant::now() })
    }
}

impl<'a> Swarm<'a> {
    /// No clients yet; publishers send `tags`.
    pub(super) fn new(tags: &'a [Tag<'a>], pace: Pace) -> Result<Self, Failure> {
        Ok(Swarm {
            poll: Poll::new()?,
            members: Vec::new(),
            file: publisher::File::new(tags, pace),
            due: BinaryHeap::new(),
            buffer: vec![0; 256 << 10],
            measuring: false,
            verbose: false,
            counters: Counters::default(),
        })
    }

    /// From here latencies are collected, and what players miss.
    pub(super) fn measure(&mut self) {
        self.measuring = true;
        for member in self.members.iter_mut().flatten() {
            member.gaps.reset();
        }
    }

    /// Milliseconds of the stream that each player missed, and the longest time without media of each; both in order.
    pub(super) fn missed(&mut self) -> (Vec<f64>, Vec<f64>) {
        let now = now_micros();
        let players = self.members.iter_mut().flatten().filter(|one| !matches!(one.job, Job::Publish(_)));
        let (mut lost, mut pauses): (Vec<f64>, Vec<f64>) = players
            .map(|member| {
                member.gaps.end(now);
                (member.gaps.lost as f64 / 1000.0, member.gaps.pause as f64 / 1000.0)
            })
            .unzip();
        lost.sort_by(f64::total_cmp);
        pauses.sort_by(f64::total_cmp);
        (lost, pauses)
    }

    fn add(&mut self, addresses: &Addresses, dial: Dial, job: Job) -> Result<(), Failure> {
        let index = self.members.len();
        let again = Again::new(addresses.list.clone(), index);
        let address = again.address().ok_or("the server's name has no address")?;
        let mut link = dial.open(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.stream, Token(index), interest)?;
        self.members.push(Some(Member {
            dial,
            job,
            link: Some(link),
            again: addresses.again.then_some(again),
            worked: false,
            redirects: 0,
            due: None,
            gaps: Gaps::default(),
        }));
        Ok(())
    }

    /// Adds a publisher that waits `delay` after it may begin.
    pub(super) fn publish(
        &mut self,
        addresses: &Addresses,
        target: Target,
        delay: Duration,
    ) -> Result<(), Failure> {
        let job = Job::Publish(publisher::Progress::new(delay));
        self.add(addresses, Dial::Rtmp(target, Intent::Publish), job)
    }

    /// Adds a player.
    pub(super) fn play(
        &mut self,
        addresses: &Addresses,
        target: Target,
        sampled: bool,
    ) -> Result<(), Failure> {
        self.add(addresses, Dial::Rtmp(target, Intent::Play), Job::Play { sampled, skip: false })
    }

    /// Adds a player of HTTP-FLV, through TLS where there is a configuration and the server's name for it.
    pub(super) fn get(
        &mut self,
        addresses: &Addresses,
        tls: Option<(&Arc<ClientConfig>, &str)>,
        host: &str,
        path: &str,
        sampled: bool,
    ) -> Result<(), Failure> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: media-server\r\n\r\n");
        let tail = sampled.then(Vec::new);
        let tls = tls.map(|(config, host)| -> Result<_, Failure> {
            Ok((Arc::clone(config), ServerName::try_from(host.to_owned())?))
        });
        self.add(addresses, Dial::Http(request.into_bytes(), tls.transpose()?), Job::Http { tail })
    }

    /// Clients that are connected.
    pub(super) fn connected(&self) -> usize {
        self.members.iter().flatten().filter(|member| member.link.is_some()).count()
    }

    /// Works until `until`, or earlier when `enough` says so.
    pub(super) fn run(
        &mut self,
        until: Instant,
        mut enough: impl FnMut(&Counters) -> bool,
    ) -> Result<(), Failure> {
        let mut events = Events::with_capacity(2048);
        while Instant::now() < until && !enough(&self.counters) {
            let next = self.due.peek().map_or(until, |Reverse((due, _))| (*due).min(until));
            let wait = next.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                let index = event.token().0;
                if event.is_writable() {
                    self.flush(index);
                }
                if event.is_readable() || event.is_read_closed() {
                    self.read(index);
                }
            }
            let now = Instant::now();
            while let Some(Reverse((due, index))) = self.due.peek().copied() {
                if due > now {
                    break;
                }
                self.due.pop();
                if self.members[index]
                    .as_mut()
                    .is_some_and(|member| member.due.take_if(|at| *at == due).is_some())
                {
                    self.wake(index, now);
                }
            }
        }
        Ok(())
    }

    fn plan(&mut self, index: usize, due: Instant) {
        if let Some(member) = &mut self.members[index] {
            member.due = Some(due);
            self.due.push(Reverse((due, index)));
        }
    }

    /// A client's time has come.
    fn wake(&mut self, index: usize, now: Instant) {
        let Some(member) = &self.members[index] else { return };
        match &member.link {
            None => self.dial(index, now),
            Some(link) if !link.started => self.lost(index, "no answer in time"),
            Some(_) if matches!(member.job, Job::Publish(_)) => self.feed(index, now),
            Some(link) if now >= link.heard + STALL => self.lost(index, "nothing came any more"),
            Some(link) => self.plan(index, link.heard + STALL),
        }
    }

    /// Connects again.
    fn dial(&mut self, index: usize, now: Instant) {
        let Some(member) = &mut self.members[index] else { return };
        let Some(address) = member.again.as_ref().and_then(Again::address) else { return };
        let opened = member.dial.open(address).and_then(|mut link| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut link.stream, Token(index), interest)?;
            Ok(link)
        });
        match opened {
            Ok(link) => {
                member.link = Some(link);
                self.plan(index, now + ANSWER);
            }
            Err(error) => self.lost(index, &error.to_string()),
        }
    }

    /// Connects to where the stream is said to be.
    fn follow(&mut self, index: usize, url: &str) -> Result<(), String> {
        let Some(member) = &mut self.members[index] else { return Ok(()) };
        let failed = |error: &dyn std::fmt::Display| format!("the stream is at {url}: {error}");
        member.redirects += 1;
        if member.redirects > MAX_REDIRECTS {
            return Err(failed(&"too many redirections"));
        }
        let target = Target::from_url(url).map_err(|error| failed(&error))?;
        let addresses = resolve::lookup(&target.host, target.port).map_err(|error| failed(&error))?;
        let Dial::Rtmp(old, _) = &mut member.dial else { return Err(failed(&"HTTP is not redirected so")) };
        *old = target;
        if let Job::Publish(progress) = &mut member.job {
            progress.interrupted();
        }
        let mut link = member.dial.open(addresses[0]).map_err(|error| failed(&error))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut link.stream, Token(index), interest);
        registered.map_err(|error| failed(&error))?;
        member.link = Some(link);
        if member.again.is_some() {
            self.plan(index, Instant::now() + ANSWER);
        }
        Ok(())
    }

    fn fail(&mut self, index: usize, reason: String) {
        if self.members[index].take().is_some() {
            self.counters.failed.0 += 1;
            self.counters.failed.1.get_or_insert(reason);
        }
    }

    /// A connection has ended, or must.
    fn lost(&mut self, index: usize, reason: &str) {
        let Some(member) = &mut self.members[index] else { return };
        let Some(again) = member.again.as_mut().filter(|_| member.worked) else {
            return self.fail(index, reason.to_owned());
        };
        let wait = again.lost(crate::ids::random());
        if member.link.take().is_some_and(|link| link.started) {
            self.counters.reconnects += 1;
            self.counters.first_loss.get_or_insert_with(|| reason.to_owned());
            if self.verbose {
                say(&format!("{reason}; connecting again"));
            }
        }
        match &mut member.job {
            Job::Publish(progress) => progress.interrupted(),
            Job::Play { skip, .. } => *skip = false,
            Job::Http { tail } => tail.iter_mut().for_each(Vec::clear),
        }
        self.plan(index, Instant::now() + wait);
    }

    /// What was asked for has begun.
    fn started(&mut self, index: usize) {
        let now = Instant::now();
        let Some(member) = &mut self.members[index] else { return };
        if !std::mem::replace(&mut member.worked, true) {
            self.counters.started += 1;
        }
        member.redirects = 0;
        if let Some(again) = &mut member.again {
            again.worked();
        }
        if let Some(link) = &mut member.link {
            link.started = true;
        }
        let due = match &mut member.job {
            Job::Publish(progress) => Some(now + progress.delay()),
            _ => member.again.is_some().then_some(now + STALL),
        };
        if let Some(due) = due {
            self.plan(index, due);
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(member) = &mut self.members[index] else { return };
        let Some(link) = &mut member.link else { return };
        while link.written < link.out.len() {
            let bytes = &link.out[link.written..];
            let written = match &mut link.tls {
                None => link.stream.write(bytes),
                Some(tls) => rustls::Stream::new(&mut **tls, &mut link.stream).write(bytes),
            };
            match written {
                Ok(count) => {
                    link.written += count;
                    if matches!(member.job, Job::Publish(_)) {
                        self.counters.sent += count as u64;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if link.out.len() - link.written > MAX_OUT {
                        self.lost(index, "the server does not read");
                    }
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => return,
                Err(error) => return self.lost(index, &error.to_string()),
            }
        }
        link.out.clear();
        link.out.shrink_to(4096);
        link.written = 0;
    }

    fn read(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(member) = &mut self.members[index]
            && let Some(link) = &mut member.link
        {
            let read = match &mut link.tls {
                None => link.stream.read(&mut buffer),
                Some(tls) => rustls::Stream::new(&mut **tls, &mut link.stream).read(&mut buffer),
            };
            let secure = link.tls.is_some();
            match read {
                Ok(0) => {
                    self.lost(index, "the server closed the connection");
                    break;
                }
                Ok(count) => {
                    if let Err(reason) = self.handle(index, &buffer[..count]) {
                        self.lost(index, &reason);
                        break;
                    }
                    if count < buffer.len() && !secure {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) => {
                    self.lost(index, &error.to_string());
                    break;
                }
            }
        }
        self.buffer = buffer;
        self.flush(index);
    }

    fn handle(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        let Some(member) = &mut self.members[index] else { return Ok(()) };
        let Some(link) = &mut member.link else { return Ok(()) };
        let counters = &mut self.counters;
        link.heard = Instant::now();
        if !matches!(member.job, Job::Publish(_)) {
            counters.received += bytes.len() as u64;
        }
        let Some(client) = &mut link.client else {
            if let Job::Http { tail: Some(tail) } = &mut member.job {
                let now = now_micros();
                for sent in marks::times(tail, bytes) {
                    member.gaps.saw(sent, now);
                    if self.measuring {
                        counters.latencies.push(since(sent, now));
                    }
                }
            }
            if !link.started {
                if !bytes.starts_with(b"HTTP/1.1 200") {
                    let status = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                    return Err(String::from_utf8_lossy(status).into_owned());
                }
                self.started(index);
            }
            return Ok(());
        };
        if let Job::Play { skip: true, .. } = member.job {
            return Ok(());
        }
        let mut input = bytes;
        let mut began = false;
        while let Some(event) = client.read(&mut input, &mut link.out).map_err(|error| error.to_string())? {
            match (event, &mut member.job) {
                (Event::Started, Job::Play { sampled: false, skip }) => {
                    *skip = true;
                    began = true;
                    break;
                }
                (Event::Started, _) => began = true,
                (Event::Redirect(url), _) => return self.follow(index, &url),
                (Event::Reconnect(Some(url)), _) if member.dial.is_elsewhere(&url) => {
                    let url = member.dial.stream_at(&url);
                    return self.follow(index, &url);
                }
                // The others stay until they are closed.
                (Event::Reconnect(_), _) if member.again.is_none() => {}
                (Event::Reconnect(_), Job::Publish(progress)) => progress.move_on(),
                // Nothing is missed: another server starts with a keyframe that came here already.
                (Event::Reconnect(_), _) => return Err("the server asks to connect again".into()),
                (Event::Media(_, _, payload), _) => {
                    let mark = payload.len().checked_sub(MARK_SIZE).map(|at| &payload[at..]);
                    if let Some(sent) = mark.and_then(read_mark) {
                        let now = now_micros();
                        member.gaps.saw(sent, now);
                        if self.measuring {
                            counters.latencies.push(since(sent, now));
                        }
                    }
                }
                (Event::Connected(_), _) => {}
            }
        }
        if began {
            self.started(index);
        }
        Ok(())
    }
}
