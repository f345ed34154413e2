//! Viewers of HLS: many short requests that are one play to `security`, `refer` and http_hooks.
//!
//! A viewer's first request for a playlist is asked about; what was allowed stays allowed while the playlist is asked
//! for again. Where this server gives the playlist, a viewer is a `hls_ctx`; where nginx does
//! (`auth_request`), it is an address, a player's name and the URL's parameters. Segments carry nothing of
//! their own: they are for every address that has an allowed playlist of their stream.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer;
use crate::conf::settings::{Settings, Vhost};
use crate::hls::names;
use crate::hooks::{self, Job, Purpose, Subject, Watched};
use crate::ids;
use crate::recorder::Names;
use crate::rtmp::url;
use crate::server::Server;

/// The most viewers at a time, where not everybody may play.
const MAX_VIEWERS: usize = 65_536;
/// And of one address, behind which many may be.
const MAX_OF_ADDRESS: usize = 8192;
/// How often it is looked who has gone.
const SWEEP: Duration = Duration::from_secs(5);
/// A viewer has gone when it asks for no playlist for a window, and for this long at least.
const SHORTEST: Duration = Duration::from_secs(30);

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
    /// There are too many viewers.
    Full,
}

#[derive(Debug)]
struct Session {
    app: String,
    stream: String,
    /// What tells one viewer from another behind the same address.
    who: String,
    watched: Watched,
    until: Instant,
}

/// The viewers of now, by vhost and address.
#[derive(Debug, Default)]
pub struct Viewers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<(String, IpAddr), Vec<Session>>,
    count: usize,
    swept: bool,
}

impl Viewers {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// Whether that viewer is allowed already; then it stays for longer.
    fn known(&self, at: &(String, IpAddr), stay: Duration, is: impl Fn(&Session) -> bool) -> bool {
        let mut table = self.lock();
        let Some(session) = table.sessions.get_mut(at).and_then(|all| all.iter_mut().find(|one| is(one)))
        else {
            return false;
        };
        session.until = session.until.max(Instant::now() + stay);
        true
    }

    /// Takes a viewer in; true when somebody must start to sweep.
    fn add(&self, at: (String, IpAddr), session: Session) -> Result<bool, Refused> {
        let mut table = self.lock();
        let full = table.count >= MAX_VIEWERS;
        let sessions = table.sessions.entry(at).or_default();
        let is_same = |one: &&mut Session| {
            (&one.app, &one.stream, &one.who) == (&session.app, &session.stream, &session.who)
        };
        if let Some(same) = sessions.iter_mut().find(is_same) {
            // It asked twice before the first answer.
            same.until = same.until.max(session.until);
            return Ok(false);
        }
        if full || sessions.len() >= MAX_OF_ADDRESS {
            return Err(Refused::Full);
        }
        sessions.push(session);
        table.count += 1;
        Ok(!std::mem::replace(&mut table.swept, true))
    }

    /// Takes out who has gone; none when nobody is left to sweep for.
    fn sweep(&self, now: Instant) -> (Vec<Watched>, bool) {
        let mut table = self.lock();
        let mut gone = Vec::new();
        table.sessions.retain(|_, sessions| {
            gone.extend(sessions.extract_if(.., |one| one.until <= now).map(|one| one.watched));
            !sessions.is_empty()
        });
        table.count -= gone.len();
        table.swept = table.count > 0;
        (gone, table.swept)
    }
}

fn stay(vhost: &Vhost) -> Duration {
    let window = vhost.hls.as_ref().map_or(0.0, |hls| hls.window);
    Duration::from_secs_f64(window).max(SHORTEST)
}

/// The query without the context that this server added.
fn own_param(query: Option<&str>) -> String {
    let kept: Vec<&str> = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !pair.is_empty() && !pair.starts_with("hls_ctx="))
        .collect();
    if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) }
}

/// Whose rules count for a file: a client chooses the Host that it sends, so the vhost that it `named` is not enough.
/// Where a vhost has the stream now, it decides; else every vhost that calls files so and lets not everybody play.
fn judges<'a>(
    server: &Server,
    settings: &'a Settings,
    named: &'a Vhost,
    stream: impl Fn(&Vhost) -> Option<(String, String)>,
) -> Vec<&'a Vhost> {
    let others = settings.vhosts.iter().filter(|vhost| vhost.enabled && vhost.hls.is_some());
    let others = others.filter(|vhost| vhost.name != named.name);
    let fitting: Vec<_> =
        std::iter::once(named).chain(others).filter_map(|vhost| Some((vhost, stream(vhost)?))).collect();
    let is_here = |(vhost, (app, stream)): &(&Vhost, (String, String))| {
        server.sources.look(&vhost.name, app, stream, crate::source::Source::is_published).unwrap_or_default()
    };
    let any_here = fitting.iter().any(is_here);
    let judges: Vec<_> = fitting
        .iter()
        .filter(|one| !any_here || is_here(one))
        .map(|(vhost, _)| *vhost)
        .filter(|vhost| is_guarded(vhost))
        .collect();
    if judges.is_empty() { vec![named] } else { judges }
}

