//! The HTTP API of SRS 4, key by key; see the recorded answers that the tests compare with.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::answer::{self, code};
use super::auth_request;
use super::guard;
use super::metrics;
use super::pages;
use super::process::{self, Usage};
use super::volume::Volumes;
use super::{clusters, everywhere, viewers};
use crate::conf::settings::Vhost;
use crate::reload;
use crate::resolve::Names;
use crate::server::{Server, Service};
use crate::stat::{ClientStat, StreamStat, VhostStat};

/// What a handler needs.
struct Api {
    server: Arc<Server>,
    usage: Usage,
    /// The coworkers' names.
    names: Names,
    /// Where the configuration is read.
    volumes: Volumes,
}

/// `/healthz` (the process works) and `/readyz` (new clients are welcome).
pub(super) fn probes() -> Router<Arc<Server>> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response
    };
    Router::new().route("/healthz", get(move || async move { plain(StatusCode::OK, "ok\n") })).route(
        "/readyz",
        get(move |State(server): State<Arc<Server>>| async move {
            match server.drain.has_begun() {
                true => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
                false => plain(StatusCode::OK, "ok\n"),
            }
        }),
    )
}

/// What `summaries` tells.
pub(super) fn summaries(server: &Server, usage: &Usage) -> Value {
    let uptime = server.started.elapsed().as_secs();
    let disks = usage.disks(&server.settings().disks);
    let clients = server.stat.client_count();
    let mut summaries =
        process::summaries(&server.version.text, uptime, usage, disks, total(server), clients);
    summaries["self"]["media_server"] = own(server);
    summaries
}

