//! This machine's own addresses, in SRS's order: `stats.network` is an index into them.

use std::net::IpAddr;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

/// IPv4 first, then IPv6, without the loopback and tunnels; where that leaves none, the loopback.
pub fn own() -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let all: Vec<InterfaceAddress> = all.filter(|one| one.flags.contains(up)).collect();
    let ignored = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    let mut own: Vec<IpAddr> =
        all.iter().filter(|one| !one.flags.intersects(ignored)).filter_map(address).collect();
    own.sort_by_key(IpAddr::is_ipv6);
    if own.is_empty() {
        own = all.iter().filter_map(address).filter(IpAddr::is_ipv4).collect();
    }
    own
}

fn address(one: &InterfaceAddress) -> Option<IpAddr> {
    let address = one.address?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_some_and_the_first_is_ipv4() {
        let own = own();
        assert!(own.first().is_some_and(IpAddr::is_ipv4), "{own:?}");
        assert!(own.iter().is_sorted_by_key(IpAddr::is_ipv6));
    }
}
