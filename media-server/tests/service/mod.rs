//! A service that answers hooks and writes everything down.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a part of several test programs")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::Value;

pub type Seen = Arc<Mutex<Vec<Value>>>;

/// Answers every POST with what `answer` says to its body.
pub fn service(answer: impl Fn(&Value) -> &'static str + Send + 'static) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let writes = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (_, body) = read_request(&mut reader);
            let body: Value = serde_json::from_str(&body).unwrap();
            let text = answer(&body);
            writes.lock().unwrap().push(body);
            let length = text.len();
            let _ = write!(reader.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
        }
    });
    (address, seen)
}

/// A request's first line and body.
pub fn read_request(reader: &mut impl BufRead) -> (String, String) {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        if first.is_empty() {
            line.trim().clone_into(&mut first);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first, String::from_utf8(body).unwrap())
}
