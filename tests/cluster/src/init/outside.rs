//! From outside to inside: sockets that listen in the machine's network namespace and hand on to an address of the
//! cluster's.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

/// The protocols that a load balancer's port can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A UDP client that has been silent for so long is forgotten.
const UDP_IDLE: Duration = Duration::from_mins(2);
/// The pause after a socket failed.
const BREATH: Duration = Duration::from_millis(50);
/// The largest datagram.
const DATAGRAM: usize = 65_536;

/// The machine's network, as the cluster's first process may use it.
#[derive(Clone)]
pub(crate) struct Outside {
    namespace: Arc<OwnedFd>,
}

/// Ends the hand-over when dropped.
#[derive(Debug)]
pub(crate) struct Forward(JoinHandle<()>);

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Outside {
    /// Takes the namespace from standard input, where the guardian put it.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        Ok(Self { namespace: Arc::new(io::stdin().as_fd().try_clone_to_owned()?) })
    }

    /// Listens outside on `listen` and hands everything on to `target` inside.
    ///
    /// # Errors
    /// The address is in use on this machine.
    pub(crate) fn forward(
        &self,
        protocol: Protocol,
        listen: SocketAddr,
        target: SocketAddr,
    ) -> io::Result<Forward> {
        Ok(Forward(match protocol {
            Protocol::Tcp => {
                let listener = self.within(|| std::net::TcpListener::bind(listen))?;
                listener.set_nonblocking(true)?;
                tokio::spawn(forward_tcp(TcpListener::from_std(listener)?, target))
            }
            Protocol::Udp => {
                let socket = self.within(|| std::net::UdpSocket::bind(listen))?;
                socket.set_nonblocking(true)?;
                tokio::spawn(forward_udp(Arc::new(UdpSocket::from_std(socket)?), target))
            }
        }))
    }

    /// Makes a socket in the machine's namespace: a socket stays in the one that it was made in.
    fn within<T: Send>(&self, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let namespace = self.namespace.as_fd();
        std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(namespace, CloneFlags::CLONE_NEWNET)?;
                    make()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

async fn forward_tcp(listener: TcpListener, target: SocketAddr) {
    // Connections end with the listener: a load balancer that is gone carries nothing.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(connect(client, target));
                }
                // Out of descriptors, most likely: the next ones may be luckier.
                Err(_) => tokio::time::sleep(BREATH).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(mut client: TcpStream, target: SocketAddr) {
    // A refused or broken connection is told to the client by the end of its own.
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, 65_536, 65_536).await;
}

async fn forward_udp(outside: Arc<UdpSocket>, target: SocketAddr) {
    let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, Forward)> = HashMap::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let Ok((length, client)) = outside.recv_from(&mut datagram).await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        if clients.get(&client).is_none_or(|(_, answers)| answers.0.is_finished()) {
            let Ok(inside) = connect_udp(target).await else { continue };
            let inside = Arc::new(inside);
            let answers = tokio::spawn(answer(Arc::clone(&inside), Arc::clone(&outside), client));
            clients.retain(|_, (_, answers)| !answers.0.is_finished());
            clients.insert(client, (inside, Forward(answers)));
        }
        if let Some((inside, _)) = clients.get(&client) {
            // Datagrams may be lost.
            let _ = inside.send(&datagram[..length]).await;
        }
    }
}

async fn connect_udp(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Hands the server's answers back to one client until both have been silent.
async fn answer(inside: Arc<UdpSocket>, outside: Arc<UdpSocket>, client: SocketAddr) {
    let mut datagram = vec![0; DATAGRAM];
    while let Ok(received) = tokio::time::timeout(UDP_IDLE, inside.recv(&mut datagram)).await {
        if let Ok(length) = received {
            let _ = outside.send_to(&datagram[..length], client).await;
        }
    }
}
