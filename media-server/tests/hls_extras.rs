//! Encrypted HLS, segments' names, and who is told of segments over HTTP and HTTPS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;
#[allow(dead_code, reason = "each test program uses a part")]
mod service;

use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{Reaped, TestServer, media, play, probe, publish, wait_until};
use service::read_request;

fn list(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn count(names: &[String], ending: &str) -> usize {
    names
        .iter()
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == ending))
        .count()
}

/// Answers a request with `0`; gives its first line and body.
fn answer(stream: impl Read + Write) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let request = read_request(&mut reader);
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0").unwrap();
    reader.get_mut().flush().unwrap();
    request
}

#[test]
fn ffmpeg_plays_encrypted_segments_and_keys_go_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("html");
    let path = html.display();
    let server = TestServer::start(
        &format!(
            "hls {{ enabled on; hls_fragment 1; hls_window 3; hls_dispose 1; hls_wait_keyframe off; hls_path {path};
               hls_keys on; hls_fragments_per_key 2; }}"
        ),
        "",
    );
    // http_server gives the folder that HLS is written to.
    std::os::unix::fs::symlink(html.join("live"), server.dir.path().join("live")).unwrap();
    let publisher = publish(&media(), &server.rtmp("live/livestream"));
    let folder = html.join("live");
    wait_until("three segments are written", || count(&list(&folder), "ts") >= 3);
    let text = std::fs::read_to_string(folder.join("livestream.m3u8")).unwrap();
    assert!(text.contains("#EXT-X-KEY:METHOD=AES-128,URI=\"livestream-0.key\",IV=0x"), "{text}");
    let segment = std::fs::read(folder.join("livestream-0.ts")).unwrap();
    let plain = segment[0] == 0x47 && segment[188] == 0x47;
    assert!(segment.len().is_multiple_of(16) && !plain, "it is encrypted");
    let url = server.http("live/livestream.m3u8");
    let output = play(&url, "3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    wait_until("a key has gone with its segments", || {
        let names = list(&folder);
        count(&names, "key") > 0 && !names.contains(&"livestream-0.key".to_owned())
    });
    drop(publisher);
    wait_until("everything is disposed", || list(&folder).is_empty());
}

#[test]
fn names_have_times_floors_and_durations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = TestServer::start(
        &format!(
            "hls {{ enabled on; hls_fragment 1; hls_window 20; hls_path {path}; hls_ts_floor on; hls_dts_directly off;
               hls_entry_prefix http://cdn/; hls_ts_file [app]/[2006]/[stream]-[timestamp]-[seq]-[duration].ts; }}"
        ),
        "utc_time on;",
    );
    let publisher = publish(&media(), &server.rtmp("live/livestream"));
    let playlist = dir.path().join("live/livestream.m3u8");
    let uris = || -> Vec<String> {
        let text = std::fs::read_to_string(&playlist).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    wait_until("three segments are listed", || uris().len() >= 3);
    drop(publisher);
    let uris = uris();
    let mut numbers = Vec::new();
    for uri in &uris {
        let name = uri.strip_prefix("http://cdn/").unwrap();
        let file = dir.path().join("live").join(name);
        let parts: Vec<u64> = file
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .split('-')
            .skip(1)
            .map(|part| part.parse().unwrap())
            .collect();
        assert!((300..6000).contains(&parts[2]), "{uri}");
        numbers.push((parts[0], parts[1]));
        assert_eq!(probe(&file.display().to_string()).0, ["aac", "h264"]);
    }
    // By one each, as the clock goes.
    assert!(numbers.windows(2).all(|pair| pair[1] == (pair[0].0 + 1, pair[0].1 + 1)), "{uris:?}");
}

