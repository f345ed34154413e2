//! A plain HTTP GET, for looking at what servers answer.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// No answer of a test is larger.
const LARGEST: u64 = 64 << 20;

/// The status and the body of an answer.
///
/// # Errors
/// Nobody listens, or what comes is no answer.
pub fn get(address: &str, port: u16, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut connection = TcpStream::connect((address, port))?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    // Version 1.0: the body ends with the connection, and comes in one piece.
    write!(connection, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.take(LARGEST).read_to_end(&mut answer)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "this is no HTTP answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(bad)?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| bad())?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    Ok((status, answer.split_off(end + 4)))
}

/// The body of an answer of status 200 as text; nothing for any other, or for none.
pub fn text(address: &str, port: u16, path: &str) -> Option<String> {
    let (status, body) = get(address, port, path).ok()?;
    (status == 200).then(|| String::from_utf8(body).ok()).flatten()
}
