//! What all threads of a server share: settings, sources, statistics and the way to reach each core.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Instant;

use crate::children::Queue;
use crate::conf::Settings;
use crate::drain::{Drain, Guest, Leave};
use crate::hooks::Job;
use crate::http::context::Contexts;
use crate::http::guard::Guard;
use crate::http::viewers::Viewers;
use crate::limits::{Addresses, Place};
use crate::recorder::{Counters, Order};
use crate::source::Sources;
use crate::stat::Stat;
use crate::tls;
use crate::upstream::Endpoint;
use crate::upstream::coworkers::Coworkers;
use crate::upstream::question::Verdict;
use crate::upstream::worker::Ask;

/// The SRS that this server is compatible with, unless `SRS_COMPATIBILITY_VERSION` names another.
pub const COMPATIBILITY_VERSION: &str = "4.0.271";

/// Names and numbers of the compatible version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `4.0.271`.
    pub text: String,
    /// Major, minor, revision.
    pub parts: [u32; 3],
}

impl Version {
    /// From a text such as `4.0.271`; none when it is not three numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim_start_matches('v').split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let parts = [next()?, next()?, next()?];
        numbers
            .next()
            .is_none()
            .then(|| Version { text: format!("{}.{}.{}", parts[0], parts[1], parts[2]), parts })
    }

    /// `SRS/4.0.271(Leo)`: SRS 3 is called OuXuli.
    pub fn signature(&self) -> String {
        let name = if self.parts[0] <= 3 { "OuXuli" } else { "Leo" };
        format!("SRS/{}({name})", self.text)
    }
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// RTMP.
    Rtmp,
    /// `http_api`.
    Api,
    /// `http_server`.
    Http,
    /// `http_api.https`.
    ApiTls,
    /// `http_server.https`.
    HttpTls,
}

impl Service {
    /// What is spoken inside of TLS.
    pub fn without_tls(self) -> Self {
        match self {
            Service::ApiTls => Service::Api,
            Service::HttpTls => Service::Http,
            plain @ (Service::Rtmp | Service::Api | Service::Http) => plain,
        }
    }
}

/// A message to a core.
#[derive(Debug)]
pub enum Command {
    /// A new connection.
    Accept(TcpStream, SocketAddr, Service),
    /// Close the connection at that place if it still has that id.
    Kick(usize, String),
    /// Listen there too; the address is the one of the configuration.
    Listen(TcpListener, Service, SocketAddr),
    /// Listen there no more.
    Unlisten(Service, SocketAddr),
    /// Give up the listener of that place to whoever asks, open as it is.
    Surrender(Service, SocketAddr, mpsc::Sender<((Service, SocketAddr), TcpListener)>),
    /// The configuration has changed.
    Reloaded,
    /// The hooks that this connection waited for have answered; a text is why they refused.
    Decided(usize, String, Option<String>),
    /// The server that has the stream of this link now; none when nobody has.
    Located(u64, Option<Endpoint>),
    /// What this connection waited for other servers to say.
    Answered(usize, String, Verdict),
    /// The addresses of the server that this link asked for; empty when it has none.
    Resolved(u64, Vec<SocketAddr>),
    /// Stop listening for media; the API goes on.
    StopListening,
    /// The client at that place, if it still has that id, goes on at another server.
    Leave(usize, String, Leave),
    /// Close everything and end.
    Quit,
}

/// The way to a core.
#[derive(Debug)]
pub struct CoreHandle {
    waker: mio::Waker,
    inbox: Mutex<Vec<Command>>,
    awake: AtomicBool,
    /// How many connections it has.
    pub connections: AtomicUsize,
}

impl CoreHandle {
    /// A handle with its waker.
    pub fn new(waker: mio::Waker) -> Self {
        CoreHandle {
            waker,
            inbox: Mutex::default(),
            awake: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        }
    }

