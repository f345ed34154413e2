//! Finding the processes of a cluster in /proc, without relying on anything that they wrote themselves.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::error::{Error, Result};

/// How the name of a cluster's cgroup begins.
pub(crate) const CGROUP_PREFIX: &str = "stackctl-";
/// The process outside that waits for the cluster's init.
pub(crate) const GUARDIAN: &str = "guardian";
/// The cluster's first process.
pub(crate) const INIT: &str = "init";

/// The processes that were started as `… ROLE DIR`.
pub(crate) fn with_role(role: &str, dir: &Path) -> Vec<Pid> {
    all().filter(|pid| has_role(*pid, role, dir)).collect()
}

fn has_role(pid: Pid, role: &str, dir: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut words = line.split(|byte| *byte == 0).skip(1);
    words.next() == Some(role.as_bytes()) && words.next() == Some(dir.as_os_str().as_bytes())
}

/// The processes that run a program of `programs` in the cluster's folder, as all of them do, or are about to; a shell
/// of somebody who looks around in there is none of them.
pub(crate) fn running_in(dir: &Path, programs: &Path) -> Vec<Pid> {
    all().filter(|pid| works_in(*pid, dir) && names(*pid, programs)).collect()
}

fn works_in(pid: Pid, dir: &Path) -> bool {
    let Ok(cwd) = fs::read_link(format!("/proc/{pid}/cwd")) else { return false };
    // The kernel says it so when somebody removed the folder.
    cwd == dir || cwd.as_os_str().as_bytes() == [dir.as_os_str().as_bytes(), b" (deleted)"].concat()
}

/// Whether a word of the command line is a program of the folder: its own, or that which it will become (setpriv).
fn names(pid: Pid, programs: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| Path::new(OsStr::from_bytes(word)).starts_with(programs))
}

/// The first part of the cgroup that a process is in, which is the cluster's folder.
pub(crate) fn cgroup(pid: Pid) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups
        .lines()
        .filter_map(|line| line.rsplit(':').next()?.split('/').find(|part| part.starts_with(CGROUP_PREFIX)))
        .map(str::to_owned)
        .next()
}

fn all() -> impl Iterator<Item = Pid> {
    let own = std::process::id();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(move |pid: &i32| pid.cast_unsigned() != own)
        .map(Pid::from_raw)
}

/// Ends the processes that `find` finds, and waits until it finds none and those found are gone.
pub(crate) fn end(cluster: &str, what: &str, within: Duration, find: impl Fn() -> Vec<Pid>) -> Result<()> {
    let until = Instant::now() + within;
    let mut seen = Vec::new();
    loop {
        let found = find();
        for pid in &found {
            let _ = kill(*pid, Signal::SIGKILL);
            if !seen.contains(pid) {
                seen.push(*pid);
            }
        }
        // The command line of a dying process is empty long before its namespace is: so those seen once are watched.
        seen.retain(|pid| is_running(*pid));
        // What was killed may have started one more just before: only a look that finds nobody is the last.
        if found.is_empty() && seen.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::StillThere {
                name: cluster.to_owned(),
                what: format!("{what} (process {})", seen[0]),
                seconds: within.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the process is there and more than a record for its parent.
fn is_running(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        // The state follows the command's name, which is in parentheses and may hold any character.
        stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X']))
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_is_found_by_its_folder_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("60").current_dir(dir.path()).spawn().unwrap();
        let mut shell = Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let find = || running_in(dir.path(), dir.path());
        let until = Instant::now() + Duration::from_secs(10);
        while find() != [pid] {
            assert!(Instant::now() < until, "the program is found, and it alone");
        }
        end("a", "a test's process", Duration::from_secs(10), find).unwrap();
        assert!(!is_running(pid));
        child.wait().unwrap();
        assert!(find().is_empty());
        assert!(shell.try_wait().unwrap().is_none(), "the other one lives");
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn a_process_is_known_by_its_role_and_folder() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("tail").args(["-f", "/dev/null"]).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let until = Instant::now() + Duration::from_secs(10);
        while with_role("-f", Path::new("/dev/null")).is_empty() {
            assert!(Instant::now() < until);
        }
        assert!(with_role("-f", Path::new("/dev/null")).contains(&pid));
        assert!(with_role("-f", dir.path()).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_own_process_is_not_among_them() {
        assert!(!all().any(|pid| pid == Pid::this()));
    }
}
