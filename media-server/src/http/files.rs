//! The [`pages`], the files of `http_server.dir`, and `/healthz` and `/readyz` for those who can only reach this port.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use tower_http::services::ServeDir;

use super::{answer, pages, vod};
use crate::ids;
use crate::server::{Server, Service};

/// The router of the HTTP port.
pub(super) fn router(server: Arc<Server>) -> Router {
    super::api::probes().fallback(file).with_state(server)
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
    let path = request.uri().path().to_owned();
    if content_type(&path) == Some(M3U8)
        && let Some(master) = master(&server, &request)
    {
        let mut response = Response::new(axum::body::Body::from(master));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(M3U8));
        answer::common(&mut response, &server.signature, cross_site, false);
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

/// A player's first request for a playlist gets a master playlist that gives it a context: from then on it can be
/// told from the others.
fn master(server: &Server, request: &Request<axum::body::Body>) -> Option<String> {
    let uri = request.uri();
    if answer::query(uri.query(), "hls_ctx").is_some() {
        return None;
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let settings = server.settings();
    let hls = settings.vhost(answer::query(uri.query(), "vhost").unwrap_or(host))?.hls.as_ref()?;
    let relative = uri.path().trim_start_matches('/');
    // Only what this server wrote: a player of another's files gets them as they are.
    if !hls.ctx || relative.split('/').any(|part| part == "..") || !hls.path.join(relative).is_file() {
        return None;
    }
    let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
    Some(format!(
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n{}?{query}hls_ctx={}\n",
        uri.path(),
        ids::connection()
    ))
}
