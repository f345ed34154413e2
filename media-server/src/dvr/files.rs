//! Where one file of a stream ends and the next begins.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::flv::Flv;
use super::mp4::Mp4;
use super::{Cut, Dvr, is};
use crate::flv::{self, Role, TagKind};
use crate::recorder::{Names, Stamp};
use crate::source::{Clock, Headers};

/// The files of a stream that is published.
#[derive(Debug)]
pub struct Files {
    conf: Dvr,
    /// The path, of whose variables only those of the time are left.
    template: String,
    mp4: bool,
    metadata: Option<Vec<u8>>,
    video: Option<Vec<u8>>,
    audio: Option<Vec<u8>>,
    open: Option<Open>,
    /// Nothing is taken before a keyframe.
    wait: bool,
}

#[derive(Debug)]
struct Open {
    container: Container,
    temporary: PathBuf,
    path: PathBuf,
    clock: Clock,
    start: i64,
}

#[derive(Debug)]
enum Container {
    Flv(Flv),
    Mp4(Mp4),
}

impl Files {
    /// For a new publisher.
    pub fn new(conf: Dvr, names: Names<'_>) -> Self {
        Files {
            template: names.path(&conf.path),
            mp4: is(&conf.path, "mp4"),
            // A picture of MP4 that nothing came before can't be decoded; FLV's players skip it.
            wait: conf.wait_keyframe || is(&conf.path, "mp4"),
            conf,
            metadata: None,
            video: None,
            audio: None,
            open: None,
        }
    }

    /// Takes the sequence headers of a stream that began before.
    pub fn prime(&mut self, headers: &Headers) {
        let copy = |header: &Option<std::sync::Arc<[u8]>>| header.as_deref().map(<[u8]>::to_vec);
        self.metadata = copy(&headers.metadata);
        self.video = copy(&headers.video);
        self.audio = copy(&headers.audio);
    }

    /// Takes a message, `timestamp` in milliseconds; gives the file that ended before it.
    pub fn push(&mut self, kind: TagKind, timestamp: i64, payload: &[u8]) -> io::Result<Option<PathBuf>> {
        let role = flv::role(kind, payload);
        if kind == TagKind::Script || role == Role::SequenceHeader {
            return self.header(kind, timestamp, payload);
        }
        let keyframe = kind == TagKind::Video && role == Role::Keyframe;
        let alone = self.video.is_none() && kind == TagKind::Audio;
        let mut finished = None;
        if self.conf.cut == Cut::Segment && (keyframe || alone || !self.conf.wait_keyframe) {
            let age = self.open.as_ref().map_or(0, |open| timestamp - open.start);
            if age as f64 >= self.conf.duration * 1000.0 {
                finished = self.close()?;
                self.wait = (self.conf.wait_keyframe || self.mp4) && !alone;
            }
        }
        if self.wait && !keyframe && !alone {
            return Ok(finished);
        }
        self.wait = false;
        if self.open.is_none() {
            self.open = Some(self.open(timestamp)?);
        }
        if let Some(open) = &mut self.open {
            let time = open.clock.correct(self.conf.jitter, kind, timestamp as u32).max(0) as u64;
            match &mut open.container {
                Container::Flv(file) => file.write(kind, time, payload)?,
                Container::Mp4(file) => file.write(kind, role, time, payload)?,
            }
        }
        Ok(finished)
    }

    /// Metadata or a sequence header.
    fn header(&mut self, kind: TagKind, timestamp: i64, payload: &[u8]) -> io::Result<Option<PathBuf>> {
        let slot = match kind {
            TagKind::Script => &mut self.metadata,
            TagKind::Video => &mut self.video,
            TagKind::Audio => &mut self.audio,
        };
        let known = slot.as_deref() == Some(payload);
        *slot = Some(payload.to_vec());
        if known || kind == TagKind::Script {
            return Ok(None);
        }
        match &mut self.open {
            Some(Open { container: Container::Flv(file), clock, .. }) => {
                let time = clock.correct(self.conf.jitter, kind, timestamp as u32).max(0) as u64;
                file.write(kind, time, payload)?;
                Ok(None)
            }
            // An MP4 track has one configuration.
            Some(_) => {
                self.wait = self.video.is_some();
                self.close()
            }
            None => Ok(None),
        }
    }

