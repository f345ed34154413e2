//! One HTTP request to another server.

use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Sends a request; the answer's body comes as it is read. The caller bounds the time.
pub async fn send(address: SocketAddr, request: Request<Body>) -> Result<Response<Body>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // It ends when the answer was read or dropped.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok(response.map(Body::new))
}

/// A request without a body; `host` is its Host field.
pub fn request(method: Method, host: &str, path: &str) -> Result<Request<Body>, String> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, host);
    request.body(Body::empty()).map_err(|error| error.to_string())
}

/// The whole body of a 200, up to `limit` bytes.
pub async fn read(response: Response<Body>, limit: usize) -> Result<Bytes, String> {
    let status = response.status();
    if status.as_u16() != 200 {
        return Err(format!("HTTP {status}"));
    }
    axum::body::to_bytes(response.into_body(), limit).await.map_err(|error| error.to_string())
}
