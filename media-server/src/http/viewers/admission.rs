//! How a viewer comes: it is looked at and asked about first, and counts once there is something to play.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::judges::is_guarded;
use super::table::{Added, Session};
use super::{Refused, Visit, context, left, own_param, stream_of, sweep};
use crate::conf::settings::Vhost;
use crate::hooks::{self, Subject, Watched};
use crate::ids;
use crate::recorder::Names;
use crate::server::Server;
use crate::source::Policy;
use crate::stat::{ClientStat, Traffic};

/// A viewer has gone when it asks for no playlist for a window, and for this long at least.
const SHORTEST: Duration = Duration::from_secs(30);

fn stay(vhost: &Vhost) -> Duration {
    let window = vhost.hls.as_ref().map_or(0.0, |hls| hls.window);
    Duration::from_secs_f64(window).max(SHORTEST)
}

/// A viewer that may play. It counts once it has entered, when there is something to play.
#[derive(Debug, Default)]
#[must_use]
pub(in crate::http) struct Admission {
    /// Its `hls_ctx`, where it has one.
    pub(in crate::http) context: Option<String>,
    /// None for who is here already or is not remembered.
    newcomer: Option<Box<Newcomer>>,
}

#[derive(Debug)]
struct Newcomer {
    session: Session,
    /// How its stream is kept, where the API tells of the viewer.
    policy: Option<Policy>,
}

impl Admission {
    /// Nobody has been asked about this viewer before.
    pub(in crate::http) fn is_first(&self) -> bool {
        self.newcomer.as_ref().is_some_and(|newcomer| newcomer.session.asked)
    }

    /// There is a playlist: the viewer is here from now on.
    pub(in crate::http) fn enter(self, server: &Arc<Server>) -> Result<(), Refused> {
        let Some(newcomer) = self.newcomer else { return Ok(()) };
        let Newcomer { session, policy } = *newcomer;
        let (id, names) = (session.id().to_owned(), session.names());
        tracing::info!(cid = %id, "HLS {} plays /{}/{}", session.ip, names.app, names.stream);
        let subject = session.watched.subject.clone();
        match server.viewers.add(session) {
            Ok(Added::Known(second)) => {
                // What was asked about the same viewer under the same id is one play.
                if second.id() != id || second.who.is_some() {
                    left(server, *second);
                }
                return Ok(());
            }
            Ok(Added::New) => {}
            Ok(Added::First) => drop(tokio::spawn(sweep(Arc::clone(server)))),
            Err((refused, session)) => {
                let must_be_known = session.guarded && session.asked;
                left(server, *session);
                // Who need not be known plays all the same; the API does not tell of it.
                return if must_be_known { Err(refused) } else { Ok(()) };
            }
        }
        if let Some(policy) = policy {
            list(server, &subject, policy);
        }
        Ok(())
    }

    /// There is nothing to play.
    pub(in crate::http) fn give_up(self, server: &Server) {
        if let Some(newcomer) = self.newcomer {
            left(server, newcomer.session);
        }
    }
}

/// Lets the API tell of a viewer.
fn list(server: &Server, subject: &Subject, policy: Policy) {
    let Subject { vhost, app, stream, .. } = subject;
    let source = server.sources.get_or_create(&server.stat, vhost, app, stream, policy);
    let client = Arc::new(ClientStat {
        id: subject.client_id.clone(),
        stream: Arc::clone(&source.stat),
        ip: subject.ip.clone(),
        page_url: subject.page_url.clone(),
        swf_url: String::new(),
        tc_url: String::new(),
        kind: "hls-play",
        publish: false,
        since: Instant::now(),
        traffic: Traffic::default(),
        place: None,
    });
    server.stat.add_client(&client);
    if let Some((client, source)) = server.viewers.list(&subject.client_id, client, source) {
        server.stat.remove_client(&client.id);
        server.sources.release(&server.stat, source);
    }
}

/// Whether a playlist may be fetched. `gives` says that this server gives it, and a context with it.
pub(in crate::http) async fn admit(
    server: &Server,
    vhost: &Vhost,
    visit: Visit<'_>,
    gives: bool,
) -> Result<Admission, Refused> {
    let forbidden = |text: &str| Refused::Forbidden(text.to_owned());
    let guarded = is_guarded(vhost);
    let matters = guarded || !vhost.hooks.urls("on_stop").is_empty();
    let Some((app, stream)) = stream_of(vhost, visit.path) else {
        return if matters { Err(forbidden("no playlist has this name")) } else { Ok(Admission::default()) };
    };
    // Rules that were changed since are looked at each time: they cost nothing.
    if !vhost.security.permits(false, visit.ip) {
        return Err(forbidden("security"));
    }
    if !vhost.refer.permits(false, visit.referer) {
        return Err(forbidden("refer"));
    }
    let names = Names { vhost: &vhost.name, app: &app, stream: &stream };
    let now = SystemTime::now();
    let brought = context(visit.query);
    let signed = brought.and_then(|text| server.contexts.read(text, &names, now));
    let other = brought.filter(|_| signed.is_none() && gives);
    let known_as = signed.as_ref().map(|context| context.id.as_str()).or(other);
    if known_as.is_some_and(|id| server.viewers.was_kicked(id)) {
        return Err(Refused::Ended);
    }
    let listed = gives || signed.is_some();
    // Who is not asked about is not remembered either, unless the API tells of it.
    if !listed && !matters {
        return Ok(Admission::default());
    }
    let param = own_param(visit.query);
    let who = match (&signed, other) {
        (Some(_), _) => None,
        (None, Some(text)) => Some(text.to_owned()),
        (None, None) => (!gives).then(|| format!("{param} {}", visit.agent)),
    };
    let give = |id: &str| server.contexts.give(id, &names, now);
    if let Some(context) = &signed
        && server.viewers.stays(&context.id, &names, visit.ip, stay(vhost))
    {
        return Ok(Admission { context: brought.map(str::to_owned), newcomer: None });
    }
    if let Some(who) = &who
        && let Some(id) = server.viewers.known(&names, visit.ip, who, stay(vhost))
    {
        return Ok(Admission { context: gives.then(|| give(&id)), newcomer: None });
    }
    // Another server has asked about it, and it has not stopped since.
    let asked =
        !signed.as_ref().is_some_and(|context| context.fresh && !server.viewers.has_gone(&context.id));
    let (id, context) = if let (Some(context), Some(brought)) = (signed, brought) {
        (context.id, Some(brought.to_owned()))
    } else {
        let id = ids::connection();
        let context = gives.then(|| give(&id));
        (id, context)
    };
    let subject = Subject {
        client_id: id,
        ip: visit.ip.to_canonical().to_string(),
        vhost: vhost.name.clone(),
        app: app.clone(),
        stream: stream.clone(),
        param,
        page_url: visit.referer.to_owned(),
        ..Subject::default()
    };
    if asked {
        let body = subject.body(&server.stat.server_id, "on_play");
        hooks::ask(hooks::calls(&vhost.hooks, "on_play", &body)).await.map_err(Refused::Hook)?;
    }
    let watched = Watched { hooks: Arc::clone(&vhost.hooks), subject };
    let until = Instant::now() + stay(vhost);
    let session = Session { watched, who, ip: visit.ip, asked, guarded, until, listed: None };
    let policy = listed.then(|| Policy::of(vhost));
    Ok(Admission { context, newcomer: Some(Box::new(Newcomer { session, policy })) })
}
