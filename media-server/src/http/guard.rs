//! Who may change something through the API: disconnect a client, read the configuration again.
//!
//! ```text
//! http_api {
//!     auth {
//!         enabled     on;
//!         token_file  /run/secrets/api-token;     # or: token_env SRS_API_TOKEN;
//!     }
//! }
//! ```
//!
//! With a token every change needs `Authorization: Bearer TOKEN`. Without one the API is SRS's: everybody who reaches
//! the port may. Pages of other sites may not, though, for they only borrow the reach of whoever looks at them:
//! a browser's request counts as such by Origin, Sec-Fetch-Site or Referer, JSONP's included. What is left open is
//! a name that an attacker's DNS points at this server; only a token helps there.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::answer;
use super::secret::Place;
use crate::conf::{Directive, Fault};

/// The longest token file that is read.
const MAX_TOKEN: usize = 4096;

/// `http_api { auth { … } }`: where the token is; none when it is not enabled.
pub fn place(block: Option<&Directive>) -> Result<Option<Place>, Fault> {
    let Some(block) = block.filter(|block| block.on("enabled")) else { return Ok(None) };
    let place = Place::read(block, "token_file", "token_env")?;
    let message =
        "auth needs one of `token_file PATH;` and `token_env NAME;`: where the token is, not the token";
    place.map(Some).ok_or_else(|| Fault::new(block.line, message))
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("http_api.auth.token_file {place}: {source}")]
    File {
        /// The file.
        place: Place,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in it, or what can't stand in a header.
    #[error(
        "http_api.auth: {place} holds no token: letters, digits and signs without white space are expected"
    )]
    Unusable {
        /// The file or the variable.
        place: Place,
    },
}

/// A token's SHA-256: the token itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Of a text; none when it is empty or can't stand in a header.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let usable =
            !text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(|byte| byte.is_ascii_graphic());
        usable.then(|| Token(Sha256::digest(text).into()))
    }

    /// Reads it from where the configuration says.
    pub fn load(place: &Place) -> Result<Self, Error> {
        let bytes = place.load().map_err(|source| Error::File { place: place.clone(), source })?;
        let token = std::str::from_utf8(&bytes).ok().and_then(Token::of);
        token.ok_or_else(|| Error::Unusable { place: place.clone() })
    }

    /// Whether a text is the token; takes the same time whatever the text is.
    fn is(&self, text: &str) -> bool {
        self.0.ct_eq(&<[u8; 32]>::from(Sha256::digest(text))).into()
    }
}

/// The token of now.
#[derive(Debug, Default)]
pub struct Guard(RwLock<Option<Token>>);

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A token is needed, and another or none came.
    Token,
    /// A page of another site asks.
    OtherSite,
}

impl Guard {
    /// Replaces the token.
    pub fn set(&self, token: Option<Token>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Whether a change needs a token.
    pub(super) fn wants_token(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether this request may change something.
    pub(super) fn check(&self, request: &Request<Body>) -> Result<(), Refused> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(token) => match bearer(request.headers()) {
                Some(text) if token.is(text) => Ok(()),
                _ => Err(Refused::Token),
            },
            None if from_other_site(request) => Err(Refused::OtherSite),
            None => Ok(()),
        }
    }
}

/// The answer to a refused change.
pub(super) fn refusal(refused: Refused, signature: &str, cross_site: bool) -> Response {
    let (status, text) = match refused {
        Refused::Token => (StatusCode::UNAUTHORIZED, "Unauthorized: this needs the API's bearer token\n"),
        Refused::OtherSite => (
            StatusCode::FORBIDDEN,
            "Forbidden: a page of another site asks. Use curl, this server's /console/, or a bearer token \
             (http_api { auth { ... } })\n",
        ),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    answer::common(&mut response, signature, cross_site, true);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if refused == Refused::Token {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"http_api\""));
    }
    response
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The host of `http://host:port/…` or `host:port`.
fn host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind(':') {
        // The colons of IPv6 stand before the bracket.
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    }
}

