//! The [`pages`], the files of `http_server.dir`, and `/healthz` and `/readyz` for those who can only reach this port.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::Response;
use tower_http::services::ServeDir;

use super::proxy::Proxy;
use super::viewers::{self, Refused, Visit};
use super::{Peer, answer, pages, vod};
use crate::conf::Settings;
use crate::conf::settings::Vhost;
use crate::hls::names;
use crate::ids;
use crate::server::{Server, Service};

/// The router of the HTTP port.
pub(super) fn router(server: Arc<Server>) -> Router {
    let proxy = Arc::new(Proxy::default());
    // A core looks at a connection's first request alone: one for a stream needs a new connection.
    let close = axum::middleware::map_response(|mut response: Response| {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Close"));
        std::future::ready(response)
    });
    super::api::probes().fallback(file).layer(axum::Extension(proxy)).layer(close).with_state(server)
}

async fn file(State(server): State<Arc<Server>>, mut request: Request<axum::body::Body>) -> Response {
    let settings = server.settings();
    let Some(http) = &settings.http_server else {
        return answer::text_answer(&server.signature, StatusCode::NOT_FOUND, false);
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return answer::text_answer(&server.signature, StatusCode::METHOD_NOT_ALLOWED, false);
    }
    if let Some(page) = pages::answer(&server, Service::Http, &request) {
        return page;
    }
    let own_index = pages::fallback(&server, &request);
    let cross_site = request.headers().contains_key(header::ORIGIN) && http.crossdomain;
    if request.method() == Method::OPTIONS {
        let mut response = Response::new(axum::body::Body::empty());
        answer::common(&mut response, &server.signature, cross_site, true);
        return response;
    }
    // What is looked at is the name that the file is found by, and not how it is written.
    let Some(path) = names::clean(request.uri().path()) else {
        return answer::text_answer(&server.signature, StatusCode::NOT_FOUND, false);
    };
    let proxy = request.extensions().get::<Arc<Proxy>>().cloned();
    let remote = vhost_of(&settings, request.uri(), request.headers())
        .and_then(|vhost| Some((vhost, Proxy::concerns(&server, vhost, &path)?)));
    let fetched = match (&remote, proxy) {
        (Some((vhost, path)), Some(proxy)) => proxy.fetch(&server, vhost, path).await,
        _ => None,
    };
    if content_type(&path) == Some(M3U8) {
        let peer = request.extensions().get::<Peer>().copied();
        match playlist(&server, request.uri(), request.headers(), peer, fetched.is_some()).await {
            Ok(None) => {}
            Ok(Some(master)) => {
                let mut response = Response::new(axum::body::Body::from(master));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(M3U8));
                answer::common(&mut response, &server.signature, cross_site, false);
                return response;
            }
            Err(status) => {
                let mut response = answer::text_answer(&server.signature, status, false);
                // The page may read why.
                answer::common(&mut response, &server.signature, cross_site, false);
                return response;
            }
        }
    }
    let peer = request.extensions().get::<Peer>().copied();
    let elsewhere = fetched.as_ref().and(remote.as_ref());
    if !peer.is_some_and(|Peer(peer)| gives_key(&server, &http.dir, &path, elsewhere, peer.ip())) {
        tracing::warn!("{path}: a key is not given to who may not play");
        let mut response = answer::text_answer(&server.signature, StatusCode::FORBIDDEN, false);
        answer::common(&mut response, &server.signature, cross_site, false);
        return response;
    }
    if let Some(body) = fetched {
        let mut response = Response::new(axum::body::Body::from(body));
        let kind = content_type(&path).unwrap_or("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        answer::common(&mut response, &server.signature, cross_site, true);
        return response;
    }
    // ServeDir refuses every path that leaves the folder and answers ranges.
    let mut files = ServeDir::new(&http.dir);
    let sought = match vod::start(&path, request.uri().query()) {
        Some(start) => {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            vod::seek(&files, &method, &uri, start).await
        }
        None => None,
    };
    vod::take_range(&mut request);
    let found = match sought {
        Some(response) => Ok(response),
        None => files.try_call(request).await.map(|found| found.map(axum::body::Body::new)),
    };
    match found {
        Ok(mut response) if response.status() != StatusCode::NOT_FOUND => {
            if let Some(kind) = content_type(&path) {
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            answer::common(&mut response, &server.signature, cross_site, false);
            response
        }
        _ => {
            own_index.unwrap_or_else(|| answer::text_answer(&server.signature, StatusCode::NOT_FOUND, false))
        }
    }
}

/// Whether a file may be given as far as it is a key. `elsewhere` is the vhost and the path of another server's file.
fn gives_key(
    server: &Server,
    dir: &Path,
    path: &str,
    elsewhere: Option<&(&Vhost, String)>,
    ip: IpAddr,
) -> bool {
    match (elsewhere, names::clean(path)) {
        (Some((vhost, path)), _) if names::ending(path) == Some("key") && viewers::is_guarded(vhost) => {
            let visit = Visit { path, query: None, ip, agent: "", referer: "" };
            viewers::part(server, vhost, visit).is_ok()
        }
        (None, Some(path)) => viewers::key(server, &dir.join(path.trim_start_matches('/')), ip).is_ok(),
        _ => true,
    }
}

/// A volume must have told of a file by then.
const VOLUME: Duration = Duration::from_secs(2);
const M3U8: &str = "application/vnd.apple.mpegurl";

/// The types that SRS gives and the table of file endings does not.
fn content_type(path: &str) -> Option<&'static str> {
    match path.rsplit_once('.')?.1 {
        "m3u8" => Some(M3U8),
        "ts" => Some("video/MP2T"),
        "flv" => Some("video/x-flv"),
        _ => None,
    }
}

