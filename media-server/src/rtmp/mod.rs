//! RTMP (Adobe's specification 1.0), sans-IO: bytes go in, events and bytes come out.
//!
//! [`handshake`] and [`chunk`] are the wire, [`session`] is the server's side of a connection and [`client`] the
//! client's; none of them knows a socket or a clock.

mod aggregate;
mod answers;
pub mod chunk;
pub mod client;
mod commands;
pub mod farewell;
pub mod handshake;
pub mod session;
pub mod url;

/// Message types of RTMP.
pub mod message_type {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACK: u8 = 3;
    /// User Control Message.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3.
    pub const DATA_AMF3: u8 = 15;
    /// A command in AMF3.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0.
    pub const DATA_AMF0: u8 = 18;
    /// A command in AMF0.
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate.
    pub const AGGREGATE: u8 = 22;
}

/// The `chunk_size` that SRS announces where the file names none.
pub const OUT_CHUNK_SIZE: usize = 60_000;
/// The chunk sizes that SRS takes from others without a warning.
pub const CHUNK_SIZES: std::ops::RangeInclusive<usize> = 128..=65_536;
/// The chunk size before anybody has said another one.
pub const FIRST_CHUNK_SIZE: usize = 128;
/// The acknowledgement window that SRS announces.
pub const WINDOW: u32 = 2_500_000;
/// The one message stream of a connection.
pub const STREAM_ID: u32 = 1;

/// Why a connection broke the protocol; it is closed with this in the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first byte is not RTMP's version 3.
    #[error("handshake: version {0} instead of 3; is this client speaking RTMP (not RTMPE or HTTP)?")]
    Version(u8),
    /// The proxy prefix is larger than SRS allows.
    #[error("handshake: the proxy prefix announces {0} bytes, at most 1024 are allowed")]
    ProxyPrefix(usize),
    /// See [`chunk::Error`].
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
    /// See [`crate::amf0::Error`].
    #[error(transparent)]
    Amf0(#[from] crate::amf0::Error),
    /// The body of an aggregate message ends inside one of its tags.
    #[error("aggregate message: the tag at byte {0} is cut off")]
    Aggregate(usize),
    /// A command came where it makes no sense.
    #[error("command {0:?} came {1}")]
    Order(String, &'static str),
    /// connect without what it needs.
    #[error("connect: {0}")]
    Connect(String),
    /// Publish or play without a name.
    #[error("the stream's name is empty")]
    StreamName,
    /// The other side refused.
    #[error("the server refused: {0}")]
    Refused(String),
}
