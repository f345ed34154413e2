//! Declare infrastructure on Kubernetes in Rust.
