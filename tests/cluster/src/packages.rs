//! Debian packages: installed when missing and allowed, else named with the exact command.

pub use debian_packages::ensure;

/// What a node needs beside the programs that are built: the container runtime, its network plug-ins and the tools of
/// kube-proxy.
pub const NODE: &[&str] = &["containerd", "runc", "containernetworking-plugins", "iptables", "iproute2"];