    fn open(&self, timestamp: i64) -> io::Result<Open> {
        let path = PathBuf::from(Stamp::new(SystemTime::now(), self.conf.utc).path(&self.template));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let (file, temporary, path) = create(&path)?;
        let headers = [(TagKind::Video, &self.video), (TagKind::Audio, &self.audio)];
        let headers: Vec<(TagKind, &[u8])> =
            headers.into_iter().filter_map(|(kind, header)| Some((kind, header.as_deref()?))).collect();
        let container = match self.mp4 {
            true => Container::Mp4(Mp4::new(file, &path, &headers)?),
            false => Container::Flv(Flv::new(file, self.metadata.as_deref(), &headers)?),
        };
        Ok(Open { container, temporary, path, clock: Clock::default(), start: timestamp })
    }

    fn close(&mut self) -> io::Result<Option<PathBuf>> {
        let Some(open) = self.open.take() else { return Ok(None) };
        match open.container {
            Container::Flv(file) => file.finish()?,
            Container::Mp4(file) => file.finish()?,
        }
        finalise(&open.temporary, &open.path).map(Some)
    }

    /// Something is missing from the stream: the file goes on with the next keyframe.
    pub fn gap(&mut self) {
        self.wait = self.video.is_some();
    }

    /// A write failed: the file stays as it is, under its temporary name, and another begins.
    pub fn give_up(&mut self) {
        self.open = None;
        self.gap();
    }

    /// The publisher has gone; gives the file that was open.
    pub fn finish(mut self) -> io::Result<Option<PathBuf>> {
        self.close()
    }
}

/// How many recordings of one name there may be.
const MAX_NUMBER: u32 = 9999;

/// `NAME.flv`, `NAME-1.flv`, `NAME-2.flv`…: what was recorded before is never replaced, where SRS refuses to record.
fn numbered(path: &Path) -> impl Iterator<Item = PathBuf> {
    (0..=MAX_NUMBER).map(move |number| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match number {
            0 => path.to_owned(),
            _ => path.with_file_name(format!("{stem}-{number}.{ending}")),
        }
    })
}

fn taken(path: &Path) -> io::Error {
    let text = format!("{} and {MAX_NUMBER} more like it exist", path.display());
    io::Error::new(io::ErrorKind::AlreadyExists, text)
}

/// Makes the temporary file of the first name that is free; gives it and both paths.
fn create(path: &Path) -> io::Result<(File, PathBuf, PathBuf)> {
    for path in numbered(path) {
        let mut temporary = path.clone().into_os_string();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match File::create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return Ok((result?, temporary, path)),
        }
    }
    Err(taken(path))
}

/// Gives a recording its name, or the next that is free.
fn finalise(temporary: &Path, path: &Path) -> io::Result<PathBuf> {
    for path in numbered(path) {
        match renameat_with(CWD, temporary, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(path),
            Err(Errno::EXIST) => {}
            // File systems that don't know of it, as NFS.
            Err(Errno::INVAL | Errno::NOSYS) if path.symlink_metadata().is_ok() => {}
            Err(Errno::INVAL | Errno::NOSYS) => return fs::rename(temporary, &path).map(|()| path),
            Err(error) => return Err(error.into()),
        }
    }
    Err(taken(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_recording_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("enabled on; dvr_path {}/[stream].flv;", dir.path().display());
        let conf = Dvr::read(&crate::conf::parse::parse(&text).unwrap(), false).unwrap().unwrap();
        let record = |meanwhile: Option<&str>| {
            let names = Names { vhost: "v", app: "live", stream: "s" };
            let mut files = Files::new(conf.clone(), names);
            files.push(TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]).unwrap();
            files.push(TagKind::Audio, 0, &[0xaf, 1, 5]).unwrap();
            if let Some(name) = meanwhile {
                fs::write(dir.path().join(name), "other").unwrap();
            }
            files.finish().unwrap().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(record(None), "s.flv");
        assert_eq!(record(None), "s-1.flv");
        // One that was never completed, and one that comes while another is open.
        fs::write(dir.path().join("s-2.flv.tmp"), "left").unwrap();
        assert_eq!(record(Some("s-3.flv")), "s-3-1.flv");
        for (name, text) in [("s-2.flv.tmp", "left"), ("s-3.flv", "other")] {
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), text);
        }
        assert!(fs::metadata(dir.path().join("s.flv")).unwrap().len() > 13);
    }
}
