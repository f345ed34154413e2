//! Declare infrastructure on Kubernetes in Rust.

pub mod ack;
pub mod apply;
pub mod cli;
pub mod cluster;
pub mod graph;
pub mod image;
pub mod kinds;
pub mod observation;
pub mod plan;
pub mod ui;

pub use cli::main;
