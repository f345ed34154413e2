//! Reading the configuration again while streams go on.
//!
//! A file that is not good, or names a port that can't be had, changes nothing: the old configuration stays and the
//! reason is kept for the log and the API. What did not change is not touched.

mod listeners;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::fs::inotify;

use crate::children;
use crate::conf::{self, Settings, support};
use crate::http::context::{self, Secret};
use crate::http::guard::{self, Token};
use crate::log;
use crate::recorder::{self, Order, Plan, Start};
use crate::server::{Command, Server, Service};
use crate::source::{Policy, Reader, Source};
use crate::tls::{self, Https};
use listeners::Change;

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not good.
    #[error(transparent)]
    Conf(#[from] conf::Error),
    /// The API's token can't be had.
    #[error(transparent)]
    Token(#[from] guard::Error),
    /// The secret of hls_ctx can't be had.
    #[error(transparent)]
    Secret(#[from] context::Error),
    /// A new address can't be listened at.
    #[error("{address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate can't be used.
    #[error(transparent)]
    Certificate(#[from] tls::Error),
    /// An edge can't become an origin while its streams go on, nor the other way.
    #[error("vhost {0}: cluster.mode can't be changed by a reload, only by a restart")]
    ClusterMode(String),
    /// The server was not started from a file.
    #[error("this server has no configuration file")]
    NoFile,
}

/// What a configuration listens at.
pub fn addresses(settings: &Settings) -> BTreeSet<(Service, SocketAddr)> {
    let mut wanted: BTreeSet<_> = settings.listen.iter().map(|address| (Service::Rtmp, *address)).collect();
    wanted.extend(settings.http_api.as_ref().map(|api| (Service::Api, api.listen)));
    wanted.extend(settings.http_server.as_ref().map(|http| (Service::Http, http.listen)));
    let https = |https: &Option<Https>| https.as_ref().map(|https| https.listen);
    let api = settings.http_api.as_ref().and_then(|api| https(&api.https));
    let http = settings.http_server.as_ref().and_then(|http| https(&http.https));
    wanted.extend(api.map(|listen| (Service::ApiTls, listen)));
    wanted.extend(http.map(|listen| (Service::HttpTls, listen)));
    wanted
}

/// The API's token, read again each time: what a Secret holds may have changed.
pub fn token(settings: &Settings) -> Result<Option<Token>, guard::Error> {
    let auth = settings.http_api.as_ref().and_then(|api| api.auth.as_ref());
    auth.map(Token::load).transpose()
}

/// What `hls_ctx` is signed with, read again each time; none where this process makes it up.
pub fn secret(settings: &Settings) -> Result<Option<Secret>, context::Error> {
    settings.hls_secret.as_ref().map(Secret::load).transpose()
}

/// Listens for one service.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Reads the file again and does what changed.
pub fn reload(server: &Arc<Server>, path: Option<&Path>) -> Result<(), Error> {
    let _one = server.reloading.lock().unwrap_or_else(PoisonError::into_inner);
    let result =
        path.ok_or(Error::NoFile).and_then(|path| Ok(conf::load(path)?)).and_then(|new| apply(server, new));
    match &result {
        Ok(()) => tracing::info!("reload config success."),
        Err(error) => tracing::error!("reload config failed, the old one stays: {error}"),
    }
    server.note_reload(result.as_ref().err().map(ToString::to_string));
    result
}

fn apply(server: &Arc<Server>, new: Settings) -> Result<(), Error> {
    let old = server.settings();
    for vhost in &new.vhosts {
        let before = old.vhosts.iter().find(|other| other.name == vhost.name);
        if before.is_some_and(|before| before.cluster.edge.is_some() != vhost.cluster.edge.is_some()) {
            return Err(Error::ClusterMode(vhost.name.clone()));
        }
    }
    let token = token(&new)?;
    let secret = secret(&new)?;
    let (before, after) = (addresses(&old), addresses(&new));
    let certificates = tls::load(&new)?;
    let change = Change::open(server, &before, &after)?;
    // Before the first connection comes that needs one.
    server.certificates.set(certificates);
    change.take_over(server);
    say_switch("http_api", old.http_api.is_some(), new.http_api.is_some(), old.http_api != new.http_api);
    say_switch(
        "http stream",
        old.http_server.is_some(),
        new.http_server.is_some(),
        old.http_server != new.http_server,
    );
    let known = support::warnings(&old.root);
    for warning in support::warnings(&new.root).into_iter().filter(|warning| !known.contains(warning)) {
        tracing::warn!("{warning}");
    }
    server.guard.set(token);
    server.contexts.set(secret);
    if new.log != old.log {
        log::apply(&new.log);
        tracing::info!("reload log success.");
    }
    server.set_settings(new);
    let new = server.settings();
    server.certificate_watch.follow(server, &new);
    for vhost in &old.vhosts {
        match new.vhosts.iter().find(|other| other.name == vhost.name) {
            None => tracing::info!("vhost {} removed, reload its streams.", vhost.name),
            Some(other) if other != vhost => {
                tracing::info!("vhost {} maybe modified, reload its detail.", vhost.name);
                if other.hls != vhost.hls {
                    tracing::info!("vhost {} reload hls success.", vhost.name);
                }
                if other.dvr != vhost.dvr {
                    tracing::info!("vhost {} reload dvr success.", vhost.name);
                }
                if other.ingests != vhost.ingests {
                    tracing::info!("vhost {} reload ingest success.", vhost.name);
                }
                if other.exec != vhost.exec {
                    tracing::info!("vhost {} reload exec success.", vhost.name);
                }
                if other.http_remux != vhost.http_remux {
                    tracing::info!("vhost {} reload http_remux success.", vhost.name);
                }
            }
            Some(_) => {}
        }
    }
    for source in server.sources.all() {
        let name = &source.stat.vhost.name;
        let Some(vhost) = new.vhosts.iter().find(|vhost| vhost.name == *name && vhost.enabled) else {
            let clients =
                server.stat.clients().into_iter().filter(|client| client.stream.id == source.stat.id);
            for client in clients {
                server.kick(&client.id);
            }
            server.sources.release(&server.stat, source);
            continue;
        };
        // What is pulled from another server is recorded there.
        if source.is_published() {
            let before = old.vhosts.iter().find(|vhost| vhost.name == *name);
            let before = before.map_or_else(Vec::new, |before| recorder::plans(before, &source.stat));
            record(server, &source, &before, recorder::plans(vhost, &source.stat));
        }
        source.set_policy(Policy::of(vhost));
        server.sources.release(&server.stat, source);
    }
    server.children.send(children::Order::Configured(server.settings()));
    server.reloaded.notify_one();
    server.broadcast(|| Command::Reloaded);
    Ok(())
}

/// Changes how a stream is recorded; where one recording follows another, the recorder ends the one where the other
/// begins.
fn record(server: &Server, source: &Arc<Source>, before: &[Plan], after: Vec<Plan>) {
    for old in before.iter().filter(|old| after.iter().all(|plan| plan.what() != old.what())) {
        let order = Order::Stop { id: source.stat.id.clone(), what: Some(old.what()), at: source.head() };
        let _ = server.recorder.send(order);
    }
    for plan in after.into_iter().filter(|plan| !before.iter().any(|old| old.same(plan))) {
        let reader = Reader::new(Arc::clone(source));
        let publisher = source.stat.media().publisher.clone();
        let start = Box::new(Start { reader, plan, publisher, watched: None });
        let _ = server.recorder.send(Order::Start(start));
    }
}

fn say_switch(what: &str, before: bool, after: bool, changed: bool) {
    let mut text = format!("reload {what} ");
    let word = |on| if on { "on" } else { "off" };
    // Writing to a String can't fail.
    let _ = match (before == after, changed) {
        (false, _) => write!(text, "{}=>{} success.", word(before), word(after)),
        (true, true) => write!(text, "success."),
        (true, false) => write!(text, "success, nothing changed."),
    };
    tracing::info!("{text}");
}

/// Tells `changed` when the file may have changed: it, or Kubernetes' `..data` beside it, was written or renamed.
/// Several events within `quiet` are one.
pub fn watch<T: Send + 'static>(
    path: &Path,
    quiet: Duration,
    changed: Sender<T>,
    message: impl Fn() -> T + Send + 'static,
) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder: PathBuf = folder.unwrap_or(Path::new(".")).to_owned();
    let name = path.file_name().unwrap_or_default().to_owned();
    let watcher = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    let flags = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::CLOSE_WRITE;
    inotify::add_watch(&watcher, &folder, flags)?;
    std::thread::Builder::new().name("conf-watch".into()).spawn(move || {
        use std::os::unix::ffi::OsStrExt as _;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watcher, &mut buffer);
        loop {
            let ours = match events.next() {
                Ok(event) => event.file_name().is_some_and(|file| {
                    let file = file.to_bytes();
                    file == name.as_bytes() || file == b"..data"
                }),
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => {
                    tracing::error!("{} is not watched any more: {error}", folder.display());
                    return;
                }
            };
            if ours {
                // Editors write a file in several steps; what comes meanwhile finds the same result.
                std::thread::sleep(quiet);
                if changed.send(message()).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(())
}
