//! The cluster's folder in the cgroup hierarchies, version 1 or 2.
//!
//! Everything of a cluster with a node is in there: its own programs in `system`, the pods below `kubepods`, which
//! the kubelet makes. So the folder also tells whether a process is left, whatever happened to its parent.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::error::{Error, Result, at};

const ROOT: &str = "/sys/fs/cgroup";

/// The hierarchies of this machine: each controller's of version 1, or the one of version 2.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").is_file() {
        return vec![root.to_owned()];
    }
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        // Links such as `cpu -> cpu,cpuacct` name a hierarchy a second time.
        .filter(|path| path.is_dir() && !path.is_symlink() && path.join("cgroup.procs").is_file())
        .collect()
}

/// Makes the folder in every hierarchy, as the kubelet wants it, and puts this process into its `system` part.
pub(crate) fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        let system = group.join("system");
        delegate(&hierarchy);
        fs::create_dir_all(&group).map_err(at("create", &group))?;
        inherit_cpuset(&hierarchy, &group)?;
        delegate(&group);
        fs::create_dir_all(&system).map_err(at("create", &system))?;
        inherit_cpuset(&group, &system)?;
        let procs = system.join("cgroup.procs");
        fs::write(&procs, "0").map_err(at("write", procs))?;
    }
    Ok(())
}

/// Version 1: a new cpuset has no processors and no memory, and takes no process before it has.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<()> {
    for name in ["cpuset.mems", "cpuset.cpus"] {
        let (from, to) = (parent.join(name), child.join(name));
        if parent.join("cgroup.controllers").exists() || !from.exists() {
            continue;
        }
        let value = fs::read_to_string(&from).map_err(at("read", &from))?;
        fs::write(&to, value.trim()).map_err(at("write", &to))?;
    }
    Ok(())
}

/// Version 2: a group's controllers are there for its children only when it says so. A controller that the machine
/// keeps to itself is reported by the kubelet, which knows whether it needs it.
fn delegate(group: &Path) {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Ends every process in the folder and removes it from every hierarchy. That the folder could be removed is the
/// proof that no process is left.
pub(crate) fn remove(cluster: &str, name: &str, within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    loop {
        let left: Vec<PathBuf> = hierarchies()
            .into_iter()
            .map(|hierarchy| hierarchy.join(name))
            .filter(|group| !remove_tree(group))
            .collect();
        let Some(first) = left.first() else { return Ok(()) };
        if Instant::now() >= until {
            return Err(Error::StillThere {
                name: cluster.to_owned(),
                what: format!("cgroup {}", first.display()),
                seconds: within.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills what is in `group` and below, and removes the folders from the bottom up; true once nothing is left.
fn remove_tree(group: &Path) -> bool {
    if !group.exists() {
        return true;
    }
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            remove_tree(&entry.path());
        }
    }
    for pid in processes(group) {
        let _ = kill(pid, Signal::SIGKILL);
    }
    fs::remove_dir(group).is_ok()
}

fn processes(group: &Path) -> Vec<Pid> {
    fs::read_to_string(group.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        // 0 stands for a process that this PID namespace does not see.
        .filter(|pid| *pid > 0)
        .map(Pid::from_raw)
        .collect()
}
