//! What a connection's bytes go through: the socket itself, or TLS on it. Players and answers do not care which.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};

use mio::net::TcpStream;

use super::conn::ReadResult;
use crate::tls::{READ, Session};

/// A signal came in between.
const AGAIN: ReadResult = ReadResult::Bytes { count: 0, more: true };

/// The way of a connection's bytes.
#[derive(Debug)]
pub(super) struct Transport {
    /// The socket.
    pub(super) socket: TcpStream,
    /// TLS, where the port has it.
    pub(super) tls: Option<Box<Session>>,
}

impl Transport {
    /// Reads once; `buffer` has room for what [`READ`] bytes and a record's beginning hold.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> ReadResult {
        let Transport { socket, tls } = self;
        let Some(session) = tls else {
            return match socket.read(buffer) {
                Ok(0) => ReadResult::Closed,
                Ok(count) => ReadResult::Bytes { count, more: count == buffer.len() },
                Err(error) if error.kind() == ErrorKind::Interrupted => AGAIN,
                Err(error) if error.kind() == ErrorKind::WouldBlock => ReadResult::Blocked,
                Err(_) => ReadResult::Closed,
            };
        };
        debug_assert!(buffer.len() >= 2 * READ);
        if session.has_ended() {
            return ReadResult::Closed;
        }
        let mut count = 0;
        let sink = |bytes: &[u8]| {
            buffer[count..count + bytes.len()].copy_from_slice(bytes);
            count += bytes.len();
        };
        match session.receive(sink, |into| socket.read(into)) {
            Ok(more) => ReadResult::Bytes { count, more },
            Err(error) if error.kind() == ErrorKind::WouldBlock => ReadResult::Blocked,
            Err(error) if error.kind() == ErrorKind::Interrupted => AGAIN,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                // The alert should reach the client.
                let _ = session.flush(|bytes| socket.write(bytes));
                ReadResult::Broken(error.to_string())
            }
            Err(_) => ReadResult::Closed,
        }
    }

    /// Writes some of `bytes`; what was taken may still have to be flushed.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Transport { socket, tls } = self;
        match tls {
            None => socket.write(bytes),
            Some(session) => session.send([bytes].into_iter(), |bytes| socket.write(bytes)),
        }
    }

    /// Writes some of `slices`, one after the other; what was taken may still have to be flushed.
    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Transport { socket, tls } = self;
        match tls {
            None => socket.write_vectored(slices),
            Some(session) => session.send(slices.iter().map(|slice| &**slice), |bytes| socket.write(bytes)),
        }
    }

    /// Writes what was taken and not written; false when the socket takes no more.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Transport { socket, tls } = self;
        tls.as_mut().map_or(Ok(true), |session| session.flush(|bytes| socket.write(bytes)))
    }

    /// Something was taken and not written.
    pub(super) fn is_pending(&self) -> bool {
        self.pending_len() > 0
    }

    /// Bytes that were taken and not written.
    pub(super) fn pending_len(&self) -> usize {
        self.tls.as_ref().map_or(0, |session| session.pending_len())
    }

    /// What comes next is work for the CPU: a step of a handshake.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| session.is_handshaking())
    }

    /// Says good-bye where the protocol has a word for it and the socket takes it.
    pub(super) fn close(&mut self) {
        let Transport { socket, tls } = self;
        if let Some(session) = tls {
            session.close();
            let _ = session.flush(|bytes| socket.write(bytes));
        }
    }
}
