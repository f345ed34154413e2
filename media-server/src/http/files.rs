//! The [`pages`], HLS ([`super::hls`]), the files of `http_server.dir`, and `/healthz` and `/readyz` for those who can
//! only reach this port.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use hyper::body::Body as _;
use tower_http::services::ServeDir;

use super::hls::{Hls, host_of};
use super::statics::{self, Folder};
use super::viewers;
use super::{Peer, answer, pages, vod};
use crate::hls::names;
use crate::server::{Server, Service};

/// The router of the HTTP port.
pub(super) fn router(server: Arc<Server>) -> Router {
    // A core looks at a connection's first request alone: one for a stream needs a new connection.
    let close = axum::middleware::map_response(|mut response: Response| {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Close"));
        std::future::ready(response)
    });
    let hls = Arc::new(Hls::new(Arc::clone(&server)));
    let of_files = Arc::clone(&server);
    let files = move |request: Request<Body>| {
        let (server, hls) = (Arc::clone(&of_files), Arc::clone(&hls));
        async move { file(&server, &hls, request).await }
    };
    super::api::probes().with_state(server).fallback(files).layer(close)
}

async fn file(server: &Arc<Server>, hls: &Hls, request: Request<Body>) -> Response {
    let settings = server.settings();
    let Some(http) = &settings.http_server else {
        return answer::text_answer(&server.signature, StatusCode::NOT_FOUND, false);
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return answer::text_answer(&server.signature, StatusCode::METHOD_NOT_ALLOWED, false);
    }
    if let Some(page) = pages::answer(server, Service::Http, &request) {
        return page;
    }
    let own_index = pages::fallback(server, &request);
    let cross_site = request.headers().contains_key(header::ORIGIN) && http.crossdomain;
    if request.method() == Method::OPTIONS {
        let mut response = Response::new(Body::empty());
        answer::common(&mut response, &server.signature, cross_site, true);
        return response;
    }
    // What is looked at is the name that the file is found by, and not how it is written.
    let Some(path) = names::clean(request.uri().path()) else {
        return answer::text_answer(&server.signature, StatusCode::NOT_FOUND, false);
    };
    let (is_get, query) = (*request.method() == Method::GET, request.uri().query().map(str::to_owned));
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
        return answer::text_answer(&server.signature, StatusCode::INTERNAL_SERVER_ERROR, false);
    };
    let folder = statics::find(&settings, &http.dir, host_of(request.uri(), request.headers()), &path);
    let given = hls.answer(&settings, peer.ip(), request.uri(), request.headers(), &path, &folder).await;
    let mut response = match given {
        Ok(Some(body)) => {
            let mut response = Response::new(Body::from(body));
            let kind = content_type(&path).unwrap_or("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
        Ok(None) => {
            let Some(response) = from_folder(&folder, request).await else {
                let none = || answer::text_answer(&server.signature, StatusCode::NOT_FOUND, false);
                return own_index.unwrap_or_else(none);
            };
            response
        }
        // The page may read why.
        Err(status) => answer::text_answer(&server.signature, status, false),
    };
    answer::common(&mut response, &server.signature, cross_site, false);
    if is_get && response.status().is_success() {
        viewers::sent(server, query.as_deref(), length(&response));
    }
    response
}

/// How long a body is: files say it in their head, what is in memory by itself.
fn length(response: &Response) -> u64 {
    let said = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    said.and_then(|length| length.parse().ok())
        .or_else(|| response.body().size_hint().exact())
        .unwrap_or_default()
}

/// A file of the folder; none when there is no such file.
async fn from_folder(folder: &Folder<'_>, mut request: Request<Body>) -> Option<Response> {
    // ServeDir refuses every path that leaves the folder and answers ranges.
    let mut files = ServeDir::new(folder.dir);
    let asked = request.uri().clone();
    if folder.mounted
        && let Some(inner) = statics::inner(folder, &asked)
    {
        *request.uri_mut() = inner;
    }
    let sought = match vod::start(&folder.path, request.uri().query()) {
        Some(start) => {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            vod::seek(&files, &method, &uri, start).await
        }
        None => None,
    };
    vod::take_range(&mut request);
    let found = match sought {
        Some(response) => Ok(response),
        None => files.try_call(request).await.map(|found| found.map(Body::new)),
    };
    let mut response = found.ok().filter(|response| response.status() != StatusCode::NOT_FOUND)?;
    if let Some(kind) = content_type(&folder.path) {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if folder.mounted {
        statics::redirect(&mut response, &asked);
    }
    Some(response)
}

/// The type of playlists.
pub(super) const M3U8: &str = "application/vnd.apple.mpegurl";

/// The types that SRS gives and the table of file endings does not.
pub(super) fn content_type(path: &str) -> Option<&'static str> {
    match path.rsplit_once('.')?.1 {
        "m3u8" => Some(M3U8),
        "ts" => Some("video/MP2T"),
        "flv" => Some("video/x-flv"),
        _ => None,
    }
}
