//! Connections that a link has opened: the client's side of RTMP on a core.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::conn::{Conn, Out, Publisher, Role};
use super::links::{End, Purpose};
use super::player::Player;
use super::transport::Transport;
use super::{Core, Next};
use crate::ids;
use crate::rtmp::Error;
use crate::rtmp::client::{Client, Event, Intent};
use crate::rtmp::session::Identity;
use crate::server::Service;
use crate::upstream::Endpoint;

/// A server must have accepted the connection by then.
const CONNECT: Duration = Duration::from_secs(3);
/// And what was asked of it.
const START: Duration = Duration::from_secs(5);
/// Media must come at least so often.
const STALL: Duration = Duration::from_secs(5);
/// The first media too, or another server that may have the stream is tried.
const FIRST: Duration = Duration::from_secs(2);
/// A connection that lived so long was good, whatever ended it.
const GOOD: Duration = Duration::from_secs(3);

/// What a connection is that a link has opened.
#[derive(Debug)]
pub(super) struct Outgoing {
    client: Client,
    link: u64,
    /// The server has answered.
    answered: bool,
    /// Since when media go over it.
    started: Option<Instant>,
    /// The server said no.
    refused: bool,
}

impl Outgoing {
    /// The server was told another chunk size with media.
    pub(super) fn told_chunk_size(&mut self, size: usize) {
        self.client.set_chunk_size(size);
    }
}

