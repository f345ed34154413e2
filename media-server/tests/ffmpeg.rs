//! Real ffmpeg publishes and plays.
#![allow(clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use common::{TestServer, media, play, probe, publish, request, wait_until};
use media_server::server::Service;

fn assert_plays(url: &str) {
    let output = play(url, "4");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{url}: {errors}");
    let (codecs, first) = probe(url);
    assert_eq!(codecs, ["aac", "h264"], "{url}");
    assert!((0.0..0.5).contains(&first), "{url} starts at {first} s");
}

#[test]
fn a_published_file_plays_by_rtmp_and_http_flv() {
    let server = TestServer::start("http_remux { enabled on; }", "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    assert_plays(&server.rtmp("live/livestream"));
    assert_plays(&server.http("live/livestream.flv"));
}

#[test]
fn a_stream_of_low_latency_plays_too() {
    let server = TestServer::start("min_latency on; http_remux { enabled on; } play { gop_cache on; }", "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    assert_plays(&server.rtmp("live/livestream"));
    assert_plays(&server.http("live/livestream.flv"));
}

#[test]
fn a_player_may_come_first() {
    let server = TestServer::start("", "");
    let url = server.rtmp("live/later");
    let player = std::thread::spawn({
        let url = url.clone();
        move || play(&url, "2")
    });
    wait_until("the player is there", || server.running().server.stat.client_count() == 1);
    let _publisher = publish(&media(), &url);
    let output = player.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_canary_s_player_sees_the_version() {
    let server = TestServer::start("", "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    let mut command = common::ffmpeg("ffprobe");
    let url = server.rtmp("live/livestream");
    let output = command.args(["-v", "info", &url]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("server_version  : 4.0.271"), "{text}");
    assert!(text.contains("server          : SRS/4.0.271(Leo)"), "{text}");
}

#[test]
fn our_own_publisher_is_read_by_ffmpeg() {
    let server = TestServer::start("", "");
    let url = server.rtmp("live/own");
    let program = env!("CARGO_BIN_EXE_media-server");
    let child = std::process::Command::new(program)
        .args(["publish", "--loop"])
        .arg(media())
        .arg(&url)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _publisher = common::Reaped(child);
    server.wait_for_stream("own");
    assert_plays(&url);
}

#[test]
fn the_api_tells_what_srs_tells() {
    let server = TestServer::start("http_remux { enabled on; }", "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    let player = std::thread::spawn({
        let url = server.rtmp("live/livestream");
        move || play(&url, "30")
    });
    wait_until("both are clients", || server.running().server.stat.client_count() == 2);
    let (_, metrics) = request(server.address(Service::Api), "GET", "/metrics", &[]);
    for line in ["srs_streams 1", "srs_publishers 1", "srs_players 1", "srs_config_good 1", "# EOF"] {
        assert!(metrics.lines().any(|other| other == line), "{line} is missing in\n{metrics}");
    }
    let clients = server.api("/api/v1/clients/");
    let of_player =
        clients["clients"].as_array().unwrap().iter().find(|client| client["publish"] == false).unwrap();
    let id = of_player["id"].as_str().unwrap();
    assert_eq!(server.api(&format!("/api/v1/clients/{id}"))["client"]["type"], "rtmp-play");
    let streams = server.api("/api/v1/streams");
    assert_eq!(streams["streams"][0]["video"]["codec"], "H264");
    assert_eq!(streams["streams"][0]["audio"]["codec"], "AAC");
    let (_, body) = request(server.address(Service::Api), "DELETE", &format!("/api/v1/clients/{id}"), &[]);
    assert!(body.starts_with("{\"code\":0"), "{body}");
    wait_until("the player is kicked", || server.running().server.stat.client_count() == 1);
    player.join().unwrap();
}

#[test]
fn scripts_and_paths_are_checked() {
    let server = TestServer::start("http_remux { enabled on; }", "");
    let api = server.address(Service::Api);
    let (_, body) = request(api, "GET", "/api/v1/versions?callback=f", &[]);
    assert!(body.starts_with("f({") && body.ends_with("})"), "{body}");
    let (_, body) = request(api, "GET", "/api/v1/versions?callback=alert(1)//", &[]);
    assert!(body.starts_with('{'), "{body}");
    let http = server.address(Service::Http);
    assert!(request(http, "GET", "/index.html", &[]).1.contains("hello"));
    assert!(request(http, "GET", "/../../etc/passwd", &[]).0.starts_with("HTTP/1.1 404"));
    assert!(request(http, "GET", "/%2e%2e/%2e%2e/etc/passwd", &[]).0.starts_with("HTTP/1.1 404"));
    for port in [api, http] {
        assert!(request(port, "GET", "/healthz", &[]).0.starts_with("HTTP/1.1 200"));
        assert!(request(port, "GET", "/readyz", &[]).0.starts_with("HTTP/1.1 200"));
    }
}
