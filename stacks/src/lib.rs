//! The systems of the streaming tutorial as typed stacks, one file each. They double as examples of how a stack reads.

mod demo_streams;
mod quick_start;
mod srs;

use stackctl::graph::Definition;

/// Every stack of this program.
pub fn all() -> Vec<Definition> {
    vec![quick_start::quick_start(), demo_streams::demo_streams()]
}
