//! The pages at `/`, `/players/` and `/console/`, embedded in the program: a volume over `http_server.dir` hides nothing.
//!
//! The same files are in the image's `objs/nginx/html`, for an nginx that serves a copy of it. Their sources are in
//! `image/html`; `build.rs` adds the players.

use std::path::Path;
use std::sync::PoisonError;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::answer;
use crate::server::{Server, Service};

/// A file of the pages.
#[derive(Debug)]
struct Page {
    /// Below the root, without a slash before.
    path: &'static str,
    kind: &'static str,
    /// Names the content.
    tag: &'static str,
    body: &'static [u8],
    gzip: &'static [u8],
}

const PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Names of SRS's own pages.
const ALIASES: [(&str, &str); 4] = [
    ("players/srs_player.html", "players/index.html"),
    ("players/srs_gb28181.html", "players/index.html"),
    ("console/ng_index.html", "console/index.html"),
    ("console/en_index.html", "console/index.html"),
];

/// Scripts and styles come from here only, nothing is inline; streams may come from other servers.
const POLICY: &str = "default-src 'none'; base-uri 'none'; connect-src http: https: ws: wss:; form-action 'none'; \
    frame-ancestors 'self'; img-src 'self' data:; media-src blob: http: https:; script-src 'self'; \
    style-src 'self'; worker-src 'self' blob:";
/// What tells the pages their server's ports.
const SERVER: &str = "console/server.json";

/// The answer to a request for a page; none when it is not for one.
pub(super) fn answer(server: &Server, service: Service, request: &Request<Body>) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let path = request.uri().path().strip_prefix('/')?;
    let own = path.starts_with("players") || path.starts_with("console");
    if !own && (service == Service::Api || !path.is_empty()) {
        return None;
    }
    if matches!(path, "players" | "console") {
        return Some(redirect(server, request, path));
    }
    if path == SERVER {
        let mut response = Response::new(Body::from(about(server, service).to_string()));
        set(&mut response, header::CONTENT_TYPE, "application/json");
        set(&mut response, header::CACHE_CONTROL, "no-store");
        answer::common(&mut response, &server.signature, false, true);
        return Some(response);
    }
    find(path).map(|page| send(server, page, request.headers()))
}

/// `/index.html`, where the folder has none of its own.
pub(super) fn fallback(server: &Server, request: &Request<Body>) -> Option<Response> {
    (request.uri().path() == "/index.html")
        .then(|| find("").map(|page| send(server, page, request.headers())))
        .flatten()
}

fn find(path: &str) -> Option<&'static Page> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == path).map(|(_, page)| *page);
    let path = alias.unwrap_or(path);
    PAGES.iter().find(|page| page.path == path || page.path.strip_suffix("index.html") == Some(path))
}

/// The folder's name lacks its slash, on which the page's relative links rest.
fn redirect(server: &Server, request: &Request<Body>, path: &str) -> Response {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("/{path}/{query}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    answer::common(&mut response, &server.signature, false, true);
    response
}

fn send(server: &Server, page: &'static Page, asked: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", page.tag);
    let text = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = text(header::IF_NONE_MATCH).split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    let zipped = text(header::ACCEPT_ENCODING).split(',').any(|one| one.trim() == "gzip");
    let body = match (known, zipped) {
        (true, _) => Body::empty(),
        (false, true) => Body::from(page.gzip),
        (false, false) => Body::from(page.body),
    };
    let mut response = Response::new(body);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if zipped {
        set(&mut response, header::CONTENT_ENCODING, "gzip");
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    set(&mut response, header::CONTENT_TYPE, page.kind);
    // Asked again each time, and answered 304: a new image's pages show at once.
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    set(&mut response, header::VARY, "Accept-Encoding");
    set(&mut response, header::CONTENT_SECURITY_POLICY, POLICY);
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer::common(&mut response, &server.signature, false, true);
    response
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// The ports, as far as this server knows them, and versions.
fn about(server: &Server, service: Service) -> Value {
    let addresses = server.addresses.lock().unwrap_or_else(PoisonError::into_inner);
    let port = |wanted| addresses.iter().find(|(one, _)| *one == wanted).map(|(_, address)| address.port());
    json!({
        "service": if service == Service::Api { "api" } else { "http" },
        "rtmp": port(Service::Rtmp),
        "http": port(Service::Http),
        "api": port(Service::Api),
        "https": port(Service::HttpTls),
        "api_https": port(Service::ApiTls),
        "version": server.version.text,
        "media_server": env!("CARGO_PKG_VERSION"),
    })
}

/// Writes the pages below a folder, for a web server that serves them.
pub fn write(folder: &Path) -> std::io::Result<()> {
    let aliases = ALIASES.iter().filter_map(|(alias, page)| Some((*alias, find(page)?)));
    for (path, page) in PAGES.iter().map(|page| (page.path, page)).chain(aliases) {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, page.body)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_of_a_page_leads_to_a_page() {
        for page in PAGES.iter().filter(|page| page.kind.starts_with("text/html")) {
            let text = std::str::from_utf8(page.body).unwrap();
            let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            for link in text.split("href=\"").chain(text.split("src=\"")).skip(1) {
                let link = link.split('"').next().unwrap();
                if link.starts_with('#') || link.starts_with('<') || link.ends_with("favicon.ico") {
                    continue;
                }
                let path = match link.strip_prefix("../") {
                    Some(above) => above.to_owned(),
                    None => format!("{folder}/{}", link.trim_start_matches("./")),
                };
                assert!(find(path.trim_start_matches('/')).is_some(), "{}: {link} ({path})", page.path);
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_becomes_html() {
        for page in PAGES.iter().filter(|page| !page.path.contains("/js/")) {
            let text = std::str::from_utf8(page.body).unwrap();
            for part in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                " style=",
                " onclick=",
            ] {
                assert!(!text.contains(part), "{}: {part}", page.path);
            }
            assert!(!text.contains("<script>"), "{}", page.path);
        }
    }

    #[test]
    fn a_page_s_own_policy_is_the_header_s() {
        // Where nginx sends the page there is no header; frames can only be forbidden by one.
        let own = POLICY.replace("frame-ancestors 'self'; ", "");
        let own = own.split_whitespace().collect::<Vec<_>>().join(" ");
        for page in PAGES.iter().filter(|page| page.kind.starts_with("text/html")) {
            assert!(std::str::from_utf8(page.body).unwrap().contains(&own), "{}", page.path);
        }
    }
}
