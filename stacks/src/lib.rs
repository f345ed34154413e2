//! The systems of the streaming tutorial as typed stacks, one file each. They double as examples of how a stack reads.

mod quick_start;
mod srs;

pub use quick_start::quick_start;

use stackctl::graph::Definition;

/// Every stack of this program.
pub fn all() -> Vec<Definition> {
    vec![quick_start()]
}
