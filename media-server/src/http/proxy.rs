//! HLS of streams that are elsewhere: an edge fetches playlists and segments from its origins, an origin of a cluster
//! from the stream's owner. So names and sequence numbers are the same on every edge behind one load balancer.
//!
//! One request at a time is made for a file, however many viewers want it; what came is kept for a moment (playlists)
//! or a minute (segments, which never change).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderValue, Method, header};

use crate::conf::settings::{DEFAULT_VHOST, Vhost};
use crate::hls::names;
use crate::resolve::Names;
use crate::server::Server;
use crate::upstream::coworkers::Wanted;
use crate::upstream::{Endpoint, http, rendezvous};

/// A server must have answered by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Coworkers must have said who has a stream by then.
const LOOKUP: Duration = Duration::from_secs(1);
/// A playlist, and that there is none, are believed so long.
const PLAYLIST: Duration = Duration::from_millis(500);
/// A segment is kept so long.
const SEGMENT: Duration = Duration::from_mins(1);
/// The longest file.
const MAX_FILE: usize = 32 << 20;
/// All files that are kept.
const MAX_KEPT: usize = 64 << 20;
/// The most files that are kept or fetched.
const MAX_FILES: usize = 4096;

/// What came for a file: its bytes, or nothing where no server has it.
#[derive(Debug, Clone)]
struct Fetched {
    at: Instant,
    body: Option<Bytes>,
    /// The query with the context that its server gave this one as a viewer.
    context: Option<(Endpoint, String)>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Fetched>>>;

/// The files of other servers.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    names: Names,
    files: Mutex<HashMap<(String, String), Slot>>,
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

impl Proxy {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Slot>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

    /// The file, from the cache or from its server.
    pub(super) async fn fetch(&self, server: &Server, vhost: &Vhost, path: &str) -> Option<Bytes> {
        let slot = self.slot(&vhost.name, path)?;
        // Who waits here gets what the one before has fetched.
        let mut fetched = slot.lock().await;
        let valid = if is_playlist(path) { PLAYLIST } else { SEGMENT };
        let now = Instant::now();
        if let Some(kept) = &*fetched {
            let valid = if kept.body.is_some() { valid } else { PLAYLIST };
            if now.saturating_duration_since(kept.at) < valid {
                return kept.body.clone();
            }
        }
        let context = fetched.take().and_then(|kept| kept.context);
        let came = self.ask_servers(server, vhost, path, context).await;
        let body = came.body.clone();
        *fetched = Some(came);
        body
    }

    /// The place of a file; none when too many are wanted at once.
    fn slot(&self, vhost: &str, path: &str) -> Option<Slot> {
        let mut files = self.lock();
        let key = (vhost.to_owned(), path.to_owned());
        if let Some(slot) = files.get(&key) {
            return Some(Arc::clone(slot));
        }
        let now = Instant::now();
        let mut kept = 0;
        // What is being fetched is locked, and stays.
        files.retain(|(_, path), slot| {
            let Ok(fetched) = slot.try_lock() else { return true };
            let Some(fetched) = &*fetched else { return Arc::strong_count(slot) > 1 };
            let valid = match &fetched.body {
                None => PLAYLIST,
                Some(_) if is_playlist(path) => PLAYLIST * 20,
                Some(_) => SEGMENT,
            };
            kept += fetched.body.as_ref().map_or(0, Bytes::len);
            kept <= MAX_KEPT && now.saturating_duration_since(fetched.at) < valid
        });
        if files.len() >= MAX_FILES {
            let at = |slot: &Slot| slot.try_lock().ok()?.as_ref().map(|fetched| fetched.at);
            let oldest = files.iter().filter_map(|(key, slot)| Some((at(slot)?, key))).min()?;
            let oldest = oldest.1.clone();
            files.remove(&oldest);
        }
        let slot = Slot::default();
        files.insert(key, Arc::clone(&slot));
        Some(slot)
    }

