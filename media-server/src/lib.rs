//! A live media server compatible with SRS 3 and 4.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "wire formats are made of fields of fixed width; where a value is not known to fit, it is checked"
)]
#![allow(clippy::match_bool, reason = "two named arms read better than if-else chains of expressions")]

pub mod amf0;
pub mod cli;
pub mod codec;
pub mod conf;
pub mod core;
pub mod flv;
pub mod http;
pub mod ids;
pub mod log;
pub mod rtmp;
pub mod server;
pub mod source;
pub mod stat;
