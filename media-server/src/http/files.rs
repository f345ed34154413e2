//! The files of `http_server.dir`, and `/healthz` and `/readyz` for those who can only reach this port.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use tower_http::services::ServeDir;

use super::answer;
use crate::server::Server;

/// The router of the HTTP port.
pub(super) fn router(server: Arc<Server>) -> Router {
    super::api::probes().fallback(file).with_state(server)
}

async fn file(State(server): State<Arc<Server>>, request: Request<axum::body::Body>) -> Response {
    let settings = server.settings();
    let Some(http) = &settings.http_server else {
        return answer::text_answer(&server.signature, StatusCode::NOT_FOUND, false);
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return answer::text_answer(&server.signature, StatusCode::METHOD_NOT_ALLOWED, false);
    }
    let cross_site = request.headers().contains_key(header::ORIGIN) && http.crossdomain;
    if request.method() == Method::OPTIONS {
        let mut response = Response::new(axum::body::Body::empty());
        answer::common(&mut response, &server.signature, cross_site, true);
        return response;
    }
    // ServeDir refuses every path that leaves the folder and answers ranges.
    match ServeDir::new(&http.dir).try_call(request).await {
        Ok(found) if found.status() != StatusCode::NOT_FOUND => {
            let mut response = found.map(axum::body::Body::new);
            answer::common(&mut response, &server.signature, cross_site, false);
            response
        }
        _ => answer::text_answer(&server.signature, StatusCode::NOT_FOUND, false),
    }
}
