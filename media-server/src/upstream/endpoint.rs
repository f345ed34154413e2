//! Host and port of another server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::rtmp::url::Target;

/// RTMP's port.
pub const RTMP_PORT: u16 = 1935;
/// The port of `http_api`.
pub const API_PORT: u16 = 1985;
/// The port of `http_server`.
pub const HTTP_PORT: u16 = 8080;

/// Another server, by name or address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// From `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; none when it is none of these.
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') && (host.starts_with('[') || !host.contains(':')) => {
                (host, port.parse().ok().filter(|port| *port > 0)?)
            }
            _ => (text, default_port),
        };
        let host = host.trim_matches(['[', ']']);
        let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
        let good = !host.is_empty() && host.len() <= 253 && !host.chars().any(odd);
        good.then(|| Endpoint { host: host.to_owned(), port })
    }

    /// The server that an RTMP URL names.
    pub fn of_url(url: &str) -> Option<Self> {
        let target = Target::from_connect(url, "").ok()?;
        Endpoint::parse(&target.host, target.port)
    }

    /// Its address, when it is not a name.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(to, "[{}]:{}", self.host, self.port),
            false => write!(to, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1:1935"),
            ("127.0.0.1:19350", "127.0.0.1:19350"),
            ("srs-origin-0.socs:1936", "srs-origin-0.socs:1936"),
            ("[::1]:1936", "[::1]:1936"),
            ("[::1]", "[::1]:1935"),
            ("::1", "[::1]:1935"),
        ] {
            assert_eq!(Endpoint::parse(text, RTMP_PORT).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", ":1935", "a:0", "a:x", "a:70000", "a b", "a/b", "a\r\nb", "rtmp://a"] {
            assert_eq!(Endpoint::parse(text, RTMP_PORT), None, "{text:?}");
        }
    }

    #[test]
    fn servers_of_urls() {
        for (url, expected) in [
            ("rtmp://127.0.0.1:12935/live/livestream?a=b", Some("127.0.0.1:12935")),
            ("rtmp://origin/live", Some("origin:1935")),
            ("http://origin/live", None),
            ("rtmp://a b/live", None),
            ("rtmp://a:1935/..", None),
        ] {
            assert_eq!(Endpoint::of_url(url).map(|found| found.to_string()).as_deref(), expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Some(endpoint) = Endpoint::parse(&text, 1) {
                prop_assert_eq!(Endpoint::parse(&endpoint.to_string(), 1), Some(endpoint));
            }
            let _ = Endpoint::of_url(&text);
        }
    }
}