    /// Asks one server after the other.
    async fn ask_servers(
        &self,
        server: &Server,
        vhost: &Vhost,
        path: &str,
        context: Option<(Endpoint, String)>,
    ) -> Fetched {
        let mut last = None;
        for endpoint in self.servers(server, vhost, path).await {
            let known = context.as_ref().filter(|(of, _)| *of == endpoint).map(|(_, query)| query.as_str());
            let asking = tokio::time::timeout(PATIENCE, self.ask(vhost, &endpoint, path, known)).await;
            match asking.unwrap_or_else(|_| Err("no answer in time".into())) {
                Ok((body, query)) => {
                    let context = query.map(|query| (endpoint, query));
                    return Fetched { at: Instant::now(), body: Some(body), context };
                }
                Err(error) => last = Some(format!("{endpoint}: {error}")),
            }
        }
        tracing::debug!("{path}: {}", last.unwrap_or_else(|| "no server has it".into()));
        Fetched { at: Instant::now(), body: None, context: None }
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

    /// A file from one server; with a playlist the query that made this server one of its viewers.
    async fn ask(
        &self,
        vhost: &Vhost,
        endpoint: &Endpoint,
        path: &str,
        known: Option<&str>,
    ) -> Result<(Bytes, Option<String>), String> {
        let addresses = self.names.lookup(&endpoint.host, endpoint.port, false, PATIENCE).await?;
        let mut query = known.map(str::to_owned);
        // A playlist may be a master first, which gives this viewer its context.
        for _ in 0..2 {
            let body = get(vhost, endpoint, &addresses, path, query.as_deref()).await?;
            let Some(context) = is_playlist(path).then(|| context(&body)).flatten() else {
                return Ok((body, query));
            };
            query = Some(context);
        }
        Err("its playlist leads to no list of segments".into())
    }
}

async fn get(
    vhost: &Vhost,
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    path: &str,
    query: Option<&str>,
) -> Result<Bytes, String> {
    let encoded: String = url_path(path);
    let uri = query.map_or_else(|| encoded.clone(), |query| format!("{encoded}?{query}"));
    let name = endpoint.to_string();
    let host = if vhost.name == DEFAULT_VHOST { name.as_str() } else { vhost.name.as_str() };
    let mut error = "it has no address".to_owned();
    for address in addresses {
        let mut request = http::request(Method::GET, host, &uri)?;
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("media-server"));
        match http::send(*address, request).await {
            Ok(response) => return http::read(response, MAX_FILE).await,
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// A decoded path as it stands in a request.
fn url_path(path: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const PLAIN: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(path, PLAIN).to_string()
}

/// The context that a master playlist sends its viewer on with; none when it lists segments.
fn context(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    if !text.contains("#EXT-X-STREAM-INF") {
        return None;
    }
    let uri = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty())?;
    let query = uri.trim().split_once('?')?.1;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>');
    (query.len() <= 1024 && query.chars().all(plain)).then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_names_leave_room_for_real_ones() {
        let proxy = Proxy::default();
        let now = Instant::now();
        let put = |path: &str, body: Option<&'static [u8]>, age: Duration| {
            let slot = proxy.slot("v", path).unwrap();
            let fetched = Fetched {
                at: now.checked_sub(age).unwrap(),
                body: body.map(Bytes::from_static),
                context: None,
            };
            *slot.try_lock().unwrap() = Some(fetched);
        };
        put("/live/real-0.ts", Some(b"ts"), Duration::from_secs(30));
        for number in 0..9 {
            put(&format!("/live/no-{number}.ts"), None, PLAYLIST);
        }
        assert_eq!(proxy.lock().len(), 2, "that there is none is not believed for long");
        let one = Fetched { at: now, body: Some(Bytes::new()), context: None };
        let slot: Slot = Arc::new(tokio::sync::Mutex::new(Some(one)));
        let more = |number| (("v".to_owned(), format!("/live/yes-{number}.ts")), Arc::clone(&slot));
        proxy.lock().extend((1..MAX_FILES).map(more));
        put("/live/new-0.ts", Some(b"ts"), Duration::ZERO);
        assert_eq!(proxy.lock().len(), MAX_FILES);
        assert!(
            !proxy.lock().contains_key(&("v".to_owned(), "/live/real-0.ts".to_owned())),
            "the oldest goes"
        );
    }

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
    fn master_playlists_give_a_context() {
        let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/live/s.m3u8?hls_ctx=abc\n";
        assert_eq!(context(master.as_bytes()).as_deref(), Some("hls_ctx=abc"));
        assert_eq!(context(b"#EXTM3U\n#EXTINF:1,\ns-0.ts\n"), None);
        for odd in ["/x?a b", "/x?a\r", "http://x/", "", "/x?\"<"] {
            let master = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{odd}\n");
            assert!(context(master.as_bytes()).is_none_or(|query| query == "a"), "{odd:?}");
        }
    }
}
