//! Writes files of streams: HLS and DVR.
//!
//! ```text
//!   core ──Order──► dispatcher ──► writer of ./objs/nginx/html ──► hls::Files, dvr::Files
//!                              └─► writer of /mnt/nas          ──► …
//! ```
//!
//! A [`writer`](self) is a thread for each folder that the configuration names, so a volume that stalls stops what is
//! recorded there and nothing else; a recording is only ever on one of them. It reads the ring through a
//! [`Reader`], which bounds what waits for a volume: what the ring no longer has is lost, the segment is given up as
//! `hls_on_error` says, and the next one is marked as a discontinuity. The dispatcher touches no file, so neither
//! publishing nor quitting waits for a volume for ever.

mod path;
mod recording;
mod remembered;
mod tell;
mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub use path::{Names, Stamp};

use crate::conf::settings::Vhost;
use crate::dvr::Dvr;
use crate::hls::Hls;
use crate::hooks::Watched;
use crate::server::Server;
use crate::source::{Reader, Source};
use crate::stat::StreamStat;

/// Recordings that wait for a writer to begin them.
const MAX_WAITING: usize = 1024;
/// A write that takes longer is reported, and streams that end meanwhile leave nothing to be written.
const STALLED: Duration = Duration::from_secs(10);
/// Quitting waits so long for files to be completed.
const QUIT_PATIENCE: Duration = Duration::from_secs(10);
/// How often writers are looked after.
const LOOK: Duration = Duration::from_secs(1);

/// What a core tells the recorder.
#[derive(Debug)]
pub enum Order {
    /// A stream is to be recorded.
    Start(Box<Start>),
    /// Its media end there.
    Stop {
        /// The stream's id.
        id: String,
        /// What ends; none for everything.
        what: Option<What>,
        /// The sequence number behind the last batch.
        at: u64,
    },
    /// The server quits: finish what is open.
    Quit,
}

/// Kinds of recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// HLS.
    Hls,
    /// DVR.
    Dvr,
}

/// How a stream is recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// As HLS.
    Hls(Hls),
    /// As files.
    Dvr(Dvr),
}

impl Plan {
    /// Its kind.
    pub fn what(&self) -> What {
        match self {
            Plan::Hls(_) => What::Hls,
            Plan::Dvr(_) => What::Dvr,
        }
    }

    /// The folder whose writer does it.
    fn root(&self) -> PathBuf {
        match self {
            Plan::Hls(hls) => hls.path.clone(),
            Plan::Dvr(dvr) => dvr.root(),
        }
    }

    /// Whether what is recorded so may go on after a reload.
    pub fn same(&self, other: &Plan) -> bool {
        match (self, other) {
            (Plan::Dvr(one), Plan::Dvr(other)) => one.same_files(other),
            _ => self == other,
        }
    }
}

/// A recording that begins.
#[derive(Debug)]
pub struct Start {
    /// The stream, from where it is to be recorded.
    pub reader: Reader,
    /// How.
    pub plan: Plan,
    /// The publisher's connection.
    pub publisher: String,
    /// Who is told of files; none for whom the recording before it told.
    pub watched: Option<Box<Watched>>,
}

/// What a vhost wants recorded of a stream.
pub fn plans(vhost: &Vhost, stream: &StreamStat) -> Vec<Plan> {
    let dvr = vhost.dvr.clone().filter(|dvr| dvr.applies(&stream.app, &stream.name));
    vhost.hls.clone().map(Plan::Hls).into_iter().chain(dvr.map(Plan::Dvr)).collect()
}

/// What the recorder could not do.
#[derive(Debug, Default)]
pub struct Counters {
    /// Times that a stream was ahead of its volume by more than memory may hold, and a part was left out.
    pub lost: AtomicU64,
    /// Writes that failed.
    pub errors: AtomicU64,
    /// Writers whose volume takes no writes at the moment.
    pub stalled: AtomicU64,
}

/// The way to a writer.
struct Writer {
    starts: SyncSender<writer::Begin>,
    busy: Arc<writer::Busy>,
    stalled: bool,
}

/// A recording that goes on, or that ended and may not be written yet.
struct Running {
    root: PathBuf,
    end: Arc<AtomicU64>,
    source: Weak<Source>,
    reader: u64,
    watched: Option<Box<Watched>>,
}

struct Dispatcher<'a> {
    server: &'a Arc<Server>,
    writers: HashMap<PathBuf, Writer>,
    running: HashMap<(String, What), Running>,
    ending: Vec<Running>,
    /// Every writer holds one until it ends.
    done: mpsc::Sender<()>,
}

