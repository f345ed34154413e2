//! A real Kubernetes on one Linux machine, as a library for tests and as a command (`cargo cluster`).
//!
//! # What runs
//!
//! | tier | programs | rights |
//! |---|---|---|
//! | [`Tier::ControlPlane`] | etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok, which keeps fake nodes ready and pods "running" | none |
//! | [`Tier::Node`] | the same without kwok, and a real node: containerd, kubelet, kube-proxy, CoreDNS | root |
//!
//! In both, the cloud's part is played by [`cloud`]: load balancers as Alibaba Cloud's ACK gives them. With a node, [`nas`]
//! plays the part of its NAS: the CSI driver of ACK's nodes. The programs are built once from their Go modules and kept in the user's cache ([`programs`]); a node needs some Debian packages
//! ([`packages`]).
//!
//! # How it is built
//!
//! ```text
//! cluster up ──► guardian ──► init ──► etcd, kube-apiserver, …, containerd ──► pods
//!                outside      inside: PID, mount and network namespaces of the cluster
//! ```
//!
//! * `init` (`init`) makes the inside, starts the programs and starts again what ends. With a node it is process 1 of
//!   the cluster's PID namespace: when it ends, even by `kill -9`, the kernel ends everything inside, and with that go
//!   the mounts, links and rules. Without a node, the kernel is asked to end each program with its parent.
//! * `guardian` (`guardian`) waits for it outside and cleans up after a cluster that ends by itself.
//! * All files lie in one folder, `~/.cache/stackctl/clusters/NAME`. `down` (`lifecycle`) finds the cluster's
//!   processes without relying on anything that they wrote, ends them, removes the cgroups and the folder, and only
//!   then says that the cluster is gone. It does the same whatever died before.
//!
//! # Addresses
//!
//! The inside has a network without a way out: `lo`, a bridge with the node's address, and a link per pod. Node
//! 198.18.0.1, pods 198.18.128.0/24, Services 198.19.0.0/16; two clusters may use the same.
//!
//! Outside, everything is on loopback, so that no packet leaves the machine. Every cluster has a place (0 to 63) among
//! those of the machine: the API server is at `127.0.0.1:(20000 + 16 * place)`.
//!
//! A load balancer's address is `127.(64 + place).x.y`. It is what stands in `status.loadBalancer.ingress`, and it works
//! as it is printed from wherever it is used:
//!
//! * outside, `init` listens on it, TCP and UDP, and hands on to the Service;
//! * inside, kube-proxy routes it like any load balancer's address (the default `ipMode`, VIP). So that packets get that
//!   far, 127.64.0.0/10 is taken out of the pods' own loopback range by a CNI plug-in (`cni`); 127.0.0.1 stays what it
//!   was.
//!
//! A network load balancer (class `alibabacloud.com/nlb`) has a hostname only, as on ACK. It is the address in
//! hexadecimal (`0x7f400064`), which the C library's resolver takes for the address itself.
//!
//! # Names and locks
//!
//! `up` twice is one cluster. A cluster that was started by hand stays until `down`. Tests share one per tier and
//! version of this source ([`testing`]); each holds a shared lock on it, and it ends itself when nobody has held that
//! lock for three minutes.

pub mod audit;
mod certificates;
mod cgroups;
mod cli;
pub mod cloud;
mod cni;
mod command;
mod description;
mod error;
mod guardian;
pub mod image;
mod init;
mod lifecycle;
mod lock;
pub mod nas;
pub mod packages;
mod paths;
mod processes;
pub mod programs;
mod progress;
pub mod testing;

pub use self::{
    cli::main,
    cloud::CloudFaults,
    description::Tier,
    error::{Error, Result},
    lifecycle::{Running, Status, down, names, running, status},
    paths::ClusterDir,
};
