//! Viewers of HLS: many short requests that are one play to `security`, `refer`, http_hooks and the API.
//!
//! A viewer's first request for a playlist is asked about; what was allowed stays allowed while the playlist is asked
//! for again. Where this server gives the playlist, a viewer is a `hls_ctx` ([`super::context`]), which any server with
//! the same secret takes without asking again; where nginx does (`auth_request`), it is an address, a player's name
//! and the URL's parameters. Segments and keys of streams that not everybody may play carry the viewer's context, too;
//! without one they are for every address that has an allowed playlist of their stream.
//!
//! The API tells of viewers with a context, and ends them: their context is refused from then on. That is known to the
//! server that was told; another one of the same secret must be told as well. The server that asked on_play tells
//! on_stop.

mod admission;
mod ended;
pub(super) mod judges;
mod table;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(super) use self::admission::{Admission, admit};
use self::judges::{is_guarded, part_templates};
use self::table::Session;
pub use self::table::Viewers;
use super::volume::Volumes;
use super::{answer, context};
use crate::conf::settings::Vhost;
use crate::hls::names;
use crate::hooks::{self, Job, Purpose};
use crate::recorder::Names;
use crate::rtmp::url;
use crate::server::Server;

/// How often it is looked who has gone.
const SWEEP: Duration = Duration::from_secs(5);

/// One request for a file of HLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit<'a> {
    /// The path, decoded.
    pub(super) path: &'a str,
    /// The query.
    pub(super) query: Option<&'a str>,
    /// The client.
    pub(super) ip: IpAddr,
    /// Its User-Agent.
    pub(super) agent: &'a str,
    /// Its Referer.
    pub(super) referer: &'a str,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// `security`, `refer`, or a segment without an allowed playlist.
    Forbidden(String),
    /// A hook.
    Hook(String),
    /// The API has ended this viewer.
    Ended,
    /// There are too many viewers.
    Full,
    /// The volume of a file does not answer.
    Stalled,
}

/// A viewer has left: the API does not tell of it any more, and on_stop is told.
fn left(server: &Server, session: Session) {
    let Session { watched, asked, listed, .. } = session;
    if let Some((client, source)) = listed {
        server.stat.remove_client(&client.id);
        drop(client);
        server.sources.release(&server.stat, source);
    }
    if !asked {
        return;
    }
    let body = watched.subject.body(&server.stat.server_id, "on_stop");
    let calls = hooks::calls(&watched.hooks, "on_stop", &body);
    if !calls.is_empty() && server.hooks.try_send(Job { calls, purpose: Purpose::Tell }).is_err() {
        tracing::warn!("on_stop is not told: too many hooks are waiting");
    }
}

/// The query without the context that this server added.
pub(super) fn own_param(query: Option<&str>) -> String {
    let kept: Vec<&str> = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !pair.is_empty() && !pair.starts_with("hls_ctx="))
        .collect();
    if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) }
}

/// App and stream of a playlist; none when no stream could be called so.
fn stream_of(vhost: &Vhost, path: &str) -> Option<(String, String)> {
    let valid = |what, name: &str| name.is_empty() || url::check_name(what, name).is_ok();
    names::playlist(vhost.hls.as_ref(), &vhost.name, path)
        .filter(|(app, stream)| valid("app", app) && valid("stream", stream))
}

/// Whether a playlist's query has a context of this vhost's stream.
pub(super) fn has_context(server: &Server, vhost: &Vhost, visit: Visit<'_>) -> bool {
    let (Some(text), Some((app, stream))) = (context(visit.query), stream_of(vhost, visit.path)) else {
        return false;
    };
    let names = Names { vhost: &vhost.name, app: &app, stream: &stream };
    server.contexts.read(text, &names, SystemTime::now()).is_some()
}

