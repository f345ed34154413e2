//! Many RTMP clients on one thread: what `publish` and `load` are made of.

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

use super::Failure;
use crate::flv::{self, Role, Tag, TagKind};
use crate::rtmp::client::{Client, Event, Intent};
use crate::rtmp::url::Target;

/// What is appended to marked payloads: these bytes, then microseconds of the machine's monotonic clock. Decoders
/// never see it.
const MARK: &[u8; 8] = b"\xffLATMARK";
/// A mark's size.
const MARK_SIZE: usize = 16;
/// The most bytes that wait for a server that does not read.
const MAX_OUT: usize = 64 << 20;

/// How a publisher sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Start again at the end.
    pub(super) repeat: bool,
    /// Send what is due in bursts of this length; zero is tag by tag.
    pub(super) burst: Duration,
    /// Append marks that tell players the time of sending.
    pub(super) marked: bool,
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
    /// Bytes received by players.
    pub(super) received: u64,
    /// Bytes sent by publishers.
    pub(super) sent: u64,
    /// Latencies of marked messages, in microseconds.
    pub(super) latencies: Vec<u32>,
}

#[derive(Debug)]
enum Job {
    Publish {
        position: usize,
        round: u32,
        began: Option<Instant>,
        delay: Duration,
    },
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

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    client: Option<Client>,
    job: Job,
    out: Vec<u8>,
    written: usize,
    greeted: bool,
}

/// The clients.
pub(super) struct Swarm<'a> {
    poll: Poll,
    members: Vec<Option<Member>>,
    tags: &'a [Tag<'a>],
    /// How long the file lasts, up to where its next round starts.
    length: u32,
    pace: Pace,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    buffer: Vec<u8>,
    /// Latencies are collected.
    pub(super) measuring: bool,
    /// What was seen.
    pub(super) counters: Counters,
}

