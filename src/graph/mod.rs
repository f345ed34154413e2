//! The typed graph of resources that a program declares.

mod definition;
mod location;
mod object_id;
mod policy;
mod resource;

pub use definition::{Build, Definition, Graph, GraphError, GraphErrors};
pub use location::Location;
pub use object_id::{Gvk, ObjectId, Scope};
pub use policy::{OnChange, OnConflict, Policy};
pub use resource::{Config, Need, Resource, Until};
