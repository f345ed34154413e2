//! A FUSE mount that hands everything on to a folder, served by a process of its own that can be stopped: then the
//! mount takes no writes, as a network volume whose server is gone.
//!
//! It is mounted in a mount namespace of the test's thread, so nothing is left behind however the test ends.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::wait_until;

const FROM: &str = "STALLED_VOLUME_FROM";
const AT: &str = "STALLED_VOLUME_AT";
/// Nothing is cached: every access asks the process.
const TTL: Duration = Duration::ZERO;

/// A mounted volume.
pub(crate) struct Volume {
    child: Child,
    pub(crate) at: PathBuf,
    /// The same files without the mount in between, for looking at them while it is frozen.
    pub(crate) behind: PathBuf,
}

impl Volume {
    /// Mounts; the reason where this machine does not allow it.
    pub(crate) fn mount(dir: &Path) -> Result<Volume, String> {
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".into());
        }
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("no mount namespace: {error}"))?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .map_err(|error| format!("mounts can't be made private: {error}"))?;
        let (behind, at) = (dir.join("behind"), dir.join("volume"));
        fs::create_dir(&behind).unwrap();
        fs::create_dir(&at).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["volume_process", "--exact", "--ignored", "--nocapture"])
            .env(FROM, &behind)
            .env(AT, &at)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let volume = Volume { child, at, behind };
        let name = volume.at.display().to_string();
        wait_until("the volume is mounted", || {
            fs::read_to_string("/proc/thread-self/mountinfo").unwrap().contains(&name)
        });
        Ok(volume)
    }

    /// From now on nothing that is done on the volume ends.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Whoever waits for the volume gets an error as soon as its process is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

/// The process behind the mount; false where it was not started as that.
pub(crate) fn serve() -> bool {
    let (Some(from), Some(at)) = (std::env::var_os(FROM), std::env::var_os(AT)) else { return false };
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("stalled-volume".into())];
    fuser::mount(Folder::new(PathBuf::from(from)), at, &config).unwrap();
    true
}

#[derive(Default)]
struct Known {
    paths: HashMap<u64, PathBuf>,
    open: HashMap<u64, File>,
    last: u64,
}

struct Folder(Mutex<Known>);

impl Folder {
    fn new(root: PathBuf) -> Self {
        let paths = HashMap::from([(INodeNo::ROOT.0, root)]);
        Folder(Mutex::new(Known { paths, last: 1, ..Known::default() }))
    }

    fn path(&self, parent: INodeNo, name: &OsStr) -> PathBuf {
        let path = self.0.lock().unwrap().paths[&parent.0].clone();
        // A slash at the end would mean a folder.
        if name.is_empty() { path } else { path.join(name) }
    }

    /// The attributes of a path, under the number that it has or gets.
    fn attributes(&self, path: &Path) -> Result<FileAttr, Errno> {
        let metadata = fs::symlink_metadata(path).map_err(Errno::from)?;
        let mut known = self.0.lock().unwrap();
        let known = &mut *known;
        let number = known.paths.iter().find(|(_, other)| *other == path).map(|(number, _)| *number);
        let number = number.unwrap_or_else(|| {
            known.last += 1;
            known.paths.insert(known.last, path.to_owned());
            known.last
        });
        let time = metadata.modified().unwrap();
        Ok(FileAttr {
            ino: INodeNo(number),
            size: metadata.len(),
            blocks: metadata.blocks(),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: FileType::from_std(metadata.file_type()).unwrap(),
            perm: u16::try_from(metadata.mode() & 0o7777).unwrap(),
            nlink: u32::try_from(metadata.nlink()).unwrap(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn keep(&self, file: File) -> FileHandle {
        let mut known = self.0.lock().unwrap();
        known.last += 1;
        let handle = known.last;
        known.open.insert(handle, file);
        FileHandle(handle)
    }
}

fn done(reply: ReplyEmpty, result: std::io::Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for Folder {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(&self.path(parent, name)) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(&self.path(number, OsStr::new(""))) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let path = self.path(number, OsStr::new(""));
        if let Some(size) = size {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(size).unwrap();
        }
        match self.attributes(&path) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let path = self.path(parent, name);
        match fs::create_dir(&path).map_err(Errno::from).and_then(|()| self.attributes(&path)) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, fs::remove_file(self.path(parent, name)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (self.path(parent, name), self.path(new_parent, new_name));
        let result = fs::rename(&from, &to);
        let mut known = self.0.lock().unwrap();
        known.paths.retain(|_, path| *path != to);
        if let Some(path) = known.paths.values_mut().find(|path| **path == from) {
            *path = to;
        }
        done(reply, result);
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let path = self.path(number, OsStr::new(""));
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => reply.opened(self.keep(file), FopenFlags::empty()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut data = vec![0; size as usize];
        match self.0.lock().unwrap().open[&handle.0].read_at(&mut data, offset) {
            Ok(count) => reply.data(&data[..count]),
            Err(error) => reply.error(error.into()),
        }
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let path = self.path(number, OsStr::new(""));
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries.map(Result::unwrap),
            Err(error) => return reply.error(error.into()),
        };
        for (index, entry) in entries.enumerate().skip(usize::try_from(offset).unwrap()) {
            let kind = FileType::from_std(entry.file_type().unwrap()).unwrap();
            // The number is asked for when the file is.
            if reply.add(INodeNo(u64::MAX), index as u64 + 1, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let path = self.path(parent, name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let file = match flags & nix::fcntl::OFlag::O_EXCL.bits() {
            0 => options.truncate(true).open(&path),
            _ => options.create_new(true).open(&path),
        };
        match file.map_err(Errno::from).and_then(|file| Ok((file, self.attributes(&path)?))) {
            Ok((file, attributes)) => {
                reply.created(&TTL, &attributes, Generation(0), self.keep(file), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.lock().unwrap().open[&handle.0].write_all_at(data, offset) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.lock().unwrap().open.remove(&handle.0);
        reply.ok();
    }
}
