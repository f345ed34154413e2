//! A stream's files: everything appears under its name only when it is whole, because nginx reads the same folder.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Hls;
use super::epoch::{self, Epoch, Naming};
use super::floor::Floor;
use super::keys::{Encryptor, Key};
use super::playlist::{self, Segment};
use super::segmenter::{Finished, Segmenter};
use crate::flv::TagKind;
use crate::ids;
use crate::recorder::{Names, Stamp};
use crate::source::Headers;

/// What is written of an open segment at a time.
const CHUNK: usize = 256 << 10;
/// Numbers that are tried for one segment, while others take them.
const MAX_NUMBERS: usize = 16;

/// What outlives a publisher: a stream that is published again goes on counting.
#[derive(Debug, Default)]
pub struct Listed {
    sequence: u64,
    segments: VecDeque<Segment>,
    expired: VecDeque<(Instant, PathBuf)>,
    floor: Floor,
    /// The last session here that owned them.
    epoch: Option<Epoch>,
}

/// Whose the files are, see [`epoch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// That is decided when there is something to write.
    Open,
    /// This session.
    This,
    /// A newer one, on another server.
    Other,
}

/// A segment that is being written.
#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    encryptor: Option<Encryptor>,
}

/// `[vhost]`, `[app]` and `[stream]`.
type OwnNames = [String; 3];

/// The files of a stream that is published.
#[derive(Debug)]
pub struct Files {
    conf: Hls,
    m3u8: PathBuf,
    m3u8_url: String,
    ts_template: String,
    /// The playlist's folder, with its slash.
    folder: String,
    names: OwnNames,
    segmenter: Segmenter,
    /// The name of the segment that is open, of whose variables only `[seq]` and `[duration]` are left.
    name: Option<String>,
    owner: Owner,
    /// This session's own name.
    session: String,
    key: Option<Key>,
    open: Option<Open>,
    waiting: Vec<u8>,
    listed: Listed,
}

