//! A TLS connection for async code, over a socket whose handshake may be over already.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Session;

/// Records without plaintext that are read before others get their turn.
const TURNS: usize = 8;

/// A TLS connection.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: Box<Session>,
    /// What was read and did not fit.
    plain: Vec<u8>,
    taken: usize,
    closed: bool,
}

impl TlsStream {
    /// Goes on where the session is.
    pub fn new(socket: TcpStream, session: Box<Session>) -> Self {
        TlsStream { socket, session, plain: Vec::new(), taken: 0, closed: false }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        for _ in 0..TURNS {
            let left = &this.plain[this.taken..];
            if !left.is_empty() {
                let count = left.len().min(into.remaining());
                into.put_slice(&left[..count]);
                this.taken += count;
                if this.taken == this.plain.len() {
                    this.plain = Vec::new();
                    this.taken = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if this.session.has_ended() {
                return Poll::Ready(Ok(()));
            }
            ready!(this.socket.poll_read_ready(cx))?;
            let (socket, plain) = (&this.socket, &mut this.plain);
            let received = this
                .session
                .receive(|bytes| plain.extend_from_slice(bytes), |buffer| socket.try_read(buffer));
            match received {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(error) => {
                    let _ = this.session.flush(|bytes| this.socket.try_write(bytes));
                    return Poll::Ready(Err(error));
                }
            }
            // Answers to what the client's TLS asked; what does not go now goes with the next write.
            this.session.flush(|bytes| this.socket.try_write(bytes))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            ready!(this.socket.poll_write_ready(cx))?;
            match this.session.send([bytes].into_iter(), |sealed| this.socket.try_write(sealed)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.session.flush(|bytes| this.socket.try_write(bytes))? {
            ready!(this.socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.closed, true) {
            self.session.close();
        }
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
