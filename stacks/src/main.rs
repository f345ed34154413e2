//! The stackctl binary.
fn main() {}
