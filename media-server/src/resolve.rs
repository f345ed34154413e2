//! Names to addresses without the C library, which a static binary can't use for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;

/// Names that are remembered as long as their servers say (TTL).
#[derive(Debug, Default)]
pub struct Names {
    resolver: Mutex<Option<TokioResolver>>,
}

impl Names {
    /// The addresses of a host, by /etc/hosts and the servers of /etc/resolv.conf; `fresh` forgets what is remembered.
    pub async fn lookup(
        &self,
        host: &str,
        port: u16,
        fresh: bool,
        patience: Duration,
    ) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = literal(host, port) {
            return Ok(vec![address]);
        }
        let resolver = {
            let mut resolver = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh {
                *resolver = None;
            }
            match &*resolver {
                Some(resolver) => resolver.clone(),
                None => resolver.insert(build(host)?).clone(),
            }
        };
        let lookup = tokio::time::timeout(patience, ask(&resolver, host, port)).await;
        lookup.unwrap_or_else(|_| Err(format!("{host} was not found within {} s", patience.as_secs())))
    }
}

/// The addresses of a host, asked for anew.
pub async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match literal(host, port) {
        Some(address) => Ok(vec![address]),
        None => ask(&build(host)?, host, port).await,
    }
}

/// What needs nobody to be asked.
fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    // RFC 6761: also where there is no /etc/resolv.conf.
    (host == "localhost").then(|| SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port))
}

fn build(host: &str) -> Result<TokioResolver, String> {
    TokioResolver::builder_tokio()
        .and_then(hickory_resolver::ResolverBuilder::build)
        .map_err(|error| format!("{host} can't be looked up, /etc/resolv.conf: {error}"))
}

async fn ask(resolver: &TokioResolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = resolver.lookup_ip(host).await.map_err(|error| format!("{host}: {error}"))?;
    let addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
    match addresses.is_empty() {
        true => Err(format!("{host} has no address")),
        false => Ok(addresses),
    }
}