/// A browser asks for a page that did not come from this host, or hides where it came from.
fn from_other_site(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let own = text(headers, header::HOST).map(host);
    let same = |url: &str| own.is_some_and(|own| own.eq_ignore_ascii_case(host(url)));
    if headers.contains_key(header::ORIGIN) {
        return !text(headers, header::ORIGIN).is_some_and(same);
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "cross-site";
    }
    // Scripts, images and links carry neither where the API has no TLS. Every browser calls itself Mozilla, and a page
    // can't change that; what is no browser has nobody's cookies or network to abuse.
    let browser = text(headers, header::USER_AGENT).is_some_and(|agent| agent.starts_with("Mozilla/"));
    browser && *request.method() != Method::DELETE && !text(headers, header::REFERER).is_some_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, fields: &[(&str, &str)]) -> Request<Body> {
        let mut builder = Request::builder().method(method).uri("/api/v1/clients/x");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn a_token_is_needed_where_there_is_one() {
        let guard = Guard::default();
        guard.set(Token::of("s3cret\n"));
        for (value, good) in [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3crets", false),
            ("Bearer ", false),
            ("Basic s3cret", false),
            ("s3cret", false),
        ] {
            let request = request("DELETE", &[("authorization", value), ("origin", "http://other")]);
            assert_eq!(guard.check(&request).is_ok(), good, "{value}");
        }
        assert_eq!(guard.check(&request("DELETE", &[])), Err(Refused::Token));
        assert_eq!(format!("{guard:?}").matches("s3cret").count(), 0);
    }

    #[test]
    fn other_sites_may_not_without_a_token() {
        let guard = Guard::default();
        let browser = ("user-agent", "Mozilla/5.0 (X11)");
        for (method, fields, good) in [
            ("DELETE", vec![], true),
            ("GET", vec![("user-agent", "curl/8")], true),
            ("DELETE", vec![browser, ("host", "srs:1985"), ("origin", "http://srs:8080")], true),
            ("DELETE", vec![browser, ("host", "[::1]:1985"), ("origin", "http://[::1]:8080")], true),
            ("DELETE", vec![browser, ("host", "srs:1985"), ("origin", "http://evil")], false),
            ("DELETE", vec![browser, ("host", "srs:1985"), ("origin", "null")], false),
            ("DELETE", vec![("origin", "http://evil")], false),
            ("GET", vec![browser, ("host", "srs"), ("sec-fetch-site", "cross-site")], false),
            ("GET", vec![browser, ("host", "srs"), ("sec-fetch-site", "same-site")], true),
            ("GET", vec![browser, ("host", "srs"), ("sec-fetch-site", "none")], true),
            // A script or an image of another page, which hides its referrer or does not.
            ("GET", vec![browser, ("host", "srs:1985")], false),
            ("GET", vec![browser, ("host", "srs:1985"), ("referer", "http://evil/srs:1985")], false),
            ("GET", vec![browser, ("host", "srs:1985"), ("referer", "http://srs:8080/console/")], true),
        ] {
            assert_eq!(guard.check(&request(method, &fields)).is_ok(), good, "{method} {fields:?}");
        }
    }

    #[test]
    fn a_token_comes_from_a_file_or_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let from = Place::File(path.clone());
        assert!(Token::load(&from).unwrap_err().to_string().contains("token_file"));
        for (text, good) in [("abc\n", true), ("", false), ("two words", false), ("\n", false)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Token::load(&from).is_ok(), good, "{text:?}");
        }
        let missing = Token::load(&Place::Env("NO_SUCH_VARIABLE_HERE".into())).unwrap_err().to_string();
        assert!(missing.contains("$NO_SUCH_VARIABLE_HERE"), "{missing}");
        for (text, good) in [
            ("enabled off;", true),
            ("enabled on; token_file x;", true),
            ("enabled on; token_env X;", true),
            ("enabled on;", false),
            ("enabled on; token_file x; token_env X;", false),
        ] {
            let block = crate::conf::parse::parse(text).unwrap();
            assert_eq!(super::place(Some(&block)).is_ok(), good, "{text}");
        }
    }
}
