//! The PROXY protocol (HAProxy's specification), versions 1 and 2: a load balancer says in front of a connection's
//! first byte who the client is.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

/// The longest header that is taken; those with all of version 2's fields in use are a few hundred bytes long.
pub const MAX_HEADER: usize = 4096;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Not to be told yet.
    Partial,
    /// No header: the peer speaks for itself.
    Bare,
    /// So many bytes of header, and the client; none when the peer speaks for itself (LOCAL, UNKNOWN).
    Header(usize, Option<SocketAddr>),
    /// It begins as a header does and is none.
    Bad,
}

/// Reads the first bytes of a connection.
pub fn start(bytes: &[u8]) -> Start {
    let begins = |with: &[u8]| bytes.starts_with(with) || with.starts_with(bytes);
    if !begins(V1) && !begins(V2) {
        return Start::Bare;
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(bytes, config) {
        Ok((header, length)) => {
            let stream = header.proxied_address().filter(|address| address.protocol == Protocol::Stream);
            Start::Header(length, stream.map(|address| address.source))
        }
        Err(Error::BufferTooShort) if bytes.len() < MAX_HEADER => Start::Partial,
        Err(_) => Start::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [V2, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    #[test]
    fn headers_name_the_client_at_any_split() {
        let four = [1, 2, 3, 4, 10, 0, 0, 1, 0x30, 0x39, 7, 0x8f];
        // PP2_TYPE_NOOP follows the addresses.
        let with_fields = [&four[..], &[4, 0, 3, 0, 0, 0]].concat();
        let client = "1.2.3.4:12345".parse().ok();
        for (header, expected) in [
            (b"PROXY TCP4 1.2.3.4 10.0.0.1 12345 1935\r\n".to_vec(), client),
            (b"PROXY TCP6 2001:db8::1 ::1 5 1935\r\n".to_vec(), "[2001:db8::1]:5".parse().ok()),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), client),
            (v2(0x21, 0x11, &with_fields), client),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
            (v2(0x21, 0x12, &four), None),
        ] {
            for split in 1..header.len() {
                assert_eq!(start(&header[..split]), Start::Partial, "{header:?} {split}");
            }
            let bytes = [&header[..], b"\x03more"].concat();
            assert_eq!(start(&bytes), Start::Header(header.len(), expected), "{header:?}");
        }
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for bytes in
            [&b"\x03\0\0"[..], b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"\x16\x03\x01", b"PROPFIND"]
        {
            assert_eq!(start(bytes), Start::Bare);
        }
        let endless = [V1, &[b'x'; 200]].concat();
        for bytes in [
            &endless[..],
            b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n",
            &v2(0x31, 0x11, &[0; 12]),
            &[&v2(0x21, 0x11, &[0; 3])[..], &[3; 20]].concat(),
        ] {
            assert_eq!(start(bytes), Start::Bad);
        }
        let mut long = v2(0x21, 0x11, &vec![0; 60_000]);
        long.truncate(MAX_HEADER);
        assert_eq!(start(&long), Start::Bad);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(tail in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
            let front: &[u8] = match kind { 0 => b"", 1 => V1, _ => V2 };
            let _ = start(&[front, &tail].concat());
        }
    }
}