impl Core {
    /// Opens a link's connection; gives its place.
    pub(super) fn open(&mut self, link_id: u64, address: SocketAddr, server: &Endpoint) -> io::Result<usize> {
        let Some(link) = self.links.get_mut(link_id) else { return Err(io::ErrorKind::NotFound.into()) };
        let stream = TcpStream::connect(address)?;
        let _ = stream.set_nodelay(true);
        // A server that is gone without a word is noticed by what is sent to it, too.
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALL));
        let id = ids::connection();
        let local = stream.local_addr().map(|address| address.ip().to_string()).unwrap_or_default();
        let identity = link.debug_srs_upnode.then(|| Identity {
            signature: self.server.signature.clone(),
            version: self.server.version.text.clone(),
            server_ip: local,
            pid: std::process::id(),
            id: id.clone(),
            server_id: self.server.stat.server_id.clone(),
        });
        let relay = link.route.relay(server, &link.vhost, identity);
        let intent = if link.purpose == Purpose::Pull { Intent::Play } else { Intent::Publish };
        let mut out = Out::default();
        let mut client = Client::relay(relay, intent, ids::random(), &mut out.bytes);
        let chunk_size = link.source.policy().chunk_size;
        client.set_chunk_size(chunk_size);
        let outgoing = Outgoing { client, link: link_id, answered: false, started: None, refused: false };
        let transport = Transport { socket: stream, tls: None };
        let role = Role::Outgoing(Box::new(outgoing));
        let mut conn = Box::new(Conn {
            heard: true,
            out,
            chunk_size,
            // The first writable event says that the connection stands.
            blocked: true,
            deadline: Some(self.now + CONNECT),
            ..Conn::new(transport, address, Service::Rtmp, id, role)
        });
        let index = self.vacancy();
        self.server.connections.fetch_add(1, Ordering::Relaxed);
        self.server.cores[self.index].connections.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.register(index, &mut conn) {
            self.forget(index);
            return Err(error);
        }
        self.conns[index] = Some(conn);
        Ok(index)
    }

    pub(super) fn read_outgoing(&mut self, index: usize, conn: &mut Conn, bytes: &[u8]) -> Next {
        let Role::Outgoing(mut outgoing) = std::mem::replace(&mut conn.role, Role::HttpPlay) else {
            return Next::Keep;
        };
        if !std::mem::replace(&mut outgoing.answered, true) {
            conn.deadline = Some(self.now + START);
        }
        let mut next = Next::Keep;
        if let Some(publisher) = &conn.publisher {
            let stat = &publisher.source.stat;
            for traffic in [&stat.traffic, &stat.vhost.traffic, &self.server.stat.traffic] {
                traffic.add_recv(bytes.len());
            }
            if !publisher.source.is_pulled() {
                next = Next::Close("the stream is published here now".into());
            }
        }
        let mut input = bytes;
        while matches!(next, Next::Keep) {
            next = match outgoing.client.read(&mut input, &mut conn.out.bytes) {
                Ok(None) => break,
                Ok(Some(Event::Media(kind, timestamp, payload))) => {
                    self.media(conn, kind, timestamp, &payload);
                    Next::Keep
                }
                Ok(Some(Event::Connected(server)))
                    if server.as_deref() == Some(&*self.server.stat.server_id) =>
                {
                    Next::Close(format!("{} is this server itself", conn.peer))
                }
                // A server that asks to connect again closes when it must; the stream is somewhere else then.
                Ok(Some(Event::Connected(_) | Event::Reconnect(_))) => Next::Keep,
                Ok(Some(Event::Started)) => self.outgoing_started(index, conn, &mut outgoing),
                Ok(Some(Event::Redirect(url))) => self.outgoing_redirected(conn, &outgoing, &url),
                Err(error) => {
                    outgoing.refused = matches!(error, Error::Refused(_));
                    Next::Close(format!("{}: {error}", conn.peer))
                }
            };
        }
        conn.role = Role::Outgoing(outgoing);
        conn.note_chunk_size();
        if let Some(publisher) = &conn.publisher
            && publisher.started
            && !publisher.source.stat.active.swap(true, Ordering::Relaxed)
        {
            publisher.source.stat.media().publisher.clone_from(&conn.id);
            tracing::info!(cid = %conn.id, "{} comes from {}", publisher.source.stat.url(), conn.peer);
        }
        self.flush_publisher(conn);
        match next {
            Next::Keep if !conn.out.is_empty() => self.answer(conn),
            next => next,
        }
    }

    fn outgoing_started(&mut self, index: usize, conn: &mut Conn, outgoing: &mut Outgoing) -> Next {
        let now = self.now;
        if outgoing.started.replace(now).is_some() {
            return Next::Keep;
        }
        let Some(link) = self.links.get_mut(outgoing.link) else { return Next::Close(String::new()) };
        let source = Arc::clone(&link.source);
        if link.purpose == Purpose::Pull {
            if !source.resume() {
                return Next::Close("the stream is published here now".into());
            }
            let realtime = source.policy().realtime;
            conn.deadline = Some(now + if link.path.has_more() { FIRST } else { STALL });
            conn.publisher = Some(Publisher {
                source,
                started: false,
                realtime,
                timeout: STALL,
                route: None,
                described: 0,
                public: None,
            });
            return Next::Keep;
        }
        link.worked = true;
        tracing::info!(cid = %conn.id, "{} goes to {}", source.stat.url(), conn.peer);
        self.start_playing(index, conn, Player::relay(), source)
    }

    fn outgoing_redirected(&mut self, conn: &Conn, outgoing: &Outgoing, url: &str) -> Next {
        let Some(link) = self.links.get_mut(outgoing.link) else { return Next::Close(String::new()) };
        match link.path.redirected(url) {
            Ok(()) => Next::Close(format!("{} redirects to {url}", conn.peer)),
            Err(misled) => Next::Close(format!("{}: {misled}", conn.peer)),
        }
    }

    /// The polite end of a stream that was sent: everything has gone out before.
    pub(super) fn say_goodbye(conn: &mut Conn) -> Next {
        if let Role::Outgoing(outgoing) = &conn.role {
            outgoing.client.unpublish(&mut conn.out.bytes);
            let _ = conn.flush();
        }
        Next::Close("the stream ended".into())
    }

    /// Its link ends as soon as everything is sent.
    pub(super) fn is_last(&mut self, conn: &Conn) -> bool {
        matches!(&conn.role, Role::Outgoing(outgoing) if self.is_ending(outgoing.link))
    }

    pub(super) fn outgoing_closed(
        &mut self,
        index: usize,
        conn: &mut Conn,
        outgoing: &Outgoing,
        reason: &str,
    ) {
        self.stop_playing(conn);
        let mut good = outgoing.started.is_some_and(|since| self.now >= since + GOOD);
        if let Some(publisher) = conn.publisher.take() {
            good &= publisher.started;
            publisher.source.interrupt();
        }
        tracing::debug!(cid = %conn.id, "{} closed: {reason}", conn.peer);
        let _ = self.poll.registry().deregister(&mut conn.transport.socket);
        self.forget(index);
        let end = End { good, refused: outgoing.refused };
        self.link_lost(outgoing.link, end, reason);
    }
}
