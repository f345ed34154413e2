//! Every hostile thing that can be asked by HTTP, by name: an answer with an error or a closed connection, never
//! somebody else's file, script or header, while a watched stream goes on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use common::witness::Witness;

/// What is answered to these bytes until the server closes.
fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    // The server may close before everything is written, and its reset may swallow the answer.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn hostile_requests() {
    let witness = Witness::start("");
    std::fs::write(witness.dir.path().join("hls/page.html"), "a page").unwrap();
    let get =
        |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n");
    let post =
        |more: &str| format!("POST /api/v1/clusters HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}");
    let cases = [
        ("not HTTP", "\x03\0\0\0\r\n\r\n".to_owned()),
        ("a POST of a stream", "POST /live/watched.flv HTTP/1.0\r\nHost: a\r\n\r\n".to_owned()),
        ("a header of 1 MB", get("/", &format!("A: {}\r\n", "x".repeat(1 << 20)))),
        ("a path of 1 MB", get(&format!("/{}", "x".repeat(1 << 20)), "")),
        ("10000 fields", get("/", &"A: b\r\n".repeat(10_000))),
        (
            "a chunk size that is no number",
            post("Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
        ),
        ("a chunk size of 2^64", post("Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nx")),
        ("two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
        ("a negative length", post("Content-Length: -1\r\n\r\n")),
        (
            "a range that overflows",
            get("/page.html", "Range: bytes=18446744073709551615-18446744073709551616\r\n"),
        ),
        ("a thousand ranges", get("/page.html", &format!("Range: bytes={}0-1\r\n", "0-1,".repeat(1000)))),
        ("a playlist above the folder", get("/live/../../srs.conf.m3u8", "")),
        ("an encoded playlist above it", get("/live/%2e%2e/%2e%2e/srs.conf", "")),
        ("a file above the folder", get("/../srs.conf", "")),
        ("an encoded slash", get("/..%2fsrs.conf", "")),
        ("NUL in a path", get("/page.html%00.flv", "")),
        ("a line's end in a name", get("/live/a%0d%0aX-Injected:%201.flv", "")),
        ("a script as callback", get("/api/v1/versions?callback=alert(document.cookie)//", "")),
        ("markup as callback", get("/api/v1/versions?callback=%3Cscript%3E", "")),
        (
            "a count that overflows",
            get("/api/v1/streams/?start=18446744073709551615&count=18446744073709551615", ""),
        ),
    ];
    for (what, bytes) in &cases {
        for address in [witness.api, witness.http] {
            let answer = ask(address, bytes.as_bytes());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{what}: {answer:.300}");
            for leaked in
                ["max_connections", "srs_log_tank", "\r\nX-Injected", "alert(", "<script>alert", "callback=<"]
            {
                assert!(!answer.contains(leaked), "{what}: {answer:.300}");
            }
            let (head, _) = common::request(address, "GET", "/healthz", &[]);
            assert!(head.starts_with("HTTP/1.1 200"), "after {what}: {head}");
        }
    }
    witness.assert_unharmed();
}
