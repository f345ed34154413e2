//! The typed graph of resources that a program declares.
//!
//! A program makes a [`Stack`], adds builders of [`build`] or objects of `k8s-openapi` to it, and gets [`Handle`]s back to refer to
//! them. [`Stack::finish`] checks everything that needs no cluster and gives the [`Graph`]: each resource after what it needs.

pub mod build;
mod definition;
mod finish;
mod handle;
pub mod late;
mod load_balancers;
mod location;
mod object_id;
mod order;
mod pods;
mod policy;
mod references;
mod resource;
mod scope;
mod secrets;
mod shape;
mod stack;
#[cfg(test)]
mod tests;
mod yaml;

pub(crate) use finish::PROTECT_ANNOTATION;
use stack::shortened;

pub use definition::{Build, Definition, Graph, GraphError, GraphErrors};
pub use handle::{Handle, Mounted, Untyped};
pub use late::{Late, LateRef};
pub use location::Location;
pub use object_id::{Gvk, ObjectId, Scope};
pub use policy::{OnChange, OnConflict, Policy};
pub use resource::{Config, Need, Resource, Until};
pub use stack::{Declare, Declared, STACK_LABEL, Stack, Yaml, stack_label};
