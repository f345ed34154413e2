//! Finding the processes of a cluster in /proc, without relying on anything that they wrote themselves.

use std::{
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

/// The processes that work in the cluster's folder, as all its programs do.
pub(crate) fn working_in(dir: &Path) -> Vec<Pid> {
    all().filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir)).collect()
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
        for pid in find() {
            let _ = kill(pid, Signal::SIGKILL);
            if !seen.contains(&pid) {
                seen.push(pid);
            }
        }
        // The command line of a dying process is empty long before its namespace is: so those seen once are watched.
        seen.retain(|pid| is_running(*pid));
        if seen.is_empty() {
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
    fn a_process_is_found_by_role_and_by_folder_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60; :", "init"])
            .arg(dir.path())
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(working_in(dir.path()).contains(&pid));
        end("a", "a test's process", Duration::from_secs(10), || working_in(dir.path())).unwrap();
        assert!(!is_running(pid));
        child.wait().unwrap();
        assert!(working_in(dir.path()).is_empty());
    }

    #[test]
    fn the_own_process_is_not_among_them() {
        assert!(!working_in(&std::env::current_dir().unwrap()).contains(&Pid::this()));
    }
}
