//! What the tests share: a stackctl to run as a user would, and what it says.

pub mod media;
pub mod stackctl;
