//! Names to addresses without the C library, which a static binary can't use for it.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;

use super::Failure;

/// The addresses of a host, by /etc/hosts and the servers of /etc/resolv.conf.
pub(super) fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        let resolver = TokioResolver::builder_tokio()?.build()?;
        resolver.lookup_ip(host).await
    });
    let addresses: Vec<SocketAddr> = found
        .map_err(|error| format!("{host}: {error}"))?
        .iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect();
    match addresses.is_empty() {
        true => Err(format!("{host} has no address").into()),
        false => Ok(addresses),
    }
}
