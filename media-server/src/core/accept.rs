//! Listeners, and connections on their way in: the first core accepts and hands each to the core with the fewest.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};

use super::conn::{Conn, Role};
use super::transport::Transport;
use super::{Core, LISTENERS};
use crate::ids;
use crate::rtmp::session::Session;
use crate::server::{Command, Service};
use crate::tls;

/// Why a connection beyond `connections_per_ip` ends.
pub(super) const TOO_MANY: &str = "its address has too many connections";

impl Core {
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

    /// Ends listening at some places; gives their sockets.
    pub(super) fn unlisten(&mut self, which: impl Fn(&(Service, SocketAddr)) -> bool) -> Vec<TcpListener> {
        let gone = |place: &Option<(TcpListener, Service, SocketAddr)>| {
            place.as_ref().is_some_and(|(_, service, address)| which(&(*service, *address)))
        };
        let mut listeners = Vec::new();
        for place in self.listeners.iter_mut().filter(|place| gone(place)) {
            if let Some((mut listener, ..)) = place.take() {
                let _ = self.poll.registry().deregister(&mut listener);
                listeners.push(listener);
            }
        }
        listeners
    }

    pub(super) fn accept(&mut self, listener: usize) {
        loop {
            let Some(Some((socket, service, _))) = self.listeners.get(listener) else { return };
            let service = *service;
            match socket.accept() {
                Ok((stream, mut peer)) => {
                    // A socket for both protocols calls 1.2.3.4 ::ffff:1.2.3.4.
                    peer.set_ip(peer.ip().to_canonical());
                    let limit = self.server.settings().max_connections;
                    let count = self.server.connections.load(Ordering::Relaxed);
                    if count >= limit {
                        self.server.refused.fetch_add(1, Ordering::Relaxed);
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
                // A probe that was gone before it was accepted is nothing to tell.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    // No event tells when files or memory are there again.
                    tracing::warn!("accept: {error}");
                    self.stalled.push(listener);
                    return;
                }
            }
        }
    }

    pub(super) fn adopt(&mut self, stream: std::net::TcpStream, peer: SocketAddr, service: Service) {
        self.adopt_mio(TcpStream::from_std(stream), peer, service);
    }

    fn adopt_mio(&mut self, stream: TcpStream, peer: SocketAddr, service: Service) {
        let index = self.vacancy();
        let tls = match self.server.certificates.config(service).map(tls::Session::new).transpose() {
            // A reload has taken the port's certificate, and its listener goes too: nothing is said in clear there.
            Ok(None) if service != service.without_tls() => {
                self.forget(index);
                return;
            }
            Ok(session) => session.map(Box::new),
            Err(error) => {
                tracing::error!("{peer}: {error}");
                self.forget(index);
                return;
            }
        };
        let settings = self.server.settings();
        let awaits_proxy = settings.real_ip.proxy_protocol && settings.real_ip.trusts(peer.ip());
        let role = match service {
            Service::Rtmp => Role::Rtmp(Box::new(Session::new(ids::random(), self.uptime_seconds()))),
            Service::Api | Service::Http | Service::ApiTls | Service::HttpTls => Role::HttpHead(Vec::new()),
        };
        // Half-open peers are found by the kernel: players have no deadline of their own.
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(
            &socket2::TcpKeepalive::new()
                .with_time(Duration::from_mins(1))
                .with_interval(Duration::from_secs(15)),
        );
        let transport = Transport { socket: stream, tls };
        let mut conn = Box::new(Conn {
            awaits_proxy,
            guest: (service.without_tls() != Service::Api).then(|| self.server.drain.guest()),
            deadline: Some(self.now + settings.limits.handshake_timeout),
            ..Conn::new(transport, peer, service.without_tls(), ids::connection(), role)
        });
        if let Err(error) = self.register(index, &mut conn) {
            tracing::error!("{peer}: {error}");
            self.forget(index);
            return;
        }
        // A load balancer has as many connections as it likes; its clients are counted once they are known.
        let forwards = service != Service::Rtmp
            && settings.real_ip.x_forwarded_for
            && settings.real_ip.trusts(peer.ip());
        if !awaits_proxy && !forwards && !self.take_place(&mut conn) {
            self.close(index, conn, "");
            return;
        }
        self.conns[index] = Some(conn);
    }

    /// A place for a connection.
    pub(super) fn vacancy(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        })
    }

    /// Events of the connection are told from now on, by its place.
    pub(super) fn register(&self, index: usize, conn: &mut Conn) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut conn.transport.socket, Token(index), interest)
    }

    /// A proxy has named the client of a connection, which counts as that one's from now on; false when there are
    /// enough of it.
    pub(super) fn know_client(&self, conn: &mut Conn, ip: IpAddr) -> bool {
        if ip == conn.peer.ip() {
            return true;
        }
        conn.place = None;
        conn.peer.set_ip(ip);
        self.take_place(conn)
    }

    /// Counts a connection for its address; false when there are enough of that one.
    pub(super) fn take_place(&self, conn: &mut Conn) -> bool {
        let limit = self.server.settings().limits.connections_per_ip;
        if limit == 0 {
            return true;
        }
        conn.place = self.server.addresses_of_clients.take(conn.peer.ip(), limit);
        if conn.place.is_none() {
            // Not a probe, whatever it would have said.
            conn.heard = true;
            self.server.refused.fetch_add(1, Ordering::Relaxed);
        }
        conn.place.is_some()
    }

    /// Each second: tells of refusals, all in one line, for a flood shall not fill the log too, and accepts again where
    /// the system had no room.
    pub(super) fn check_listeners(&mut self) {
        let refused = self.server.refused.load(Ordering::Relaxed);
        if self.index == 0 && refused > self.refused {
            let settings = self.server.settings();
            tracing::warn!(
                "{} connections were refused: max_connections is {}, connections_per_ip {}",
                refused - self.refused,
                settings.max_connections,
                settings.limits.connections_per_ip
            );
            self.refused = refused;
        }
        for listener in std::mem::take(&mut self.stalled) {
            self.accept(listener);
        }
    }

    fn uptime_seconds(&self) -> u32 {
        self.server.started.elapsed().as_secs() as u32
    }
}
