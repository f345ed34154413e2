//! Looking at a cluster's processes and namespaces from outside, by means of its own: nothing here asks the library
//! what it knows.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cluster::{Running, testing::wait_for};

/// What of a cluster can be seen on the machine.
pub(crate) struct Inside {
    dir: PathBuf,
    name: String,
    pub(crate) init: u32,
    pub(crate) guardian: u32,
    /// The namespaces of a cluster with a node: PID, mount, network.
    namespaces: Vec<PathBuf>,
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn words(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).split('\0').map(str::to_owned).collect()
}

fn namespace(pid: u32, kind: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
}

/// A process that waits for its parent to ask for its end is none any more.
fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

impl Inside {
    pub(crate) fn of(cluster: &Running) -> Self {
        let dir = cluster.dir().path().to_owned();
        let with_role = |role: &str| {
            let is = |pid: &u32| {
                let words = words(*pid);
                words.get(1).is_some_and(|word| word == role)
                    && words.get(2).is_some_and(|word| Path::new(word) == dir)
            };
            pids().find(is).unwrap_or_else(|| panic!("no {role}"))
        };
        let init = with_role("init");
        let namespaces = ["pid", "mnt", "net"]
            .iter()
            .filter_map(|kind| {
                namespace(init, kind).filter(|its| namespace(std::process::id(), kind).as_ref() != Some(its))
            })
            .collect();
        Self { name: cluster.name().to_owned(), init, guardian: with_role("guardian"), namespaces, dir }
    }

    /// Every process that has anything to do with the cluster.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let own = std::process::id();
        let belongs = |pid: &u32| {
            ["pid", "mnt", "net"]
                .iter()
                .any(|kind| namespace(*pid, kind).is_some_and(|is| self.namespaces.contains(&is)))
                || words(*pid).iter().any(|word| Path::new(word) == self.dir)
                || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&self.dir))
        };
        pids().filter(|pid| *pid != own && !is_zombie(*pid)).filter(belongs).collect()
    }

    /// The processes of one program.
    pub(crate) fn program(&self, name: &str) -> Vec<u32> {
        // The kernel keeps 15 characters of a name.
        let name = &name[..name.len().min(15)];
        let is =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
        self.processes().into_iter().filter(is).collect()
    }

    /// Kills processes the hard way.
    pub(crate) fn kill(pids: &[u32]) {
        for pid in pids {
            // One may be gone already with another.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).output().unwrap();
        }
    }

    /// Runs a command in the cluster's network namespace.
    pub(crate) fn in_network(&self, words: &[&str]) -> String {
        let output = Command::new("nsenter")
            .args(["--net", "--target", &self.init.to_string()])
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Everything of the cluster that is left on the machine, in words.
    pub(crate) fn remains(&self) -> Vec<String> {
        let mut remains: Vec<String> =
            self.processes().iter().map(|pid| format!("process {pid}: {}", words(*pid).join(" "))).collect();
        if self.dir.exists() {
            remains.push(format!("folder {}", self.dir.display()));
        }
        if self.dir.with_extension("lock").exists() {
            remains.push("the lock file".to_owned());
        }
        let dir = self.dir.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        remains.extend(mounts.lines().filter(|line| line.contains(&dir)).map(|line| format!("mount {line}")));
        let cgroup = format!("stackctl-{}.", self.name);
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.is_dir() && !path.is_symlink() {
                    if path.file_name().unwrap().to_string_lossy().starts_with(&cgroup) {
                        remains.push(format!("cgroup {}", path.display()));
                    }
                    folders.push(path);
                }
            }
        }
        remains
    }

    /// The cluster must be gone now, wholly.
    pub(crate) fn assert_gone(&self) {
        assert_eq!(self.remains(), [""; 0]);
    }

    /// The cluster must be gone soon, wholly.
    pub(crate) fn wait_gone(&self, within: Duration) {
        wait_for(&format!("the end of {:?}", self.remains()), within, || {
            Ok(self.remains().is_empty().then_some(()))
        })
        .unwrap();
    }
}

/// The machine's own links and packet filter rules, for comparing before and after.
pub(crate) fn network_of_the_machine() -> Vec<String> {
    let lines = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // Counters and dates change by themselves; other people's links may come and go.
        text.lines().filter(|line| !line.starts_with(['#', ':'])).map(str::to_owned).collect::<Vec<_>>()
    };
    let devices = lines("ip", &["-brief", "link"]);
    let ours =
        |line: &String| line.starts_with("veth") || line.starts_with("node") || line.starts_with("cni");
    let rules =
        lines("iptables-save", &[]).into_iter().filter(|line| line.contains("KUBE") || line.contains("CNI"));
    devices
        .into_iter()
        .filter(ours)
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .chain(rules)
        .collect()
}
