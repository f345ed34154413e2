//! What can go wrong, told to the person who reads it.

use std::{io, path::PathBuf};

/// An error of the local Kubernetes: what failed, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb ("read", "create").
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A command could not be started or reported failure.
    #[error("`{command}` failed: {detail}")]
    Command {
        /// The command line.
        command: String,
        /// Its last words, or why it did not start.
        detail: String,
    },
    /// A system call was refused.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: nix::Error,
    },
    /// The name cannot be used as a cluster's name.
    #[error(
        "`{0}` cannot name a cluster: use up to 30 lowercase letters, digits and `-`, with a letter first"
    )]
    Name(String),
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where the user's cache is.
    #[error("no cache folder: neither XDG_CACHE_HOME nor HOME is set to an absolute path")]
    NoCache,
    /// The path of a socket would be longer than the kernel takes (108 bytes).
    #[error(
        "{} is too long for a socket's path: set XDG_CACHE_HOME to a shorter folder or give the cluster a shorter name",
        .0.display()
    )]
    PathTooLong(PathBuf),
    /// Something that only root may do.
    #[error("{0} needs root: run it as root, or use `--tier control-plane`, which needs no rights")]
    NeedsRoot(&'static str),
    /// Debian packages are missing and could not be installed.
    #[error(transparent)]
    Packages(#[from] debian_packages::Error),
    /// Go is needed to build the programs and is not there.
    #[error(
        "Go is needed to build Kubernetes and was not found: install Go 1.24 or newer (https://go.dev/dl) so that `go` is on PATH"
    )]
    NoGo,
    /// The cluster exists with another tier.
    #[error(
        "cluster `{name}` is up with tier {is}, not {wanted}: run `cluster down --name {name}` first, or choose another name"
    )]
    OtherTier {
        /// The cluster.
        name: String,
        /// Its tier.
        is: crate::Tier,
        /// The tier that was asked for.
        wanted: crate::Tier,
    },
    /// No such cluster is running.
    #[error("cluster `{0}` is not running: start it with `cluster up --name {0}`")]
    NotRunning(String),
    /// All blocks of addresses and ports are taken.
    #[error(
        "no place for one more cluster: all {0} blocks of ports on 127.0.0.1 are in use; `cluster status` lists yours"
    )]
    NoPlace(u8),
    /// The cluster did not come up.
    #[error("cluster `{name}` did not start: {reason}\n{log}")]
    Start {
        /// The cluster.
        name: String,
        /// What was waited for or what ended.
        reason: String,
        /// The last lines of the log that tells most.
        log: String,
    },
    /// Something of the cluster did not go away.
    #[error("cluster `{name}` is not wholly gone: {what} is still there after {seconds} s")]
    StillThere {
        /// The cluster.
        name: String,
        /// What stayed.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file of the cluster holds something that cannot be understood.
    #[error("cannot understand {}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The API server refused a request or could not be reached.
    #[error("the API server: {0}")]
    Kubernetes(#[from] Box<kube::Error>),
    /// A condition was waited for in vain.
    #[error("{what} did not happen within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

/// Says what was tried with which file: `fs::read(p).map_err(at("read", p))`.
pub(crate) fn at(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { action, path, source }
}

/// Says what was asked of the system: `setsid().map_err(system("leave the session"))`.
pub(crate) fn system(action: &'static str) -> impl FnOnce(nix::Error) -> Error {
    move |source| Error::System { action, source }
}
