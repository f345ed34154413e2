//! HTTPS by rustls (TLS 1.2 and 1.3, ring), for `http_api.https` and `http_server.https`.
//!
//! [`Session`] is a connection without a socket: the cores drive it for media ([`crate::core`]), and whatever else is
//! asked for goes on in hyper, through [`TlsStream`], in the state it has. [`Certificates`] are what connections are
//! made with; `watch` reads them again when their files change. Encryption is the one copy per viewer that this
//! server makes.

mod certificate;
mod certificates;
mod io;
mod session;
mod watch;

pub use certificate::{Certificate, Error, Https};
pub use certificates::Certificates;
pub(crate) use certificates::load;
pub use io::TlsStream;
pub use session::{READ, Session};
pub use watch::Watch;