impl Files {
    /// For a new publisher.
    pub fn new(mut conf: Hls, names: Names<'_>, listed: Listed) -> Self {
        let ts = names.path(&conf.ts_file);
        let m3u8 = names.path(&conf.m3u8_file);
        // Segments are named relative to the playlist.
        let folder = m3u8.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        // SRS completes a prefix that does not end with a slash by the playlist's folder.
        if !conf.entry_prefix.is_empty() && !conf.entry_prefix.ends_with('/') {
            conf.entry_prefix = format!("{}/{folder}", conf.entry_prefix);
        }
        Files {
            m3u8: conf.path.join(&m3u8),
            m3u8_url: m3u8,
            folder,
            names: [names.vhost, names.app, names.stream].map(str::to_owned),
            ts_template: ts,
            name: None,
            owner: Owner::Open,
            session: ids::id(8),
            key: None,
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
        if self.owner == Owner::Other {
            return Ok(None);
        }
        let finished = self.segmenter.push(kind, timestamp, payload);
        let result = match finished {
            Some(finished) => self.finish_segment(finished, now),
            None => Ok(None),
        };
        if self.name.is_none() && self.segmenter.is_open() {
            if self.owner == Owner::Open {
                // Nothing was finished before the first segment.
                self.claim(now)?;
            }
            self.begin_segment();
        }
        result
    }

    /// Names the segment that has just begun.
    fn begin_segment(&mut self) {
        let now = SystemTime::now();
        let mut name = self.ts_template.clone();
        if self.conf.floor {
            let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let (number, deviation) = self.listed.floor.next(seconds, self.conf.fragment);
            name = name.replace("[timestamp]", &number.to_string());
            self.segmenter.deviate(deviation);
        }
        self.name = Some(Stamp::new(now, self.conf.utc).path(&name));
    }

    /// Writes what has come, when it is enough.
    pub fn flush(&mut self) -> io::Result<()> {
        let bytes = self.segmenter.take_bytes();
        if self.owner == Owner::Other {
            return Ok(());
        }
        self.waiting.extend_from_slice(&bytes);
        if self.waiting.len() >= CHUNK {
            self.write()?;
        }
        Ok(())
    }

    /// The key of the next segment; a new one where its time has come.
    fn next_key(&mut self) -> io::Result<Option<&Key>> {
        let Some(keys) = &self.conf.keys else { return Ok(None) };
        if self.key.is_none() || self.listed.sequence.is_multiple_of(keys.fragments) {
            let [vhost, app, stream] = &self.names;
            let names = Names { vhost, app, stream };
            let key = keys.generate(names, self.listed.sequence, &self.folder).map_err(io::Error::other)?;
            write_whole(&key.shown.file, "temp", key.bytes())?;
            self.key = Some(key);
        }
        Ok(self.key.as_ref())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            let Some(name) = &self.name else { return Ok(()) };
            let path = self.conf.path.join(format!("{}.{}.tmp", self.numbered(name), self.session));
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let encryptor = self.next_key()?.map(Key::encryptor);
            self.open = Some(Open { file: File::create_new(&path)?, path, encryptor });
        }
        if let Some(open) = &mut self.open {
            match &mut open.encryptor {
                Some(encryptor) => open.file.write_all(&encryptor.update(&self.waiting))?,
                None => open.file.write_all(&self.waiting)?,
            }
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
        let (Some(name), Some(open)) = (self.name.take(), self.open.take()) else { return Ok(None) };
        let Open { mut file, path: temporary, encryptor } = open;
        let key = encryptor.is_some().then_some(self.key.as_ref()).flatten();
        let key = key.map(|key| Arc::clone(&key.shown));
        if let Some(encryptor) = encryptor {
            file.write_all(&encryptor.finish())?;
        }
        drop(file);
        let milliseconds = (finished.duration * 1000.0).round() as u64;
        let name = name.replace("[duration]", &milliseconds.to_string());
        if !self.is_owner().inspect_err(|_| remove(&temporary))? {
            remove(&temporary);
            return Ok(None);
        }
        let renumbered = self.publish(&temporary, &name, now).inspect_err(|_| remove(&temporary))?;
        let name = self.numbered(&name);
        let path = self.conf.path.join(&name);
        let relative = name.strip_prefix(&self.folder).unwrap_or(&name);
        let segment = Segment {
            sequence: self.listed.sequence,
            duration: finished.duration,
            uri: format!("{}{relative}", self.conf.entry_prefix),
            file: path,
            discontinuity: finished.discontinuity || renumbered,
            key,
        };
        self.listed.sequence += 1;
        self.listed.segments.push_back(segment.clone());
        let gone = playlist::shrink(&mut self.listed.segments, self.conf.window);
        // A player may still be at what has just left the list.
        let later = now + Duration::from_secs_f64(self.conf.window);
        self.listed.expire(&gone, later);
        self.write_playlist(&playlist::text(&self.listed.segments, self.conf.target()))?;
        self.clean(now);
        Ok(Some(segment))
    }

    fn numbered(&self, name: &str) -> String {
        name.replace("[seq]", &self.listed.sequence.to_string())
    }

    fn naming(&self) -> Naming<'_> {
        Naming {
            path: &self.conf.path,
            m3u8: &self.m3u8,
            folder: &self.folder,
            template: &self.ts_template,
            prefix: &self.conf.entry_prefix,
            keys: self.conf.keys.as_ref(),
        }
    }

    /// Makes the files this session's: whoever wrote them stops, and the numbers go on.
    fn claim(&mut self, now: Instant) -> io::Result<()> {
        let found = epoch::find(self.naming())?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let before = found.epoch.max(self.listed.epoch.take());
        let epoch = Epoch::after(before.as_ref(), u64::try_from(time).unwrap_or(0), self.session.clone());
        self.listed.epoch = Some(epoch);
        if let Some(text) = &found.text {
            self.write_playlist(text)?;
        }
        // What was written here may be gone from the folder, its number is not used again.
        self.listed.segments =
            if found.next >= self.listed.sequence { found.segments } else { VecDeque::new() };
        self.listed.sequence = self.listed.sequence.max(found.next);
        let later = now + Duration::from_secs_f64(self.conf.window);
        for file in found.unlisted {
            if self.listed.expired.iter().all(|(_, other)| *other != file) {
                self.listed.expired.push_back((later, file));
            }
        }
        self.owner = Owner::This;
        Ok(())
    }

