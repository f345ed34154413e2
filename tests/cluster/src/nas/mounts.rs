//! The folders that stand for file systems, and the bind mounts of them.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, mkdirat, openat, statx};

use super::{attributes::Volume, nfs::Mount};
use crate::{
    command,
    error::{Error, Result, at, system},
    progress::say,
};

/// A folder with a folder per mount target in it.
#[derive(Debug, Clone)]
pub(super) struct Mounts(PathBuf);

impl Mounts {
    pub(super) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Mounts a volume; once is enough, however often it is asked for.
    pub(super) fn publish(&self, volume: &Volume, target: &Path) -> Result<()> {
        fs::create_dir_all(target).map_err(at("create", target))?;
        if is_mount_point(target)? {
            return Ok(());
        }
        let folder = self.folder(&volume.mount)?;
        let source = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        mount(Some(&source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(system("mount the folder of a NAS"))?;
        if volume.read_only || volume.mount.options.iter().any(|option| option == "ro") {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
                .map_err(system("make the folder of a NAS read-only"))?;
        }
        if let Some((mode, recursive)) = &volume.mode {
            let mut chmod = Command::new("chmod");
            chmod.args(recursive.then_some("-R")).arg("--").arg(mode).arg(target);
            // As with ACK's driver, a mode that is none only shows in the log.
            if let Err(error) = command::run(&mut chmod) {
                say(&error.to_string());
            }
        }
        Ok(())
    }

    /// Takes a mount away, and the folder that it was on; what is gone already is no error.
    pub(super) fn unpublish(target: &Path) -> Result<()> {
        if !target.try_exists().map_err(at("look at", target))? {
            return Ok(());
        }
        while is_mount_point(target)? {
            umount2(target, MntFlags::UMOUNT_NOFOLLOW).map_err(system("unmount the folder of a NAS"))?;
        }
        // Only when it is empty: nothing that is mounted nowhere is the driver's to remove.
        fs::remove_dir(target).map_err(at("remove", target))
    }

    /// Opens the folder of a mount. What is missing of the path is made, as the driver does it. Symbolic links in
    /// there are pods' work and lead nowhere.
    fn folder(&self, wanted: &Mount) -> Result<OwnedFd> {
        let root = self.0.join(&wanted.server);
        fs::create_dir_all(&root).map_err(at("create", &root))?;
        let failed = |errno: rustix::io::Errno| Error::File {
            action: "open",
            path: root.join(wanted.path.trim_start_matches('/')),
            source: io::Error::from(errno),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = openat(CWD, &root, flags, Mode::empty()).map_err(failed)?;
        for name in wanted.folders() {
            match mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            folder = openat(&folder, name, flags, Mode::empty()).map_err(failed)?;
        }
        Ok(folder)
    }
}

/// Whether something is mounted there. Its device does not tell: a bind mount has that of its source.
fn is_mount_point(path: &Path) -> Result<bool> {
    let status = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .map_err(|errno| at("look at", path)(errno.into()))?;
    Ok(status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn wanted(path: &str) -> Mount {
        Mount {
            server: "a.nas.aliyuncs.com".to_owned(),
            path: path.to_owned(),
            protocol: "nfs".to_owned(),
            vers: "3".to_owned(),
            options: Vec::new(),
            is_extreme: false,
        }
    }

    #[test]
    fn what_is_missing_of_a_path_is_made_and_what_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = Mounts::at(dir.path().to_owned());
        mounts.folder(&wanted("/k8s/live")).unwrap();
        let file = dir.path().join("a.nas.aliyuncs.com/k8s/live/file");
        fs::write(&file, "content").unwrap();
        mounts.folder(&wanted("/k8s/live")).unwrap();
        assert_eq!(fs::read(file).unwrap(), b"content");
    }

    #[test]
    fn a_link_or_a_file_in_the_way_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = Mounts::at(dir.path().to_owned());
        mounts.folder(&wanted("/")).unwrap();
        let root = dir.path().join("a.nas.aliyuncs.com");
        symlink("/tmp", root.join("link")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        for path in ["/link", "/link/below", "/file"] {
            let error = mounts.folder(&wanted(path)).unwrap_err();
            assert!(matches!(error, Error::File { .. }), "{path}: {error}");
        }
    }

    #[test]
    fn a_folder_is_no_mount_point_and_proc_is_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mount_point(dir.path()).unwrap());
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        let target = dir.path().join("target");
        Mounts::unpublish(&target).unwrap();
        fs::create_dir(&target).unwrap();
        Mounts::unpublish(&target).unwrap();
        assert!(!target.exists());
    }
}
