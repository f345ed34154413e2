//! One stream on its way into files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::writer::Begin;
use super::{Names, Plan, tell};
use crate::dvr;
use crate::flv::TagKind;
use crate::hls::OnError;
use crate::hls::files::{Disposal, Files, Listed};
use crate::hls::playlist::Segment;
use crate::hooks::Watched;
use crate::server::Server;
use crate::source::{Reader, Source};

/// What is written.
enum Sink {
    Hls(Box<Files>, OnError),
    Dvr(Box<dvr::files::Files>),
}

/// What was completed.
enum Completed {
    Segment(Box<Segment>),
    File(PathBuf),
}

/// What stays of a recording.
pub(super) enum Ended {
    /// Files that are still to be removed.
    Hls(Box<Disposal>),
}

/// A stream that is being recorded.
pub(super) struct Recording {
    reader: Reader,
    sink: Sink,
    /// After an error that ends recording: what there is is removed in its time, and nothing is added.
    off: bool,
    publisher: String,
    watched: Option<Box<Watched>>,
    end: Arc<AtomicU64>,
    /// The sequence headers that came before it began were taken.
    primed: bool,
}

impl Recording {
    pub(super) fn new(begin: Begin, listed: Listed) -> Self {
        let Begin { reader, plan, publisher, watched, end } = begin;
        let stat = &reader.source().stat;
        let names = Names { vhost: &stat.vhost.name, app: &stat.app, stream: &stat.name };
        let sink = match plan {
            Plan::Hls(hls) => {
                let on_error = hls.on_error;
                Sink::Hls(Box::new(Files::new(hls, names, listed)), on_error)
            }
            Plan::Dvr(dvr) => Sink::Dvr(Box::new(dvr::files::Files::new(dvr, names))),
        };
        Recording { reader, sink, off: false, publisher, watched, end, primed: false }
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        self.reader.source()
    }

    /// The stream ended and all of it was read.
    pub(super) fn is_over(&self) -> bool {
        self.reader.next() >= self.end.load(Ordering::Acquire)
    }

    /// Records what has come.
    pub(super) fn read(&mut self, server: &Server, now: Instant) {
        let end = self.end.load(Ordering::Acquire);
        if !self.reader.sync(end, now) {
            tracing::warn!(
                "{}: {} is behind by more than memory may hold, a part is left out",
                self.source().stat.url(),
                self.sink.name()
            );
            server.recording.lost.fetch_add(1, Ordering::Relaxed);
            self.failed(server, false);
        }
        // Headers come before frames, but not every publisher's stand in the ring (`reduce_sequence_header`).
        if !self.primed {
            self.sink.prime(&self.reader);
            self.primed = self.reader.has_more(end);
        }
        while let Some(batch) = self.reader.read(end) {
            for (index, frame) in batch.frames.iter().enumerate() {
                if self.off {
                    break;
                }
                let payload = batch.whole_payload(index);
                let result = self.sink.push(frame.kind, frame.timestamp, &payload, now);
                self.told(server, result);
            }
        }
        let result = self.sink.flush(now).map(|()| None);
        self.told(server, result);
    }

    fn told(&mut self, server: &Server, result: std::io::Result<Option<Completed>>) {
        match result {
            Ok(None) => {}
            Ok(Some(completed)) => self.sink.tell(server, self.watched.as_deref(), &completed),
            Err(error) => {
                tracing::error!("{}: {}: {error}", self.source().stat.url(), self.sink.name());
                server.recording.errors.fetch_add(1, Ordering::Relaxed);
                self.failed(server, true);
            }
        }
    }

    /// A write failed, or something is missing from the stream.
    fn failed(&mut self, server: &Server, write: bool) {
        match &mut self.sink {
            Sink::Hls(files, _) => files.gap(),
            Sink::Dvr(files) if write => files.give_up(),
            Sink::Dvr(files) => files.gap(),
        }
        match self.sink {
            Sink::Hls(_, OnError::Continue) | Sink::Dvr(_) => {}
            Sink::Hls(_, OnError::Ignore) => self.off = true,
            Sink::Hls(_, OnError::Disconnect) => {
                if !std::mem::replace(&mut self.off, true) {
                    server.kick(&self.publisher);
                }
            }
        }
    }

    /// Completes what is open.
    pub(super) fn finish(self, server: &Server, now: Instant) -> Option<Ended> {
        let Recording { reader, sink, watched, .. } = self;
        let name = sink.name();
        let (result, ended) = match sink {
            Sink::Hls(files, _) => {
                let m3u8 = (files.m3u8().0.to_owned(), files.m3u8().1.to_owned());
                let notify = files.notify_bytes();
                let (result, disposal) = files.finish(now);
                let result = result.map(|segment| {
                    if let (Some(segment), Some(watched)) = (segment, &watched) {
                        tell::hls(server, watched, &segment, (&m3u8.0, &m3u8.1), notify);
                    }
                });
                (result, Some(Ended::Hls(Box::new(disposal))))
            }
            Sink::Dvr(files) => {
                let result = files.finish().map(|file| {
                    if let (Some(file), Some(watched)) = (file, &watched) {
                        tell::dvr(server, watched, &file);
                    }
                });
                (result, None)
            }
        };
        if let Err(error) = result {
            tracing::error!("{}: {name}: {error}", reader.source().stat.url());
            server.recording.errors.fetch_add(1, Ordering::Relaxed);
        }
        ended
    }
}

impl Sink {
    fn name(&self) -> &'static str {
        match self {
            Sink::Hls(..) => "hls",
            Sink::Dvr(_) => "dvr",
        }
    }

    fn prime(&mut self, reader: &Reader) {
        match self {
            Sink::Hls(files, _) => files.prime(reader.headers()),
            Sink::Dvr(files) => files.prime(reader.headers()),
        }
    }

    fn push(
        &mut self,
        kind: TagKind,
        timestamp: i64,
        payload: &[u8],
        now: Instant,
    ) -> std::io::Result<Option<Completed>> {
        match self {
            Sink::Hls(files, _) => {
                let segment = files.push(kind, timestamp, payload, now)?;
                Ok(segment.map(|segment| Completed::Segment(Box::new(segment))))
            }
            Sink::Dvr(files) => Ok(files.push(kind, timestamp, payload)?.map(Completed::File)),
        }
    }

    fn flush(&mut self, now: Instant) -> std::io::Result<()> {
        match self {
            Sink::Hls(files, _) => {
                files.clean(now);
                files.flush()
            }
            Sink::Dvr(_) => Ok(()),
        }
    }

    fn tell(&self, server: &Server, watched: Option<&Watched>, completed: &Completed) {
        let Some(watched) = watched else { return };
        match (self, completed) {
            (Sink::Hls(files, _), Completed::Segment(segment)) => {
                tell::hls(server, watched, segment, files.m3u8(), files.notify_bytes());
            }
            (_, Completed::File(file)) => tell::dvr(server, watched, file),
            (Sink::Dvr(_), Completed::Segment(_)) => {}
        }
    }
}
