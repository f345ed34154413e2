//! HTTP/2 over TLS to one API server: kube's layers on our own connector, because kube's offers HTTP/1.1 only.

use std::time::Duration;

use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use rustls::pki_types::ServerName;
use tower::util::MapErrLayer;
use tower::{BoxError, ServiceBuilder};

/// How long an address may take to answer a TCP connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a quiet connection is asked whether it still lives (HTTP/2 PING), and how long it may take to answer:
/// a watch says nothing for minutes, and a peer that vanished says nothing for ever.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    /// Certificates or credentials that cannot be used.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// `tls-server-name` is not one.
    #[error("tls-server-name {0:?} is not a DNS name or an address")]
    ServerName(String),
    /// A proxy that we cannot speak with.
    #[error("the proxy {0} is neither http:// nor socks5://")]
    Proxy(String),
}

/// Makes the client. No request is sent and nothing is limited here: the server's own priority and fairness does that.
pub(super) fn client(config: &Config) -> Result<Client, SetupError> {
    // Another crate of the program may have brought a second provider into rustls, which would make its choice ambiguous.
    // An error says that the program has installed one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    match &config.proxy_url {
        None => stack(config, tcp),
        Some(proxy) => match proxy.scheme_str() {
            Some("http") => stack(config, Tunnel::new(proxy.clone(), tcp)),
            Some("socks5" | "socks5h") => stack(config, SocksV5::new(proxy.clone(), tcp)),
            _ => Err(SetupError::Proxy(address(proxy))),
        },
    }
}

/// Scheme, host and port: an address without the password that a proxy's URL may have.
fn address(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let scheme = uri.scheme_str().unwrap_or("unknown");
    uri.port().map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}"))
}

fn stack<C>(config: &Config, connector: C) -> Result<Client, SetupError>
where
    C: tower::Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let mut tls =
        HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = ServerName::try_from(name.clone()).map_err(|_| SetupError::ServerName(name.clone()))?;
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build::<_, Body>(tls.enable_http1().enable_http2().wrap_connector(connector));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(MapErrLayer::new(BoxError::from))
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}
