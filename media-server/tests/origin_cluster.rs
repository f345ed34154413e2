//! An origin cluster of real servers, and coworkers that misbehave.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use common::{media, play, publish, request, wait_until};
use media_server::cli::Running;
use media_server::conf;
use media_server::server::{Service, Version};
use serde_json::Value;

/// An origin at an address of its own.
struct Origin {
    running: Option<Running>,
    api: SocketAddr,
    html: tempfile::TempDir,
}

impl Origin {
    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn rtmp(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.running().address(Service::Rtmp).unwrap())
    }

    fn http(&self, path: &str) -> String {
        format!("http://{}/{path}", self.running().address(Service::Http).unwrap())
    }

    fn ask(&self, path: &str) -> Value {
        let (head, body) = request(self.api, "GET", path, &[]);
        assert!(head.contains("200"), "{path}: {head}");
        serde_json::from_str(&body).unwrap()
    }

    fn publishes(&self, name: &str) -> bool {
        let sources = self.running().server.sources.all();
        sources.iter().any(|source| source.stat.name == name && source.is_published() && source.head() > 5)
    }

    fn pulls(&self, name: &str) -> bool {
        self.running()
            .server
            .sources
            .all()
            .iter()
            .any(|source| source.stat.name == name && source.is_pulled())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// A port that is free at all of these addresses, for a moment at least.
fn free(ip: &str) -> SocketAddr {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// So many origins with one list of coworkers, which names each itself too, and `more` coworkers.
fn cluster(count: u8, more: &[SocketAddr]) -> Vec<Origin> {
    let apis: Vec<SocketAddr> = (0..count).map(|index| free(&format!("127.0.1.{}", index + 1))).collect();
    let coworkers: Vec<String> = apis.iter().chain(more).map(ToString::to_string).collect();
    apis.iter()
        .map(|api| {
            let html = tempfile::tempdir().unwrap();
            let text = format!(
                "listen {ip}:0; http_api {{ enabled on; listen {api}; }}
                 http_server {{ enabled on; listen {ip}:0; dir {html}; }}
                 vhost __defaultVhost__ {{ http_remux {{ enabled on; }}
                     hls {{ enabled on; hls_fragment 1; hls_path {html}; }}
                     cluster {{ mode local; origin_cluster on; coworkers {}; }} }}",
                coworkers.join(" "),
                ip = api.ip(),
                html = html.path().display()
            );
            let running =
                Running::start(conf::from_text(&text).unwrap(), Version::parse("4.0.271").unwrap()).unwrap();
            Origin { running: Some(running), api: *api, html }
        })
        .collect()
}

fn plays(url: &str) {
    let output = play(url, "1");
    assert!(output.stderr.is_empty(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_origin_serves_every_stream() {
    let origins = cluster(3, &[]);
    let _publisher = publish(&media(), &origins[1].rtmp("live/livestream"));
    wait_until("it is published", || origins[1].publishes("livestream"));
    for origin in &origins {
        plays(&origin.rtmp("live/livestream"));
        plays(&origin.http("live/livestream.flv"));
    }
    wait_until("the pulls have ended", || !origins[0].pulls("livestream") && !origins[2].pulls("livestream"));
    assert!(origins[0].running().server.sources.is_empty());
    // Of a stream that nobody has a player is told so at once, as SRS does.
    let output = play(&origins[0].rtmp("live/nobody"), "1");
    assert!(!output.status.success() || !output.stderr.is_empty());
}

#[test]
fn hls_is_served_by_every_origin() {
    let origins = cluster(2, &[]);
    let _publisher = publish(&media(), &origins[1].rtmp("live/livestream"));
    wait_until("there are segments", || origins[1].html.path().join("live/livestream-1.ts").is_file());
    plays(&origins[0].http("live/livestream.m3u8"));
    assert!(!origins[0].html.path().join("live").exists(), "only the owner writes");
}

#[test]
fn an_edge_is_redirected_to_the_owner() {
    let origins = cluster(2, &[]);
    let _publisher = publish(&media(), &origins[1].rtmp("live/livestream"));
    wait_until("it is published", || origins[1].publishes("livestream"));
    let first = origins[0].running().address(Service::Rtmp).unwrap();
    let edge = common::TestServer::start(&format!("cluster {{ mode remote; origin {first}; }}"), "");
    plays(&edge.rtmp("live/livestream"));
    assert!(!origins[0].pulls("livestream"), "the edge went to the owner by itself");
}

#[test]
fn the_api_tells_who_has_a_stream() {
    let origins = cluster(2, &[]);
    let _publisher = publish(&media(), &origins[1].rtmp("live/livestream"));
    wait_until("it is published", || origins[1].publishes("livestream"));
    let path =
        "/api/v1/clusters?vhost=__defaultVhost__&app=live&stream=livestream&coworker=127.0.1.2:99&ip=x";
    assert_eq!(origins[0].ask(path)["data"]["origin"], Value::Null);
    let answer = origins[1].ask(path);
    let port = origins[1].running().address(Service::Rtmp).unwrap().port();
    let origin = &answer["data"]["origin"];
    assert_eq!((&origin["ip"], &origin["port"]), (&"127.0.1.2".into(), &port.into()));
    assert_eq!(origin["vhost"], "__defaultVhost__");
    assert_eq!(origin["api"], "127.0.1.2:99");
    assert_eq!(origin["routers"][0], "127.0.1.2:99");
    let query =
        serde_json::json!({ "ip": "x", "vhost": "__defaultVhost__", "app": "live", "stream": "livestream" });
    assert_eq!(answer["data"]["query"], query);
    // SRS asks by POST.
    let (head, body) = request(origins[1].api, "POST", path, &["Content-Length: 0"]);
    assert!(head.contains("200") && body.contains("127.0.1.2"), "{head} {body}");
    // A coworker's name goes into the answer, and must not become anything else there.
    let hostile = "/api/v1/clusters?vhost=v&app=live&stream=livestream&coworker=http://evil/%0d%0a";
    assert_eq!(origins[1].ask(hostile)["data"]["origin"]["ip"], "127.0.1.2");
    // From any origin the whole cluster is seen.
    for origin in &origins {
        let streams = origin.ask("/api/v1/streams/?cluster=1");
        let owner = &origins[1].running().server.stat.server_id;
        let list = streams["streams"].as_array().unwrap();
        assert!(list.iter().any(|s| s["name"] == "livestream" && s["server"] == owner.as_str()), "{streams}");
        assert_eq!(streams["origins"].as_array().unwrap().len(), 2, "{streams}");
    }
}

#[test]
fn a_stream_has_one_owner() {
    let origins = cluster(2, &[]);
    let publisher = publish(&media(), &origins[0].rtmp("live/livestream"));
    wait_until("it is published", || origins[0].publishes("livestream"));
    for _ in 0..2 {
        let mut second = publish(&media(), &origins[1].rtmp("live/livestream"));
        assert!(!second.0.wait().unwrap().success(), "the other origin is busy");
    }
    // A player here keeps the pull; the stream can move to this origin all the same.
    plays(&origins[1].rtmp("live/livestream"));
    drop(publisher);
    wait_until("it has ended", || !origins[0].publishes("livestream"));
    let _publisher = publish(&media(), &origins[1].rtmp("live/livestream"));
    wait_until("it has moved", || origins[1].publishes("livestream"));
    plays(&origins[0].rtmp("live/livestream"));
}

#[test]
fn players_go_on_when_a_stream_moves() {
    let origins = cluster(2, &[]);
    let publisher = publish(&media(), &origins[0].rtmp("live/livestream"));
    wait_until("it is published", || origins[0].publishes("livestream"));
    // One plays where it is published, one where it moves to; each packet is a line.
    let players: Vec<_> = origins
        .iter()
        .map(|origin| {
            let mut command = common::ffmpeg("ffmpeg");
            let url = origin.rtmp("live/livestream");
            command.args([
                "-rw_timeout",
                "20000000",
                "-i",
                &url,
                "-t",
                "8",
                "-c",
                "copy",
                "-f",
                "framecrc",
                "-",
            ]);
            std::thread::spawn(move || command.output().unwrap())
        })
        .collect();
    wait_until("both play", || {
        let playing = |origin: &Origin| origin.running().server.sources.all().iter().any(|s| s.players() > 0);
        origins.iter().all(playing)
    });
    drop(publisher);
    let _publisher = publish(&media(), &origins[1].rtmp("live/livestream"));
    wait_until("it has moved", || origins[1].publishes("livestream"));
    for player in players {
        let output = player.join().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let packets = text.lines().filter(|line| !line.starts_with('#'));
        let times = packets.filter_map(|line| line.split(',').nth(1)?.trim().parse::<u64>().ok());
        assert!(times.max().unwrap_or_default() > 7500, "eight seconds are played over the move: {text}");
    }
    // The pull that brought the stream here before it moved has ended, and the publisher has not.
    let streams = origins[1].ask("/api/v1/streams/");
    assert_eq!(streams["streams"][0]["publish"]["active"], true, "{streams}");
}

#[test]
fn two_that_come_at_once_are_one_in_the_end() {
    let origins = cluster(2, &[]);
    for round in 0..3 {
        let name = format!("race{round}");
        let publishers: Vec<_> =
            origins.iter().map(|origin| publish(&media(), &origin.rtmp(&format!("live/{name}")))).collect();
        wait_until("one of them publishes", || {
            origins.iter().filter(|origin| origin.publishes(&name)).count() == 1
        });
        drop(publishers);
    }
}

/// A publisher at this origin that says nothing for more than a second.
fn silent_publisher(origin: &Origin) -> std::net::TcpStream {
    let target = media_server::rtmp::url::Target::from_url(&origin.rtmp("live/livestream")).unwrap();
    let mut silent = std::net::TcpStream::connect((target.host.as_str(), target.port)).unwrap();
    let mut out = Vec::new();
    let intent = media_server::rtmp::client::Intent::Publish;
    let mut client = media_server::rtmp::client::Client::new(target, intent, 1, &mut out);
    let mut buffer = vec![0; 1 << 16];
    let mut started = false;
    while !started {
        silent.write_all(&out).unwrap();
        out.clear();
        let count = silent.read(&mut buffer).unwrap();
        let mut input = &buffer[..count];
        while let Some(event) = client.read(&mut input, &mut out).unwrap() {
            started |= event == media_server::rtmp::client::Event::Started;
        }
    }
    wait_until("the silent one is silent for more than a second", || {
        let now = std::time::Instant::now();
        let sources = origin.running().server.sources.all();
        sources.iter().any(|source| source.is_published() && source.silence(now).as_millis() > 1100)
    });
    silent
}

fn is_published(origin: &Origin) -> bool {
    origin.running().server.sources.all().iter().any(|source| source.is_published())
}

#[test]
fn a_silent_publisher_yields() {
    // On one machine all connections come from here, whatever address they go to.
    let origins = cluster(2, &[free("127.0.0.1")]);
    let _silent = silent_publisher(&origins[0]);
    assert!(is_published(&origins[0]));
    let _publisher = publish(&media(), &origins[1].rtmp("live/livestream"));
    wait_until("the other one publishes", || origins[1].publishes("livestream"));
    wait_until("the silent one is gone", || !is_published(&origins[0]));
}

#[test]
fn a_publisher_yields_to_coworkers_alone() {
    // The tests' own address is not among the coworkers'.
    let origins = cluster(2, &[]);
    let _silent = silent_publisher(&origins[0]);
    let path = "/api/v1/clusters?vhost=__defaultVhost__&app=live&stream=livestream&claim=vid-x";
    for (method, fields) in [
        ("GET", &[][..]),
        ("POST", &["Content-Length: 0"]),
        ("GET", &["X-Forwarded-For: 127.0.1.2"]),
        ("GET", &["Authorization: Bearer anything"]),
    ] {
        let (head, body) = request(origins[0].api, method, path, fields);
        assert!(head.contains("200") && body.contains("127.0.1.1"), "{head} {body}");
        assert!(is_published(&origins[0]), "{method} {fields:?}");
    }
}

/// A coworker's port that answers everything so; nothing where it is none.
fn odd_coworker(answer: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            match answer {
                Some(answer) => {
                    let _ = stream.read(&mut [0; 4096]);
                    let _ = stream.write_all(answer.as_bytes());
                }
                None => held.push(stream),
            }
        }
    });
    address
}

#[test]
fn coworkers_that_misbehave_are_nobody() {
    let gone = free("127.0.0.1");
    let odd = [
        odd_coworker(None),
        odd_coworker(Some("garbage\r\n\r\n")),
        odd_coworker(Some("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n{")),
        odd_coworker(Some("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<a/>")),
        odd_coworker(Some("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")),
        odd_coworker(Some(
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"code\":0,\"data\":{\"origin\":{\"ip\":\"a b\",\"port\":1}}}",
        )),
        gone,
    ];
    let origins = cluster(2, &odd);
    let _publisher = publish(&media(), &origins[1].rtmp("live/livestream"));
    wait_until("it is published all the same", || origins[1].publishes("livestream"));
    plays(&origins[0].rtmp("live/livestream"));
    let answer = origins[0].ask("/api/v1/streams/?cluster=1");
    let errors = answer["origins"].as_array().unwrap().iter().filter(|origin| !origin["error"].is_null());
    assert!(errors.count() >= 3, "{answer}");
}

/// A coworker that says it has every stream, at a place where nobody is.
#[test]
fn a_coworker_that_lies_costs_its_players_no_more_than_time() {
    let lie = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\
               {\"code\":0,\"data\":{\"origin\":{\"ip\":\"127.0.0.1\",\"port\":9,\"http\":9}}}";
    let origins = cluster(1, &[odd_coworker(Some(lie))]);
    let output = play(&origins[0].rtmp("live/livestream"), "1");
    assert!(!output.status.success() || !output.stderr.is_empty());
    wait_until("nothing is left", || origins[0].running().server.sources.is_empty());
}
