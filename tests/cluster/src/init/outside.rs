//! From outside to inside: sockets that listen in the machine's network namespace and hand on to an address of the
//! cluster's.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
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
/// A flow without an answer is replaced then: the kernel keeps a flow on the way that its first datagram took, also
/// where that was before kube-proxy had written its rules.
const UDP_UNANSWERED: Duration = Duration::from_secs(1);
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

/// What one client outside sends to the cluster.
struct Flow {
    inside: Arc<UdpSocket>,
    since: Instant,
    answered: Arc<AtomicBool>,
    answers: Forward,
}

impl Flow {
    async fn new(outside: &Arc<UdpSocket>, client: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let inside = Arc::new(connect_udp(target).await?);
        let answered = Arc::new(AtomicBool::new(false));
        let answers = answer(Arc::clone(&inside), Arc::clone(outside), client, Arc::clone(&answered));
        let answers = Forward(tokio::spawn(answers));
        Ok(Flow { inside, since: Instant::now(), answered, answers })
    }

    /// It has ended, or leads nowhere.
    fn is_over(&self) -> bool {
        let unanswered = !self.answered.load(Ordering::Relaxed) && self.since.elapsed() >= UDP_UNANSWERED;
        unanswered || self.answers.0.is_finished()
    }
}

async fn forward_udp(outside: Arc<UdpSocket>, target: SocketAddr) {
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let Ok((length, client)) = outside.recv_from(&mut datagram).await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        if flows.get(&client).is_none_or(Flow::is_over) {
            let Ok(flow) = Flow::new(&outside, client, target).await else { continue };
            flows.retain(|_, flow| !flow.answers.0.is_finished());
            flows.insert(client, flow);
        }
        if let Some(flow) = flows.get(&client) {
            // Datagrams may be lost.
            let _ = flow.inside.send(&datagram[..length]).await;
        }
    }
}

async fn connect_udp(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Hands the server's answers back to one client until both have been silent.
async fn answer(
    inside: Arc<UdpSocket>,
    outside: Arc<UdpSocket>,
    client: SocketAddr,
    answered: Arc<AtomicBool>,
) {
    let mut datagram = vec![0; DATAGRAM];
    while let Ok(received) = tokio::time::timeout(UDP_IDLE, inside.recv(&mut datagram)).await {
        if let Ok(length) = received {
            answered.store(true, Ordering::Relaxed);
            let _ = outside.send_to(&datagram[..length], client).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flow_that_leads_nowhere_is_replaced() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap();
        // The first flow is lost on its way, as one that the kernel has sent astray.
        let answering = tokio::spawn(async move {
            let mut datagram = [0; 16];
            let (_, lost) = server.recv_from(&mut datagram).await.unwrap();
            loop {
                let (length, from) = server.recv_from(&mut datagram).await.unwrap();
                if from != lost {
                    server.send_to(&datagram[..length], from).await.unwrap();
                }
            }
        });
        let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = outside.local_addr().unwrap();
        let forward = Forward(tokio::spawn(forward_udp(outside, target)));
        let client = connect_udp(address).await.unwrap();
        let mut answer = [0; 16];
        let asking = async {
            loop {
                client.send(b"hello").await.unwrap();
                let received = tokio::time::timeout(Duration::from_millis(100), client.recv(&mut answer));
                if let Ok(Ok(length)) = received.await {
                    return length;
                }
            }
        };
        let length = tokio::time::timeout(Duration::from_secs(30), asking).await.expect("an answer");
        assert_eq!(&answer[..length], b"hello");
        drop(forward);
        answering.abort();
    }
}
