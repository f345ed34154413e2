//! `/api/v1/clusters`: who has a stream, as the origins of a cluster ask each other.
//!
//! Everybody may ask. An origin that is about to have the stream says so by `claim`, and a publisher that is silent
//! here is disconnected for it; that is a change, so the asker must be one of the vhost's coworkers, by the address
//! that its connection comes from, or have the API's token.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{Connected, answer};
use crate::resolve::Names;
use crate::server::{Server, Service};
use crate::upstream::Endpoint;
use crate::upstream::coworkers::Wanted;
use crate::upstream::endpoint::API_PORT;

/// A publisher that has sent nothing for longer yields to one that comes to another origin.
const SILENCE: Duration = Duration::from_secs(1);

/// The coworkers' names must be found by then: the asker waits no more than a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether this is asked; coworkers that are SRS ask by POST.
pub(super) fn is_asked(request: &Request<Body>) -> bool {
    request.uri().path().trim_end_matches('/') == "/api/v1/clusters"
        && matches!(*request.method(), Method::GET | Method::POST)
}

/// Who asks.
pub(super) struct Asker {
    ip: Option<IpAddr>,
    has_token: bool,
}

impl Asker {
    pub(super) fn of(server: &Server, request: &Request<Body>) -> Self {
        Asker {
            ip: request.extensions().get::<Connected>().map(|Connected(peer)| peer.ip()),
            has_token: server.guard.wants_token() && server.guard.check(request).is_ok(),
        }
    }

    /// Whether its publisher may take the place of one that is silent here.
    async fn may_displace(&self, server: &Server, names: &Names, wanted: &Wanted) -> bool {
        let settings = server.settings();
        let vhost = settings.vhost(&wanted.vhost);
        let Some(coworkers) = vhost.and_then(|vhost| vhost.cluster.coworkers.as_ref()) else { return false };
        self.has_token
            || match self.ip {
                Some(ip) => server.coworkers.is_one(names, coworkers, ip, PATIENCE).await,
                None => false,
            }
    }
}

/// The answer to a question with SRS's parameters. Only what is published to this very server counts.
pub(super) async fn answer(server: &Server, names: &Names, asker: &Asker, query: Option<&str>) -> Value {
    let text = |name: &str| {
        let raw = answer::query(query, name).unwrap_or_default();
        percent_decode_str(raw).decode_utf8_lossy().into_owned()
    };
    let (ip, vhost, app, stream) = (text("ip"), text("vhost"), text("app"), text("stream"));
    let wanted = Wanted { vhost, app, stream, host: ip };
    let coworker = Endpoint::parse(&text("coworker"), API_PORT);
    let claimer = Some(text("claim")).filter(|id| !id.is_empty());
    let has = match has(server, &wanted, claimer.as_deref()) {
        Has::Silent(publisher) if asker.may_displace(server, names, &wanted).await => {
            tracing::warn!("{} is silent here and yields to a publisher elsewhere", wanted.key());
            server.kick(&publisher);
            false
        }
        Has::Yes | Has::Silent(_) => true,
        Has::No => false,
    };
    let origin = if has { origin(server, &wanted, coworker) } else { Value::Null };
    let Wanted { vhost, app, stream, host: ip } = wanted;
    let mut body = json!({
        "code": 0,
        "data": { "query": { "ip": ip, "vhost": vhost, "app": app, "stream": stream }, "origin": origin },
    });
    // Only the origins of this kind ask with an id; for them this one is known by its own.
    body["server"] = server.stat.server_id.clone().into();
    body
}

/// Whether a stream is here.
enum Has {
    Yes,
    No,
    /// Its publisher, of that id, is silent, and the asker has another.
    Silent(String),
}

/// Whether the stream is published here, or a publisher that came before the asker's is about to.
fn has(server: &Server, wanted: &Wanted, claimer: Option<&str>) -> Has {
    let settings = server.settings();
    let Some(vhost) = settings.vhost(&wanted.vhost) else { return Has::No };
    let wanted = Wanted { vhost: vhost.name.clone(), ..wanted.clone() };
    let now = Instant::now();
    let published = server.sources.look(&wanted.vhost, &wanted.app, &wanted.stream, |source| {
        let publisher = source.stat.media().publisher.clone();
        source.is_published().then(|| (source.silence(now), publisher))
    });
    if let Some((silence, publisher)) = published.flatten() {
        return match claimer.is_some() && silence > SILENCE {
            true => Has::Silent(publisher),
            false => Has::Yes,
        };
    }
    // Two that ask each other at the same moment: the smaller id goes before.
    let earlier = claimer.is_some_and(|other| {
        server.coworkers.is_claimed(&wanted.key(), now) && *server.stat.server_id < *other
    });
    if earlier { Has::Yes } else { Has::No }
}

fn origin(server: &Server, wanted: &Wanted, coworker: Option<Endpoint>) -> Value {
    let addresses = server.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let of = |service: Service| addresses.iter().find(|(other, _)| *other == service).map(|(_, at)| *at);
    let Some(rtmp) = of(Service::Rtmp) else { return Value::Null };
    // Where it listens is its address, unless that says nothing to others; then it is what the asker called it.
    let own = (!rtmp.ip().is_unspecified() && !rtmp.ip().is_loopback()).then(|| rtmp.ip().to_string());
    let api_port = of(Service::Api).map_or(API_PORT, |at| at.port());
    let host = own.or_else(|| coworker.as_ref().map(|coworker| coworker.host.clone()));
    let host = host.unwrap_or_else(|| rtmp.ip().to_string());
    let api = coworker.unwrap_or_else(|| Endpoint { host: host.clone(), port: api_port }).to_string();
    let mut origin = json!({
        "ip": host,
        "port": rtmp.port(),
        "vhost": wanted.vhost,
        "api": api,
        "routers": [api],
    });
    if let Some(http) = of(Service::Http) {
        origin["http"] = http.port().into();
    }
    origin
}
