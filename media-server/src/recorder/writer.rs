//! A thread that writes the files below one folder.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::recording::{Ended, Recording};
use super::remembered::Remembered;
use super::{Plan, What};
use crate::hooks::Watched;
use crate::server::Server;
use crate::source::Reader;

/// How often live streams are looked at.
const TICK: Duration = Duration::from_millis(100);

/// A recording for this thread.
pub(super) struct Begin {
    pub(super) reader: Reader,
    pub(super) plan: Plan,
    pub(super) publisher: String,
    pub(super) watched: Option<Box<Watched>>,
    /// Where it ends, once that is known.
    pub(super) end: Arc<AtomicU64>,
}

/// Since when a writer does what may block.
#[derive(Debug, Default)]
pub(super) struct Busy(Mutex<Option<Instant>>);

impl Busy {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// How long it has been at it; none when it waits for media.
    pub(super) fn time(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }
}

/// Writes until nobody can send anything any more, and then finishes what is open. Blocks its thread.
pub(super) fn run(server: &Server, begins: &Receiver<Begin>, busy: &Busy) {
    let mut writer =
        Writer { server, busy, live: HashMap::new(), ended: Remembered::default(), tick: Instant::now() };
    loop {
        let begin = match writer.timeout() {
            Some(timeout) => begins.recv_timeout(timeout),
            None => begins.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match begin {
            Ok(begin) => writer.begin(begin),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        writer.work(Instant::now());
        busy.set(None);
    }
    writer.quit();
}

struct Writer<'a> {
    server: &'a Server,
    busy: &'a Busy,
    live: HashMap<(String, What), Recording>,
    ended: Remembered,
    tick: Instant,
}

impl Writer<'_> {
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let tick = (!self.live.is_empty()).then_some(self.tick + TICK);
        let next = self.ended.next().into_iter().chain(tick).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn begin(&mut self, begin: Begin) {
        let now = Instant::now();
        self.busy.set(Some(now));
        let source = Arc::clone(begin.reader.source());
        let stat = &source.stat;
        let id = (stat.id.clone(), begin.plan.what());
        // A publisher may come back before the end of the one before it was worked off.
        if let Some(mut before) = self.live.remove(&id) {
            before.read(self.server, now);
            self.finish(before, now);
        }
        let listed = match begin.plan.what() {
            What::Dvr => None,
            What::Hls => self.ended.take(&(stat.vhost.name.clone(), stat.url())),
        };
        self.live.insert(id, Recording::new(begin, listed.unwrap_or_default()));
        self.server.sources.release(&self.server.stat, source);
    }

    fn work(&mut self, now: Instant) {
        self.tick = now;
        let ids: Vec<_> = self.live.keys().cloned().collect();
        for id in ids {
            // One stream after the other: each has the time of a stall for itself.
            self.busy.set(Some(Instant::now()));
            let Some(recording) = self.live.get_mut(&id) else { continue };
            recording.read(self.server, now);
            if recording.is_over()
                && let Some(recording) = self.live.remove(&id)
            {
                self.finish(recording, now);
            }
        }
        self.busy.set(Some(Instant::now()));
        self.ended.work(now);
    }

    fn finish(&mut self, recording: Recording, now: Instant) {
        let source = Arc::clone(recording.source());
        if let Some(Ended::Hls(disposal)) = recording.finish(self.server, now) {
            self.ended.insert((source.stat.vhost.name.clone(), source.stat.url()), *disposal);
        }
        self.server.sources.release(&self.server.stat, source);
    }

    fn quit(mut self) {
        for (_, mut recording) in std::mem::take(&mut self.live) {
            let now = Instant::now();
            self.busy.set(Some(now));
            recording.read(self.server, now);
            self.finish(recording, now);
        }
        self.ended.quit();
        self.busy.set(None);
    }
}