    /// Nobody has claimed the files since.
    fn is_owner(&mut self) -> io::Result<bool> {
        let text = epoch::read(&self.m3u8)?;
        let current = text.as_deref().and_then(Epoch::of);
        if current <= self.listed.epoch {
            return Ok(true);
        }
        let other = current.map(|epoch| epoch.to_string()).unwrap_or_default();
        tracing::warn!("{}: a newer publisher writes it now, epoch {other}", self.m3u8.display());
        self.owner = Owner::Other;
        self.listed.segments.clear();
        Ok(false)
    }

    /// Gives a segment its name, with the next number that nobody has taken; tells whether that is another one than
    /// was thought.
    fn publish(&mut self, temporary: &Path, name: &str, now: Instant) -> io::Result<bool> {
        for attempt in 0..MAX_NUMBERS {
            let path = self.conf.path.join(self.numbered(name));
            match epoch::publish(temporary, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && name.contains("[seq]") => {
                    // The numbers of a playlist are in a row: it starts again behind the gap.
                    self.listed.sequence = (self.listed.sequence + 1).max(epoch::find(self.naming())?.next);
                    let gone: Vec<Segment> = self.listed.segments.drain(..).collect();
                    self.listed.expire(&gone, now + Duration::from_secs_f64(self.conf.window));
                }
                result => return result.map(|()| attempt > 0),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn write_playlist(&self, text: &str) -> io::Result<()> {
        let text = match &self.listed.epoch {
            Some(epoch) => epoch.sign(text),
            None => text.to_owned(),
        };
        write_whole(&self.m3u8, &format!("{}.temp", self.session), text.as_bytes())
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
        self.name = None;
        if let Some(open) = self.open.take() {
            let _ = fs::remove_file(open.path);
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

    /// Removes at once what would be removed later.
    pub fn remove_now(&mut self) {
        match (self.due, self.listed.expired.back()) {
            (Some(_), _) => self.dispose(),
            (None, Some((last, _))) => self.clean(*last),
            (None, None) => {}
        }
    }

    /// Removes playlist and segments, the playlist first, unless they belong to a newer session.
    pub fn dispose(&mut self) {
        let current = epoch::read(&self.m3u8).ok().flatten().as_deref().and_then(Epoch::of);
        if current > self.listed.epoch {
            return;
        }
        let _ = fs::remove_file(&self.m3u8);
        let segments: Vec<Segment> = self.listed.segments.drain(..).collect();
        self.listed.expire(&segments, Instant::now());
        for (_, path) in self.listed.expired.drain(..) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Listed {
    /// Notes when the files of segments that left the list are to be removed, and those of keys that none needs.
    fn expire(&mut self, gone: &[Segment], when: Instant) {
        for (index, segment) in gone.iter().enumerate() {
            self.expired.push_back((when, segment.file.clone()));
            let Some(key) = &segment.key else { continue };
            let mut others = gone[index + 1..].iter().chain(&self.segments);
            if others.all(|other| other.key.as_ref() != Some(key)) {
                self.expired.push_back((when, key.file.clone()));
            }
        }
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Writes a file under another name and renames it.
fn write_whole(path: &Path, extension: &str, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{extension}"));
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        // The error that is told is the one before.
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_removed_one_window_after_it_left_the_playlist() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("enabled on; hls_fragment 1; hls_window 3; hls_path {};", dir.path().display());
        let conf = Hls::read(&crate::conf::parse::parse(&text).unwrap(), false).unwrap().unwrap();
        let names = Names { vhost: "v", app: "live", stream: "s" };
        let mut files = Files::new(conf, names, Listed::default());
        let header = [
            0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1e, 1, 0, 4, 0x68,
            0xce, 0x3c, 0x80,
        ];
        let picture = [0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0x88];
        let start = Instant::now();
        files.push(TagKind::Video, 0, &header, start).unwrap();
        let path = |number: u64| dir.path().join(format!("live/s-{number}.ts"));
        let mut left = std::collections::HashMap::new();
        let mut removed = 0;
        for tick in 0..200u64 {
            let now = start + Duration::from_millis(tick * 100);
            files.push(TagKind::Video, tick as i64 * 100, &picture, now).unwrap();
            files.clean(now);
            let list = fs::read_to_string(files.m3u8().0).unwrap_or_default();
            for number in 0..files.listed.sequence {
                if list.contains(&format!("s-{number}.ts")) {
                    assert!(path(number).exists(), "s-{number}.ts is listed at {tick}");
                    continue;
                }
                let since = now - *left.entry(number).or_insert(now);
                assert_eq!(
                    path(number).exists(),
                    since < Duration::from_secs(3),
                    "s-{number}.ts after {since:?}"
                );
                removed = removed.max(if path(number).exists() { 0 } else { number + 1 });
            }
        }
        assert!(removed > 5, "{removed}");
        // What has just left is removed after the publisher too.
        let end = start + Duration::from_secs(20);
        let (_, mut disposal) = files.finish(end);
        let waiting: Vec<PathBuf> = disposal.listed.expired.iter().map(|(_, path)| path.clone()).collect();
        assert!(!waiting.is_empty() && waiting.iter().all(|path| path.exists()));
        disposal.clean(end + Duration::from_secs(3));
        assert!(disposal.next().is_none() && waiting.iter().all(|path| !path.exists()));
    }

    /// Segments of a second, each a keyframe, of a stream `live/s` with these directives.
    fn after(text: &str, seconds: u64, mut look: impl FnMut(u64, &mut Files)) -> Files {
        let conf = Hls::read(&crate::conf::parse::parse(text).unwrap(), false).unwrap().unwrap();
        let mut files = Files::new(conf, Names { vhost: "v", app: "live", stream: "s" }, Listed::default());
        let header = [0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 66, 1, 0, 1, 0x68];
        let picture = [0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0x88];
        let start = Instant::now();
        files.push(TagKind::Video, 0, &header, start).unwrap();
        for second in 0..=seconds {
            look(second, &mut files);
            let now = start + Duration::from_secs(second);
            if files.push(TagKind::Video, second as i64 * 1000, &picture, now).is_err() {
                files.gap();
            }
            files.clean(now);
        }
        files
    }

    #[test]
    fn an_entry_prefix_without_a_slash_gets_the_playlist_s_folder() {
        for (prefix, uri) in [
            ("", "s-0.ts"),
            ("hls_entry_prefix http://your-server;", "http://your-server/live/s-0.ts"),
            ("hls_entry_prefix http://your-server/;", "http://your-server/s-0.ts"),
            ("hls_entry_prefix http://your-server/a/;", "http://your-server/a/s-0.ts"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let text = format!("enabled on; hls_fragment 1; {prefix} hls_path {};", dir.path().display());
            let files = after(&text, 1, |_, _| {});
            assert_eq!(files.listed.segments[0].uri, uri, "{prefix}");
        }
    }

    #[test]
    fn segments_are_removed_though_the_playlist_can_t_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("enabled on; hls_fragment 1; hls_window 2; hls_path {};", dir.path().display());
        let mut most = 0;
        after(&text, 60, |second, files| {
            if second == 5 {
                // A folder in the place of a file can't be written.
                fs::create_dir(dir.path().join(format!("live/s.m3u8.{}.temp", files.session))).unwrap();
            }
            let names = fs::read_dir(dir.path().join("live")).into_iter().flatten().flatten();
            most = most.max(
                names.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "ts")).count(),
            );
        });
        assert!(most < 12, "{most}");
    }
}
