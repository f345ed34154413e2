//! What the node's `mount` would make of a mount: the checks of `mount.nfs` (nfs-utils), and of the server's side.

use tonic::Status;

/// The options of nfs(5), and those of every file system that make sense for one in the network.
const OPTIONS: &[&str] = &[
    "_netdev",
    "ac",
    "acdirmax",
    "acdirmin",
    "acl",
    "acregmax",
    "acregmin",
    "actimeo",
    "addr",
    "async",
    "atime",
    "bg",
    "clientaddr",
    "cto",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "fg",
    "fsc",
    "hard",
    "intr",
    "local_lock",
    "lock",
    "lookupcache",
    "migration",
    "minorversion",
    "mountaddr",
    "mounthost",
    "mountport",
    "mountproto",
    "mountvers",
    "namlen",
    "nconnect",
    "nfsvers",
    "noac",
    "noacl",
    "noatime",
    "noauto",
    "nocto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nofsc",
    "nointr",
    "nolock",
    "nomigration",
    "nordirplus",
    "norelatime",
    "noresvport",
    "nosharecache",
    "nostrictatime",
    "nosuid",
    "port",
    "posix",
    "proto",
    "rdirplus",
    "rdma",
    "relatime",
    "remount",
    "resvport",
    "retrans",
    "retry",
    "ro",
    "rsize",
    "rw",
    "sec",
    "sharecache",
    "sloppy",
    "soft",
    "softerr",
    "softreval",
    "strictatime",
    "suid",
    "sync",
    "tcp",
    "timeo",
    "udp",
    "v3",
    "v4",
    "vers",
    "wsize",
    "xprtsec",
];

/// The versions that NAS speaks.
const VERSIONS: &[&str] = &["3", "4.0"];

/// A mount of a folder of a NAS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The mount target's name.
    pub(super) server: String,
    /// The folder, absolute.
    pub(super) path: String,
    /// The file system's type: `nfs`, unless a `mountProtocol` says otherwise.
    pub(super) protocol: String,
    /// NFS's version.
    pub(super) vers: String,
    pub(super) options: Vec<String>,
    /// Whether the server is an Extreme NAS, whose exported folder is /share.
    pub(super) is_extreme: bool,
}

impl Mount {
    /// # Errors
    /// `mount` would fail; in its words and the driver's.
    pub(super) fn check(&self, target: &str) -> Result<(), Status> {
        match self.refused() {
            None => Ok(()),
            Some(output) => Err(Status::internal(format!(
                "mount failed: exit status 32\nMounting command: mount\nMounting arguments: -t {} -o {} {} {target}\n\
                 Output: {output}\n",
                self.protocol,
                self.all_options().join(","),
                self.source(),
            ))),
        }
    }

    fn source(&self) -> String {
        format!("{}:{}", self.server, self.path)
    }

    fn all_options(&self) -> Vec<String> {
        let vers = format!("vers={}", self.vers);
        let missing = Some(vers).filter(|vers| !self.options.contains(vers));
        self.options.iter().cloned().chain(missing).collect()
    }

    fn refused(&self) -> Option<String> {
        if self.protocol != "nfs" {
            // The clients of EFC, CPFS and alinas are not installed.
            return Some(format!("mount: unknown filesystem type '{}'.", self.protocol));
        }
        let is_known = |option: &String| {
            OPTIONS.contains(&option.split_once('=').map_or(option.as_str(), |(name, _)| name))
        };
        if !self.options.iter().all(is_known) || self.vers.starts_with(|first: char| !first.is_ascii_digit())
        {
            return Some("mount.nfs: an incorrect mount option was specified".to_owned());
        }
        if self.server.is_empty() {
            return Some("mount.nfs: Failed to resolve server : Name or service not known".to_owned());
        }
        if !VERSIONS.contains(&self.vers.as_str()) {
            return Some("mount.nfs: Protocol not supported".to_owned());
        }
        let denied = || format!("mount.nfs: access denied by server while mounting {}", self.source());
        let outside = self.is_extreme && self.folders().next() != Some("share");
        (outside || self.folders().any(|folder| folder == "..")).then(denied)
    }

    /// The folders on the way from the file system's root to the path.
    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|folder| !["", "."].contains(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount() -> Mount {
        Mount {
            server: "a.nas.aliyuncs.com".to_owned(),
            path: "/k8s".to_owned(),
            protocol: "nfs".to_owned(),
            vers: "3".to_owned(),
            options: vec!["nolock".to_owned(), "tcp".to_owned(), "noresvport".to_owned()],
            is_extreme: false,
        }
    }

    #[test]
    fn the_options_are_sorted_and_each_is_there_once() {
        assert!(OPTIONS.is_sorted());
        assert!(OPTIONS.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_failed_mount_tells_the_command() {
        let bad = Mount { vers: "4.1".to_owned(), ..mount() };
        let words = bad.check("/target").unwrap_err().message().to_owned();
        let arguments = "-t nfs -o nolock,tcp,noresvport,vers=4.1 a.nas.aliyuncs.com:/k8s /target";
        assert!(words.contains(arguments) && words.contains("Protocol not supported"), "{words}");
    }

    #[test]
    fn the_server_exports_what_it_has_and_no_more() {
        let at = |path: &str, is_extreme| Mount { path: path.to_owned(), is_extreme, ..mount() };
        for (path, is_extreme) in
            [("/", false), ("/k8s", false), ("//a/./b", false), ("/share", true), ("/share/a", true)]
        {
            assert!(at(path, is_extreme).check("/target").is_ok(), "{path}");
        }
        for (path, is_extreme) in [("/..", false), ("/a/../../b", false), ("/", true), ("/shared", true)] {
            let words = at(path, is_extreme).check("/target").unwrap_err().message().to_owned();
            assert!(words.contains("access denied by server"), "{path}: {words}");
        }
    }
}