/// The vhosts of which one must let a playlist be fetched.
pub(super) fn playlist_judges<'a>(
    server: &Server,
    settings: &'a Settings,
    named: &'a Vhost,
    path: &str,
) -> Vec<&'a Vhost> {
    judges(server, settings, named, |vhost| names::playlist(vhost.hls.as_ref(), &vhost.name, path))
}

/// The vhosts of which one must let a segment or a key be fetched.
pub(super) fn part_judges<'a>(
    server: &Server,
    settings: &'a Settings,
    named: &'a Vhost,
    path: &str,
) -> Vec<&'a Vhost> {
    judges(server, settings, named, |vhost| {
        part_templates(vhost).iter().find_map(|template| names::stream(template, &vhost.name, path))
    })
}

/// Whether a playlist may be fetched. `context` is the viewer's `hls_ctx`, where it has one.
pub(super) async fn playlist(
    server: &Arc<Server>,
    vhost: &Vhost,
    visit: Visit<'_>,
    context: Option<&str>,
) -> Result<(), Refused> {
    let forbidden = |text: &str| Refused::Forbidden(text.to_owned());
    // Who is not asked about is not remembered either.
    if !is_guarded(vhost) && vhost.hooks.urls("on_stop").is_empty() {
        return Ok(());
    }
    let (app, stream) = names::playlist(vhost.hls.as_ref(), &vhost.name, visit.path)
        .filter(|(app, stream)| {
            let valid = |what, name: &str| name.is_empty() || url::check_name(what, name).is_ok();
            valid("app", app) && valid("stream", stream)
        })
        .ok_or_else(|| forbidden("no playlist has this name"))?;
    // Rules that were changed since are looked at each time: they cost nothing.
    if !vhost.security.permits(false, visit.ip) {
        return Err(forbidden("security"));
    }
    if !vhost.refer.permits(false, visit.referer) {
        return Err(forbidden("refer"));
    }
    let param = own_param(visit.query);
    let who = match context {
        Some(context) => context.to_owned(),
        None => format!("{param} {}", visit.agent),
    };
    let at = (vhost.name.clone(), visit.ip);
    if server.viewers.known(&at, stay(vhost), |one| one.app == app && one.stream == stream && one.who == who)
    {
        return Ok(());
    }
    let subject = Subject {
        client_id: context.map_or_else(ids::connection, str::to_owned),
        ip: visit.ip.to_string(),
        vhost: vhost.name.clone(),
        app: app.clone(),
        stream: stream.clone(),
        param,
        page_url: visit.referer.to_owned(),
        ..Subject::default()
    };
    let body = subject.body(&server.stat.server_id, "on_play");
    hooks::ask(hooks::calls(&vhost.hooks, "on_play", &body)).await.map_err(Refused::Hook)?;
    tracing::info!(cid = %subject.client_id, "HLS {} plays /{app}/{stream}", visit.ip);
    let watched = Watched { hooks: Arc::clone(&vhost.hooks), subject };
    let session = Session { app, stream, who, watched, until: Instant::now() + stay(vhost) };
    match server.viewers.add(at, session) {
        Ok(true) => drop(tokio::spawn(sweep(Arc::clone(server)))),
        Err(refused) if is_guarded(vhost) => return Err(refused),
        // Everybody may play; only on_stop is not told.
        Ok(false) | Err(_) => {}
    }
    Ok(())
}

/// What the vhost calls its segments and keys, where that is not said.
const DEFAULT_PARTS: [&str; 2] = ["[app]/[stream]-[seq].ts", "[app]/[stream]-[seq].key"];

/// The templates of segments' and keys' names, as URLs' paths.
fn part_templates(vhost: &Vhost) -> Vec<String> {
    let own = vhost.hls.iter().flat_map(|hls| {
        let keys = hls.keys.iter().flat_map(|keys| [keys.file.clone(), keys.url_path()]);
        std::iter::once(hls.ts_file.clone()).chain(keys)
    });
    let defaults = DEFAULT_PARTS.iter().skip(usize::from(vhost.hls.is_some()));
    own.chain(defaults.map(|template| (*template).to_owned())).collect()
}

/// Whether a path has the ending that segments or keys have.
pub(super) fn is_part(vhost: &Vhost, path: &str) -> bool {
    part_templates(vhost)
        .iter()
        .map(String::as_str)
        .chain(DEFAULT_PARTS)
        .any(|template| names::ending(template) == names::ending(path))
}

