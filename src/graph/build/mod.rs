//! Builders over the types of `k8s-openapi`: they carry the references, so that nothing derived is written twice.
//!
//! Each has a `customize` method that hands out the object itself for whatever a builder has no word for.

mod config;
mod container;
mod port;
mod service;
mod workload;

pub use config::{ConfigMapBuilder, SecretBuilder, config_map, secret};
pub use container::{ConfigSource, ContainerBuilder, container};
pub use port::Port;
pub use service::{LoadBalancer, ServiceBuilder, service};
pub use workload::{Workload, WorkloadBuilder, daemon_set, deployment, stateful_set};
