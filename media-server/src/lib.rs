//! A live media server compatible with SRS 3 and 4.
//!
//! ```text
//!   publisher ──► core ──► Source: a ring of ready-muxed batches ──► View ──► core ──► players
//!              rtmp::session        source                        (a core's copy)   cursors, by the wheel
//!
//!   another server ◄──► core: links (upstream), which feed a Source as a publisher does, or read it as a player does
//!
//!   HTTP port ──► core (httparse) ──► media: a player of that core
//!                                └──► anything else: http (hyper, axum) with the bytes already read
//! ```
//!
//! * [`rtmp`], [`amf0`], [`flv`], [`codec`], [`websocket`], [`conf`]: bytes in, values and bytes out; no socket, no clock.
//! * [`source`]: a stream as one shared ring. A message is laid out once, as RTMP chunks with delta headers, and
//!   every player of every core sends those bytes; only a player that joins or jumps gets headers of its own.
//! * [`core`]: one thread a CPU. It owns its connections and shares nothing with the others but the rings.
//! * [`http`]: the API, the web pages ([`http::pages`]), files and probes, on a thread of their own; [`stat`] is what
//!   the API tells, [`http::guard`] who may change something, [`http::viewers`] who may watch HLS, [`http::context`] how
//!   any server knows a viewer. [`log`] has the lines.
//! * [`recorder`] reads the rings on threads of its own, one a volume, and writes [`hls`] and [`dvr`]; [`ts`] is the
//!   container of HLS and of HTTP-TS.
//! * [`tls`] is HTTPS on the cores, [`real_ip`] and [`proxy_protocol`] tell who a client is, [`limits`] how many may come.
//! * [`upstream`] is everything that this server asks of others: forward, edges, the origin cluster.
//! * [`children`] are the programs of ingest and exec.
//! * [`drain`] decides how quitting goes on while clients are moved to other servers.
//! * [`server`] is what the threads share, [`cli`] starts them.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "wire formats are made of fields of fixed width; where a value is not known to fit, it is checked"
)]
#![allow(clippy::match_bool, reason = "two named arms read better than if-else chains of expressions")]

pub mod addresses;
pub mod amf0;
pub mod children;
pub mod cli;
pub mod codec;
pub mod conf;
pub mod core;
pub mod drain;
pub mod dvr;
pub mod flv;
pub mod hls;
pub mod hooks;
pub mod http;
pub mod http_client;
pub mod ids;
pub mod limits;
pub mod log;
pub mod network;
pub mod proxy_protocol;
pub mod real_ip;
pub mod recorder;
pub mod refer;
pub mod reload;
pub mod resolve;
pub mod rtmp;
pub mod security;
pub mod server;
pub mod source;
pub mod stat;
pub mod tls;
pub mod ts;
pub mod upstream;
pub mod websocket;
