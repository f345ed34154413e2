//! What the hooks are asked and told, by a service that writes everything down.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's helpers fail its test")]

mod api_traces;
mod common;
mod service;

use std::net::{SocketAddr, TcpListener};

use api_traces::{shape, shapes};
use common::{TestServer, media, play, publish, wait_until};
use media_server::hooks::{Call, Job, Purpose};
use serde_json::Value;
use service::{Seen, service};

fn hooks(address: SocketAddr) -> String {
    let events = ["on_connect", "on_close", "on_publish", "on_unpublish", "on_play", "on_stop", "on_hls"];
    let lines: Vec<String> =
        events.iter().map(|event| format!("{event} http://{address}/{event};")).collect();
    format!("http_remux {{ enabled on; }} http_hooks {{ enabled on; {} }}", lines.concat())
}

fn actions(seen: &Seen) -> Vec<String> {
    seen.lock().unwrap().iter().map(|body| body["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_life_is_told_with_srs_s_fields() {
    let (address, seen) = service(|_| "0");
    let html = tempfile::tempdir().unwrap();
    let hls = format!("hls {{ enabled on; hls_fragment 1; hls_path {}; }}", html.path().display());
    let server = TestServer::start(&format!("{} {hls}", hooks(address)), "");
    let publisher = publish(&media(), &server.rtmp("live/livestream?token=a"));
    server.wait_for_stream("livestream");
    assert!(play(&server.rtmp("live/livestream"), "1").stderr.is_empty());
    assert!(play(&server.http("live/livestream.flv"), "1").stderr.is_empty());
    wait_until("both players have stopped", || {
        actions(&seen).iter().filter(|action| *action == "on_stop").count() == 2
    });
    wait_until("a segment is told", || actions(&seen).iter().any(|action| action == "on_hls"));
    drop(publisher);
    wait_until("the publisher has gone", || {
        actions(&seen).iter().filter(|action| *action == "on_close").count() == 2
    });
    let bodies = seen.lock().unwrap().clone();
    let told = bodies.iter().find(|body| body["action"] == "on_publish").unwrap();
    assert_eq!(told["param"], "?token=a");
    assert_eq!(told["stream"], "livestream");
    let closed = bodies.iter().find(|body| body["action"] == "on_close").unwrap();
    assert!(closed["send_bytes"].as_u64().unwrap() > 0);
    let segment = bodies.iter().find(|body| body["action"] == "on_hls").unwrap();
    assert_eq!(segment["url"], "live/livestream-0.ts");
    assert_eq!(segment["m3u8_url"], "live/livestream.m3u8");
    // Field by field what SRS sends.
    let shapes = shapes("hooks");
    for body in &bodies {
        let action = body["action"].as_str().unwrap();
        assert_eq!(shape("", body), shapes[action], "{action}");
    }
}

#[test]
fn who_is_refused_neither_publishes_nor_plays() {
    let (address, seen) = service(|body| match (&body["action"], &body["param"]) {
        (Value::String(action), Value::String(param)) if action == "on_play" && param != "?token=b" => {
            "{\"code\":7}"
        }
        (Value::String(action), _) if action == "on_publish" && body["stream"] == "closed" => "1",
        _ => "{\"code\":0}",
    });
    let server = TestServer::start(&hooks(address), "");
    let mut refused = publish(&media(), &server.rtmp("live/closed"));
    assert!(!refused.0.wait().unwrap().success());
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    for url in [server.rtmp("live/livestream"), server.http("live/livestream.flv?token=x")] {
        let output = play(&url, "1");
        assert!(!output.status.success() || !output.stderr.is_empty(), "{url} plays");
    }
    for url in [server.rtmp("live/livestream?token=b"), server.http("live/livestream.flv?token=b")] {
        let output = play(&url, "1");
        assert!(output.stderr.is_empty(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let named = |stream: &str| seen.lock().unwrap().iter().filter(|body| body["stream"] == stream).count();
    assert_eq!(named("closed"), 2, "on_connect and on_publish, and no more");
}

#[test]
fn a_publisher_that_comes_too_late_is_told_of_too() {
    let (address, seen) = service(|_| "0");
    let server = TestServer::start(&hooks(address), "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    let mut late = publish(&media(), &server.rtmp("live/livestream"));
    assert!(!late.0.wait().unwrap().success());
    wait_until("its end is told", || actions(&seen).iter().any(|action| action == "on_unpublish"));
    let bodies = seen.lock().unwrap().clone();
    let id = |action: &str| {
        let mut bodies = bodies.iter().rev();
        bodies.find(|body| body["action"] == action).unwrap()["client_id"].clone()
    };
    assert_eq!(id("on_publish"), id("on_unpublish"), "not the first one's");
    assert_eq!(bodies.iter().filter(|body| body["action"] == "on_unpublish").count(), 1);
}

#[test]
fn a_socket_for_both_protocols_tells_the_plain_address() {
    let (address, seen) = service(|_| "0");
    let text = format!("listen [::]:0; daemon off; vhost __defaultVhost__ {{ {} }}", hooks(address));
    let version = media_server::server::Version::parse("4.0.271").unwrap();
    let running =
        media_server::cli::Running::start(media_server::conf::from_text(&text).unwrap(), version).unwrap();
    let port = running.address(media_server::server::Service::Rtmp).unwrap().port();
    let publisher = publish(&media(), &format!("rtmp://127.0.0.1:{port}/live/livestream"));
    wait_until("it is asked for", || actions(&seen).iter().any(|action| action == "on_publish"));
    assert!(seen.lock().unwrap().iter().all(|body| body["ip"] == "127.0.0.1"), "{seen:?}");
    drop(publisher);
    running.stop();
}

#[test]
fn a_service_that_is_told_and_hangs_delays_no_publisher() {
    // Connections stand in its backlog, and nobody answers.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/on_hls", hangs.local_addr().unwrap());
    let (address, _seen) = service(|_| "0");
    let server = TestServer::start(&hooks(address), "");
    for _ in 0..1000 {
        let call = Call { url: url.clone(), body: serde_json::json!({ "action": "on_hls" }), read: None };
        server.running().server.hooks.try_send(Job { calls: vec![call], purpose: Purpose::Tell }).unwrap();
    }
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
}

#[test]
fn a_service_that_is_down_refuses() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = TestServer::start(&hooks(gone), "");
    let mut refused = publish(&media(), &server.rtmp("live/livestream"));
    assert!(!refused.0.wait().unwrap().success());
    assert_eq!(server.running().server.stat.client_count(), 0);
}

#[test]
fn security_decides_without_asking() {
    let server = TestServer::start("security { enabled on; allow publish 127.0.0.0/8; deny play all; }", "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    let output = play(&server.rtmp("live/livestream"), "1");
    assert!(!output.status.success() || !output.stderr.is_empty());
}
