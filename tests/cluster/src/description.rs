//! What a cluster is: written once when it is made, read by everything that belongs to it.

use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result, at},
    paths::ClusterDir,
    processes::CGROUP_PREFIX,
    programs::Programs,
};

/// How much of Kubernetes runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// etcd, API server, controller manager, scheduler and fake nodes (kwok). Needs no rights. Pods become ready
    /// without running.
    ControlPlane,
    /// All of the control plane and a real node: containerd, kubelet, kube-proxy, CoreDNS. Needs root.
    Node,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ControlPlane => "control-plane",
            Self::Node => "node",
        })
    }
}

/// Who ends a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ends {
    /// Somebody, with `down`.
    ByHand,
    /// The cluster itself, once nobody has held its lock for this many seconds.
    WhenIdle(u64),
}

/// How many clusters can run side by side on one machine.
pub(crate) const PLACES: u8 = 64;

/// What a cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) tier: Tier,
    /// The cluster's place among those of the machine (below [`PLACES`]): decides its ports and its load balancers'
    /// addresses outside.
    pub(crate) place: u8,
    pub(crate) ends: Ends,
    /// The folder of the programs.
    pub(crate) programs: PathBuf,
}

/// The node's address inside: on a bridge of the cluster's own network namespace (RFC 2544's range for tests).
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The port of the API server inside.
const INSIDE_API_PORT: u16 = 6443;
/// The name of the real node.
pub(crate) const NODE_NAME: &str = "node-1";
/// How many fake nodes a cluster without a real one has.
pub(crate) const FAKE_NODES: u16 = 3;
/// The Services' addresses.
pub(crate) const SERVICE_RANGE: &str = "198.19.0.0/16";
/// The first of them, the Service `kubernetes`.
pub(crate) const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// The pods' addresses.
pub(crate) const POD_RANGE: &str = "198.18.128.0/17";

impl Description {
    pub(crate) fn read(dir: &ClusterDir) -> Result<Option<Self>> {
        let path = dir.description();
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| Error::Format { path, reason: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", path)(error)),
        }
    }

    pub(crate) fn write(&self, dir: &ClusterDir) -> Result<()> {
        let path = dir.description();
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Format { path: path.clone(), reason: error.to_string() })?;
        fs::write(&path, text).map_err(at("write", path))
    }

    pub(crate) fn programs(&self) -> Programs {
        Programs::at(self.programs.clone())
    }

    /// How long nobody may hold the cluster's lock; `None` when it stays.
    pub(crate) fn idle(&self) -> Option<Duration> {
        match self.ends {
            Ends::ByHand => None,
            Ends::WhenIdle(seconds) => Some(Duration::from_secs(seconds)),
        }
    }

    /// The port number `n` of the cluster's sixteen on 127.0.0.1. They lie below the range from which the kernel
    /// takes the ports of outgoing connections.
    pub(crate) fn port(&self, n: u16) -> u16 {
        20_000 + 16 * u16::from(self.place) + n
    }

    /// Where the API server is reached from outside.
    pub(crate) fn api_outside(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port(0)).into()
    }

    /// Where the cluster's own programs reach it.
    pub(crate) fn api_inside(&self) -> SocketAddr {
        match self.tier {
            Tier::ControlPlane => self.api_outside(),
            Tier::Node => (NODE_ADDRESS, INSIDE_API_PORT).into(),
        }
    }

    /// The first two bytes of the load balancers' addresses. They are loopback addresses, so that no packet leaves
    /// the machine even when the cluster is gone, and each cluster has its own.
    pub(crate) fn load_balancer_block(&self) -> [u8; 2] {
        [127, 64 + self.place]
    }

    /// The cluster's folder in the cgroup hierarchies. The place keeps clusters of the same name in two caches apart.
    pub(crate) fn cgroup(&self) -> String {
        format!("{CGROUP_PREFIX}{}.{}", self.name, self.place)
    }
}

/// The lowest place that none of `taken` has and whose ports are free.
pub(crate) fn free_place(taken: &[u8]) -> Result<u8> {
    (0..PLACES)
        .filter(|place| !taken.contains(place))
        .find(|place| {
            let first = 20_000 + 16 * u16::from(*place);
            (first..first + 16).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        })
        .ok_or(Error::NoPlace(PLACES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(place: u8) -> Description {
        Description {
            name: "a".into(),
            tier: Tier::Node,
            place,
            ends: Ends::WhenIdle(60),
            programs: "/p".into(),
        }
    }

    #[test]
    fn no_two_places_share_a_port_or_an_address() {
        for place in 0..PLACES - 1 {
            assert!(description(place).port(15) < description(place + 1).port(0));
            assert_ne!(
                description(place).load_balancer_block(),
                description(place + 1).load_balancer_block()
            );
        }
        assert!(description(PLACES - 1).port(15) < 32_768, "below the kernel's own range");
        assert_eq!(description(PLACES - 1).load_balancer_block(), [127, 127]);
    }

    #[test]
    fn a_place_whose_port_is_in_use_is_not_free() {
        let place = free_place(&[]).unwrap();
        let next = free_place(&[place]).unwrap();
        assert_ne!(place, next);
        let _port = TcpListener::bind((Ipv4Addr::LOCALHOST, 20_000 + 16 * u16::from(next) + 3)).unwrap();
        assert_ne!(free_place(&[place]).unwrap(), next);
    }

    #[test]
    fn a_description_survives_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let dir = ClusterDir::at(dir.path().to_owned());
        assert_eq!(Description::read(&dir).unwrap(), None);
        description(3).write(&dir).unwrap();
        assert_eq!(Description::read(&dir).unwrap(), Some(description(3)));
        fs::write(dir.description(), "{").unwrap();
        assert!(matches!(Description::read(&dir), Err(Error::Format { .. })));
    }
}
