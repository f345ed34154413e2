//! HLS of streams that are elsewhere: an edge fetches playlists and segments from its origins, an origin of a cluster
//! from the stream's owner. So names and sequence numbers are the same on every edge behind one load balancer.
//!
//! One request at a time is made for a file, however many viewers want it; what came is kept for a moment (playlists)
//! or a minute (segments, which never change). That is one cache for all queries, for the bytes are the same.
//!
//! A viewer's query (a token) goes with the request that it causes, without the context that this server gave. Whose
//! query that is, is chance; only with `token_traverse` the other server is asked about every viewer before its first
//! playlist, once for each query. Those questions have a bounded room of their own. From then on the viewer's own
//! context counts, here and on other edges, and the shared cache.

mod ask;
mod kept;

use std::time::{Duration, Instant};

use axum::body::Bytes;

use self::kept::{Fetched, Kept, Slot};
use super::{playlist, viewers};
use crate::conf::settings::Vhost;
use crate::hls::names;
use crate::resolve::Names;
use crate::server::Server;
use crate::upstream::coworkers::Wanted;
use crate::upstream::{Endpoint, rendezvous};

/// Coworkers must have said who has a stream by then.
const LOOKUP: Duration = Duration::from_secs(1);
/// The longest query of a client that is passed on.
const MAX_QUERY: usize = 1024;

/// Why there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// No server has it.
    Missing,
    /// Its server lets not have it, with that status: 401 or 403.
    Refused(u16),
    /// Too much is asked at the moment.
    Full,
}

/// Who asks for a playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// A viewer that may play as far as this server knows, and may be asked about.
    First,
    /// One that has been asked about, or nobody in particular.
    Again,
}

/// The files of other servers.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    names: Names,
    files: Kept,
    /// Questions about viewers, each with its query.
    asked: Kept,
}

/// Whether a path is a playlist.
fn is_playlist(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, kind)| kind == "m3u8")
}

/// The stream of a file's path, by the default templates: a segment is its stream's name, a dash and a number.
fn stream_of(path: &str) -> Option<(&str, &str)> {
    let (folder, file) = path.trim_start_matches('/').rsplit_once('/')?;
    let (stem, kind) = file.rsplit_once('.')?;
    let stream = match kind {
        "m3u8" => stem,
        "ts" | "key" | "m4s" | "mp4" | "aac" => {
            let (stream, number) = stem.rsplit_once('-')?;
            (!number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())).then_some(stream)?
        }
        _ => return None,
    };
    (!folder.is_empty() && !stream.is_empty()).then_some((folder, stream))
}

/// What of a client's query is passed on; none when that can't be.
fn passed_on(query: Option<&str>) -> Option<String> {
    let own = viewers::own_param(query);
    // The vhost stands in the request's Host.
    let kept: Vec<&str> =
        own.trim_start_matches('?').split('&').filter(|pair| !pair.starts_with("vhost=")).collect();
    let passed = kept.join("&");
    (passed.len() <= MAX_QUERY && playlist::is_plain(&passed)).then_some(passed)
}

impl Proxy {
    /// Whether a file of this vhost is another server's: its path, cleaned.
    pub(super) fn concerns(server: &Server, vhost: &Vhost, path: &str) -> Option<String> {
        let path = names::clean(path)?;
        let (app, stream) = stream_of(&path)?;
        if vhost.cluster.edge.is_some() {
            return Some(path);
        }
        vhost.cluster.coworkers.as_ref()?;
        let look = |source: &crate::source::Source| source.is_published();
        let here = server.sources.look(&vhost.name, app, stream, look).unwrap_or_default();
        (!here).then_some(path)
    }

    /// The file, from the cache or from its server; `query` is the client's.
    pub(super) async fn fetch(
        &self,
        server: &Server,
        vhost: &Vhost,
        path: &str,
        query: Option<&str>,
        asks: Asks,
    ) -> Result<Bytes, Lack> {
        let asks_all = vhost.cluster.edge.as_ref().is_some_and(|edge| edge.token_traverse);
        let asks = if asks_all && is_playlist(path) { asks } else { Asks::Again };
        let must_ask = asks == Asks::First;
        let query = match passed_on(query) {
            Some(query) => query,
            None if must_ask => return Err(Lack::Refused(403)),
            None => String::new(),
        };
        if !must_ask {
            let slot = self.files.slot(&vhost.name, path, "").ok_or(Lack::Full)?;
            return self.fetch_into(&slot, server, vhost, path, &query, asks).await;
        }
        let slot = self.asked.slot(&vhost.name, path, &query).ok_or(Lack::Full)?;
        let body = self.fetch_into(&slot, server, vhost, path, &query, Asks::First).await?;
        // It is the newest playlist for the others as well.
        if let Some(shared) = self.files.slot(&vhost.name, path, "")
            && let Ok(mut shared) = shared.try_lock()
            && let Some(newest) = slot.lock().await.clone().filter(|came| came.body.is_ok())
        {
            *shared = Some(newest);
        }
        Ok(body)
    }