/// Whether a segment or a key may be fetched.
pub(super) fn part(server: &Server, vhost: &Vhost, visit: Visit<'_>) -> Result<(), Refused> {
    if !is_guarded(vhost) {
        return Ok(());
    }
    let at = (vhost.name.clone(), visit.ip);
    let templates = part_templates(vhost);
    let belongs = |one: &Session| {
        let names = Names { vhost: &vhost.name, app: &one.app, stream: &one.stream };
        templates.iter().any(|template| names::is_part(template, &names, visit.path))
    };
    match vhost.security.permits(false, visit.ip) && server.viewers.known(&at, Duration::ZERO, belongs) {
        true => Ok(()),
        false => Err(Refused::Forbidden("no playlist of it was fetched from this address".into())),
    }
}

/// Whether a vhost does not let everybody play.
pub(super) fn is_guarded(vhost: &Vhost) -> bool {
    !vhost.hooks.urls("on_play").is_empty() || vhost.security.is_enabled() || vhost.refer.is_enabled()
}

/// Whether a file may be given that is a key, finished or not, of a vhost that does not let everybody play. The file
/// decides and not its URL: a client chooses the Host that it sends.
pub(super) fn key(server: &Server, file: &Path, ip: IpAddr) -> Result<(), Refused> {
    let settings = server.settings();
    let mut keys = settings.vhosts.iter().filter_map(|vhost| {
        let keys = vhost.hls.as_ref()?.keys.as_ref()?;
        is_guarded(vhost).then_some((vhost, keys))
    });
    let Some(first) = keys.next() else { return Ok(()) };
    // What is not there is not given.
    let Ok(file) = std::fs::canonicalize(file) else { return Ok(()) };
    let mut verdict = Ok(());
    for (vhost, keys) in std::iter::once(first).chain(keys) {
        let name = std::fs::canonicalize(&keys.path)
            .ok()
            .and_then(|folder| file.strip_prefix(folder).ok()?.to_str());
        let Some(name) = name.map(|name| format!("/{}", name.strip_suffix(".temp").unwrap_or(name))) else {
            continue;
        };
        if names::ending(&name) != names::ending(&keys.file) {
            continue;
        }
        let visit = Visit { path: &name, query: None, ip, agent: "", referer: "" };
        verdict = part(server, vhost, visit);
        if verdict.is_ok() {
            break;
        }
    }
    verdict
}

/// Tells on_stop of viewers that have gone, until there are none.
async fn sweep(server: Arc<Server>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (gone, more) = server.viewers.sweep(Instant::now());
        for watched in gone {
            let body = watched.subject.body(&server.stat.server_id, "on_stop");
            let calls = hooks::calls(&watched.hooks, "on_stop", &body);
            if !calls.is_empty() && server.hooks.try_send(Job { calls, purpose: Purpose::Tell }).is_err() {
                tracing::warn!("on_stop is not told: too many hooks are waiting");
            }
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

    fn session(who: &str, until: Instant) -> Session {
        let watched = Watched { hooks: Arc::default(), subject: Subject::default() };
        Session { app: "live".into(), stream: "s".into(), who: who.into(), watched, until }
    }

    #[test]
    fn viewers_stay_while_they_ask() {
        let viewers = Viewers::default();
        let at = ("v".to_owned(), IpAddr::from([1, 2, 3, 4]));
        let now = Instant::now();
        assert_eq!(viewers.add(at.clone(), session("a", now)), Ok(true));
        assert_eq!(viewers.add(at.clone(), session("b", now)), Ok(false));
        assert!(viewers.known(&at, SHORTEST, |one| one.who == "a"));
        assert!(!viewers.known(&at, SHORTEST, |one| one.who == "c"));
        let (gone, more) = viewers.sweep(now + Duration::from_secs(1));
        assert_eq!((gone.len(), more, viewers.count()), (1, true, 1));
        let (gone, more) = viewers.sweep(now + SHORTEST * 2);
        assert_eq!((gone.len(), more, viewers.count()), (1, false, 0));
        assert_eq!(viewers.add(at, session("a", now)), Ok(true));
    }

    #[test]
    fn one_address_does_not_take_all_places() {
        let viewers = Viewers::default();
        let at = |last| ("v".to_owned(), IpAddr::from([1, 2, 3, last]));
        let until = Instant::now() + SHORTEST;
        for index in 0..MAX_OF_ADDRESS {
            assert!(viewers.add(at(4), session(&index.to_string(), until)).is_ok());
        }
        assert_eq!(viewers.add(at(4), session("one more", until)), Err(Refused::Full));
        // Who is there already is not one more, and others are not hit.
        assert_eq!(viewers.add(at(4), session("7", until)), Ok(false));
        assert_eq!(viewers.add(at(5), session("another", until)), Ok(false));
        assert_eq!(viewers.count(), MAX_OF_ADDRESS + 1);
    }

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