impl<'a> Swarm<'a> {
    /// No clients yet; publishers send `tags`.
    pub(super) fn new(tags: &'a [Tag<'a>], pace: Pace) -> Result<Self, Failure> {
        let media = tags.iter().filter(|tag| tag.kind != TagKind::Script).map(|tag| tag.timestamp);
        let (first, last) =
            media.fold((u32::MAX, 0), |(first, last), time| (first.min(time), last.max(time)));
        Ok(Swarm {
            poll: Poll::new()?,
            members: Vec::new(),
            tags,
            length: last.saturating_sub(first.min(last)) + 40,
            pace,
            due: BinaryHeap::new(),
            buffer: vec![0; 256 << 10],
            measuring: false,
            counters: Counters::default(),
        })
    }

    fn add(
        &mut self,
        address: SocketAddr,
        tls: Option<Box<ClientConnection>>,
        client: Option<Client>,
        job: Job,
        out: Vec<u8>,
    ) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(address)?;
        let token = Token(self.members.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let _ = stream.set_nodelay(matches!(job, Job::Publish { .. }));
        self.members.push(Some(Member { stream, tls, client, job, out, written: 0, greeted: false }));
        Ok(())
    }

    /// Adds a publisher that waits `delay` after it may begin.
    pub(super) fn publish(
        &mut self,
        address: SocketAddr,
        target: Target,
        delay: Duration,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        let client = Client::new(target, Intent::Publish, crate::ids::random(), &mut out);
        self.add(address, None, Some(client), Job::Publish { position: 0, round: 0, began: None, delay }, out)
    }

    /// Adds a player.
    pub(super) fn play(&mut self, address: SocketAddr, target: Target, sampled: bool) -> Result<(), Failure> {
        let mut out = Vec::new();
        let client = Client::new(target, Intent::Play, crate::ids::random(), &mut out);
        self.add(address, None, Some(client), Job::Play { sampled, skip: false }, out)
    }

    /// Adds a player of HTTP-FLV, through TLS where there is a configuration and the server's name for it.
    pub(super) fn get(
        &mut self,
        address: SocketAddr,
        tls: Option<(&Arc<ClientConfig>, &str)>,
        host: &str,
        path: &str,
        sampled: bool,
    ) -> Result<(), Failure> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: media-server\r\n\r\n");
        let tail = sampled.then(Vec::new);
        let tls = tls.map(|(config, host)| -> Result<_, Failure> {
            let name = ServerName::try_from(host.to_owned())?;
            Ok(Box::new(ClientConnection::new(Arc::clone(config), name)?))
        });
        self.add(address, tls.transpose()?, None, Job::Http { tail }, request.into_bytes())
    }

    /// Clients that are connected.
    pub(super) fn connected(&self) -> usize {
        self.members.iter().flatten().count()
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
                self.feed(index, now);
            }
        }
        Ok(())
    }

    fn fail(&mut self, index: usize, reason: String) {
        if self.members[index].take().is_some() {
            self.counters.failed.0 += 1;
            self.counters.failed.1.get_or_insert(reason);
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(member) = &mut self.members[index] else { return };
        while member.written < member.out.len() {
            let bytes = &member.out[member.written..];
            let written = match &mut member.tls {
                None => member.stream.write(bytes),
                Some(tls) => rustls::Stream::new(&mut **tls, &mut member.stream).write(bytes),
            };
            match written {
                Ok(count) => {
                    member.written += count;
                    if matches!(member.job, Job::Publish { .. }) {
                        self.counters.sent += count as u64;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if member.out.len() - member.written > MAX_OUT {
                        self.fail(index, "the server does not read".into());
                    }
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => return,
                Err(error) => return self.fail(index, error.to_string()),
            }
        }
        member.out.clear();
        member.out.shrink_to(4096);
        member.written = 0;
    }

    fn read(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(member) = &mut self.members[index] {
            let read = match &mut member.tls {
                None => member.stream.read(&mut buffer),
                Some(tls) => rustls::Stream::new(&mut **tls, &mut member.stream).read(&mut buffer),
            };
            let secure = member.tls.is_some();
            match read {
                Ok(0) => {
                    self.fail(index, "the server closed the connection".into());
                    break;
                }
                Ok(count) => {
                    if let Err(reason) = self.handle(index, &buffer[..count]) {
                        self.fail(index, reason);
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
                    self.fail(index, error.to_string());
                    break;
                }
            }
        }
        self.buffer = buffer;
        self.flush(index);
    }

    fn handle(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        let Some(member) = &mut self.members[index] else { return Ok(()) };
        let counters = &mut self.counters;
        if !matches!(member.job, Job::Publish { .. }) {
            counters.received += bytes.len() as u64;
        }
        let Some(client) = &mut member.client else {
            if !std::mem::replace(&mut member.greeted, true) {
                if !bytes.starts_with(b"HTTP/1.1 200") {
                    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                    return Err(String::from_utf8_lossy(line).into_owned());
                }
                counters.started += 1;
            }
            if let Job::Http { tail: Some(tail) } = &mut member.job {
                let now = now_micros();
                let latencies = marks(tail, bytes).into_iter().map(|sent| since(sent, now));
                if self.measuring {
                    counters.latencies.extend(latencies);
                }
            }
            return Ok(());
        };
        if let Job::Play { skip: true, .. } = member.job {
            return Ok(());
        }
        let mut input = bytes;
        while let Some(event) = client.read(&mut input, &mut member.out).map_err(|error| error.to_string())? {
            match (event, &mut member.job) {
                (Event::Started, Job::Publish { delay, .. }) => {
                    counters.started += 1;
                    self.due.push(Reverse((Instant::now() + *delay, index)));
                }
                (Event::Started, Job::Play { sampled, skip }) => {
                    counters.started += 1;
                    if !*sampled {
                        *skip = true;
                        return Ok(());
                    }
                }
                (Event::Redirect(url), _) => return Err(format!("the stream is at {url}")),
                (Event::Media(_, _, payload), _) if self.measuring => {
                    let mark = payload.len().checked_sub(MARK_SIZE).map(|at| &payload[at..]);
                    if let Some(sent) = mark.and_then(read_mark) {
                        counters.latencies.push(since(sent, now_micros()));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends a publisher's tags that are due.
    fn feed(&mut self, index: usize, now: Instant) {
        let tags = self.tags;
        let Some(member) = &mut self.members[index] else { return };
        let (Some(client), Job::Publish { position, round, began, .. }) = (&member.client, &mut member.job)
        else {
            return;
        };
        let start = *began.get_or_insert(now);
        let first = tags.iter().find(|tag| tag.kind != TagKind::Script).map_or(0, |tag| tag.timestamp);
        loop {
            let Some(tag) = tags.get(*position) else {
                if !self.pace.repeat {
                    client.unpublish(&mut member.out);
                    self.counters.finished += 1;
                    break;
                }
                *position = 0;
                *round += 1;
                continue;
            };
            let elapsed = tag.timestamp.saturating_sub(first);
            let time = u64::from(elapsed) + u64::from(*round) * u64::from(self.length);
            let mut due = start + Duration::from_millis(time);
            if !self.pace.burst.is_zero() {
                let burst = self.pace.burst.as_millis() as u64;
                due = start + Duration::from_millis(time / burst * burst);
            }
            if due > now {
                self.due.push(Reverse((due, index)));
                break;
            }
            *position += 1;
            let header =
                flv::role(tag.kind, tag.payload) == Role::SequenceHeader || tag.kind == TagKind::Script;
            if *round > 0 && header {
                continue;
            }
            if self.pace.marked && !header {
                let payload = [tag.payload, MARK, &now_micros().to_be_bytes()].concat();
                client.send(&mut member.out, tag.kind, time as u32, &payload);
            } else {
                let payload = match tag.kind {
                    TagKind::Script => set_data_frame(tag.payload),
                    _ => tag.payload.to_vec(),
                };
                client.send(&mut member.out, tag.kind, time as u32, &payload);
            }
        }
        self.flush(index);
    }
}

/// Microseconds of the clock that all processes of a machine share.
fn now_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

fn since(sent: u64, now: u64) -> u32 {
    u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX)
}

/// The time in a mark at the front of these bytes.
fn read_mark(bytes: &[u8]) -> Option<u64> {
    let time = bytes.strip_prefix(MARK)?.get(..8)?;
    time.try_into().ok().map(u64::from_be_bytes)
}

/// The times of the marks that end in `bytes`, whatever the framing around them: no frame of HTTP stands inside of
/// one. `tail` is what was kept of the bytes before.
fn marks(tail: &mut Vec<u8>, bytes: &[u8]) -> Vec<u64> {
    tail.extend_from_slice(bytes);
    let mut times = Vec::new();
    let mut at = 0;
    while let Some(found) = tail[at..].iter().position(|byte| *byte == MARK[0]) {
        at += found;
        match read_mark(&tail[at..]) {
            Some(time) => {
                times.push(time);
                at += MARK_SIZE;
            }
            None if tail.len() - at < MARK_SIZE => break,
            None => at += 1,
        }
    }
    let keep = tail.len().saturating_sub(MARK_SIZE - 1).max(at.min(tail.len()));
    tail.drain(..keep);
    times
}

/// Metadata as encoders send it.
fn set_data_frame(payload: &[u8]) -> Vec<u8> {
    [&crate::amf0::encode_all(&[crate::amf0::Value::string("@setDataFrame")]), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Marks are found wherever reads cut them, among bytes that look like their start.
        #[test]
        fn marks_are_found_in_any_split(
            gaps in prop::collection::vec(0usize..40, 1..6),
            cuts in prop::collection::vec(1usize..30, 1..20),
        ) {
            let mut bytes = Vec::new();
            for (index, gap) in gaps.iter().enumerate() {
                bytes.resize(bytes.len() + gap, if index % 2 == 0 { MARK[0] } else { 0x17 });
                bytes.extend_from_slice(MARK);
                bytes.extend_from_slice(&(index as u64).to_be_bytes());
            }
            let (mut tail, mut found, mut rest) = (Vec::new(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                found.extend(marks(&mut tail, part));
                rest = after;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(found, (0..gaps.len() as u64).collect::<Vec<_>>());
            prop_assert!(tail.len() < MARK_SIZE);
        }
    }
}