    async fn fetch_into(
        &self,
        slot: &Slot,
        server: &Server,
        vhost: &Vhost,
        path: &str,
        query: &str,
        asks: Asks,
    ) -> Result<Bytes, Lack> {
        // Who waits here gets what the one before has fetched.
        let mut fetched = slot.lock().await;
        if let Some(kept) = fetched.as_ref().filter(|kept| kept.holds(path, query, Instant::now())) {
            return kept.body.clone();
        }
        let context = match (fetched.take().and_then(|kept| kept.context), asks) {
            // With what was given for another viewer nothing is asked about this one.
            (_, Asks::First) => None,
            (None, Asks::Again) => self.context_of_stream(vhost, path).await,
            (context, Asks::Again) => context,
        };
        let came = self.ask_servers(server, vhost, path, query, context).await;
        let body = came.body.clone();
        *fetched = Some(came);
        body
    }

    /// What made this server a viewer of a segment's or key's stream, at its server.
    async fn context_of_stream(&self, vhost: &Vhost, path: &str) -> Option<(Endpoint, String)> {
        let (app, stream) = stream_of(path).filter(|_| !is_playlist(path))?;
        let slot = self.files.find(&vhost.name, &format!("/{app}/{stream}.m3u8"))?;
        let (endpoint, query) = slot.lock().await.as_ref()?.context.clone()?;
        let context = viewers::context(Some(&query))?;
        Some((endpoint, format!("hls_ctx={context}")))
    }

    /// Asks one server after the other.
    async fn ask_servers(
        &self,
        server: &Server,
        vhost: &Vhost,
        path: &str,
        query: &str,
        context: Option<(Endpoint, String)>,
    ) -> Fetched {
        let mut came = Fetched {
            at: Instant::now(),
            body: Err(Lack::Missing),
            query: query.to_owned(),
            context: context.clone(),
        };
        for endpoint in self.servers(server, vhost, path).await {
            let known = context.as_ref().filter(|(of, _)| *of == endpoint).map(|(_, query)| query.as_str());
            let question = ask::Question { vhost, path, query, known };
            match question.put(&self.names, &endpoint).await {
                Ok((body, context)) => {
                    came.body = Ok(body);
                    came.context = context.map(|context| (endpoint, context));
                    break;
                }
                Err(ask::Error::Refused(status)) => {
                    tracing::debug!("{path}: {endpoint} refuses with {status}");
                    came.body = Err(Lack::Refused(status));
                    came.context = None;
                    break;
                }
                Err(ask::Error::Failed(error)) => tracing::debug!("{path}: {endpoint}: {error}"),
            }
        }
        came.at = Instant::now();
        came
    }

    /// Who may have the file, the likeliest first.
    async fn servers(&self, server: &Server, vhost: &Vhost, path: &str) -> Vec<Endpoint> {
        let Some((app, stream)) = stream_of(path) else { return Vec::new() };
        if let Some(edge) = &vhost.cluster.edge {
            if edge.http.len() != edge.origins.len() {
                return edge.http.clone();
            }
            // As a publisher of this edge goes to an origin.
            let mut pairs: Vec<_> = edge.origins.iter().zip(&edge.http).collect();
            let key = format!("{}/{app}/{stream}", vhost.name);
            rendezvous::order(&key, &mut pairs, |(origin, _)| origin.to_string());
            return pairs.into_iter().map(|(_, http)| http.clone()).collect();
        }
        let Some(coworkers) = &vhost.cluster.coworkers else { return Vec::new() };
        let wanted = Wanted {
            vhost: vhost.name.clone(),
            app: app.to_owned(),
            stream: stream.to_owned(),
            host: String::new(),
        };
        let own_id = &server.stat.server_id;
        let asking = server.coworkers.find(&self.names, own_id, coworkers, &wanted, false, LOOKUP);
        asking.await.and_then(|owner| owner.http).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_streams() {
        for (path, expected) in [
            ("/live/livestream.m3u8", Some(("live", "livestream"))),
            ("/live/livestream-12.ts", Some(("live", "livestream"))),
            ("/live/room/a-b-12.ts", Some(("live/room", "a-b"))),
            ("/live/livestream.ts", None),
            ("/live/livestream-x.ts", None),
            ("/players/index.html", None),
            ("/livestream.m3u8", None),
            ("/live/.m3u8", None),
            ("/live/livestream.flv", None),
        ] {
            assert_eq!(stream_of(path), expected, "{path}");
        }
    }

    #[test]
    fn a_client_s_query_is_passed_on_without_this_server_s_part() {
        for (query, passed) in [
            (None, Some("")),
            (Some("token=a&hls_ctx=b"), Some("token=a")),
            (Some("vhost=v&token=a%20b&sign"), Some("token=a%20b&sign")),
            (Some("token=\"<"), None),
            (Some(&*"x".repeat(MAX_QUERY + 1)), None),
        ] {
            assert_eq!(passed_on(query).as_deref(), passed, "{query:?}");
        }
    }
}
