//! HLS of a stream that real ffmpeg publishes, read by real ffmpeg: from this server and from nginx.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{Reaped, TestServer, media, play, probe, publish, request, wait_until};
use media_server::server::Service;

fn list(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == ending)
}

fn segments(playlist: &Path) -> usize {
    std::fs::read_to_string(playlist).map_or(0, |text| text.matches("#EXTINF").count())
}

#[test]
fn ffmpeg_reads_the_playlist_through_its_context() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = TestServer::start(
        &format!("hls {{ enabled on; hls_fragment 1; hls_window 10; hls_path {path}; }}"),
        "",
    );
    let publisher = publish(&media(), &server.rtmp("live/livestream"));
    let playlist = dir.path().join("live/livestream.m3u8");
    wait_until("two segments are listed", || segments(&playlist) >= 2);
    let text = std::fs::read_to_string(&playlist).unwrap();
    assert!(text.starts_with("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n"), "{text}");
    let (codecs, _) = probe(&playlist.display().to_string());
    assert_eq!(codecs, ["aac", "h264"]);
    drop(publisher);
    wait_until("the last segment is closed", || list(&dir.path().join("live")).iter().all(|n| !is(n, "tmp")));
    for name in list(&dir.path().join("live")).iter().filter(|name| is(name, "ts")) {
        let output = play(&dir.path().join("live").join(name).display().to_string(), "20");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{name}: {errors}");
    }
}

#[test]
fn the_server_gives_a_master_playlist_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let text = format!(
        "listen 127.0.0.1:0; http_server {{ enabled on; listen 127.0.0.1:0; dir {path}; }}
         vhost __defaultVhost__ {{ hls {{ enabled on; hls_path {path}; }} }}"
    );
    std::fs::create_dir(dir.path().join("live")).unwrap();
    std::fs::write(dir.path().join("live/livestream.m3u8"), "#EXTM3U\n").unwrap();
    let settings = media_server::conf::from_text(&text).unwrap();
    let version = media_server::server::Version::parse("4.0.271").unwrap();
    let running = media_server::cli::Running::start(settings, version).unwrap();
    let address = running.address(Service::Http).unwrap();
    let (head, body) = request(address, "GET", "/live/livestream.m3u8", &[]);
    assert!(head.contains("Content-Type: application/vnd.apple.mpegurl"), "{head}");
    let context = body.trim().rsplit_once("hls_ctx=").unwrap().1;
    let expected =
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n/live/livestream.m3u8?hls_ctx=";
    assert_eq!(body.trim_end().trim_end_matches(context), expected);
    let (_, body) = request(address, "GET", &format!("/live/livestream.m3u8?hls_ctx={context}"), &[]);
    assert_eq!(body, "#EXTM3U\n");
    assert!(request(address, "GET", "/live/other.m3u8", &[]).0.starts_with("HTTP/1.1 404"));
    running.stop();
}

#[test]
fn segments_leave_the_disk_and_everything_is_disposed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = TestServer::start(
        &format!(
            "hls {{ enabled on; hls_fragment 0.5; hls_window 1; hls_dispose 1; hls_wait_keyframe off; hls_path {path}; }}"
        ),
        "",
    );
    let publisher = publish(&media(), &server.rtmp("live/livestream"));
    let folder = dir.path().join("live");
    wait_until("the first segment has gone", || {
        let names = list(&folder);
        names.iter().any(|name| is(name, "m3u8")) && !names.contains(&"livestream-0.ts".to_owned())
    });
    assert!(list(&folder).len() < 12, "{:?}", list(&folder));
    drop(publisher);
    wait_until("everything is disposed", || list(&folder).is_empty());
}

#[test]
fn a_stream_that_comes_back_goes_on_counting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let conf = format!("hls {{ enabled on; hls_fragment 1; hls_window 60; hls_path {path}; }}");
    let server = TestServer::start(&conf, "");
    let playlist = dir.path().join("live/livestream.m3u8");
    for wanted in [1, 2] {
        let publisher = publish(&media(), &server.rtmp("live/livestream"));
        let before = segments(&playlist);
        wait_until("a segment is listed", || segments(&playlist) > before);
        drop(publisher);
        wait_until("it has ended", || server.running().server.sources.is_empty());
        let text = std::fs::read_to_string(&playlist).unwrap();
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY").count(), wanted, "{text}");
        assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:0"), "{text}");
    }
}

/// The tutorial's way: nginx serves the folder that the server writes.
#[test]
fn nginx_serves_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("html");
    let path = html.display();
    let server = TestServer::start(&format!("hls {{ enabled on; hls_fragment 1; hls_path {path}; }}"), "");
    // The port is free now and taken by nginx in a moment.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = dir.path().join("nginx.conf");
    let root = dir.path().display();
    std::fs::write(
        &conf,
        format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log; events {{ }}
             http {{ access_log off; types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
               client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
               uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
               server {{ listen 127.0.0.1:{port}; root {path}; }} }}"
        ),
    )
    .unwrap();
    common::ensure_packages(&["nginx"]);
    let child = Command::new("nginx").arg("-c").arg(&conf).stderr(Stdio::null()).spawn();
    let _nginx = Reaped(child.unwrap());
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    wait_until("two segments are listed", || segments(&html.join("live/livestream.m3u8")) >= 2);
    let url = format!("http://127.0.0.1:{port}/live/livestream.m3u8");
    wait_until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let output = play(&url, "3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}
