//! One file, asked of one server.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, Method, header};

use super::is_playlist;
use crate::conf::settings::{DEFAULT_VHOST, Vhost};
use crate::http::playlist;
use crate::resolve::Names;
use crate::upstream::{Endpoint, http};

/// A server must have answered by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest file.
const MAX_FILE: usize = 32 << 20;

/// Why a server gave nothing.
#[derive(Debug)]
pub(super) enum Error {
    /// It lets not have the file: 401 or 403.
    Refused(u16),
    /// It does not have it, or does not answer as it should.
    Failed(String),
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) vhost: &'a Vhost,
    pub(super) path: &'a str,
    /// The client's, as it is passed on.
    pub(super) query: &'a str,
    /// The query that made this server a viewer before.
    pub(super) known: Option<&'a str>,
}

impl Question<'_> {
    /// The file, with the query that made this server a viewer of its playlist.
    pub(super) async fn put(
        self,
        names: &Names,
        endpoint: &Endpoint,
    ) -> Result<(Bytes, Option<String>), Error> {
        if let Some(known) = self.known {
            match self.put_with(names, endpoint, known).await {
                // It has forgotten this viewer; who asks now may be let in.
                Err(Error::Refused(_)) => {}
                answer => return answer,
            }
        }
        self.put_with(names, endpoint, self.query).await
    }

    async fn put_with(
        self,
        names: &Names,
        endpoint: &Endpoint,
        query: &str,
    ) -> Result<(Bytes, Option<String>), Error> {
        let asking = async {
            let addresses = names.lookup(&endpoint.host, endpoint.port, false, PATIENCE).await;
            let addresses = addresses.map_err(Error::Failed)?;
            let mut query = query.to_owned();
            // A playlist may be a master first, which gives this viewer its context.
            for _ in 0..2 {
                let body = self.get(endpoint, &addresses, &query).await?;
                if !is_playlist(self.path) {
                    return Ok((body, None));
                }
                match playlist::leads_to(&body) {
                    Some(context) => query = context,
                    None => {
                        return Ok((without_context(body), Some(query).filter(|query| !query.is_empty())));
                    }
                }
            }
            Err(Error::Failed("its playlist leads to no list of segments".into()))
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        answer.unwrap_or_else(|_| Err(Error::Failed("no answer in time".into())))
    }

    async fn get(self, endpoint: &Endpoint, addresses: &[SocketAddr], query: &str) -> Result<Bytes, Error> {
        let mut uri = url_path(self.path);
        if !query.is_empty() {
            uri = format!("{uri}?{query}");
        }
        let name = endpoint.to_string();
        let vhost = match &self.vhost.cluster.edge {
            Some(edge) => edge.vhost.replace("[vhost]", &self.vhost.name),
            None => self.vhost.name.clone(),
        };
        let host = if vhost == DEFAULT_VHOST { name } else { vhost };
        let mut error = Error::Failed("it has no address".into());
        for address in addresses {
            let mut request = http::request(Method::GET, &host, &uri).map_err(Error::Failed)?;
            request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("media-server"));
            match http::send(*address, request).await {
                Ok(response) if matches!(response.status().as_u16(), 401 | 403) => {
                    return Err(Error::Refused(response.status().as_u16()));
                }
                Ok(response) => return http::read(response, MAX_FILE).await.map_err(Error::Failed),
                Err(failed) => error = Error::Failed(failed),
            }
        }
        Err(error)
    }
}

/// A list of segments for viewers of this server, to whom the other one gave no context.
fn without_context(body: Bytes) -> Bytes {
    match std::str::from_utf8(&body) {
        Ok(text) if text.contains("hls_ctx=") => playlist::without_context(text).into(),
        _ => body,
    }
}

/// A decoded path as it stands in a request.
fn url_path(path: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const PLAIN: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(path, PLAIN).to_string()
}