    /// Sends a command.
    pub fn send(&self, command: Command) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.wake();
    }

    /// Makes the core look around; cheap when it is about to anyway.
    pub fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            // Only a closed epoll fails, and then there is nobody to wake.
            let _ = self.waker.wake();
        }
    }

    /// What was sent since the last time; the next [`CoreHandle::wake`] wakes again.
    pub fn take(&self) -> Vec<Command> {
        self.awake.store(false, Ordering::Release);
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request on an HTTP port that is not for media: the socket and the bytes already read.
#[derive(Debug)]
pub struct Handoff {
    /// The connection.
    pub stream: TcpStream,
    /// TLS, where the port has it.
    pub tls: Option<Box<tls::Session>>,
    /// The client.
    pub peer: SocketAddr,
    /// Which port it came to.
    pub service: Service,
    /// What was read.
    pub head: Vec<u8>,
    /// Its place among the connections of its address, where that is limited.
    pub place: Option<Place>,
    /// Quitting waits for it.
    pub guest: Option<Guest>,
}

/// How reloads went.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Reloads {
    /// How many were done.
    pub succeeded: u64,
    /// How many were refused.
    pub failed: u64,
    /// Why the last one was refused; none when it was done.
    pub error: Option<String>,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    settings: RwLock<Arc<Settings>>,
    /// Statistics.
    pub stat: Arc<Stat>,
    /// Streams.
    pub sources: Sources,
    /// The compatible version.
    pub version: Version,
    /// `SRS/4.0.271(Leo)`.
    pub signature: String,
    /// The cores.
    pub cores: Vec<CoreHandle>,
    /// Where requests that are not for media go.
    pub http: tokio::sync::mpsc::UnboundedSender<Handoff>,
    /// What hooks are called.
    pub hooks: tokio::sync::mpsc::Sender<Job>,
    /// What is known of the other origins.
    pub coworkers: Coworkers,
    /// What is asked of other servers.
    pub asks: tokio::sync::mpsc::Sender<Ask>,
    /// What is recorded.
    pub recorder: mpsc::Sender<Order>,
    /// What could not be recorded.
    pub recording: Counters,
    /// Programs that run for streams and the configuration.
    pub children: Queue,
    /// Connections on all cores and in the API.
    pub connections: AtomicUsize,
    /// The certificates of ports with TLS.
    pub certificates: tls::Certificates,
    /// What notices that their files change.
    pub certificate_watch: tls::Watch,
    /// Connections by address, where that is limited.
    pub addresses_of_clients: Arc<Addresses>,
    /// Connections that were refused because there were too many.
    pub refused: AtomicU64,
    /// Connections that were closed before they said a word: health probes.
    pub probes: AtomicU64,
    /// How far quitting has come.
    pub drain: Drain,
    /// When it started.
    pub started: Instant,
    /// Who may change something through the API.
    pub guard: Guard,
    /// What tells viewers of HLS apart.
    pub contexts: Contexts,
    /// Viewers of HLS.
    pub viewers: Viewers,
    /// The file of the configuration.
    pub path: Option<PathBuf>,
    /// The configuration was replaced.
    pub reloaded: tokio::sync::Notify,
    reloads: Mutex<Reloads>,
    /// Held while the configuration is read again: the API and signals may want it at the same time.
    pub reloading: Mutex<()>,
    /// The addresses that it really listens at.
    pub addresses: Mutex<Vec<(Service, SocketAddr)>>,
}

impl Server {
    /// A server with its cores' handles.
    pub fn new(
        settings: Settings,
        version: Version,
        cores: Vec<CoreHandle>,
        http: tokio::sync::mpsc::UnboundedSender<Handoff>,
        recorder: mpsc::Sender<Order>,
        hooks: tokio::sync::mpsc::Sender<Job>,
        asks: tokio::sync::mpsc::Sender<Ask>,
    ) -> Self {
        let server_id = settings.server_id.clone().unwrap_or_else(crate::ids::vid);
        Server {
            stat: Arc::new(Stat::new(server_id)),
            sources: Sources::new(cores.len()),
            recorder,
            recording: Counters::default(),
            children: Queue::default(),
            hooks,
            asks,
            coworkers: Coworkers::default(),
            signature: version.signature(),
            version,
            cores,
            http,
            settings: RwLock::new(Arc::new(settings)),
            connections: AtomicUsize::new(0),
            certificates: tls::Certificates::default(),
            certificate_watch: tls::Watch::default(),
            addresses_of_clients: Arc::default(),
            refused: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            drain: Drain::default(),
            started: Instant::now(),
            guard: Guard::default(),
            contexts: Contexts::default(),
            viewers: Viewers::default(),
            path: None,
            reloaded: tokio::sync::Notify::new(),
            reloads: Mutex::default(),
            reloading: Mutex::default(),
            addresses: Mutex::default(),
        }
    }

    /// The address of a service, as the system chose it where the port was 0.
    pub fn address_of(&self, service: Service) -> Option<SocketAddr> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.iter().find(|(other, _)| *other == service).map(|(_, address)| *address)
    }

    /// The configuration of now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the configuration.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Keeps how a reload went.
    pub fn note_reload(&self, error: Option<String>) {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        match &error {
            None => reloads.succeeded += 1,
            Some(_) => reloads.failed += 1,
        }
        reloads.error = error;
    }

    /// How reloads went.
    pub fn reloads(&self) -> Reloads {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes all cores look around.
    pub fn wake_all(&self) {
        for core in &self.cores {
            core.wake();
        }
    }

    /// Sends a command to every core.
    pub fn broadcast(&self, command: impl Fn() -> Command) {
        for core in &self.cores {
            core.send(command());
        }
    }

    /// Closes a client's connection; false when there is none of that id.
    pub fn kick(&self, id: &str) -> bool {
        let Some((core, index)) = self.stat.client_by_id(id).and_then(|client| client.place) else {
            return false;
        };
        if let Some(core) = self.cores.get(core) {
            core.send(Command::Kick(index, id.to_owned()));
        }
        true
    }

    /// Makes a client go on at another server; false when there is none of that id.
    pub fn leave(&self, id: &str, how: Leave) -> bool {
        let Some((core, index)) = self.stat.client_by_id(id).and_then(|client| client.place) else {
            return false;
        };
        if let Some(core) = self.cores.get(core) {
            core.send(Command::Leave(index, id.to_owned(), how));
        }
        true
    }

    /// The core with the fewest connections.
    pub fn idlest_core(&self) -> usize {
        let load = |index: &usize| self.cores[*index].connections.load(Ordering::Relaxed);
        (0..self.cores.len()).min_by_key(load).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_three_numbers() {
        assert_eq!(Version::parse("v4.0.5").unwrap().signature(), "SRS/4.0.5(Leo)");
        assert_eq!(Version::parse("3.0.170").unwrap().signature(), "SRS/3.0.170(OuXuli)");
        for text in ["", "4.0", "4.0.x", "4.0.1.2", "latest"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }
}
