//! `real_ip { … }`: whose word counts on who the client is, when it comes through load balancers and proxies.
//!
//! ```text
//! real_ip {
//!     trusted          10.0.0.0/8 192.168.1.7;
//!     proxy_protocol   on;
//!     x_forwarded_for  on;
//! }
//! ```
//!
//! SRS knows no such block; it is off by default, and a peer outside of `trusted` is always its own client. With
//! `proxy_protocol` a connection from a trusted peer may start with a PROXY header (version 1 or 2), on each port;
//! with `x_forwarded_for` the rightmost address of X-Forwarded-For that is not trusted itself counts, or X-Real-IP
//! where there is no such field. Switch on only what the load balancer really sends: one that passes bytes on as
//! they are passes on a client's own header too.
//!
//! SRS's proxy prefix (`F3`, [`crate::rtmp::session`]) is believed from `trusted` peers, or, where the block names
//! none, from loopback and private addresses. SRS believes everybody, which makes `security` a matter of politeness.

use std::net::IpAddr;

use crate::conf::{Directive, Fault};
use crate::network::Network;

/// The header fields that are looked at.
pub const FIELDS: [&str; 2] = ["x-forwarded-for", "x-real-ip"];

/// The most addresses of X-Forwarded-For that are looked at.
const MAX_HOPS: usize = 32;

/// The block's values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RealIp {
    trusted: Vec<Network>,
    /// Trusted peers may send a PROXY header.
    pub proxy_protocol: bool,
    /// X-Forwarded-For and X-Real-IP of trusted peers count.
    pub x_forwarded_for: bool,
}

impl RealIp {
    /// Reads the block.
    pub fn read(block: Option<&Directive>) -> Result<Self, Fault> {
        let Some(block) = block else { return Ok(RealIp::default()) };
        let mut trusted = Vec::new();
        for directive in block.all("trusted") {
            for arg in &directive.args {
                let network = Network::parse(arg).ok_or_else(|| {
                    let message =
                        format!("trusted is {arg:?}: an address or a network such as 10.0.0.0/8 is expected");
                    Fault::new(directive.line, message)
                })?;
                trusted.push(network);
            }
        }
        let (proxy_protocol, x_forwarded_for) = (block.on("proxy_protocol"), block.on("x_forwarded_for"));
        if trusted.is_empty() && (proxy_protocol || x_forwarded_for) {
            let message =
                "real_ip needs `trusted`: the addresses or networks of the load balancers whose word counts";
            return Err(Fault::new(block.line, message));
        }
        Ok(RealIp { trusted, proxy_protocol, x_forwarded_for })
    }

    /// Whether this peer's word counts.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.has(peer))
    }

    /// Whether SRS's own proxy prefix counts from this peer.
    pub fn trusts_prefix(&self, peer: IpAddr) -> bool {
        if !self.trusted.is_empty() {
            return self.trusts(peer);
        }
        match peer.to_canonical() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        }
    }

    /// The client behind `peer`, by the request's header fields.
    pub fn client<'a>(&self, peer: IpAddr, fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> IpAddr {
        if !self.x_forwarded_for || !self.trusts(peer) {
            return peer;
        }
        let mut hops = Vec::new();
        let mut real = None;
        for (name, value) in fields {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            if name.eq_ignore_ascii_case(FIELDS[0]) {
                hops.extend(value.split(',').map(str::trim));
            } else if name.eq_ignore_ascii_case(FIELDS[1]) {
                real = address(value.trim());
            }
        }
        if hops.is_empty() {
            return real.unwrap_or(peer);
        }
        let mut client = peer;
        for hop in hops.into_iter().rev().take(MAX_HOPS) {
            // What stands left of something that is no address was not written by a proxy that we know.
            let Some(hop) = address(hop) else { break };
            client = hop;
            if !self.trusts(hop) {
                break;
            }
        }
        client
    }
}

/// An address, with or without a port: `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]:5`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(ip, _)| ip);
    let parsed = bare.parse().or_else(|_| text.parse::<std::net::SocketAddr>().map(|address| address.ip()));
    parsed.ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<RealIp, Fault> {
        RealIp::read(Some(&crate::conf::parse::parse(text).unwrap()))
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_counts() {
        let real_ip = read("trusted 10.0.0.0/8 fd00::/8; x_forwarded_for on;").unwrap();
        for (peer, fields, expected) in [
            ("10.1.1.1", &[][..], "10.1.1.1"),
            ("10.1.1.1", &[("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
            ("10.1.1.1", &[("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.2.2.2")], "1.2.3.4"),
            ("10.1.1.1", &[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
            ("10.1.1.1", &[("X-Forwarded-For", "10.3.3.3, 10.2.2.2")], "10.3.3.3"),
            ("10.1.1.1", &[("X-Forwarded-For", "1.2.3.4, unknown")], "10.1.1.1"),
            ("10.1.1.1", &[("X-Forwarded-For", "[2001:db8::1]:99")], "2001:db8::1"),
            ("10.1.1.1", &[("X-Forwarded-For", "1.2.3.4:99")], "1.2.3.4"),
            ("10.1.1.1", &[("X-Real-IP", "1.2.3.4")], "1.2.3.4"),
            ("10.1.1.1", &[("X-Real-IP", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
            ("9.1.1.1", &[("X-Forwarded-For", "1.2.3.4"), ("X-Real-IP", "1.2.3.4")], "9.1.1.1"),
        ] {
            let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
            let client = real_ip.client(peer.parse().unwrap(), fields);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer}");
        }
        let off = read("trusted 10.0.0.0/8; proxy_protocol on;").unwrap();
        let peer = "10.1.1.1".parse().unwrap();
        assert_eq!(off.client(peer, [("X-Forwarded-For", &b"1.2.3.4"[..])].into_iter()), peer);
    }

    #[test]
    fn the_prefix_is_believed_nearby_unless_networks_are_named() {
        for (block, peer, expected) in [
            ("", "127.0.0.1", true),
            ("", "192.168.1.1", true),
            ("", "::1", true),
            ("", "8.8.8.8", false),
            ("trusted 8.8.8.8;", "8.8.8.8", true),
            ("trusted 8.8.8.8;", "127.0.0.1", false),
        ] {
            assert_eq!(read(block).unwrap().trusts_prefix(peer.parse().unwrap()), expected, "{block} {peer}");
        }
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        assert!(read("proxy_protocol on;").unwrap_err().message.contains("trusted"));
        assert!(read("trusted 10.0.0.0/40;").unwrap_err().message.contains("10.0.0.0/40"));
        assert_eq!(RealIp::read(None).unwrap(), RealIp::default());
    }

    proptest! {
        #[test]
        fn any_field_is_read(value in "\\PC{0,80}") {
            let real_ip = read("trusted 10.0.0.0/8; x_forwarded_for on;").unwrap();
            let fields = [("x-forwarded-for", value.as_bytes()), ("x-real-ip", value.as_bytes())];
            let _ = real_ip.client("10.0.0.1".parse().unwrap(), fields.into_iter());
        }
    }
}
