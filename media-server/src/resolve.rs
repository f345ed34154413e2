//! Names to addresses without the C library, which a static binary can't use for it.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;

/// The addresses of a host, by /etc/hosts and the servers of /etc/resolv.conf.
pub async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // RFC 6761: without asking anybody, so also where there is no /etc/resolv.conf.
    if host == "localhost" {
        return Ok(vec![SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)]);
    }
    let named = |error: hickory_resolver::net::NetError| format!("{host}: {error}");
    let resolver = TokioResolver::builder_tokio()
        .and_then(hickory_resolver::ResolverBuilder::build)
        .map_err(|error| format!("{host} can't be looked up, /etc/resolv.conf: {error}"))?;
    let found = resolver.lookup_ip(host).await.map_err(named)?;
    let addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
    match addresses.is_empty() {
        true => Err(format!("{host} has no address")),
        false => Ok(addresses),
    }
}
