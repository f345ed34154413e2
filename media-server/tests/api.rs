//! Answers of the API and the HTTP port beside those of SRS 4, field by field.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's helpers fail its test")]

mod api_traces;
mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use api_traces::{assert_has, recordings, shape, shapes};
use common::{Reaped, media, publish, wait_until};
use media_server::cli::Running;
use media_server::conf;
use media_server::server::{Service, Version};
use serde_json::Value;

/// Where each recording came from; `ID` is a stream's or a client's.
const ANSWERS: &[(&str, &str, &str)] = &[
    ("root.json", "GET", "/"),
    ("api_index.json", "GET", "/api/"),
    ("v1_index.json", "GET", "/api/v1/"),
    ("v1_versions.json", "GET", "/api/v1/versions"),
    ("v1_summaries.json", "GET", "/api/v1/summaries"),
    ("v1_rusages.json", "GET", "/api/v1/rusages"),
    ("v1_self_proc_stats.json", "GET", "/api/v1/self_proc_stats"),
    ("v1_system_proc_stats.json", "GET", "/api/v1/system_proc_stats"),
    ("v1_meminfos.json", "GET", "/api/v1/meminfos"),
    ("v1_authors.json", "GET", "/api/v1/authors"),
    ("v1_features.json", "GET", "/api/v1/features"),
    ("v1_tests_requests.json", "GET", "/api/v1/tests/requests"),
    ("v1_vhosts_.json", "GET", "/api/v1/vhosts/"),
    ("v1_streams_.json", "GET", "/api/v1/streams/"),
    ("v1_streams_ID.json", "GET", "/api/v1/streams/ID"),
    ("v1_streams_missing.json", "GET", "/api/v1/streams/nothing"),
    ("v1_clients_.json", "GET", "/api/v1/clients/"),
    ("v1_clients_ID.json", "GET", "/api/v1/clients/ID"),
    ("v1_clusters.json", "GET", "/api/v1/clusters"),
    ("v1_raw_rpc_raw.json", "GET", "/api/v1/raw?rpc=raw"),
    ("v1_raw_reload.json", "GET", "/api/v1/raw?rpc=reload"),
    // Last, for it takes the client away.
    ("v1_clients_ID_DELETE.json", "DELETE", "/api/v1/clients/ID"),
];

/// Heads, with the port, the path and a header field that came with the request.
const HEADS: &[(&str, Service, &str, &str, &str)] = &[
    ("404.headers", Service::Api, "GET", "/api/v1/nothing", ""),
    ("v1_streams_DELETE.headers", Service::Api, "DELETE", "/api/v1/streams/", ""),
    ("v1_versions.headers", Service::Api, "GET", "/api/v1/versions", "Origin: http://a\r\n"),
    ("flv.headers", Service::Http, "GET", "/live/livestream.flv", ""),
    ("m3u8_master.headers", Service::Http, "GET", "/live/livestream.m3u8", ""),
    ("m3u8_media.headers", Service::Http, "GET", "/live/livestream.m3u8?hls_ctx=7a3288w3", ""),
];

/// Texts, with what they are compared by in this file.
const TEXTS: &[&str] = &[
    "404.txt",
    "v1_streams_DELETE.txt",
    "v1_versions_jsonp.txt",
    "flv_head.txt",
    "m3u8_master.txt",
    "m3u8_media.txt",
];

/// A server with all that the recorded one had, a publisher and a player.
struct Live {
    running: Running,
    _clients: [Reaped; 2],
    _dir: tempfile::TempDir,
}

impl Live {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (html, path) = (dir.path().join("html"), dir.path().join("srs.conf"));
        std::fs::create_dir(&html).unwrap();
        let text = format!(
            "listen 127.0.0.1:0;
             http_api {{ enabled on; listen 127.0.0.1:0; raw_api {{ enabled on; allow_reload on; }} }}
             http_server {{ enabled on; listen 127.0.0.1:0; dir {0}; }}
             vhost __defaultVhost__ {{ http_remux {{ enabled on; }}
                hls {{ enabled on; hls_fragment 1; hls_path {0}; }} }}",
            html.display()
        );
        std::fs::write(&path, text).unwrap();
        let settings = conf::load(&path).unwrap();
        let running = Running::start_from(settings, Version::parse("4.0.271").unwrap(), Some(path)).unwrap();
        let url = format!("rtmp://{}/live/livestream", running.address(Service::Rtmp).unwrap());
        let publisher = publish(&media(), &url);
        let playlist = html.join("live/livestream.m3u8");
        wait_until("two segments are listed", || {
            std::fs::read_to_string(&playlist).unwrap_or_default().matches("#EXTINF").count() > 1
        });
        let mut player = common::ffmpeg("ffmpeg");
        player.args(["-re", "-i", &url, "-f", "null", "-"]).stderr(std::process::Stdio::null());
        let player = Reaped(player.spawn().unwrap());
        wait_until("both are clients", || running.server.stat.client_count() == 2);
        Live { running, _clients: [publisher, player], _dir: dir }
    }

    fn address(&self, service: Service) -> SocketAddr {
        self.running.address(service).unwrap()
    }

    fn stop(self) {
        self.running.stop();
    }
}

