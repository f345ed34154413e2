//! The thread that writes files of streams, so that a slow volume delays no player.
//!
//! It reads the rings as a player does: with a cursor that holds what it needs up to `queue_length` and the ring's
//! byte cap. When the volume stalls for longer, the cursor is overtaken, the segment is given up, and the next one
//! is marked as a discontinuity.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::hls::files::{Disposal, Files, Listed};
use crate::hls::playlist::Segment;
use crate::hls::{Hls, Names, OnError};
use crate::hooks::{self, Job, Watched};
use crate::server::Server;
use crate::source::{Source, View};

/// How often live streams are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Most streams whose numbering is remembered after they ended.
const MAX_REMEMBERED: usize = 10_000;

/// What a core tells the recorder.
#[derive(Debug)]
pub enum Order {
    /// A stream is published; its media from there on are to be recorded.
    Start {
        /// The stream.
        source: Arc<Source>,
        /// Where the publisher's media start.
        from: u64,
        /// How.
        hls: Hls,
        /// The publisher's connection.
        publisher: String,
        /// Who is told of segments.
        watched: Option<Box<Watched>>,
    },
    /// It ended there.
    Stop {
        /// The stream's id.
        id: String,
        /// The sequence number behind its last batch.
        at: u64,
    },
    /// The server quits: finish what is open.
    Quit,
}

struct Recording {
    source: Arc<Source>,
    view: View,
    next: u64,
    files: Option<Files>,
    on_error: OnError,
    publisher: String,
    watched: Option<Box<Watched>>,
    end: Option<u64>,
    /// The sequence headers that came before it began were taken.
    primed: bool,
}

/// Records until it is told to quit. Blocks its thread.
pub fn run(server: &Server, orders: &Receiver<Order>) {
    let mut recorder = Recorder {
        server,
        reader: server.cores.len(),
        live: HashMap::new(),
        ended: HashMap::new(),
        tick: Instant::now(),
    };
    loop {
        let order = match recorder.timeout() {
            Some(timeout) => orders.recv_timeout(timeout),
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match order {
            Ok(Order::Quit) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(order) => recorder.order(order),
            Err(RecvTimeoutError::Timeout) => {}
        }
        recorder.work(Instant::now());
    }
    recorder.quit();
}

struct Recorder<'a> {
    server: &'a Server,
    /// This thread's place among the readers of a ring.
    reader: usize,
    live: HashMap<String, Recording>,
    /// Streams that ended, by vhost and path.
    ended: HashMap<(String, String), Disposal>,
    tick: Instant,
}

impl Recorder<'_> {
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let tick = (!self.live.is_empty()).then_some(self.tick + TICK);
        let next = self.ended.values().filter_map(Disposal::next).chain(tick).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Start { source, from, hls, publisher, watched } => {
                // A publisher may come back before the end of the one before it was worked off.
                let mut watched = watched;
                if let Some(mut before) = self.live.remove(&source.stat.id) {
                    // A reload does not know the client, the recording before it did.
                    watched = watched.or_else(|| before.watched.clone());
                    let now = Instant::now();
                    before.read(self.reader, self.server, now);
                    // What the next one needs of the ring stays held.
                    self.finish(before, Some(from), now);
                }
                let stat = &source.stat;
                let key = (stat.vhost.name.clone(), stat.url());
                let listed = self.ended.remove(&key).map_or_else(Listed::default, Disposal::into_listed);
                let names = Names { vhost: &stat.vhost.name, app: &stat.app, stream: &stat.name };
                let on_error = hls.on_error;
                let files = Some(Files::new(hls, names, listed));
                let id = stat.id.clone();
                let view = View { tail: from, ..View::default() };
                let recording = Recording {
                    source,
                    view,
                    next: from,
                    files,
                    on_error,
                    publisher,
                    watched,
                    end: None,
                    primed: false,
                };
                self.live.insert(id, recording);
            }
            Order::Stop { id, at } => {
                if let Some(recording) = self.live.get_mut(&id) {
                    recording.end = Some(at);
                }
            }
            Order::Quit => {}
        }
    }

    fn work(&mut self, now: Instant) {
        self.tick = now;
        let ids: Vec<String> = self.live.keys().cloned().collect();
        for id in ids {
            let Some(recording) = self.live.get_mut(&id) else { continue };
            recording.read(self.reader, self.server, now);
            if recording.end.is_some_and(|end| recording.next >= end)
                && let Some(recording) = self.live.remove(&id)
            {
                self.finish(recording, None, now);
            }
        }
        self.ended.retain(|_, disposal| {
            disposal.clean(now);
            let due = disposal.due.is_some_and(|due| due <= now);
            if due {
                disposal.dispose();
            }
            !due
        });
    }

    fn finish(&mut self, recording: Recording, needed: Option<u64>, now: Instant) {
        let Recording { source, files, mut view, watched, .. } = recording;
        if let Some(files) = files {
            let m3u8 = (files.m3u8().0.to_owned(), files.m3u8().1.to_owned());
            let (result, disposal) = files.finish(now);
            report(&source, &result);
            if let Ok(Some(segment)) = &result {
                tell(self.server, watched.as_deref(), segment, (&m3u8.0, &m3u8.1));
            }
            if self.ended.len() < MAX_REMEMBERED {
                let key = (source.stat.vhost.name.clone(), source.stat.url());
                self.ended.insert(key, disposal);
            }
        }
        source.sync(self.reader, needed, &mut view, now);
        self.server.sources.release(&self.server.stat, source);
    }

    fn quit(mut self) {
        let now = Instant::now();
        for (_, mut recording) in std::mem::take(&mut self.live) {
            recording.read(self.reader, self.server, now);
            self.finish(recording, None, now);
        }
        for disposal in self.ended.values_mut().filter(|disposal| disposal.due.is_some()) {
            disposal.dispose();
        }
    }
}

