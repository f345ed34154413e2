//! Connections that this server opens to others: forwarding, the edge's pulls and pushes, the origin cluster's lookups.
//!
//! ```text
//!   a play of an edge ──► Link (pull) ──► Path: which address next ──► core: an RTMP client ──► Source ──► players
//!   a publish of an edge ► Link (push) ──► the same, the other way: a cursor in the publisher's ring
//!   forward ─────────────► Link (forward), one for each destination
//! ```
//!
//! A link outlives its connections: players and publishers stay while it looks for another server. Before a client is
//! let in, a [`question`] may be asked: does an origin take its [`token`], which of the [`coworkers`] has its stream?
//!
//! Media go over the relay's cores, which drive each connection as they drive players and publishers, so a hop copies
//! nothing that a player would not. What takes its time without media (names, questions to coworkers, the check of a
//! token) is done by [`worker`] on a thread of its own. [`path`], [`rendezvous`] and [`endpoint`] are pure.

pub mod coworkers;
pub mod endpoint;
pub mod http;
pub mod path;
pub mod question;
pub mod rendezvous;
pub mod route;
pub mod token;
pub mod worker;

pub use endpoint::Endpoint;
pub use path::Path;
pub use route::Route;