/// The router of the API's port.
pub(super) fn router(server: Arc<Server>) -> Router {
    let usage = Usage::default();
    let volumes = Volumes::one_at_a_time();
    let api = Arc::new(Api { server: Arc::clone(&server), usage, names: Names::default(), volumes });
    let registry = Arc::new(metrics::registry(&server));
    let exported = move || {
        let mut response = Response::new(Body::from(metrics::text(&registry)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
        std::future::ready(response)
    };
    let asked = get(auth_request::answer).with_state(Arc::clone(&server));
    probes().with_state(server).route("/metrics", get(exported)).route("/api/v1/auth", asked).fallback(
        move |request: Request<Body>| {
            let api = Arc::clone(&api);
            async move { api.answer_all(request).await }
        },
    )
}

impl Api {
    /// The answer, for the whole cluster where that is asked for.
    async fn answer_all(&self, request: Request<Body>) -> Response {
        let (cross_site, uri) = (self.is_cross_site(&request), request.uri().clone());
        let (path, query) = (uri.path(), uri.query());
        if clusters::is_asked(&request) {
            let asker = clusters::Asker::of(&self.server, &request);
            let body = clusters::answer(&self.server, &self.names, &asker, query).await;
            return answer::json_answer(&self.server.signature, query, cross_site, &body);
        }
        if !everywhere::is_asked(request.method(), path, query) {
            return self.answer(request).await;
        }
        match self.route(&Method::GET, path, query).await {
            Ok(own) => {
                let body = everywhere::add_others(&self.server, &self.names, path, query, own).await;
                answer::json_answer(&self.server.signature, query, cross_site, &body)
            }
            Err(status) => answer::text_answer(&self.server.signature, status, false),
        }
    }

    /// A page of another site asks, and may.
    fn is_cross_site(&self, request: &Request<Body>) -> bool {
        request.headers().contains_key(header::ORIGIN)
            && self.server.settings().http_api.as_ref().is_some_and(|api| api.crossdomain)
    }

    async fn answer(&self, request: Request<Body>) -> Response {
        if let Some(page) = pages::answer(&self.server, Service::Api, &request) {
            return page;
        }
        let query = request.uri().query();
        let signature = &self.server.signature;
        let method = match answer::query(query, "method") {
            Some("DELETE") => Method::DELETE,
            _ => request.method().clone(),
        };
        let cross_site = self.is_cross_site(&request);
        if method == Method::OPTIONS {
            let mut response = Response::new(Body::empty());
            answer::common(&mut response, signature, cross_site, true);
            if cross_site && self.server.guard.wants_token() {
                // A page that has the token may use it from anywhere.
                let names = HeaderValue::from_static("authorization,content-type");
                response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
            }
            return response;
        }
        if changes(&method, request.uri().path(), query)
            && let Err(refused) = self.server.guard.check(&request)
        {
            return guard::refusal(refused, signature, cross_site);
        }
        if request.uri().path() == "/api/v1/tests/redirects" {
            let mut response = answer::text_answer(signature, StatusCode::FOUND, true);
            let place = HeaderValue::from_static("/api/v1/tests/errors");
            response.headers_mut().insert(header::LOCATION, place);
            return response;
        }
        if request.uri().path() == "/api/v1/tests/requests" {
            let body = answer::body(&self.server.stat.server_id, "data", self.told(&request));
            return answer::json_answer(signature, query, cross_site, &body);
        }
        match self.route(&method, request.uri().path(), query).await {
            Ok(body) => answer::json_answer(signature, query, cross_site, &body),
            Err(status) => answer::text_answer(signature, status, status == StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    async fn route(&self, method: &Method, path: &str, query: Option<&str>) -> Result<Value, StatusCode> {
        let data = |value: Value| Ok(answer::body(&self.server.stat.server_id, "data", value));
        let urls = |value: Value| Ok(answer::body(&self.server.stat.server_id, "urls", value));
        let path = path.trim_end_matches('/');
        if let Some(rest) = path.strip_prefix("/api/v1/clients") {
            return self.clients(method, rest.trim_matches('/'), query);
        }
        if *method != Method::GET {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        match path {
            "" => urls(json!({
                "api": "the api root",
                "rtc": { "v1": { "play": "Play stream", "publish": "Publish stream", "nack": "Simulate the NACK" } },
            })),
            "/api" => urls(json!({ "v1": "the api version 1.0" })),
            "/api/v1" => Ok(index(&self.server.stat.server_id)),
            "/api/v1/versions" => {
                let [major, minor, revision] = self.server.version.parts;
                let mut body = answer::body(
                    &self.server.stat.server_id,
                    "data",
                    json!({
                        "major": major, "minor": minor, "revision": revision, "version": self.server.version.text,
                    }),
                );
                body["data"]["media_server"] = json!(env!("CARGO_PKG_VERSION"));
                Ok(body)
            }
            "/api/v1/summaries" => data(summaries(&self.server, &self.usage)),
            "/api/v1/rusages" => data(process::rusages()),
            "/api/v1/self_proc_stats" => data(process::self_proc_stats(&self.usage)),
            "/api/v1/system_proc_stats" => data(process::system_proc_stats(&self.usage)),
            "/api/v1/meminfos" => data(process::meminfos()),
            "/api/v1/authors" => data(json!({
                "license": "MIT OR Apache-2.0",
                "contributors": env!("CARGO_PKG_NAME"),
            })),
            "/api/v1/features" => data(features()),
            "/api/v1/raw" => Ok(self.raw(query).await),
            "/api/v1/tests/errors" => Ok(answer::error(100)),
            _ => {
                if let Some(rest) = path.strip_prefix("/api/v1/streams") {
                    return Ok(self.streams(rest.trim_matches('/'), query));
                }
                if let Some(rest) = path.strip_prefix("/api/v1/vhosts") {
                    return Ok(self.vhosts(rest.trim_matches('/'), query));
                }
                Err(StatusCode::NOT_FOUND)
            }
        }
    }

    /// The request itself, with SRS's spelling.
    fn told(&self, request: &Request<Body>) -> Value {
        let host =
            request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = request.uri().path();
        json!({
            "uri": format!("http://{host}{path}"),
            "path": path,
            "METHOD": request.method().as_str(),
            "headers": {
                "sigature": "SRS",
                "version": self.server.version.text,
                "link": "https://github.com/ossrs/srs",
                "time": process::now_ms(),
            },
        })
    }

    fn list(&self, key: &str, items: &[Value]) -> Value {
        answer::body(&self.server.stat.server_id, key, Value::Array(items.to_vec()))
    }

    fn streams(&self, id: &str, query: Option<&str>) -> Value {
        let stat = &self.server.stat;
        let clients = stat.clients();
        if id.is_empty() {
            let streams: Vec<Value> =
                page(stat.streams(), query).iter().map(|stream| stream_value(stream, &clients)).collect();
            return self.list("streams", &streams);
        }
        match stat.stream_by_id(id) {
            Some(stream) => answer::body(&stat.server_id, "stream", stream_value(&stream, &clients)),
            None => answer::error(code::STREAM_NOT_FOUND),
        }
    }

    fn vhosts(&self, id: &str, query: Option<&str>) -> Value {
        let stat = &self.server.stat;
        let settings = self.server.settings();
        for vhost in &settings.vhosts {
            stat.vhost(&vhost.name);
        }
        let (clients, streams) = (stat.clients(), stat.streams());
        let value = |vhost: &Arc<VhostStat>| {
            let conf = settings.vhosts.iter().find(|conf| conf.name == vhost.name);
            vhost_value(vhost, conf, &clients, &streams)
        };
        if id.is_empty() {
            let vhosts: Vec<Value> = page(stat.vhosts(), query).iter().map(value).collect();
            return self.list("vhosts", &vhosts);
        }
        match stat.vhosts().iter().find(|vhost| vhost.id == id) {
            Some(vhost) => answer::body(&stat.server_id, "vhost", value(vhost)),
            None => answer::error(code::VHOST_NOT_FOUND),
        }
    }

    fn clients(&self, method: &Method, id: &str, query: Option<&str>) -> Result<Value, StatusCode> {
        let stat = &self.server.stat;
        let found = stat.client_by_id(id);
        if *method == Method::DELETE {
            if !self.server.kick(id) && !viewers::kick(&self.server, id) {
                return Ok(answer::error(code::CLIENT_NOT_FOUND));
            }
            return Ok(json!({ "code": 0, "server": stat.server_id }));
        }
        if *method != Method::GET {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        if id.is_empty() {
            let clients: Vec<Value> =
                page(stat.clients(), query).iter().map(|client| client_value(client)).collect();
            return Ok(self.list("clients", &clients));
        }
        Ok(match found {
            Some(client) => answer::body(&stat.server_id, "client", client_value(&client)),
            None => answer::error(code::CLIENT_NOT_FOUND),
        })
    }

    async fn raw(&self, query: Option<&str>) -> Value {
        let settings = self.server.settings();
        let Some(api) = &settings.http_api else { return answer::error(code::RAW_DISABLED) };
        match answer::query(query, "rpc") {
            Some("raw") => json!({
                "code": 0,
                "http_api": {
                    "enabled": true,
                    "listen": api.listen.port().to_string(),
                    "crossdomain": api.crossdomain,
                    "raw_api": {
                        "enabled": api.raw_api,
                        "allow_reload": api.allow_reload,
                        "allow_query": false,
                        "allow_update": false,
                    },
                },
            }),
            Some("reload") if api.raw_api && api.allow_reload => {
                let server = Arc::clone(&self.server);
                let reload = move || {
                    reload::reload(&server, server.path.as_deref()).map_err(|error| error.to_string())
                };
                match self.volumes.ask(reload).await {
                    Ok(Ok(())) => json!({ "code": 0 }),
                    Ok(Err(error)) => json!({ "code": code::CONFIG_INVALID, "data": error }),
                    Err(stalled) => {
                        let data = format!(
                            "the configuration was not read yet: {stalled}. The reload goes on; \
                             /api/v1/summaries tells of its end (self.media_server.reloads)"
                        );
                        json!({ "code": code::CONFIG_INVALID, "data": data })
                    }
                }
            }
            _ if !api.raw_api => answer::error(code::RAW_DISABLED),
            _ => answer::error(code::RAW_PARAMETER),
        }
    }
}

/// Whether a request asks for more than to be told something.
fn changes(method: &Method, path: &str, query: Option<&str>) -> bool {
    match path.trim_end_matches('/') {
        "/api/v1/raw" => answer::query(query, "rpc") != Some("raw"),
        path => *method == Method::DELETE && path.starts_with("/api/v1/clients"),
    }
}

/// What SRS does not tell of itself.
fn own(server: &Server) -> Value {
    let reloads = server.reloads();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "connections": server.connections.load(Ordering::Relaxed),
        "drain": drain(server),
        "reloads": { "succeeded": reloads.succeeded, "failed": reloads.failed, "error": reloads.error },
    })
}

/// How far quitting has come.
fn drain(server: &Server) -> Value {
    let status = server.drain.status();
    let millis = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    };
    let (publishers, players) = server.stat.publishers_and_players();
    json!({
        "state": status.phase.name(),
        "since_ms": status.since.map(millis),
        "deadline_ms": status.deadline.map(millis),
        "publishers": publishers,
        "players": players,
        "connections": server.drain.guests(),
    })
}

/// Bytes received and sent, with what present players got so far.
pub(super) fn total(server: &Server) -> (u64, u64) {
    let stat = &server.stat;
    let playing: u64 =
        stat.clients().iter().filter(|client| !client.publish).map(|client| sent(client)).sum();
    (stat.traffic.recv.load(Ordering::Relaxed), stat.traffic.send.load(Ordering::Relaxed) + playing)
}

/// `start` and `count` of a list; SRS gives at least ten.
fn page<T>(items: Vec<T>, query: Option<&str>) -> Vec<T> {
    let number = |name| answer::query(query, name).and_then(|text| text.parse::<usize>().ok());
    let start = number("start").unwrap_or(0);
    let count = number("count").unwrap_or(10).max(10);
    items.into_iter().skip(start).take(count).collect()
}

fn sent(client: &ClientStat) -> u64 {
    client.traffic.send.load(Ordering::Relaxed)
}

fn kbps(traffic: &crate::stat::Traffic) -> Value {
    let (recv, send) = traffic.kbps_30s(Instant::now());
    json!({ "recv_30s": recv, "send_30s": send })
}

fn stream_value(stream: &StreamStat, clients: &[Arc<ClientStat>]) -> Value {
    let media = stream.media().clone();
    let playing = clients.iter().filter(|client| !client.publish && client.stream.id == stream.id);
    let playing: u64 = playing.map(|client| sent(client)).sum();
    json!({
        "id": stream.id,
        "name": stream.name,
        "vhost": stream.vhost.id,
        "app": stream.app,
        "live_ms": process::now_ms(),
        "clients": stream.clients.load(Ordering::Relaxed),
        "frames": stream.frames.load(Ordering::Relaxed),
        "send_bytes": stream.traffic.send.load(Ordering::Relaxed) + playing,
        "recv_bytes": stream.traffic.recv.load(Ordering::Relaxed),
        "kbps": kbps(&stream.traffic),
        "publish": { "active": stream.active.load(Ordering::Relaxed), "cid": media.publisher },
        "video": media.video.map(|video| json!({
            "codec": video.codec,
            "profile": video.profile,
            "level": video.level,
            "width": video.width,
            "height": video.height,
        })),
        "audio": media.audio.map(|audio| json!({
            "codec": audio.codec,
            "sample_rate": audio.sample_rate,
            "channel": audio.channels,
            "profile": audio.profile,
        })),
    })
}

fn vhost_value(
    vhost: &VhostStat,
    conf: Option<&Vhost>,
    clients: &[Arc<ClientStat>],
    streams: &[Arc<StreamStat>],
) -> Value {
    let own: Vec<&Arc<ClientStat>> =
        clients.iter().filter(|client| client.stream.vhost.id == vhost.id).collect();
    let playing: u64 = own.iter().filter(|client| !client.publish).map(|client| sent(client)).sum();
    let mut hls = json!({ "enabled": false });
    if let Some(fragment) = conf.and_then(|conf| Some(conf.hls.as_ref()?.fragment)) {
        hls = json!({ "enabled": true, "fragment": fragment });
    }
    json!({
        "id": vhost.id,
        "name": vhost.name,
        "enabled": conf.is_some_and(|conf| conf.enabled),
        "clients": own.len(),
        "streams": streams.iter().filter(|stream| stream.vhost.id == vhost.id).count(),
        "send_bytes": vhost.traffic.send.load(Ordering::Relaxed) + playing,
        "recv_bytes": vhost.traffic.recv.load(Ordering::Relaxed),
        "kbps": kbps(&vhost.traffic),
        "hls": hls,
    })
}

fn client_value(client: &ClientStat) -> Value {
    json!({
        "id": client.id,
        "vhost": client.stream.vhost.id,
        "stream": client.stream.id,
        "ip": client.ip,
        "pageUrl": client.page_url,
        "swfUrl": client.swf_url,
        "tcUrl": client.tc_url,
        "url": client.stream.url(),
        "type": client.kind,
        "publish": client.publish,
        "alive": (client.since.elapsed().as_secs_f64() * 100.0).round() / 100.0,
        "kbps": kbps(&client.traffic),
    })
}

fn features() -> Value {
    json!({
        "options": "",
        "options2": "",
        "build": env!("CARGO_PKG_VERSION"),
        "build2": "",
        "features": {
            "ssl": true, "hls": true, "hds": false, "callback": false, "api": true, "httpd": true, "dvr": true,
            "transcode": false, "ingest": false, "stat": true, "caster": false, "complex_send": true,
            "tcp_nodelay": true, "so_sendbuf": false, "mr": true,
        },
    })
}

fn index(server_id: &str) -> Value {
    json!({
        "code": 0,
        "server": server_id,
        "urls": {
            "versions": "the version of SRS",
            "summaries": "the summary(pid, argv, pwd, cpu, mem) of SRS",
            "rusages": "the rusage of SRS",
            "self_proc_stats": "the self process stats",
            "system_proc_stats": "the system process stats",
            "meminfos": "the meminfo of system",
            "authors": "the license, copyright, authors and contributors",
            "features": "the supported features of SRS",
            "requests": "the request itself, for http debug",
            "vhosts": "manage all vhosts or specified vhost",
            "streams": "manage all streams or specified stream",
            "clients": "manage all clients or specified client, default query top 10 clients",
            "raw": "raw api for srs, support CUID srs for instance the config",
            "clusters": "origin cluster server API",
            "perf": "System performance stat",
            "tcmalloc": "tcmalloc api with params ?page=summary|api",
        },
        "tests": {
            "requests": "show the request info",
            "errors": "always return an error 100",
            "redirects": "always redirect to /api/v1/test/errors",
            "[vhost]": "http vhost for http://error.srs.com:1985/api/v1/tests/errors",
        },
    })
}
