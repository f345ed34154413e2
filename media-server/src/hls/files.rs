//! A stream's files: everything appears under its name only when it is whole, because nginx reads the same folder.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Hls;
use super::playlist::{self, Segment};
use super::segmenter::{Finished, Segmenter};
use crate::flv::TagKind;
use crate::recorder::Names;
use crate::source::Headers;

/// What is written of an open segment at a time.
const CHUNK: usize = 256 << 10;

/// What outlives a publisher: a stream that is published again goes on counting.
#[derive(Debug, Default)]
pub struct Listed {
    sequence: u64,
    segments: VecDeque<Segment>,
    expired: VecDeque<(Instant, PathBuf)>,
}

/// The files of a stream that is published.
#[derive(Debug)]
pub struct Files {
    conf: Hls,
    m3u8: PathBuf,
    m3u8_url: String,
    ts_template: String,
    uri_template: String,
    segmenter: Segmenter,
    open: Option<(File, PathBuf)>,
    waiting: Vec<u8>,
    listed: Listed,
}

impl Files {
    /// For a new publisher.
    pub fn new(conf: Hls, names: Names<'_>, listed: Listed) -> Self {
        let ts = names.path(&conf.ts_file);
        let m3u8 = names.path(&conf.m3u8_file);
        // Segments are named relative to the playlist.
        let folder = m3u8.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let relative = ts.strip_prefix(&folder).unwrap_or(&ts).to_owned();
        Files {
            m3u8: conf.path.join(&m3u8),
            m3u8_url: m3u8,
            uri_template: format!("{}{relative}", conf.entry_prefix),
            ts_template: ts,
            segmenter: Segmenter::new(&conf),
            open: None,
            waiting: Vec::new(),
            listed,
            conf,
        }
    }

    /// The playlist's file, and its name below the folder.
    pub fn m3u8(&self) -> (&Path, &str) {
        (&self.m3u8, &self.m3u8_url)
    }

    /// How many bytes on_hls_notify fetches.
    pub fn notify_bytes(&self) -> usize {
        self.conf.notify_bytes
    }

    /// Takes the sequence headers of a stream that began before.
    pub fn prime(&mut self, headers: &Headers) {
        for (kind, payload) in [(TagKind::Audio, &headers.audio), (TagKind::Video, &headers.video)] {
            if let Some(payload) = payload {
                // Nothing is open yet that could end.
                self.segmenter.push(kind, 0, payload);
            }
        }
    }

    /// Takes a message; gives the segment that it finished.
    pub fn push(
        &mut self,
        kind: TagKind,
        timestamp: i64,
        payload: &[u8],
        now: Instant,
    ) -> io::Result<Option<Segment>> {
        let finished = self.segmenter.push(kind, timestamp, payload);
        match finished {
            Some(finished) => self.finish_segment(finished, now),
            None => Ok(None),
        }
    }

    /// Writes what has come, when it is enough.
    pub fn flush(&mut self) -> io::Result<()> {
        self.waiting.extend_from_slice(&self.segmenter.take_bytes());
        if self.waiting.len() >= CHUNK {
            self.write()?;
        }
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        let name = format!("{}.tmp", self.numbered(&self.ts_template));
        self.conf.path.join(name)
    }

    fn numbered(&self, template: &str) -> String {
        template.replace("[seq]", &self.listed.sequence.to_string())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            let path = self.temporary();
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            self.open = Some((File::create(&path)?, path));
        }
        if let Some((file, _)) = &mut self.open {
            file.write_all(&self.waiting)?;
        }
        self.waiting.clear();
        Ok(())
    }

    fn finish_segment(&mut self, mut finished: Finished, now: Instant) -> io::Result<Option<Segment>> {
        self.waiting.append(&mut finished.bytes);
        if finished.unusable {
            self.give_up();
            return Ok(None);
        }
        self.write()?;
        let Some((file, temporary)) = self.open.take() else { return Ok(None) };
        drop(file);
        let path = self.conf.path.join(self.numbered(&self.ts_template));
        fs::rename(&temporary, &path)?;
        let segment = Segment {
            sequence: self.listed.sequence,
            duration: finished.duration,
            uri: self.numbered(&self.uri_template),
            file: path,
            discontinuity: finished.discontinuity,
        };
        self.listed.sequence += 1;
        self.listed.segments.push_back(segment.clone());
        let gone = playlist::shrink(&mut self.listed.segments, self.conf.window);
        write_whole(
            &self.m3u8,
            "temp",
            playlist::text(&self.listed.segments, self.conf.target()).as_bytes(),
        )?;
        // A player may still be at what has just left the list.
        let later = now + Duration::from_secs_f64(self.conf.window);
        self.listed.expired.extend(gone.into_iter().map(|segment| (later, segment.file)));
        self.clean(now);
        Ok(Some(segment))
    }

    /// Removes segments whose time has come.
    pub fn clean(&mut self, now: Instant) {
        while self.listed.expired.front().is_some_and(|(when, _)| *when <= now) {
            if let Some((_, path)) = self.listed.expired.pop_front()
                && self.conf.cleanup
                && let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!("{}: {error}", path.display());
            }
        }
    }

    /// The open segment can't be completed.
    pub fn give_up(&mut self) {
        self.waiting.clear();
        if let Some((_, path)) = self.open.take() {
            let _ = fs::remove_file(path);
        }
    }

    /// Something is missing from the stream, or a write failed.
    pub fn gap(&mut self) {
        self.segmenter.gap();
        self.give_up();
    }

    /// The publisher has gone: what is open joins the list.
    pub fn finish(mut self, now: Instant) -> (io::Result<Option<Segment>>, Disposal) {
        self.waiting.extend_from_slice(&self.segmenter.take_bytes());
        let result = match self.segmenter.finish() {
            Some(finished) => self.finish_segment(finished, now),
            None => Ok(None),
        };
        self.give_up();
        let due = (self.conf.dispose > 0.0).then(|| now + Duration::from_secs_f64(self.conf.dispose));
        (result, Disposal { due, m3u8: self.m3u8, cleanup: self.conf.cleanup, listed: self.listed })
    }
}

/// A stream's files after its publisher.
#[derive(Debug)]
pub struct Disposal {
    /// When everything is removed.
    pub due: Option<Instant>,
    m3u8: PathBuf,
    cleanup: bool,
    listed: Listed,
}

impl Disposal {
    /// For the next publisher of the same name.
    pub fn into_listed(self) -> Listed {
        self.listed
    }

    /// Removes what has expired.
    pub fn clean(&mut self, now: Instant) {
        while self.listed.expired.front().is_some_and(|(when, _)| *when <= now) {
            if let Some((_, path)) = self.listed.expired.pop_front()
                && self.cleanup
            {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// When something expires next.
    pub fn next(&self) -> Option<Instant> {
        self.listed.expired.front().map(|(when, _)| *when).into_iter().chain(self.due).min()
    }

    /// Removes playlist and segments, the playlist first.
    pub fn dispose(&mut self) {
        let _ = fs::remove_file(&self.m3u8);
        let segments = self.listed.segments.drain(..).map(|segment| segment.file);
        for path in segments.chain(self.listed.expired.drain(..).map(|(_, path)| path)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes a file under another name and renames it.
fn write_whole(path: &Path, extension: &str, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{extension}"));
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}
