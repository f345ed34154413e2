//! HTTP that is not media: the API, files and probes, on a thread of its own.
//!
//! The cores read a request's head; what is not for media comes here as a [`Handoff`] and goes on in hyper.

mod answer;
mod api;
mod auth_request;
mod clusters;
pub mod context;
mod disk;
mod everywhere;
mod files;
pub mod guard;
pub mod heartbeat;
mod hls;
mod metrics;
pub mod mount;
pub mod pages;
mod playlist;
mod process;
mod proxy;
pub mod secret;
pub mod statics;
pub mod viewers;
mod vod;
mod volume;

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Sleep;

use crate::server::{Handoff, Server, Service};
use crate::tls::TlsStream;

/// The most connections of the API and files at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 512;
/// A request's head must be there by then, on connections that are kept open too.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client's address.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Who is connected, whatever a header field says of the client.
#[derive(Debug, Clone, Copy)]
struct Connected(SocketAddr);

/// Serves handed-off connections until all senders are gone. Blocks its thread.
pub fn run(server: &Arc<Server>, handoffs: UnboundedReceiver<Handoff>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(server, handoffs));
    // A file of a volume that does not answer is not waited for.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(server: &Arc<Server>, mut handoffs: UnboundedReceiver<Handoff>) {
    tokio::spawn(heartbeat::run(Arc::clone(server)));
    let api = api::router(Arc::clone(server));
    let files = files::router(Arc::clone(server));
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some(mut handoff) = handoffs.recv().await {
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::warn!("{} refused: {MAX_CONNECTIONS} HTTP connections are open", handoff.peer);
            continue;
        };
        let router = if handoff.service == Service::Api { api.clone() } else { files.clone() };
        let server = Arc::clone(server);
        tokio::spawn(async move {
            let peer = handoff.peer;
            let _place = handoff.place.take();
            let _guest = handoff.guest.take();
            if let Err(error) = connection(handoff, router, server).await {
                tracing::debug!("{peer}: {error}");
            }
            drop(permit);
        });
    }
}

async fn connection(
    handoff: Handoff,
    router: Router,
    server: Arc<Server>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    handoff.stream.set_nonblocking(true)?;
    let socket = TcpStream::from_std(handoff.stream)?;
    let stream: Pin<Box<dyn Duplex>> = match handoff.tls {
        None => Box::pin(socket),
        Some(session) => Box::pin(TlsStream::new(socket, session)),
    };
    let files = handoff.service == Service::Http;
    let of_drain = Arc::clone(&server);
    let drain = async move {
        match files {
            true => of_drain.drain.closed().await,
            // The API tells to the end how far it is.
            false => std::future::pending().await,
        }
    };
    let patience = server.settings().limits.send_timeout;
    let io = TokioIo::new(Rewound { head: handoff.head, read: 0, stream, patience, stalled: None });
    let peer = handoff.peer;
    // A proxy sends requests of many clients over one connection.
    let router = router.layer(axum::middleware::map_request(move |mut request: Request<Body>| {
        let fields = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let client = server.settings().real_ip.client(peer.ip(), fields);
        request.extensions_mut().insert(Connected(peer));
        request.extensions_mut().insert(Peer(SocketAddr::new(client, peer.port())));
        std::future::ready(request)
    }));
    let connection = hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 << 10)
        .serve_connection(io, TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        result = &mut connection => return Ok(result?),
        () = drain => {}
    }
    // What is being answered is answered to its end; the next request goes to another server.
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// A socket whose first bytes were read already.
struct Rewound {
    head: Vec<u8>,
    read: usize,
    stream: Pin<Box<dyn Duplex>>,
    /// Who takes nothing for so long is closed.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Rewound {
    /// Bounds how long the client may leave a write pending.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A socket, or TLS on one.
trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.head[self.read..];
        if left.is_empty() {
            return self.stream.as_mut().poll_read(cx, into);
        }
        let count = left.len().min(into.remaining());
        into.put_slice(&left[..count]);
        self.read += count;
        if self.read == self.head.len() {
            self.head = Vec::new();
            self.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.stream.as_mut().poll_write(cx, bytes);
        self.bounded(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.stream.as_mut().poll_flush(cx);
        self.bounded(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.stream.as_mut().poll_shutdown(cx);
        self.bounded(cx, result)
    }
}
