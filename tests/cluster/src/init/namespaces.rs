//! The inside of a cluster with a node: its mounts and its network.

use std::{
    fs,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
};

use nix::mount::{MsFlags, mount};

use crate::{
    command,
    description::NODE_ADDRESS,
    error::{Error, Result, at, system},
    paths::ClusterDir,
};

/// Folders of the machine that the programs inside write into wherever they are told not to. The cluster has its own.
const OWN: &[&str] = &["/run", "/var/log", "/var/lib"];

/// Settings of the whole machine that a kubelet changes when it starts, unless they already have these values. It
/// reads them here from files, so that a cluster leaves the machine's settings alone.
const KERNEL_SETTINGS: &[(&str, &str)] = &[
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// Settings of the cluster's own network namespace.
const NETWORK_SETTINGS: &[(&str, &str)] = &[
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    ("/proc/sys/net/ipv4/conf/default/rp_filter", "0"),
    ("/proc/sys/net/ipv4/conf/all/route_localnet", "1"),
];

/// Makes the mounts. `keep` are folders that must be there inside as they are outside.
pub(crate) fn mounts(dir: &ClusterDir, keep: &[&Path]) -> Result<()> {
    // Nothing that is mounted from here on is seen outside.
    change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    let kept: Vec<(PathBuf, fs::File)> = keep
        .iter()
        .map(|path| Ok((path.to_path_buf(), fs::File::open(path).map_err(at("open", *path))?)))
        .collect::<Result<_>>()?;
    for path in OWN {
        mount(Some("tmpfs"), *path, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .map_err(system("mount the cluster's own /run, /var/log, /var/lib"))?;
    }
    for (path, file) in &kept {
        fs::create_dir_all(path).map_err(at("create", path))?;
        bind(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), path)?;
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
        .map_err(system("mount the cluster's own /proc"))?;
    for (index, (setting, value)) in KERNEL_SETTINGS.iter().enumerate() {
        if Path::new(setting).exists() {
            let file = PathBuf::from(format!("/run/kernel-setting-{index}"));
            fs::write(&file, format!("{value}\n")).map_err(at("write", &file))?;
            bind(&file, Path::new(setting))?;
        }
    }
    for (from, to) in [(dir.kubelet(), "/var/lib/kubelet"), (dir.pod_logs(), "/var/log/pods")] {
        fs::create_dir_all(&from).map_err(at("create", &from))?;
        fs::create_dir_all(to).map_err(at("create", to))?;
        bind(&from, Path::new(to))?;
    }
    resolver(&dir.conf().join("resolv.conf"))?;
    // Pods' mounts are to be seen by the kubelet and by CSI drivers.
    change("/", MsFlags::MS_REC | MsFlags::MS_SHARED)
}

/// Names are asked of the cluster's own DNS, which knows of no world outside and says so at once.
fn resolver(file: &Path) -> Result<()> {
    let content = format!("nameserver {NODE_ADDRESS}\n");
    fs::write(file, &content).map_err(at("write", file))?;
    let path = Path::new("/etc/resolv.conf");
    if let Ok(target) = fs::canonicalize(path) {
        return bind(file, &target);
    }
    // A link into the machine's /run, which is not there inside.
    if let Ok(link) = fs::read_link(path) {
        let target = Path::new("/etc").join(link);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(at("create", parent))?;
        }
        fs::write(&target, content).map_err(at("write", target))?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(system("bind a folder of the cluster"))
}

fn change(path: &str, flags: MsFlags) -> Result<()> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>).map_err(system("set how mounts propagate"))
}

/// Makes the network: loopback and a bridge with the node's address, and no way out. The default route leads to an
/// address that nobody has; it is there because kube-proxy and the kubelet look for one.
pub(crate) fn network() -> Result<()> {
    let node = format!("{NODE_ADDRESS}/24");
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", "node", "type", "bridge"])?;
    ip(&["address", "add", &node, "dev", "node"])?;
    ip(&["link", "set", "node", "up"])?;
    ip(&["route", "add", "default", "via", "198.18.0.254", "dev", "node"])?;
    for (setting, value) in NETWORK_SETTINGS {
        fs::write(setting, value).map_err(at("write", *setting))?;
    }
    route_load_balancers()
}

/// Lets packets to 127.64.0.0/10, the load balancers' addresses, leave the namespace of this thread instead of ending
/// at its own loopback device. The node translates them to a pod's address before it routes them.
pub(crate) fn route_load_balancers() -> Result<()> {
    let route_localnet = "/proc/sys/net/ipv4/conf/all/route_localnet";
    fs::write(route_localnet, "1").map_err(at("write", route_localnet))?;
    ip(&["route", "add", "local", "127.0.0.0/10", "dev", "lo", "table", "local", "src", "127.0.0.1"])?;
    ip(&["route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    command::run(Command::new("ip").args(arguments)).map(drop)
}

/// A container on overlayfs cannot hold another overlayfs: containerd then copies instead.
pub(crate) fn is_overlay(path: &Path) -> Result<bool> {
    let stat = nix::sys::statfs::statfs(path).map_err(|errno| Error::File {
        action: "look at",
        path: path.to_owned(),
        source: errno.into(),
    })?;
    Ok(stat.filesystem_type() == nix::sys::statfs::OVERLAYFS_SUPER_MAGIC)
}