#[test]
fn a_cache_is_told_of_segments_and_a_service_of_recordings() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let writes = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let request = answer(stream.unwrap());
            writes.lock().unwrap().push(request);
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = TestServer::start(
        &format!(
            "hls {{ enabled on; hls_fragment 1; hls_path {path}; }} dvr {{ enabled on; dvr_path {path}/[stream].flv; }}
             http_hooks {{ enabled on; on_dvr http://{address}/dvr;
               on_hls_notify http://{address}/notify/[server_id]/[app]/[stream]/[ts_url][param]; }}"
        ),
        "server_id vid-test;",
    );
    let publisher = publish(&media(), &server.rtmp("live/livestream?token=a"));
    let told = |start: &str| seen.lock().unwrap().iter().find(|(first, _)| first.starts_with(start)).cloned();
    wait_until("the cache is told", || told("GET ").is_some());
    let (first, body) = told("GET ").unwrap();
    assert_eq!(first, "GET /notify/vid-test/live/livestream/livestream-0.ts?token=a HTTP/1.1");
    assert_eq!(body, "");
    drop(publisher);
    wait_until("the recording is told", || told("POST /dvr").is_some());
    let body: serde_json::Value = serde_json::from_str(&told("POST /dvr").unwrap().1).unwrap();
    let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["action", "app", "client_id", "cwd", "file", "ip", "param", "server_id", "stream", "vhost"];
    assert_eq!(keys, expected);
    assert_eq!((&body["action"], &body["param"]), (&"on_dvr".into(), &"?token=a".into()));
    assert_eq!(body["file"], dir.path().join("livestream.flv").to_str().unwrap());
}

#[test]
fn hooks_are_called_over_tls_and_strangers_are_not_trusted() {
    let trusted = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, trusted.cert.pem()).unwrap();
    let (asked, questions) = std::sync::mpsc::channel();
    let serve = |identity: rcgen::CertifiedKey<rcgen::KeyPair>| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], key)
            .unwrap();
        let (config, asked) = (Arc::new(config), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
                // A client that does not trust us says nothing.
                if stream.conn.complete_io(&mut stream.sock).is_ok() {
                    let (first, body) = answer(stream);
                    let _ = asked.send((port, first, body));
                }
            }
        });
        port
    };
    let (good, bad) = (serve(trusted), serve(stranger));
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rtmp = free();
    let conf = dir.path().join("srs.conf");
    let text = format!(
        "listen 127.0.0.1:{rtmp}; daemon off; srs_log_tank console; pid {}/srs.pid;
         vhost __defaultVhost__ {{ }} vhost good {{ http_hooks {{ enabled on; on_publish https://localhost:{good}/publish; }} }}
         vhost bad {{ http_hooks {{ enabled on; on_publish https://localhost:{bad}/publish; }} }}",
        dir.path().display()
    );
    std::fs::write(&conf, text).unwrap();
    let server = Command::new(env!("CARGO_BIN_EXE_media-server"))
        .arg("-c")
        .arg(&conf)
        .env("SSL_CERT_FILE", &roots)
        .stdout(Stdio::null())
        .spawn();
    let _server = Reaped(server.unwrap());
    wait_until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", rtmp)).is_ok());
    let mut refused = publish(&media(), &format!("rtmp://127.0.0.1:{rtmp}/live/a?vhost=bad"));
    assert!(!refused.0.wait().unwrap().success());
    let _publisher = publish(&media(), &format!("rtmp://127.0.0.1:{rtmp}/live/b?vhost=good"));
    let (port, first, body) = questions.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
    assert_eq!((port, first.as_str()), (good, "POST /publish HTTP/1.1"));
    assert!(body.contains("\"action\":\"on_publish\""), "{body}");
}

#[test]
fn a_heartbeat_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = TestServer::start(
        "",
        &format!(
            "heartbeat {{ enabled on; interval 0.2; url http://{address}/api/v1/servers; device_id here; summaries on; }}
             stats {{ disk sda vda; }}"
        ),
    );
    for _ in 0..2 {
        let (first, body) = answer(listener.accept().unwrap().0);
        assert_eq!(first, "POST /api/v1/servers HTTP/1.1");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["device_id"], "here");
        assert!(body["ip"].as_str().unwrap().parse::<std::net::IpAddr>().is_ok(), "{body}");
        assert!(body["summaries"]["data"]["system"]["disk_read_KBps"].is_u64(), "{body}");
    }
    drop(server);
}
