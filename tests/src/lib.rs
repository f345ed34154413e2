//! What the tests share: a stackctl to run as a user would, and what it says; the tutorial's manifests; real media.

pub mod http;
pub mod manifests;
pub mod media;
pub mod stackctl;
