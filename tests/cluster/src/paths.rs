//! Where things lie: the cache folder, the folder of a cluster, and what is in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result, at};

/// The kernel's limit for a socket's path, less the ending that containerd adds to its own.
const SOCKET_PATH: usize = 107 - ".ttrpc".len();

/// `$XDG_CACHE_HOME/stackctl`, or `~/.cache/stackctl`; created when missing.
pub(crate) fn cache() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .ok_or(Error::NoCache)?;
    let dir = base.join("stackctl");
    fs::create_dir_all(&dir).map_err(at("create", &dir))?;
    // Processes are recognised by the paths that the kernel tells, which have no links in them.
    fs::canonicalize(&dir).map_err(at("find", dir))
}

/// The folder of the built programs.
pub(crate) fn programs() -> Result<PathBuf> {
    let dir = cache()?.join("programs");
    fs::create_dir_all(&dir).map_err(at("create", &dir))?;
    Ok(dir)
}

/// The folder that holds one folder per cluster.
pub(crate) fn clusters() -> Result<PathBuf> {
    let dir = cache()?.join("clusters");
    fs::create_dir_all(&dir).map_err(at("create", &dir))?;
    Ok(dir)
}

/// The folder of a cluster. All that the cluster keeps is in here; without it there is no cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDir(PathBuf);

impl ClusterDir {
    /// The folder of the cluster with this name, whether it exists or not.
    ///
    /// # Errors
    /// The name is not a cluster's, or the path is too long for the sockets in it.
    pub fn of(name: &str) -> Result<Self> {
        let fits = name.len() <= 30
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !name.ends_with('-');
        if !fits {
            return Err(Error::Name(name.to_owned()));
        }
        let dir = Self(clusters()?.join(name));
        let socket = dir.containerd_socket();
        if socket.as_os_str().len() > SOCKET_PATH {
            return Err(Error::PathTooLong(socket));
        }
        Ok(dir)
    }

    /// The folder that a process of the cluster was given.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The lock that is held while the cluster is started or ended; beside the folder, since it outlives it.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.with_extension("lock")
    }

    /// The lock that tests share while they use the cluster.
    pub(crate) fn holders(&self) -> PathBuf {
        self.0.join("holders")
    }

    /// What the cluster is: [`crate::description::Description`].
    pub(crate) fn description(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    /// Exists once everything of the cluster has answered.
    pub(crate) fn ready(&self) -> PathBuf {
        self.0.join("ready")
    }

    /// The administrator's kubeconfig, for use from outside.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// The socket of the node's containerd, usable from outside (`ctr --address`).
    pub fn containerd_socket(&self) -> PathBuf {
        self.0.join("containerd.sock")
    }

    /// The log of one program.
    pub fn log(&self, program: &str) -> PathBuf {
        self.logs().join(format!("{program}.log"))
    }

    /// The folder of the programs' logs.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The API server's audit log; older parts lie beside it.
    pub fn audit_log(&self) -> PathBuf {
        self.0.join("audit").join("audit.log")
    }

    /// Certificates and keys.
    pub(crate) fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    /// The programs' configuration files.
    pub(crate) fn conf(&self) -> PathBuf {
        self.0.join("conf")
    }

    /// etcd's data.
    pub(crate) fn etcd(&self) -> PathBuf {
        self.0.join("etcd")
    }

    /// The folder that is /var/lib/kubelet inside.
    pub(crate) fn kubelet(&self) -> PathBuf {
        self.0.join("kubelet")
    }

    /// containerd's images and snapshots.
    pub(crate) fn containerd(&self) -> PathBuf {
        self.0.join("containerd")
    }

    /// The file systems of NAS: a folder per mount target, named like it.
    pub fn nas(&self) -> PathBuf {
        self.0.join("nas")
    }

    /// The pods' logs.
    pub(crate) fn pod_logs(&self) -> PathBuf {
        self.0.join("pods")
    }

    /// The network plug-ins: Debian's, and the cluster's own beside them.
    pub(crate) fn cni(&self) -> PathBuf {
        self.0.join("cni")
    }

    /// The kubeconfigs of test users.
    pub(crate) fn users(&self) -> PathBuf {
        self.0.join("users")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_names_are_refused() {
        for name in ["", "-a", "a-", "A", "1a", "a/b", "..", "a_b", "a.b", &"a".repeat(31)] {
            assert!(matches!(ClusterDir::of(name), Err(Error::Name(_))), "{name}");
        }
        for name in ["a", "local", "test-node-3f9a2c1b"] {
            assert!(ClusterDir::of(name).is_ok(), "{name}");
        }
    }
}
