//! MPEG-2 transport streams, for HLS's segments and for HTTP-TS.
//!
//! [`access`] makes access units of FLV's payloads, [`writer`] puts them into packets.

pub mod access;
pub mod writer;

pub use access::Config;
pub use writer::{PACKET, Program, StreamType, Unit, Writer};