/// Head and the first bytes behind it, of a connection that the client would keep.
fn ask(address: SocketAddr, method: &str, path: &str, field: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{field}\r\n").unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).unwrap();
        bytes.extend_from_slice(&part[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            assert!(count > 0, "no answer to {path}");
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        if bytes.len() - end - 4 >= length.unwrap_or(200) {
            return (head, bytes[end + 4..].to_vec());
        }
        assert!(count > 0, "{path} ended early");
    }
}

fn json(address: SocketAddr, method: &str, path: &str) -> Value {
    let (_, body) = ask(address, method, path, "");
    serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn answers_have_srs_s_fields() {
    let live = Live::start();
    let api = live.address(Service::Api);
    let shapes = shapes("answers");
    assert_eq!(shapes.len(), ANSWERS.len());
    for (file, method, path) in ANSWERS {
        let list = if path.contains("streams") { "streams" } else { "clients" };
        let items = json(api, "GET", &format!("/api/v1/{list}/"));
        // The player, not the publisher that makes the stream.
        let item =
            items[list].as_array().unwrap().iter().find(|item| item["publish"] != true).unwrap().clone();
        let path = path.replace("ID", item["id"].as_str().unwrap());
        assert_has(&path, &shapes[*file], &json(api, method, &path));
    }
    let streams = json(api, "GET", "/api/v1/streams/");
    assert_eq!(
        (&streams["streams"][0]["video"]["codec"], &streams["streams"][0]["video"]["width"]),
        (&"H264".into(), &640.into())
    );
    let (head, _) = ask(api, "GET", "/api/v1/tests/redirects", "");
    assert!(head.starts_with("HTTP/1.1 302"), "{head}");
    assert_eq!(json(api, "GET", "/api/v1/tests/errors")["code"], 100);
    live.stop();
}

#[test]
fn heads_and_texts_are_srs_s() {
    let live = Live::start();
    let shapes = shapes("heads");
    assert_eq!(shapes.len(), HEADS.len());
    for (file, service, method, path, field) in HEADS {
        let (head, body) = ask(live.address(*service), method, path, field);
        let lines: Vec<&str> = head.lines().collect();
        for line in shapes[*file].as_array().unwrap().iter().map(|line| line.as_str().unwrap()) {
            // A media playlist is as long as it is; our versions tell more, and our contexts are signed.
            let length = line.starts_with("Content-Length")
                && !matches!(*file, "404.headers" | "v1_streams_DELETE.headers");
            assert!(length || lines.contains(&line), "{path}: {line:?} is missing in\n{head}");
        }
        let text = String::from_utf8_lossy(&body);
        match *file {
            "404.headers" => assert_eq!(text, "Not Found"),
            "v1_streams_DELETE.headers" => assert_eq!(text, "Method Not Allowed"),
            "m3u8_master.headers" => {
                let context = text.trim_end().rsplit_once("hls_ctx=").unwrap().1;
                assert_eq!(context.split('-').next().unwrap().len(), 8, "{context}");
                assert_eq!(
                    text.replace(context, "X"),
                    "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n/live/livestream.m3u8?hls_ctx=X"
                );
            }
            "m3u8_media.headers" => {
                let names: Vec<&str> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
                assert_eq!(
                    names[..7],
                    [
                        "#EXTM3U",
                        "#EXT-X-VERSION",
                        "#EXT-X-MEDIA-SEQUENCE",
                        "#EXT-X-TARGETDURATION",
                        "#EXT-X-DISCONTINUITY",
                        "#EXTINF",
                        "livestream-0.ts",
                    ]
                );
                assert!(text.contains(", no desc\n"), "{text}");
            }
            "flv.headers" => {
                // Behind the size of the first chunk: both kinds of media, then the script.
                let at = body.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
                assert_eq!(body[at..at + 14], *b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x12");
                assert_eq!(body[at + 24..at + 37], *b"\x02\0\x0aonMetaData");
            }
            _ => {}
        }
    }
    let (_, body) = ask(live.address(Service::Api), "GET", "/api/v1/versions?callback=f", "");
    let text = String::from_utf8(body).unwrap();
    let inner = text.strip_prefix("f(").and_then(|rest| rest.strip_suffix(')')).unwrap();
    assert_eq!(serde_json::from_str::<Value>(inner).unwrap()["data"]["version"], "4.0.271");
    live.stop();
}

/// The tables above against the recordings, which are not part of the repository.
#[test]
fn the_tables_are_what_was_recorded() {
    let Some(folder) = recordings() else {
        eprintln!("the recordings are not there: only the tables made of them are compared with");
        return;
    };
    let (answers, heads, hooks) = (shapes("answers"), shapes("heads"), shapes("hooks"));
    for entry in std::fs::read_dir(folder.join("api")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if let Some(shape_of) = answers.get(&name) {
            assert!(ANSWERS.iter().any(|(file, ..)| *file == name), "{name}");
            assert_eq!(*shape_of, shape("", &serde_json::from_str(&text).unwrap()), "{name}");
        } else if let Some(lines) = heads.get(&name) {
            assert!(HEADS.iter().any(|(file, ..)| *file == name), "{name}");
            let recorded: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(*lines, Value::from(recorded), "{name}");
        } else {
            assert!(TEXTS.contains(&name.as_str()), "{name} has no test");
        }
    }
    for line in std::fs::read_to_string(folder.join("hooks.jsonl")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(action) = line["body"]["action"].as_str() {
            assert_eq!(hooks[action], shape("", &line["body"]), "{action}");
        }
    }
}