/// The vhost that a request means: a parameter, else its host.
fn vhost_of<'a>(settings: &'a Settings, uri: &Uri, headers: &HeaderMap) -> Option<&'a Vhost> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let host = crate::rtmp::url::host_of(host);
    settings.vhost(answer::query(uri.query(), "vhost").unwrap_or(host))
}

/// Whether a playlist may be fetched. A player's first request gets a master playlist with a context: from then on it
/// can be told from the others.
async fn playlist(
    server: &Arc<Server>,
    uri: &Uri,
    headers: &HeaderMap,
    peer: Option<Peer>,
    remote: bool,
) -> Result<Option<String>, StatusCode> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let settings = server.settings();
    let Some(vhost) = vhost_of(&settings, uri, headers) else { return Ok(None) };
    let Some(path) = names::clean(uri.path()) else { return Ok(None) };
    // Another server's file is what that server has for the vhost.
    let mut judges = match remote {
        true => vec![vhost],
        false => viewers::playlist_judges(server, &settings, vhost, &path),
    };
    if !remote {
        // Only what this server wrote: a player of another's files gets them as they are.
        let mut written = Vec::new();
        for judge in judges {
            let Some(hls) = &judge.hls else { continue };
            let looking = tokio::fs::metadata(hls.path.join(path.trim_start_matches('/')));
            match tokio::time::timeout(VOLUME, looking).await {
                Ok(Ok(file)) if file.is_file() => written.push(judge),
                Ok(_) => {}
                Err(_) => return Err(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
        judges = written;
    }
    let Some(vhost) = judges.first() else { return Ok(None) };
    let gives_context = vhost.hls.as_ref().is_none_or(|hls| hls.ctx);
    let Some(Peer(peer)) = peer else {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let brought = viewers::context(uri.query());
    let given = (gives_context && brought.is_none()).then(ids::connection);
    let visit = Visit {
        path: &path,
        query: uri.query(),
        ip: peer.ip(),
        agent: text(header::USER_AGENT),
        referer: text(header::REFERER),
    };
    let mut verdict = Ok(());
    for judge in &judges {
        verdict = viewers::playlist(server, judge, visit, given.as_deref().or(brought)).await;
        if verdict.is_ok() {
            break;
        }
    }
    verdict.map_err(|refused| {
        tracing::warn!("HLS {} may not play {path}: {refused:?}", peer.ip());
        match refused {
            Refused::Forbidden(_) => StatusCode::FORBIDDEN,
            Refused::Hook(_) => StatusCode::UNAUTHORIZED,
            Refused::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    })?;
    Ok(given.map(|context| {
        let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
        format!(
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n{}?{query}hls_ctx={context}",
            uri.path(),
        )
    }))
}
