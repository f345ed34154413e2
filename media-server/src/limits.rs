//! `limits { … }`: what bounds a flood of connections, beside SRS's `max_connections` for all of them.
//!
//! ```text
//! limits {
//!     connections_per_ip  0;      # 0: no such limit. Viewers behind one NAT share an address.
//!     handshake_timeout   30000;  # milliseconds until a connection must have asked for something
//!     send_timeout        30000;  # milliseconds until a client that takes nothing is closed
//! }
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::conf::settings::number;
use crate::conf::{Directive, Fault};

/// The block's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most connections of one address; 0 is no limit.
    pub connections_per_ip: u32,
    /// A client must have asked for a stream or a page by then: PROXY header, handshakes and commands included.
    pub handshake_timeout: Duration,
    /// A client that takes nothing for so long is closed.
    pub send_timeout: Duration,
}

impl Limits {
    /// Reads the block; SRS waits for 30 s.
    pub fn read(block: Option<&Directive>) -> Result<Self, Fault> {
        let empty = Directive::default();
        let block = block.unwrap_or(&empty);
        let timeout = |name| match number(block, name, 30_000u64)? {
            0 => {
                let line = block.get(name).map_or(block.line, |directive| directive.line);
                Err(Fault::new(line, format!("{name} must be more than 0")))
            }
            milliseconds => Ok(Duration::from_millis(milliseconds)),
        };
        Ok(Limits {
            connections_per_ip: number(block, "connections_per_ip", 0u32)?,
            handshake_timeout: timeout("handshake_timeout")?,
            send_timeout: timeout("send_timeout")?,
        })
    }
}

/// How many connections each address has, where that is limited.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashMap<IpAddr, u32>>);

/// A connection's place among those of its address; dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    addresses: Arc<Addresses>,
    ip: IpAddr,
}

impl Addresses {
    /// A place for one more connection; none when the address has `limit` of them.
    pub fn take(self: &Arc<Self>, ip: IpAddr, limit: u32) -> Option<Place> {
        // A client has all addresses of its IPv6 network.
        let ip = match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
            ip @ IpAddr::V4(_) => ip,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { addresses: Arc::clone(self), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let addresses = Arc::new(Addresses::default());
        let ip = "1.2.3.4".parse().unwrap();
        let first = addresses.take(ip, 2).unwrap();
        let second = addresses.take(ip, 2).unwrap();
        assert!(addresses.take(ip, 2).is_none());
        assert!(addresses.take("1.2.3.5".parse().unwrap(), 2).is_some());
        drop(first);
        assert!(addresses.take(ip, 2).is_some());
        drop(second);
        assert!(addresses.0.lock().unwrap().is_empty());
        let six = addresses.take("2001:db8::1".parse().unwrap(), 1).unwrap();
        assert!(addresses.take("2001:db8::2".parse().unwrap(), 1).is_none());
        drop(six);
    }
}
