//! The PROXY header of trusted peers, before the first byte of the client.

use std::io::{ErrorKind, Read as _};

use super::accept::TOO_MANY;
use super::conn::Conn;
use super::{Core, Next};
use crate::proxy_protocol::{self, MAX_HEADER, Start};

impl Core {
    /// Looks for a PROXY header; `awaits_proxy` stays until that is settled. What follows stays in the socket.
    pub(super) fn read_proxy_header(&self, conn: &mut Conn, buffer: &mut [u8]) -> Next {
        let buffer = &mut buffer[..MAX_HEADER];
        let count = loop {
            match conn.transport.socket.peek(buffer) {
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Keep,
                Err(error) => return Next::Close(error.to_string()),
            }
        };
        let client = match proxy_protocol::start(&buffer[..count]) {
            Start::Partial if count > 0 => return Next::Keep,
            Start::Partial => return Next::Close("the client closed".into()),
            Start::Bare => None,
            Start::Header(length, client) => {
                // These bytes are there: they were seen a moment ago.
                if let Err(error) = conn.transport.socket.read_exact(&mut buffer[..length]) {
                    return Next::Close(error.to_string());
                }
                client
            }
            Start::Bad => {
                conn.heard = true;
                tracing::warn!(cid = %conn.id, "{}: its PROXY header is not valid", conn.peer);
                return Next::Close("its PROXY header is not valid".into());
            }
        };
        conn.awaits_proxy = false;
        if let Some(mut client) = client {
            client.set_ip(client.ip().to_canonical());
            tracing::debug!(cid = %conn.id, "{} speaks for {client}", conn.peer);
            conn.peer = client;
            if !self.take_place(conn) {
                return Next::Close(TOO_MANY.into());
            }
        }
        Next::Keep
    }
}