impl Recording {
    /// Records what has come.
    fn read(&mut self, reader: usize, server: &Server, now: Instant) {
        self.source.sync(reader, Some(self.next), &mut self.view, now);
        let end = self.end.unwrap_or(u64::MAX).min(self.view.head());
        if !std::mem::replace(&mut self.primed, true)
            && let Some(files) = &mut self.files
        {
            files.prime(&self.view.headers);
        }
        if self.next < self.view.tail && self.next < end {
            tracing::warn!("{}: writing is too slow, a segment is left out", self.source.stat.url());
            self.next = self.view.tail;
            if let Some(files) = &mut self.files {
                files.gap();
            }
        }
        while self.next < end {
            let Some(batch) = self.view.get(self.next).cloned() else { break };
            for (index, frame) in batch.frames.iter().enumerate() {
                let Some(files) = &mut self.files else { break };
                let payload = batch.whole_payload(index);
                let result = files.push(frame.kind, frame.timestamp, &payload, now);
                report(&self.source, &result);
                match result {
                    Ok(Some(segment)) => tell(server, self.watched.as_deref(), &segment, files.m3u8()),
                    Ok(None) => {}
                    Err(_) => self.failed(server),
                }
            }
            self.next += 1;
        }
        if let Some(files) = &mut self.files {
            let result = files.flush().map(|()| None);
            report(&self.source, &result);
            if result.is_err() {
                self.failed(server);
            }
        }
    }

    fn failed(&mut self, server: &Server) {
        if let Some(files) = &mut self.files {
            files.gap();
        }
        match self.on_error {
            OnError::Continue => {}
            OnError::Ignore => self.files = None,
            OnError::Disconnect => {
                self.files = None;
                server.kick(&self.publisher);
            }
        }
    }
}

/// on_hls, with SRS's fields.
fn tell(server: &Server, watched: Option<&Watched>, segment: &Segment, m3u8: (&Path, &str)) {
    let Some(watched) = watched else { return };
    let cwd = std::env::current_dir().unwrap_or_default();
    let mut body = watched.subject.body(&server.stat.server_id, "on_hls");
    let folder = m3u8.1.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let file = segment.file.file_name().unwrap_or_default().to_string_lossy();
    for (name, value) in [
        ("duration", json!((segment.duration * 100.0).round() / 100.0)),
        ("file", json!(cwd.join(&segment.file))),
        ("url", json!(format!("{folder}{file}"))),
        ("m3u8", json!(cwd.join(m3u8.0))),
        ("m3u8_url", json!(m3u8.1)),
        ("seq_no", json!(segment.sequence)),
        ("cwd", json!(cwd)),
    ] {
        body[name] = value;
    }
    let calls = hooks::calls(&watched.hooks, "on_hls", &body);
    if !calls.is_empty() && server.hooks.try_send(Job { calls, asker: None }).is_err() {
        tracing::warn!("on_hls is not told: too many hooks are waiting");
    }
}

fn report(source: &Source, result: &std::io::Result<Option<Segment>>) {
    match result {
        Ok(Some(segment)) => {
            tracing::debug!("{}: {:.3} s in {}", source.stat.url(), segment.duration, segment.file.display());
        }
        Ok(None) => {}
        Err(error) => tracing::error!("{}: hls: {error}", source.stat.url()),
    }
}