/// Whether a segment or a key may be fetched.
pub(super) fn part(server: &Server, vhost: &Vhost, visit: Visit<'_>) -> Result<(), Refused> {
    if !is_guarded(vhost) {
        return Ok(());
    }
    if !vhost.security.permits(false, visit.ip) {
        return Err(Refused::Forbidden("security".into()));
    }
    let templates = part_templates(vhost);
    if let Some(text) = context(visit.query) {
        let now = SystemTime::now();
        let mut streams = templates.iter().filter_map(|one| names::stream(one, &vhost.name, visit.path));
        let read = |(app, stream): (String, String)| {
            let names = Names { vhost: &vhost.name, app: &app, stream: &stream };
            server.contexts.read(text, &names, now)
        };
        if let Some(context) = streams.find_map(read) {
            if server.viewers.was_kicked(&context.id) {
                return Err(Refused::Ended);
            }
            if context.fresh || server.viewers.look(&context.id, |_| ()).is_some() {
                return Ok(());
            }
        }
    }
    let belongs =
        |names: &Names<'_>| templates.iter().any(|template| names::is_part(template, names, visit.path));
    match server.viewers.any_at(&vhost.name, visit.ip, belongs) {
        true => Ok(()),
        false => Err(Refused::Forbidden(
            "it came without its playlist's hls_ctx, and no playlist of it was fetched from this address"
                .into(),
        )),
    }
}

/// Whether a file may be given that is a key, finished or not, of a vhost that does not let everybody play. The file
/// decides and not its URL: a client chooses the Host that it sends.
pub(super) async fn key(
    server: &Server,
    volumes: &Volumes,
    file: PathBuf,
    visit: Visit<'_>,
) -> Result<(), Refused> {
    let settings = server.settings();
    let with_keys: Vec<_> = settings
        .vhosts
        .iter()
        .filter_map(|vhost| Some((vhost, vhost.hls.as_ref()?.keys.as_ref()?)))
        .filter(|(vhost, _)| is_guarded(vhost))
        .collect();
    if with_keys.is_empty() {
        return Ok(());
    }
    let folders: Vec<PathBuf> = with_keys.iter().map(|(_, keys)| keys.path.clone()).collect();
    let names = volumes.ask(move || {
        // What is not there is not given.
        let Ok(file) = std::fs::canonicalize(file) else { return vec![None; folders.len()] };
        let name_in = |folder: &PathBuf| {
            let folder = std::fs::canonicalize(folder).ok()?;
            Some(file.strip_prefix(folder).ok()?.to_str()?.to_owned())
        };
        folders.iter().map(name_in).collect()
    });
    let names = names.await.map_err(|_| Refused::Stalled)?;
    let mut verdict = Ok(());
    for ((vhost, keys), name) in with_keys.into_iter().zip(names) {
        let Some(name) = name.map(|name| format!("/{}", name.strip_suffix(".temp").unwrap_or(&name))) else {
            continue;
        };
        if names::ending(&name) != names::ending(&keys.file) {
            continue;
        }
        verdict = part(server, vhost, Visit { path: &name, ..visit });
        if verdict.is_ok() {
            break;
        }
    }
    verdict
}

/// Counts what was sent to a viewer with a context.
pub(super) fn sent(server: &Server, query: Option<&str>, bytes: u64) {
    let Some(text) = context(query) else { return };
    let now = SystemTime::now();
    server.viewers.look(context::id_of(text), |session| {
        if let Some((client, _)) = &session.listed
            && server.contexts.read(text, &session.names(), now).is_some()
        {
            client.traffic.add_send(usize::try_from(bytes).unwrap_or_default());
        }
    });
}

/// Disconnects a viewer; false when there is none of that id.
pub(super) fn kick(server: &Server, id: &str) -> bool {
    let Some(session) = server.viewers.kick(id, Instant::now()) else { return false };
    tracing::info!(cid = %id, "HLS {} is ended by the API", session.ip);
    left(server, session);
    true
}

/// Takes out viewers that have gone, until there are none.
async fn sweep(server: Arc<Server>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (gone, more) = server.viewers.sweep(Instant::now());
        for session in gone {
            left(&server, session);
        }
        if !more {
            return;
        }
    }
}

/// The context of a query.
pub(super) fn context(query: Option<&str>) -> Option<&str> {
    answer::query(query, "hls_ctx").filter(|context| !context.is_empty() && context.len() <= 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_s_parameters_are_its_own() {
        for (query, param) in [
            (None, ""),
            (Some("hls_ctx=abc"), ""),
            (Some("token=a&hls_ctx=abc"), "?token=a"),
            (Some("hls_ctx=abc&token=a&b"), "?token=a&b"),
        ] {
            assert_eq!(own_param(query), param);
        }
    }
}
