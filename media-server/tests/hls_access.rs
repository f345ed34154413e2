//! Who may watch HLS: asked once for each viewer, whether this server or nginx gives the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod api_traces;
mod common;
#[allow(dead_code, reason = "each test program uses a part")]
mod service;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use api_traces::{assert_has, shapes};
use common::{Reaped, TestServer, media, publish, request, wait_until};
use media_server::server::Service;
use serde_json::Value;
use service::{Seen, service};

/// Players need the right token.
fn decide(body: &Value) -> &'static str {
    let refused = body["action"] == "on_play" && body["param"] != "?token=right";
    if refused { "{\"code\":7}" } else { "0" }
}

fn plays(seen: &Seen) -> Vec<Value> {
    let seen = seen.lock().unwrap();
    seen.iter().filter(|body| body["action"] == "on_play").cloned().collect()
}

fn status(address: SocketAddr, path: &str, fields: &[&str]) -> String {
    let (head, _) = request(address, "GET", path, fields);
    head["HTTP/1.1 ".len()..][..3].to_owned()
}

fn segments(playlist: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(playlist).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// A live stream with HLS in a folder, and what decides about players.
fn live(html: &Path, hooks: SocketAddr, more: &str, root: &str) -> (TestServer, Reaped) {
    let vhost = format!(
        "hls {{ enabled on; hls_fragment 1; hls_window 30; hls_path {}; }}
         http_hooks {{ enabled on; on_play http://{hooks}/; on_stop http://{hooks}/; }} {more}",
        html.display()
    );
    let server = TestServer::start(&vhost, root);
    let publisher = publish(&media(), &server.rtmp("live/livestream"));
    wait_until("a segment is listed", || !segments(&html.join("live/livestream.m3u8")).is_empty());
    (server, publisher)
}

fn nginx(dir: &Path, html: &Path, api: SocketAddr) -> (Reaped, SocketAddr) {
    common::ensure_packages(&["nginx"]);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (root, html, conf) = (dir.display(), html.display(), dir.join("nginx.conf"));
    std::fs::write(
        &conf,
        format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log; events {{ }}
             http {{ access_log off;
               client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
               uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
               server {{ listen {address};
                 location / {{ auth_request /auth; root {html}; }}
                 location = /auth {{
                   internal;
                   proxy_pass http://{api}/api/v1/auth;
                   proxy_pass_request_body off;
                   proxy_set_header Content-Length \"\";
                   proxy_set_header Host $host;
                   proxy_set_header X-Original-URI $request_uri;
                   proxy_set_header X-Original-Method $request_method;
                   proxy_set_header X-Real-IP $http_x_test_address;
                 }} }} }}"
        ),
    )
    .unwrap();
    let child = Command::new("nginx").arg("-c").arg(&conf).stderr(Stdio::null()).spawn().unwrap();
    let nginx = Reaped(child);
    wait_until("nginx listens", || TcpStream::connect(address).is_ok());
    (nginx, address)
}

#[test]
fn nginx_asks_once_for_each_viewer() {
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("html");
    let (hooks, seen) = service(decide);
    let trusted = "real_ip { trusted 127.0.0.0/8; x_forwarded_for on; }";
    let security = "security { enabled on; allow publish all; allow play all; deny play 10.9.9.9; }";
    let (server, _publisher) = live(&html, hooks, security, trusted);
    let (_nginx, http) = nginx(dir.path(), &html, server.address(Service::Api));
    let playlist = "/live/livestream.m3u8";
    let segment = format!("/live/{}", segments(&html.join("live/livestream.m3u8"))[0]);
    let viewer = "X-Test-Address: 10.0.0.1";
    // Nobody has asked for the playlist yet.
    assert_eq!(status(http, &segment, &[viewer]), "403");
    assert_eq!(status(http, playlist, &[viewer]), "401");
    assert_eq!(status(http, &format!("{playlist}?token=wrong"), &[viewer]), "401");
    assert_eq!(plays(&seen).len(), 2);
    for _ in 0..3 {
        assert_eq!(status(http, &format!("{playlist}?token=right"), &[viewer]), "200");
        assert_eq!(status(http, &segment, &[viewer]), "200");
    }
    let asked = plays(&seen);
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!((&asked[2]["ip"], &asked[2]["param"]), (&"10.0.0.1".into(), &"?token=right".into()));
    assert_eq!((&asked[2]["app"], &asked[2]["stream"]), (&"live".into(), &"livestream".into()));
    // What was allowed to one is not to another, nor is another token.
    assert_eq!(status(http, &segment, &["X-Test-Address: 10.0.0.2"]), "403");
    assert_eq!(status(http, &format!("{playlist}?token=wrong"), &[viewer]), "401");
    assert_eq!(status(http, &format!("{playlist}?token=right"), &["X-Test-Address: 10.9.9.9"]), "403");
    // nginx finds the same file by these names.
    for path in ["/live/%6civestream.m3u8", "//live/livestream.m3u8", "/live/x/../livestream.m3u8"] {
        assert_ne!(status(http, path, &["X-Test-Address: 10.0.0.3"]), "200", "{path}");
    }
    // nginx leaves out what follows #, and tells of it.
    for path in [playlist, &segment] {
        assert_eq!(status(http, &format!("{path}#.txt"), &["X-Test-Address: 10.0.0.4"]), "403", "{path}");
    }
    std::fs::write(html.join("page.html"), "a page").unwrap();
    assert_eq!(status(http, "/page.html", &[]), "200");
}

#[test]
fn the_address_of_whom_nobody_trusts_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (hooks, seen) = service(|_| "0");
    let (server, _publisher) = live(&dir.path().join("html"), hooks, "", "");
    let api = server.address(Service::Api);
    let uri = "X-Original-URI: /live/livestream.m3u8";
    assert_eq!(status(api, "/api/v1/auth", &[uri, "X-Real-IP: 10.0.0.1"]), "204");
    assert_eq!(plays(&seen)[0]["ip"], "127.0.0.1");
    assert_eq!(status(api, "/api/v1/auth", &[]), "400");
    assert_eq!(status(api, "/api/v1/auth", &[uri, "X-Original-Method: PUT"]), "403");
    assert_eq!(status(api, "/api/v1/auth", &["X-Original-URI: /live/a.ts.tmp"]), "403");
    assert_eq!(status(api, "/api/v1/auth", &["X-Original-URI: /live/a.m3u8%0d%0a"]), "403");
}

#[test]
fn the_server_asks_when_it_gives_the_master_playlist() {
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("html");
    std::fs::create_dir(&html).unwrap();
    let (hooks, seen) = service(decide);
    // The HTTP port serves the folder that HLS is written to.
    let text = format!(
        "listen 127.0.0.1:0; http_server {{ enabled on; listen 127.0.0.1:0; dir {0}; }}
         vhost __defaultVhost__ {{ hls {{ enabled on; hls_fragment 1; hls_path {0}; }}
            http_hooks {{ enabled on; on_play http://{hooks}/; on_stop http://{hooks}/; }} }}",
        html.display()
    );
    let settings = media_server::conf::from_text(&text).unwrap();
    let version = media_server::server::Version::parse("4.0.271").unwrap();
    let running = media_server::cli::Running::start(settings, version).unwrap();
    let _publisher =
        publish(&media(), &format!("rtmp://{}/live/livestream", running.address(Service::Rtmp).unwrap()));
    wait_until("a segment is listed", || !segments(&html.join("live/livestream.m3u8")).is_empty());
    let http = running.address(Service::Http).unwrap();
    assert_eq!(status(http, "/live/livestream.m3u8?token=wrong", &[]), "401");
    for path in ["/live/livestream.m3u%38", "/live/livestream%2em3u8", "/live%2Flivestream.m3u8"] {
        assert_eq!(status(http, path, &[]), "401", "{path}");
    }
    let asked_before = plays(&seen).len();
    let (_, master) = request(http, "GET", "/live/livestream.m3u8?token=right", &[]);
    let url = master.lines().last().unwrap();
    for _ in 0..3 {
        let (_, media) = request(http, "GET", url, &[]);
        assert!(media.contains("livestream-0.ts"), "{media}");
    }
    let asked = plays(&seen);
    assert_eq!(asked.len(), asked_before + 1, "{asked:?}");
    // The context begins with the client's id; with SRS it is nothing else.
    let id = asked[asked_before]["client_id"].as_str().unwrap();
    assert!(id.len() == 8 && url.contains(&format!("token=right&hls_ctx={id}-")), "{url} {asked:?}");
    // The signature is nobody else's business.
    assert_eq!(asked[asked_before]["param"], "?token=right");
    assert_eq!(running.server.viewers.count(), 1);
    // A context that nobody gave, or that is another stream's, is a viewer like any other.
    let context = url.rsplit_once('=').unwrap().1;
    for context in ["made-up", &context.replace(id, "zzzzzzzz"), &context[..30]] {
        let path = format!("/live/livestream.m3u8?hls_ctx={context}");
        assert_eq!(status(http, &path, &[]), "401", "{path}");
    }
    let _other = publish(&media(), &format!("rtmp://{}/live/other", running.address(Service::Rtmp).unwrap()));
    wait_until("a segment of the other is listed", || !segments(&html.join("live/other.m3u8")).is_empty());
    assert_eq!(status(http, &format!("/live/other.m3u8?hls_ctx={context}"), &[]), "401");
    running.stop();
}

fn clients(server: &TestServer) -> Vec<Value> {
    let all = server.api("/api/v1/clients/?count=100");
    let all = all["clients"].as_array().unwrap().iter();
    all.filter(|client| client["type"] == "hls-play").cloned().collect()
}

#[test]
fn viewers_are_listed_and_can_be_ended() {
    let (hooks, seen) = service(|_| "0");
    let vhost = |html: &Path| {
        format!(
            "hls {{ enabled on; hls_fragment 1; hls_path {}; }}
             http_hooks {{ enabled on; on_play http://{hooks}/; on_stop http://{hooks}/; }}",
            html.display()
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(dir, vhost, "");
    let html = server.dir.path();
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    wait_until("a segment is listed", || !segments(&html.join("live/livestream.m3u8")).is_empty());
    let http = server.address(Service::Http);
    let stream = || server.api("/api/v1/streams/")["streams"][0].clone();
    assert_eq!((clients(&server).len(), &stream()["clients"]), (0, &1.into()));

    let first = "/live/livestream.m3u8?token=a";
    let masters: Vec<String> =
        (0..2).map(|_| request(http, "GET", first, &["Referer: http://page/"]).1).collect();
    let urls: Vec<&str> = masters.iter().map(|master| master.lines().last().unwrap()).collect();
    for url in &urls {
        let (_, media) = request(http, "GET", url, &[]);
        // Who has the playlist takes the context along to what belongs to it.
        let context = url.rsplit_once("hls_ctx=").unwrap().1;
        assert!(media.contains(&format!("livestream-0.ts?hls_ctx={context}")), "{media}");
    }
    let listed = clients(&server);
    assert_eq!((listed.len(), &stream()["clients"]), (2, &3.into()), "{listed:?}");
    assert_eq!(server.api("/api/v1/vhosts/")["vhosts"][0]["clients"], 3);
    for client in &listed {
        assert_has("hls-play", &shapes("answers")["v1_clients_.json"]["clients"][0], client);
        assert_eq!((&client["stream"], &client["url"]), (&stream()["id"], &"/live/livestream".into()));
        assert_eq!((&client["publish"], &client["pageUrl"]), (&false.into(), &"http://page/".into()));
        assert_eq!(client["ip"], "127.0.0.1");
    }
    let id = urls[0].rsplit_once("hls_ctx=").unwrap().1[..8].to_owned();
    let of_one = format!("/api/v1/clients/{id}");
    assert_eq!(server.api(&of_one)["client"]["id"], id.as_str());
    let sent =
        || server.running().server.stat.client_by_id(&id).unwrap().traffic.send.load(Ordering::Relaxed);
    let before = sent();
    assert_eq!(status(http, &format!("/live/livestream-0.ts{}", &urls[0][first.len() - 8..]), &[]), "200");
    assert!(sent() > before + 188, "a segment is counted");

    let api = server.address(Service::Api);
    assert_eq!(request(api, "DELETE", &of_one, &[]).1.matches("\"code\":0").count(), 1);
    assert_eq!(server.api(&of_one)["code"], 2049);
    assert_eq!((clients(&server).len(), &stream()["clients"]), (1, &2.into()));
    for path in [urls[0].to_owned(), urls[0].replace("token=a", "token=b")] {
        assert_eq!(status(http, &path, &[]), "404", "{path}");
    }
    assert_eq!(status(http, urls[1], &[]), "200", "the other goes on");
    let of_id = |action: &str| {
        let seen = seen.lock().unwrap();
        seen.iter().filter(|body| body["action"] == action && body["client_id"] == id.as_str()).count()
    };
    wait_until("on_stop is told", || of_id("on_stop") > 0);
    assert_eq!(request(api, "DELETE", &of_one, &[]).1, "{\"code\":2049}");
    assert_eq!((of_id("on_play"), of_id("on_stop")), (1, 1));
    // A context that another server gave, or this one before a restart, is a viewer that can be ended as well.
    let strange = "/live/livestream.m3u8?hls_ctx=strange-1-x";
    assert_eq!(status(http, strange, &[]), "200");
    let newest =
        clients(&server).iter().map(|client| client["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let newest = newest.iter().find(|id| !urls[1].contains(id.as_str())).unwrap();
    assert!(request(api, "DELETE", &format!("/api/v1/clients/{newest}"), &[]).1.contains("\"code\":0"));
    assert_eq!(status(http, strange, &[]), "404");
}

/// Where everybody may play a viewer is listed too, and the playlist is the file as it is.
#[test]
fn viewers_of_open_streams_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let vhost = |html: &Path| format!("hls {{ enabled on; hls_path {}; }}", html.display());
    let server = TestServer::start_in(dir, vhost, "");
    let folder = server.dir.path().join("live");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("s.m3u8"), "#EXTM3U\n#EXTINF:1,\ns-0.ts\n").unwrap();
    let http = server.address(Service::Http);
    let (_, master) = request(http, "GET", "/live/s.m3u8", &[]);
    let url = master.lines().last().unwrap();
    assert_eq!(request(http, "GET", url, &[]).1, "#EXTM3U\n#EXTINF:1,\ns-0.ts\n");
    assert_eq!(clients(&server).len(), 1);
    let stream = server.api("/api/v1/streams/")["streams"][0].clone();
    assert_eq!((&stream["name"], &stream["clients"]), (&"s".into(), &1.into()));
    let id = clients(&server)[0]["id"].as_str().unwrap().to_owned();
    request(server.address(Service::Api), "DELETE", &format!("/api/v1/clients/{id}"), &[]);
    assert_eq!(status(http, url, &[]), "404");
    assert!(server.running().server.sources.is_empty(), "nothing is left of it");
}

/// The client says which vhost it means, and a file is the same whatever it says.
#[test]
fn naming_an_open_vhost_opens_no_other_s_files() {
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("html");
    let (hooks, seen) = service(decide);
    let open = format!("}} vhost open {{ hls {{ enabled on; hls_path {}; }}", html.display());
    let (server, _publisher) = live(&html, hooks, &open, "");
    let api = server.address(Service::Api);
    let segment = format!("/live/{}", segments(&html.join("live/livestream.m3u8"))[0]);
    for path in ["/live/livestream.m3u8?vhost=open", "/live/livestream.m3u8", "/live/ended.m3u8?vhost=open"] {
        assert_eq!(status(api, "/api/v1/auth", &[&format!("X-Original-URI: {path}")]), "401", "{path}");
    }
    let part = format!("X-Original-URI: {segment}?vhost=open");
    assert_eq!(status(api, "/api/v1/auth", &[&part]), "403");
    assert_eq!(plays(&seen).len(), 3);
}

/// A core, which knows of streams, looks at the first request of a connection alone.
#[test]
fn no_connection_is_kept_for_a_request_of_a_stream() {
    let server = TestServer::start("", "");
    let http = server.address(Service::Http);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/players"),
        ("GET", "/console/server.json"),
        ("GET", "/healthz"),
        ("OPTIONS", "/a.flv"),
    ] {
        let (head, _) = request(http, method, path, &["Connection: keep-alive"]);
        assert!(head.to_ascii_lowercase().contains("connection: close"), "{method} {path}: {head}");
    }
}

#[test]
fn keys_are_for_those_who_may_play() {
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("html");
    let (hooks, _) = service(decide);
    let text = format!(
        "listen 127.0.0.1:0; http_api {{ enabled on; listen 127.0.0.1:0; }}
         http_server {{ enabled on; listen 127.0.0.1:0; dir {0}; }}
         vhost __defaultVhost__ {{
            hls {{ enabled on; hls_fragment 1; hls_path {0}; hls_ctx off;
                hls_keys on; hls_key_file secret/[app]/[stream]-[seq].bin; hls_key_url /; }}
            http_hooks {{ enabled on; on_play http://{hooks}/; }} }}
         vhost other {{ }}",
        html.display()
    );
    std::fs::create_dir(&html).unwrap();
    let settings = media_server::conf::from_text(&text).unwrap();
    let version = media_server::server::Version::parse("4.0.271").unwrap();
    let running = media_server::cli::Running::start(settings, version).unwrap();
    let rtmp = format!("rtmp://{}/live/livestream", running.address(Service::Rtmp).unwrap());
    let _publisher = publish(&media(), &rtmp);
    let playlist = html.join("live/livestream.m3u8");
    wait_until("a segment is listed", || !segments(&playlist).is_empty());
    let text = std::fs::read_to_string(&playlist).unwrap();
    let key = "/secret/live/livestream-0.bin";
    assert!(text.contains(&format!("URI=\"{key}\"")), "{text}");
    std::fs::copy(html.join(&key[1..]), html.join(format!("{}.temp", &key[1..]))).unwrap();
    let (http, api) = (running.address(Service::Http).unwrap(), running.address(Service::Api).unwrap());
    let ask = || {
        let uri = format!("X-Original-URI: {key}");
        let at_nginx = status(api, "/api/v1/auth", &[&uri]);
        let half = status(http, &format!("{key}.temp"), &[]);
        let escaped = status(http, "/secret/live/%6civestream-0.bin", &[]);
        [status(http, key, &[]), status(http, &format!("{key}?vhost=other"), &[]), at_nginx, half, escaped]
    };
    assert_eq!(ask(), ["403"; 5]);
    assert_eq!(status(http, "/live/livestream.m3u8?token=wrong", &[]), "401");
    assert_eq!(ask(), ["403"; 5]);
    assert_eq!(status(http, "/live/livestream.m3u8?token=right", &[]), "200");
    assert_eq!(ask(), ["200", "200", "204", "200", "200"]);
    running.stop();
}
