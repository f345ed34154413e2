//! Declare infrastructure on Kubernetes in Rust.

pub mod apply;
pub mod cluster;
pub mod graph;
pub mod kinds;
pub mod observation;
pub mod plan;