/// Records until it is told to quit, or until the volumes had their time for that. Blocks its thread.
pub fn run(server: &Arc<Server>, orders: &Receiver<Order>) {
    let (done, ended) = mpsc::channel();
    let mut dispatcher =
        Dispatcher { server, writers: HashMap::new(), running: HashMap::new(), ending: Vec::new(), done };
    let mut looked = Instant::now();
    loop {
        let idle = dispatcher.running.is_empty() && dispatcher.ending.is_empty();
        let order = match idle {
            true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => orders.recv_timeout(LOOK),
        };
        match order {
            Ok(Order::Start(start)) => dispatcher.start(*start),
            Ok(Order::Stop { id, what, at }) => dispatcher.stop(&id, what, at),
            Ok(Order::Quit) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            dispatcher.look();
        }
    }
    // Writers finish what is open when nobody can send them anything any more.
    let Dispatcher { writers, running, done, .. } = dispatcher;
    drop(done);
    let writers: Vec<_> = writers.into_iter().map(|(root, writer)| (root, writer.busy)).collect();
    if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(QUIT_PATIENCE) {
        for (root, _) in writers.iter().filter(|(_, busy)| busy.time().is_some()) {
            tracing::error!("{} takes no writes: what is open there stays unfinished", root.display());
        }
    }
    drop(running);
}

impl Dispatcher<'_> {
    fn start(&mut self, start: Start) {
        let Start { reader, plan, publisher, mut watched } = start;
        let source = Arc::clone(reader.source());
        let key = (source.stat.id.clone(), plan.what());
        if let Some(mut before) = self.running.remove(&key) {
            // One recording ends where the other begins.
            before.end.fetch_min(reader.next(), Ordering::AcqRel);
            watched = watched.or_else(|| before.watched.take());
            self.ending.push(before);
        }
        let root = plan.root();
        let StreamStat { vhost, app, name, .. } = &*source.stat;
        if !(Names { vhost: &vhost.name, app, stream: name }).stay_inside() {
            tracing::error!("{}: not recorded, the name is no name of files", source.stat.url());
            return;
        }
        let Some(writer) = self.writer(&root) else {
            drop(reader);
            self.server.sources.release(&self.server.stat, source);
            return;
        };
        let end = Arc::new(AtomicU64::new(u64::MAX));
        let running = Running {
            root: root.clone(),
            end: Arc::clone(&end),
            source: Arc::downgrade(&source),
            reader: reader.id(),
            watched: watched.clone(),
        };
        if writer.starts.try_send(writer::Begin { reader, plan, publisher, watched, end }).is_err() {
            tracing::error!("{}: not recorded, {} takes no writes", source.stat.url(), root.display());
            self.server.recording.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            self.running.insert(key, running);
        }
        self.server.sources.release(&self.server.stat, source);
    }

    fn stop(&mut self, id: &str, what: Option<What>, at: u64) {
        for kind in [What::Hls, What::Dvr].into_iter().filter(|kind| what.is_none_or(|what| what == *kind)) {
            if let Some(running) = self.running.remove(&(id.to_owned(), kind)) {
                running.end.fetch_min(at, Ordering::AcqRel);
                self.ending.push(running);
            }
        }
    }

    /// The writer of a folder, started when it is the first recording there.
    fn writer(&mut self, root: &PathBuf) -> Option<&Writer> {
        if !self.writers.contains_key(root) {
            let (starts, begins) = mpsc::sync_channel(MAX_WAITING);
            let busy = Arc::new(writer::Busy::default());
            let (server, of_thread, done) = (Arc::clone(self.server), Arc::clone(&busy), self.done.clone());
            let thread = std::thread::Builder::new().name("writer".into()).spawn(move || {
                writer::run(&server, &begins, &of_thread);
                drop(done);
            });
            if let Err(error) = thread {
                tracing::error!("nothing is recorded in {}: {error}", root.display());
                return None;
            }
            self.writers.insert(root.clone(), Writer { starts, busy, stalled: false });
        }
        self.writers.get(root)
    }

    /// Reports volumes that stall, and forgets what ended.
    fn look(&mut self) {
        for (root, writer) in &mut self.writers {
            let stalled = writer.busy.time().is_some_and(|time| time > STALLED);
            match (writer.stalled, stalled) {
                (false, true) => tracing::error!("{} takes no writes", root.display()),
                (true, false) => tracing::warn!("{} takes writes again", root.display()),
                _ => {}
            }
            writer.stalled = stalled;
        }
        let stalled = self.writers.values().filter(|writer| writer.stalled).count();
        self.server.recording.stalled.store(stalled as u64, Ordering::Relaxed);
        let writers = &self.writers;
        self.ending.retain(|ending| {
            let Some(source) = ending.source.upgrade() else { return false };
            let stalled = writers.get(&ending.root).is_some_and(|writer| writer.stalled);
            if stalled {
                // Streams that come and go must not fill the memory with what no volume takes.
                source.let_go(ending.reader);
            }
            self.server.sources.release(&self.server.stat, source);
            !stalled && Arc::strong_count(&ending.end) > 1
        });
    }
}
