//! One request to another service, over HTTP or HTTPS: what hooks and heartbeats are made of.

use std::pin::pin;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Uri, header};
use hyper::body::Body as _;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a service answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// The first bytes of the body.
    pub body: Vec<u8>,
}

/// Posts JSON, or gets where there is none, and reads at most `most` bytes of the answer. Waits as long as the service
/// does. Errors are sentences for the log.
pub async fn request(url: &str, json: Option<&Value>, most: usize) -> Result<Answer, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
    let host = uri.host().ok_or("the URL has no host")?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("http:// or https:// is expected".into()),
    };
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let addresses = crate::resolve::lookup(host, port).await?;
    let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| error.to_string())?;
    if !tls {
        return send(stream, &uri, json, most).await;
    }
    let name =
        ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
    let stream = connector()?.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    send(stream, &uri, json, most).await
}

/// TLS with the roots that the system trusts (`SSL_CERT_FILE` names others), or, in an image without any, Mozilla's.
fn connector() -> Result<TlsConnector, String> {
    static CONNECTOR: OnceLock<Result<TlsConnector, String>> = OnceLock::new();
    let make = || {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
                return Err(format!("SSL_CERT_FILE: {} has no certificates", file.display()));
            }
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    };
    CONNECTOR.get_or_init(make).clone()
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
    json: Option<&Value>,
    most: usize,
) -> Result<Answer, String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::builder().uri(path).header(header::HOST, authority);
    let request = match json {
        None => request.method(Method::GET).body(Body::empty()),
        Some(value) => request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(value.to_string())),
    };
    let request = request.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(text)?;
    let status = response.status().as_u16();
    let mut incoming = pin!(response.into_body());
    let mut body = Vec::new();
    while body.len() < most {
        match std::future::poll_fn(|context| incoming.as_mut().poll_frame(context)).await {
            None => break,
            Some(frame) => body.extend_from_slice(frame.map_err(text)?.data_ref().unwrap_or(&Bytes::new())),
        }
    }
    body.truncate(most);
    connection.abort();
    Ok(Answer { status, body })
}
