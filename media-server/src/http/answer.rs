//! Answers as SRS gives them: JSON or JSONP, errors as HTTP 200 with a code, CORS only for pages of other sites.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::mount;

/// SRS's error codes.
pub(super) mod code {
    pub(crate) const VHOST_NOT_FOUND: u32 = 2014;
    pub(crate) const STREAM_NOT_FOUND: u32 = 2048;
    pub(crate) const CLIENT_NOT_FOUND: u32 = 2049;
    pub(crate) const CONFIG_INVALID: u32 = 1023;
    pub(crate) const RAW_DISABLED: u32 = 1061;
    pub(crate) const RAW_PARAMETER: u32 = 1062;
}

/// The longest callback of JSONP.
const MAX_CALLBACK: usize = 64;

/// A query's value, percent signs and plus left as they are: no value of the API needs them.
pub(super) fn query<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    crate::rtmp::url::param(query?, name)
}

/// `{"code":0,"server":…}` and one more member.
pub(super) fn body(server_id: &str, key: &str, value: Value) -> Value {
    let mut body = json!({ "code": 0, "server": server_id });
    body[key] = value;
    body
}

/// `{"code":N}`.
pub(super) fn error(code: u32) -> Value {
    json!({ "code": code })
}

/// A JavaScript name, perhaps with dots, as JSONP's callback; anything else would be script injection.
fn valid_callback(name: &str) -> bool {
    let first =
        name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$');
    let all = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.'));
    first && all && name.len() <= MAX_CALLBACK
}

/// The answer to a request of the API.
pub(super) fn json_answer(
    signature: &str,
    uri_query: Option<&str>,
    cross_site: bool,
    body: &Value,
) -> Response {
    let callback = query(uri_query, "callback").filter(|name| valid_callback(name));
    let (text, kind) = match callback {
        Some(callback) => (format!("{callback}({body})"), "text/javascript"),
        None => (body.to_string(), "application/json"),
    };
    let mut response = Response::new(Body::from(text));
    common(&mut response, signature, cross_site, true);
    // A text of JSONP is a script, and nothing that a browser guesses it to be.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A plain text, as SRS answers what it does not have.
pub(super) fn text_answer(signature: &str, status: StatusCode, keep_alive: bool) -> Response {
    let text = status.canonical_reason().unwrap_or("Error");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    common(&mut response, signature, false, keep_alive);
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Server, Connection and CORS.
pub(super) fn common(response: &mut Response, signature: &str, cross_site: bool, keep_alive: bool) {
    let headers = response.headers_mut();
    if let Ok(server) = HeaderValue::from_str(signature) {
        headers.insert(header::SERVER, server);
    }
    let connection = if keep_alive { "Keep-Alive" } else { "Close" };
    headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
    if cross_site {
        for line in mount::CORS.split("\r\n").filter(|line| !line.is_empty()) {
            if let Some((name, value)) = line.split_once(": ")
                && let (Ok(name), Ok(value)) =
                    (name.parse::<header::HeaderName>(), HeaderValue::from_str(value))
            {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_are_names() {
        for good in ["f", "jQuery1_2", "a.b.c", "$x"] {
            assert!(valid_callback(good), "{good}");
        }
        for bad in ["", "1f", "f(1)", "<script>", "a;b", &"f".repeat(100)] {
            assert!(!valid_callback(bad), "{bad}");
        }
    }
}
