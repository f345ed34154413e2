//! Runs the server: listeners, cores, the API's thread, signals and the two ways to quit.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::parent::Parent;
use super::{Failure, container, quit, say};
use crate::children;
use crate::conf::{Settings, support};
use crate::core::{self, Core};
use crate::hooks;
use crate::http;
use crate::log;
use crate::recorder::{self, Order};
use crate::reload;
use crate::server::{Command, CoreHandle, Server, Service, Version};
use crate::tls;
use crate::upstream::worker;

/// Set for the process in the background that `daemon on` starts.
const DAEMON: &str = "SRS_DAEMON_CHILD";
/// Changes of the configuration's file within this time are one.
const QUIET: Duration = Duration::from_millis(500);

/// The server on this thread, until a signal ends it.
pub(super) fn run(path: &Path, settings: Settings, version: Version) -> Result<ExitCode, Failure> {
    let contained = container::inside() || settings.root.on("in_docker");
    let foreground = contained && settings.root.not_off("disable_daemon_for_docker");
    if settings.daemon && !foreground && std::env::var_os(DAEMON).is_none() {
        return daemonize();
    }
    // A reload reads the same file, wherever the work is done.
    let path = &std::path::absolute(path)?;
    enter_work_dir(&settings)?;
    let limit = raise_open_files();
    if let Some(limit) = limit
        && settings.max_connections as u64 + 64 > limit
    {
        let message = format!(
            "max_connections is {}, but only {limit} files may be open (ulimit -n): lower the one or raise the other",
            settings.max_connections
        );
        return Err(message.into());
    }
    // In a container a log file would fill the container's own layer unseen: there the console is the default.
    let _guard = log::start(&settings.log, !contained)?;
    let pid_file = PidFile::write(&settings.pid);
    let (sender, signals) = mpsc::channel();
    let watching = sender.clone();
    let mut source = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1])?;
    let mut parent = None;
    if settings.root.on("asprocess") {
        source.add_signal(SIGUSR2)?;
        parent = Parent::watch()?;
        // It may have ended before it was watched.
        if parent.is_some_and(Parent::is_gone) {
            return Err("asprocess: the process that started this one has ended".into());
        }
    }
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in source.forever() {
            let signal = match signal {
                SIGUSR2 if parent.is_some_and(Parent::is_gone) => {
                    tracing::warn!("asprocess: the process that started this one has ended");
                    SIGINT
                }
                SIGUSR2 => continue,
                signal => signal,
            };
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    tracing::info!(
        "{} (media-server {}), pid {}, configuration {}",
        version.signature(),
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        path.display()
    );
    let docker = settings.root.not_off("auto_reload_for_docker");
    if settings.root.on("inotify_auto_reload") || contained && docker {
        // The same as a signal: the file is read by one thread only.
        reload::watch(path, QUIET, watching, || SIGHUP)?;
    }
    children::start_through_self();
    let mut running = Running::start_from(settings, version, Some(path.to_owned()))?;
    let code = quit::wait(&mut running, &signals);
    running.stop();
    drop(pid_file);
    Ok(code)
}

/// Reads the other files that a configuration names: certificates, keys, tokens and secrets.
pub(super) fn check(settings: &Settings) -> Result<(), Failure> {
    enter_work_dir(settings)?;
    tls::load(settings)?;
    reload::token(settings)?;
    reload::secret(settings)?;
    reload::secret(settings)?;
    Ok(())
}

fn enter_work_dir(settings: &Settings) -> Result<(), Failure> {
    let Some(folder) = settings.root.value("work_dir") else { return Ok(()) };
    std::env::set_current_dir(folder).map_err(|error| format!("work_dir {folder}: {error}").into())
}

/// The same program again, in the background: `daemon on` outside of containers.
fn daemonize() -> Result<ExitCode, Failure> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Process::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(DAEMON, "1").process_group(0);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    say(&format!("started in the background, pid {}", child.id()));
    Ok(ExitCode::SUCCESS)
}

/// Raises the soft limit of open files to the hard one; gives it.
pub(super) fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            say(&format!("the limit of open files stays {:?}: {error}", limit.current));
            return limit.current;
        }
    }
    limit.maximum
}

struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Option<Self> {
        if let Some(folder) = path.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        match std::fs::write(path, std::process::id().to_string()) {
            Ok(()) => Some(PidFile(path.to_owned())),
            Err(error) => {
                // A read-only root is usual in a pod: the script then finds the server as process 1.
                tracing::warn!("{}: {error}", path.display());
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A server's threads.
#[derive(Debug)]
pub struct Running {
    /// What they share.
    pub server: Arc<Server>,
    threads: Vec<JoinHandle<()>>,
    /// None when all is written.
    recorder: Option<JoinHandle<()>>,
    children: Option<JoinHandle<()>>,
}

impl Running {
    /// Listens and starts the threads: a core for each CPU that the process may use, one for the API.
    pub fn start(settings: Settings, version: Version) -> Result<Self, Box<dyn std::error::Error>> {
        Self::start_from(settings, version, None)
    }

    /// The same, from a file that can be read again.
    pub fn start_from(
        settings: Settings,
        version: Version,
        path: Option<PathBuf>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let wanted = reload::addresses(&settings);
        let token = reload::token(&settings)?;
        let secret = reload::secret(&settings)?;
        for warning in support::warnings(&settings.root) {
            tracing::warn!("{warning}");
        }
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut polls = Vec::new();
        let mut handles = Vec::new();
        for _ in 0..count {
            let poll = mio::Poll::new()?;
            handles.push(CoreHandle::new(mio::Waker::new(poll.registry(), core::waker_token())?));
            polls.push(poll);
        }
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let (orders, ordered) = mpsc::channel();
        let (hooks, hooked) = hooks::queue();
        let (asks, asked) = worker::queue();
        let certificates = tls::load(&settings)?;
        let mut server = Server::new(settings, version, handles, sender, orders, hooks, asks);
        server.path = path;
        server.guard.set(token);
        server.contexts.set(secret);
        let server = Arc::new(server);
        server.certificates.set(certificates);
        server.certificate_watch.follow(&server, &server.settings());
        let mut listeners = Vec::new();
        for (service, address) in wanted {
            let listener = reload::listen(address).map_err(|error| format!("{address}: {error}"))?;
            let real = listener.local_addr()?;
            tracing::info!("{service:?} listens at {real}");
            server.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((service, real));
            listeners.push((listener, service, address));
        }
        let mut threads = Vec::new();
        for (index, poll) in polls.into_iter().enumerate() {
            let mut core = Core::new(index, Arc::clone(&server), poll);
            for (listener, service, address) in listeners.drain(..) {
                core.listen(listener, service, address)?;
            }
            let thread = std::thread::Builder::new().name(format!("core-{index}"));
            threads.push(thread.spawn(move || core.run())?);
        }
        let api = Arc::clone(&server);
        std::thread::Builder::new().name("http".into()).spawn(move || {
            if let Err(error) = http::run(&api, receiver) {
                tracing::error!("the API's thread: {error}");
            }
        })?;
        let hooking = Arc::clone(&server);
        std::thread::Builder::new().name("hooks".into()).spawn(move || {
            if let Err(error) = hooks::run(&hooking, hooked) {
                tracing::error!("the hooks' thread: {error}");
            }
        })?;
        let asking = Arc::clone(&server);
        std::thread::Builder::new().name("upstream".into()).spawn(move || {
            if let Err(error) = worker::run(&asking, asked) {
                tracing::error!("the upstream thread: {error}");
            }
        })?;
        let recording = Arc::clone(&server);
        let recorder = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || recorder::run(&recording, &ordered))?;
        let port = server.address_of(Service::Rtmp).map_or(1935, |address| address.port());
        let orders = server.children.take().ok_or("the server was started before")?;
        let children = std::thread::Builder::new().name("children".into()).spawn(move || {
            if let Err(error) = children::run(port, orders) {
                tracing::error!("the children's thread: {error}");
            }
        })?;
        server.children.send(children::Order::Configured(server.settings()));
        Ok(Running { server, threads, recorder: Some(recorder), children: Some(children) })
    }

    /// The address of a service, as the system chose it where the port was 0.
    pub fn address(&self, service: Service) -> Option<SocketAddr> {
        self.server.address_of(service)
    }

    /// Closes everything and waits for the cores.
    pub fn stop(mut self) {
        self.server.broadcast(|| Command::Quit);
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a core ended by a panic");
            }
        }
        if let Some(children) = self.children.take() {
            self.server.children.send(children::Order::Quit);
            if children.join().is_err() {
                tracing::error!("the children's thread ended by a panic");
            }
        }
        self.finish_recording();
    }

    /// Closes files that are open into their lists; nothing is recorded any more.
    pub fn finish_recording(&mut self) {
        let Some(recorder) = self.recorder.take() else { return };
        if self.server.recorder.send(Order::Quit).is_ok() && recorder.join().is_err() {
            tracing::error!("the recorder ended by a panic");
        }
    }
}
