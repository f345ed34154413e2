//! Names to addresses, for commands that are not asynchronous.

use std::net::SocketAddr;

use super::Failure;

/// See [`crate::resolve::lookup`].
pub(super) fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(crate::resolve::lookup(host, port))?)
}
