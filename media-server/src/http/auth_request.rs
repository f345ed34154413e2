//! `/api/v1/auth`: whether a request that nginx has got may be served, for its `auth_request`.
//!
//! ```text
//! location / { auth_request /auth; root /usr/local/srs/objs/nginx/html; }
//! location = /auth {
//!     internal;
//!     proxy_pass               http://srs-api-service:1985/api/v1/auth;
//!     proxy_pass_request_body  off;
//!     proxy_set_header         Content-Length     "";
//!     proxy_set_header         Host               $host;
//!     proxy_set_header         X-Original-URI     $request_uri;
//!     proxy_set_header         X-Original-Method  $request_method;
//!     proxy_set_header         X-Real-IP          $remote_addr;
//! }
//! ```
//!
//! 204 allows, 401 is a hook's refusal, 403 any other. Playlists are asked about once for each viewer
//! ([`super::viewers`]), segments never; what is no HLS is allowed. X-Real-IP counts where `real_ip` trusts nginx,
//! which should ask the same server each time: a viewer without a `hls_ctx` is known to that server alone. One whose
//! playlist came from a media server has one, at its segments as well, and any server of the same secret knows it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::Response;

use super::viewers::judges::{self, Place};
use super::viewers::{self, Refused, Visit};
use super::{Peer, answer};
use crate::hls::names;
use crate::server::Server;

/// Answers nginx.
pub(super) async fn answer(
    State(server): State<Arc<Server>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request<Body>,
) -> Response {
    let (status, reason) = match judge(&server, peer.ip(), request.headers()).await {
        Ok(()) => (StatusCode::NO_CONTENT, None),
        Err((status, reason)) => (status, Some(reason)),
    };
    let mut response = Response::new(reason.clone().map_or_else(Body::empty, Body::from));
    *response.status_mut() = status;
    answer::common(&mut response, &server.signature, false, true);
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"play\""));
    }
    if let Some(reason) = reason {
        tracing::info!("auth_request: {} is refused with {}: {reason}", peer.ip(), status.as_u16());
    }
    response
}

async fn judge(
    server: &Arc<Server>,
    ip: std::net::IpAddr,
    headers: &HeaderMap,
) -> Result<(), (StatusCode, String)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forbidden = |reason: &str| (StatusCode::FORBIDDEN, reason.to_owned());
    let Some(uri) = text("x-original-uri") else {
        return Err((StatusCode::BAD_REQUEST, "X-Original-URI is missing".into()));
    };
    match text("x-original-method") {
        None | Some("GET" | "HEAD") => {}
        // A browser asks so before it asks for the file; nothing is given away.
        Some("OPTIONS") => return Ok(()),
        Some(_) => return Err(forbidden("only GET and HEAD are served")),
    }
    // nginx leaves a fragment out of the file's name, and has it in $request_uri.
    if uri.contains('#') {
        return Err(forbidden("a request has no fragment"));
    }
    let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
    let path = names::clean(path).ok_or_else(|| forbidden("no file has this name"))?;
    let host = text("host").unwrap_or_default();
    let host = crate::rtmp::url::host_of(host);
    let settings = server.settings();
    let name = answer::query(query, "vhost").unwrap_or(host);
    let vhost = settings.vhost(name).ok_or_else(|| forbidden("there is no such vhost"))?;
    let visit = Visit {
        path: &path,
        query,
        ip,
        agent: text("user-agent").unwrap_or_default(),
        referer: text("referer").unwrap_or_default(),
    };
    let mut verdict = Ok(());
    match names::ending(&path) {
        Some("m3u8") => {
            for judge in judges::of_playlist(server, &settings, vhost, &path, Place::Here) {
                verdict = match viewers::admit(server, judge, visit, false).await {
                    Ok(admission) => admission.enter(server),
                    Err(refused) => Err(refused),
                };
                if verdict.is_ok() {
                    break;
                }
            }
        }
        // Files that are still written.
        Some("tmp" | "temp") => verdict = Err(Refused::Forbidden("this file is not finished".into())),
        _ => {
            let judges = judges::of_part(server, &settings, vhost, &path, Place::Here);
            for judge in judges.into_iter().filter(|judge| judges::is_part(judge, &path)) {
                verdict = viewers::part(server, judge, visit);
                if verdict.is_ok() {
                    break;
                }
            }
        }
    }
    verdict.map_err(|refused| match refused {
        Refused::Forbidden(reason) => (StatusCode::FORBIDDEN, reason),
        Refused::Hook(reason) => (StatusCode::UNAUTHORIZED, reason),
        Refused::Ended => (StatusCode::FORBIDDEN, "the API has ended this viewer".into()),
        Refused::Full => (StatusCode::SERVICE_UNAVAILABLE, "there are too many viewers".into()),
        Refused::Stalled => (StatusCode::SERVICE_UNAVAILABLE, "its volume does not answer".into()),
    })
}
