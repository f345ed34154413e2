//! Servers behind one load balancer that share a folder of HLS and the secret of `hls_ctx`: a viewer may come to any of
//! them with each of its requests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;
#[allow(dead_code, reason = "each test program uses a part")]
mod service;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Reaped, media, request, wait_until};
use service::{Seen, service};

const PROGRAM: &str = env!("CARGO_BIN_EXE_media-server");
const SECRET: &str = "a secret that all pods have";

/// A server as a process of its own.
struct Pod {
    _process: Reaped,
    rtmp: SocketAddr,
    http: SocketAddr,
    api: SocketAddr,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Pod {
    fn start(dir: &Path, name: &str, hooks: SocketAddr, secret: &str) -> Self {
        let (rtmp, http, api, root) = (free(), free(), free(), dir.display());
        let conf = format!(
            "listen {rtmp}; daemon off; pid {root}/{name}.pid; srs_log_tank file; srs_log_level verbose;
             srs_log_file {root}/{name}.log; server_id {name}; real_ip {{ trusted 127.0.0.0/8; x_forwarded_for on; }}
             http_api {{ enabled on; listen {api}; }}
             http_server {{ enabled on; listen {http}; dir {root}/html; {secret} }}
             vhost __defaultVhost__ {{
                 hls {{ enabled on; hls_fragment 1; hls_path {root}/html; hls_keys on; }}
                 http_hooks {{ enabled on; on_play http://{hooks}/; on_stop http://{hooks}/; }} }}"
        );
        let path = dir.join(format!("{name}.conf"));
        std::fs::write(&path, conf).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(&path).env("HLS_SECRET", SECRET).current_dir(dir);
        let process = Reaped(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_until("the server listens", || TcpStream::connect(http).is_ok());
        Pod { _process: process, rtmp, http, api }
    }
}

fn get(pod: &Pod, path: &str, client: &str) -> (String, String) {
    let (head, body) = request(pod.http, "GET", path, &[&format!("X-Real-IP: {client}")]);
    (head["HTTP/1.1 ".len()..][..3].to_owned(), body)
}

fn plays(seen: &Seen) -> usize {
    seen.lock().unwrap().iter().filter(|body| body["action"] == "on_play").count()
}

/// What follows in a playlist: its first segment's key and the segment.
fn parts(playlist: &str) -> [String; 2] {
    let key = playlist.split("URI=\"").nth(1).unwrap().split('"').next().unwrap();
    let segment = playlist.lines().find(|line| !line.starts_with('#')).unwrap();
    [key, segment].map(|uri| format!("/live/{}", uri.rsplit('/').next().unwrap()))
}

#[test]
fn a_viewer_of_one_pod_is_known_to_all() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("html")).unwrap();
    std::fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let (hooks, seen) = service(|body| if body["param"] == "?token=right" { "0" } else { "{\"code\":1}" });
    let file = format!("hls_ctx_secret_file {}/secret;", dir.path().display());
    let first = Pod::start(dir.path(), "first", hooks, &file);
    let second = Pod::start(dir.path(), "second", hooks, "hls_ctx_secret_env HLS_SECRET;");
    let mut command = Command::new(PROGRAM);
    command.args(["publish", "--loop"]).arg(media()).arg(format!("rtmp://{}/live/s", first.rtmp));
    let _publisher = Reaped(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let playlist = dir.path().join("html/live/s.m3u8");
    let listed = || std::fs::read_to_string(&playlist).unwrap_or_default().matches("#EXTINF").count();
    wait_until("a segment is listed", || listed() > 0);

    let (_, master) = get(&first, "/live/s.m3u8?token=right", "10.0.0.1");
    let url = master.lines().last().unwrap();
    // Each request to the other one, and the last from another network.
    for (pod, client) in [(&second, "10.0.0.1"), (&first, "10.0.0.1"), (&second, "10.0.0.2")] {
        let (status, media) = get(pod, url, client);
        assert_eq!(status, "200", "{client}: {media}");
        for other in [&first, &second] {
            for part in parts(&media) {
                assert_eq!(get(other, &part, "10.0.0.3").0, "200", "{part}");
                // Also where nginx gives it.
                let uri = format!("X-Original-URI: {part}");
                let (head, _) = request(other.api, "GET", "/api/v1/auth", &[&uri, "X-Real-IP: 10.0.0.4"]);
                assert!(head.starts_with("HTTP/1.1 204"), "{part}: {head}");
            }
            // Without the context it is an address that nobody knows.
            let [key, _] = parts(&media);
            assert_eq!(get(other, key.split('?').next().unwrap(), "10.0.0.5").0, "403");
        }
    }
    assert_eq!(plays(&seen), 1, "on_play is asked once, wherever the viewer goes");
    let id = seen.lock().unwrap()[0]["client_id"].as_str().unwrap().to_owned();
    for pod in [&first, &second] {
        let (_, client) = request(pod.api, "GET", &format!("/api/v1/clients/{id}"), &[]);
        assert!(client.contains("\"type\":\"hls-play\""), "{client}");
    }

    // One that has not the secret does not take it, and asks.
    let third = Pod::start(dir.path(), "third", hooks, "");
    assert_eq!(get(&third, url, "10.0.0.1").0, "200");
    assert_eq!(plays(&seen), 2);
    let (path, context) = url.rsplit_once("hls_ctx=").unwrap();
    assert_eq!(get(&third, &format!("/live/s.m3u8?hls_ctx={context}"), "10.0.0.9").0, "401");
    assert_eq!(path, "/live/s.m3u8?token=right&");
    let signature = context.rsplit('-').next().unwrap();
    for pod in ["first", "second", "third"] {
        let log = std::fs::read_to_string(dir.path().join(format!("{pod}.log"))).unwrap();
        assert!(log.contains("plays /live/s") && !log.contains(SECRET) && !log.contains(signature), "{log}");
    }
}
