//! Edges between real servers: pull, failover, publish through, tokens, and origins that misbehave.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;
#[allow(dead_code, reason = "each test program uses a part")]
mod service;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{TestServer, media, play, publish, wait_until};
use media_server::amf0::Value;
use media_server::flv::TagKind;
use media_server::rtmp::client::{Client, Event, Intent};
use media_server::rtmp::session::{self, Identity, Session};
use media_server::rtmp::url::Target;
use media_server::rtmp::{OUT_CHUNK_SIZE, chunk, message_type};
use media_server::server::Service;

fn rtmp_port(server: &TestServer) -> u16 {
    server.address(Service::Rtmp).port()
}

/// An edge of these origins, with more of its cluster block.
fn edge(origins: &[u16], more: &str) -> TestServer {
    let origins: Vec<String> = origins.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let cluster = format!("cluster {{ mode remote; origin {}; {more} }}", origins.join(" "));
    TestServer::start(&format!("http_remux {{ enabled on; }} {cluster}"), "")
}

/// A player that writes down the timestamps of video, until it is dropped or the connection ends.
struct Viewer {
    times: Arc<Mutex<Vec<u32>>>,
    quit: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Viewer {
    fn start(url: &str) -> Self {
        let target = Target::from_url(url).unwrap();
        let mut stream = TcpStream::connect((target.host.as_str(), target.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let (times, quit, ended) = (Arc::<Mutex<Vec<u32>>>::default(), Arc::default(), Arc::default());
        let (seen, stop, over): (_, Arc<AtomicBool>, Arc<AtomicBool>) =
            (Arc::clone(&times), Arc::clone(&quit), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut out = Vec::new();
            let mut client = Client::new(target, Intent::Play, 5, &mut out);
            let mut buffer = vec![0; 1 << 16];
            while !stop.load(Ordering::Relaxed) {
                if stream.write_all(&out).is_err() {
                    break;
                }
                out.clear();
                let count = match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(_) => continue,
                };
                let mut input = &buffer[..count];
                while let Ok(Some(event)) = client.read(&mut input, &mut out) {
                    if let Event::Media(TagKind::Video, time, _) = event {
                        seen.lock().unwrap().push(time);
                    }
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        Viewer { times, quit, ended, thread: Some(thread) }
    }

    fn frames(&self) -> usize {
        self.times.lock().unwrap().len()
    }

    /// Waits for so many more frames.
    fn sees(&self, more: usize) {
        let until = self.frames() + more;
        wait_until("more frames are played", || {
            assert!(!self.ended.load(Ordering::Relaxed), "the player was closed");
            self.frames() >= until
        });
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn players(server: &TestServer) -> usize {
    server.running().server.stat.clients().iter().filter(|client| !client.publish).count()
}

fn sources(server: &TestServer) -> usize {
    server.running().server.sources.len()
}

#[test]
fn one_pull_serves_all_players_and_ends_after_the_last() {
    let origin = TestServer::start("", "");
    let edge = edge(&[rtmp_port(&origin)], "");
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    origin.wait_for_stream("livestream");
    let viewers =
        [Viewer::start(&edge.rtmp("live/livestream")), Viewer::start(&edge.rtmp("live/livestream?token=a"))];
    for viewer in &viewers {
        viewer.sees(20);
    }
    for url in [edge.rtmp("live/livestream"), edge.http("live/livestream.flv")] {
        let output = play(&url, "1");
        assert!(output.stderr.is_empty(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(players(&origin), 1, "one ingest, however many play");
    let stream = edge.api("/api/v1/streams/")["streams"][0].clone();
    assert_eq!(stream["publish"]["active"], true);
    assert!(stream["recv_bytes"].as_u64().unwrap() > 0);
    drop(viewers);
    wait_until("the pull has ended", || players(&origin) == 0 && sources(&edge) == 0);
    // And again.
    Viewer::start(&edge.rtmp("live/livestream")).sees(10);
}

#[test]
fn a_player_that_comes_while_the_last_leaves_is_served() {
    let origin = TestServer::start("", "");
    let edge = edge(&[rtmp_port(&origin)], "");
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    origin.wait_for_stream("livestream");
    for round in 0..6u64 {
        Viewer::start(&edge.rtmp("live/livestream")).sees(2);
        // Around the moment when the pull ends.
        std::thread::sleep(Duration::from_millis(1800 + 200 * round));
    }
    Viewer::start(&edge.rtmp("live/livestream")).sees(10);
}

#[test]
fn players_stay_when_their_origin_goes() {
    let (first, second) = (TestServer::start("", ""), TestServer::start("", ""));
    let publishers = [&first, &second].map(|origin| publish(&media(), &origin.rtmp("live/livestream")));
    first.wait_for_stream("livestream");
    second.wait_for_stream("livestream");
    let edge = edge(&[rtmp_port(&first), rtmp_port(&second)], "");
    let viewer = Viewer::start(&edge.rtmp("live/livestream"));
    let flv = TcpStream::connect(edge.address(Service::Http)).unwrap();
    (&flv).write_all(b"GET /live/livestream.flv HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    viewer.sees(20);
    assert_eq!((players(&first), players(&second)), (1, 0));
    drop(first);
    viewer.sees(60);
    assert_eq!(players(&second), 1);
    let times = viewer.times.lock().unwrap().clone();
    assert!(times.is_sorted(), "time went back: {times:?}");
    assert_eq!(players(&edge), 2, "the player by HTTP stays too");
    drop(publishers);
}

#[test]
fn a_stream_that_comes_later_is_played() {
    let origin = TestServer::start("", "");
    let edge = edge(&[rtmp_port(&origin)], "");
    let viewer = Viewer::start(&edge.rtmp("live/livestream"));
    wait_until("the edge asks", || players(&origin) == 1);
    let publisher = publish(&media(), &origin.rtmp("live/livestream"));
    viewer.sees(10);
    // The encoder starts again: the same players go on.
    drop(publisher);
    wait_until("the stream has ended", || {
        !origin.running().server.sources.all().iter().any(|source| source.is_published())
    });
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    viewer.sees(10);
}

#[test]
fn a_publish_goes_through_to_another_origin_when_one_is_lost() {
    let mut origins = vec![TestServer::start("", ""), TestServer::start("", "")];
    let ports: Vec<u16> = origins.iter().map(rtmp_port).collect();
    let edge = edge(&ports, "");
    let publisher = publish(&media(), &edge.rtmp("live/livestream?k=v"));
    let has = |origin: &TestServer| {
        origin.running().server.sources.all().iter().any(|source| source.is_published() && source.head() > 5)
    };
    wait_until("one origin has it", || origins.iter().filter(|origin| has(origin)).count() == 1);
    let cid = edge.api("/api/v1/clients/")["clients"][0]["id"].clone();
    let streams = edge.api("/api/v1/streams/");
    assert_eq!(streams["streams"][0]["publish"]["active"], false, "as SRS shows it");
    // Nobody else may publish the same name.
    let mut second = publish(&media(), &edge.rtmp("live/livestream"));
    assert!(!second.0.wait().unwrap().success());
    let chosen = origins.iter().position(has).unwrap();
    drop(origins.remove(chosen));
    wait_until("the other has it", || has(&origins[0]));
    let output = play(&origins[0].rtmp("live/livestream"), "1");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    // What is published through the edge is played from it as well.
    Viewer::start(&edge.rtmp("live/livestream")).sees(10);
    let clients = edge.api("/api/v1/clients/");
    assert!(clients["clients"].as_array().unwrap().iter().any(|client| client["id"] == cid), "{clients}");
    drop(publisher);
    wait_until("nothing is left", || sources(&edge) == 0 && sources(&origins[0]) == 0);
}

#[test]
fn streams_are_spread_over_origins() {
    let origins: Vec<TestServer> = (0..3).map(|_| TestServer::start("", "")).collect();
    let ports: Vec<u16> = origins.iter().map(rtmp_port).collect();
    let edge = edge(&ports, "");
    let url = edge.rtmp("live/s{i}");
    let url = url.replace("{i}", "");
    let publishers: Vec<_> = (0..9).map(|i| publish(&media(), &format!("{url}{i}"))).collect();
    let counts = || origins.iter().map(sources).collect::<Vec<_>>();
    wait_until("all are published", || counts().iter().sum::<usize>() == 9);
    assert!(counts().iter().filter(|count| **count > 0).count() >= 2, "{:?}", counts());
    drop(publishers);
}

#[test]
fn a_publish_that_no_origin_takes_is_refused() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let edge = edge(&[gone], "");
    let mut publisher = publish(&media(), &edge.rtmp("live/livestream"));
    assert!(!publisher.0.wait().unwrap().success());
    wait_until("nothing is left", || sources(&edge) == 0);
}

#[test]
fn an_origin_that_is_busy_ends_the_publish() {
    let (first, second) = (TestServer::start("", ""), TestServer::start("", ""));
    let _publishers = [&first, &second].map(|origin| publish(&media(), &origin.rtmp("live/livestream")));
    first.wait_for_stream("livestream");
    second.wait_for_stream("livestream");
    let edge = edge(&[rtmp_port(&first), rtmp_port(&second)], "");
    // A player holds the stream's statistics, which every ring of it refers to.
    let viewer = Viewer::start(&edge.rtmp("live/livestream"));
    viewer.sees(5);
    let stream = edge.running().server.stat.streams().remove(0);
    let before = Arc::strong_count(&stream);
    for _ in 0..3 {
        let mut publisher = publish(&media(), &edge.rtmp("live/livestream"));
        assert!(!publisher.0.wait().unwrap().success());
    }
    wait_until("nothing is left of them", || Arc::strong_count(&stream) <= before);
    drop(viewer);
    wait_until("nothing is left of the player", || sources(&edge) == 0);
}

/// An origin of one connection at a time, for what servers don't do.
fn odd_origin(mut behave: impl FnMut(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(|stream| behave(stream.unwrap())));
    port
}

fn identity() -> Identity {
    Identity {
        signature: "odd".into(),
        version: "1".into(),
        server_ip: "127.0.0.1".into(),
        pid: 1,
        id: "x".into(),
        server_id: "other".into(),
    }
}

/// Takes a player and has no stream for it: now and then it says what servers say around play.
fn has_nothing(mut stream: TcpStream) {
    let mut session = Session::new(1, 1);
    let mut buffer = vec![0; 1 << 16];
    let mut out = Vec::new();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut plays = false;
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(_) => 0,
        };
        let mut input = &buffer[..count];
        while let Ok(Some(event)) = session.read(&mut input, &mut out) {
            match event {
                session::Event::Connect(_) => session.accept_connect(&mut out, &identity()),
                session::Event::Play(_) => plays = true,
                _ => {}
            }
        }
        if plays {
            let values = [Value::string("|RtmpSampleAccess"), Value::Bool(true), Value::Bool(true)];
            chunk::on_stream(&mut out, OUT_CHUNK_SIZE, message_type::DATA_AMF0, &values);
        }
        if stream.write_all(&std::mem::take(&mut out)).is_err() {
            return;
        }
    }
}

#[test]
fn an_origin_that_has_nothing_is_left_for_the_next() {
    let origin = TestServer::start("", "");
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    origin.wait_for_stream("livestream");
    let edge = edge(&[odd_origin(has_nothing), rtmp_port(&origin)], "");
    Viewer::start(&edge.rtmp("live/livestream")).sees(10);
}

/// Answers play with SRS's "RTMP 302", and knows a bad token.
fn redirect(mut stream: TcpStream, url: &str) {
    let mut session = Session::new(1, 1);
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            return;
        }
        let mut out = Vec::new();
        let mut input = &buffer[..count];
        while let Ok(Some(event)) = session.read(&mut input, &mut out) {
            match event {
                session::Event::Connect(connect) if connect.tc_url.contains("token=bad") => return,
                session::Event::Connect(_) => session.accept_connect(&mut out, &identity()),
                session::Event::Play(_) => session.redirect(&mut out, "rtmp://wrong", url),
                _ => {}
            }
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

#[test]
fn hls_comes_from_the_origin_once_for_all_viewers() {
    let html = tempfile::tempdir().unwrap();
    let origin = common::TestServer::start(
        &format!("hls {{ enabled on; hls_fragment 1; hls_path {}; }}", html.path().display()),
        "",
    );
    // The origin's server of files is where its segments are.
    let requests = Arc::new(Mutex::new(Vec::<String>::new()));
    let seen = Arc::clone(&requests);
    let root = html.path().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let files = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = std::fs::read(root.join(path.trim_start_matches('/')));
            let (status, body) = body.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
            let length = body.len();
            seen.lock().unwrap().push(path);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
            let _ = stream.write_all(&body);
        }
    });
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let edge = edge(&[rtmp_port(&origin)], &format!("origin_http {gone} {files};"));
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    wait_until("there are segments", || html.path().join("live/livestream-1.ts").is_file());
    let (head, master) = common::request(edge.address(Service::Http), "GET", "/live/livestream.m3u8", &[]);
    assert!(head.contains("mpegurl") && master.contains("hls_ctx="), "{head} {master}");
    let uri = master.lines().find(|line| !line.starts_with('#') && !line.is_empty()).unwrap();
    let (_, list) = common::request(edge.address(Service::Http), "GET", uri, &[]);
    assert!(list.contains("livestream-0.ts") && list.contains("#EXTINF"), "{list}");
    let segment = "/live/livestream-0.ts";
    let viewers: Vec<_> = (0..8)
        .map(|_| {
            let address = edge.address(Service::Http);
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                write!(stream, "GET {segment} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                bytes.len()
            })
        })
        .collect();
    let length = std::fs::metadata(html.path().join("live/livestream-0.ts")).unwrap().len();
    for viewer in viewers {
        assert!(viewer.join().unwrap() as u64 > length);
    }
    let asked = requests.lock().unwrap().iter().filter(|path| *path == segment).count();
    assert_eq!(asked, 1, "one request a file");
    for path in ["/live/nothing.m3u8", "/live/..%2f..%2fetc/passwd-1.ts", "/live/livestream-99999.ts"] {
        let (head, _) = common::request(edge.address(Service::Http), "GET", path, &[]);
        assert!(head.contains(" 404 "), "{path}: {head}");
    }
    let output = play(&edge.http("live/livestream.m3u8"), "2");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An origin's HTTP server that lets those play who have `token=good…`, and writes down what it is asked.
fn strict_origin() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&asked);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let uri = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
            let (status, body) = match (path, query) {
                ("/live/s-0.ts", _) => ("200 OK", "a segment".to_owned()),
                ("/live/s-0.key", "hls_ctx=theirs") => ("200 OK", "a key".to_owned()),
                ("/live/s.m3u8", query) if query.ends_with("hls_ctx=theirs") => {
                    let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"s-0.key?hls_ctx=theirs\"";
                    ("200 OK", format!("#EXTM3U\n{key}\n#EXTINF:1,\ns-0.ts?hls_ctx=theirs\n"))
                }
                ("/live/s.m3u8", query) if query.starts_with("token=good") => {
                    let master = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{uri}&hls_ctx=theirs\n");
                    ("200 OK", master)
                }
                ("/live/s.m3u8" | "/live/s-0.key", _) => ("401 Unauthorized", String::new()),
                _ => ("404 Not Found", String::new()),
            };
            seen.lock().unwrap().push(uri);
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        }
    });
    (address, asked)
}

fn get(server: &TestServer, path: &str) -> (String, String) {
    let (head, body) = common::request(server.address(Service::Http), "GET", path, &[]);
    (head["HTTP/1.1 ".len()..][..3].to_owned(), body)
}

#[test]
fn origins_decide_about_viewers_of_hls() {
    let (origin, asked) = strict_origin();
    let edge = edge(&[7], &format!("origin_http {origin}; token_traverse on;"));
    let masters =
        || asked.lock().unwrap().iter().filter(|uri| !uri.contains("hls_ctx")).cloned().collect::<Vec<_>>();
    assert_eq!(get(&edge, "/live/s-0.key").0, "403", "nobody has asked for the playlist");
    for bad in ["", "?token=bad", "?token=bad&hls_ctx=theirs", &format!("?token=good{}", "x".repeat(2000))] {
        let (status, body) = get(&edge, &format!("/live/s.m3u8{bad}"));
        assert!(["401", "403"].contains(&status.as_str()), "{bad}: {status} {body}");
    }
    assert_eq!(masters(), ["/live/s.m3u8", "/live/s.m3u8?token=bad"]);
    // What one may another may not, however fresh what came for the first is.
    let (status, master) = get(&edge, "/live/s.m3u8?vhost=any&token=good");
    assert_eq!(status, "200", "{master}");
    assert_eq!(get(&edge, "/live/s.m3u8?token=worse").0, "401");
    let url = master.lines().last().unwrap();
    let context = url.rsplit_once("hls_ctx=").unwrap().1.to_owned();
    let before = masters().len();
    for _ in 0..3 {
        let (status, media) = get(&edge, url);
        assert_eq!(status, "200");
        assert!(media.contains(&format!("s-0.ts?hls_ctx={context}")) && !media.contains("theirs"), "{media}");
        std::thread::sleep(Duration::from_millis(600));
    }
    assert_eq!(masters().len(), before, "{:?}", asked.lock().unwrap());
    assert!(!asked.lock().unwrap().iter().any(|uri| uri.contains(&context)), "the edge's own is its own");
    assert_eq!(get(&edge, &format!("/live/s-0.key?hls_ctx={context}")), ("200".into(), "a key".into()));
    let segments = || asked.lock().unwrap().iter().filter(|uri| uri.contains("/s-0.ts")).count();
    for query in ["", "?token=a", "?token=b"] {
        assert_eq!(get(&edge, &format!("/live/s-0.ts{query}")).0, "200");
    }
    assert_eq!(segments(), 1, "no query makes another file of it");
}

/// Without `token_traverse` the query goes along with the one request that it causes.
#[test]
fn a_query_does_not_split_the_cache() {
    let (origin, asked) = strict_origin();
    let edge = edge(&[7], &format!("origin_http {origin};"));
    assert_eq!(get(&edge, "/live/s.m3u8?token=bad").0, "401");
    let (_, master) = get(&edge, "/live/s.m3u8?token=good1");
    assert!(master.contains("token=good1&hls_ctx="), "{master}");
    for number in 2..20 {
        assert_eq!(get(&edge, &format!("/live/s.m3u8?token=good{number}")).0, "200");
    }
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|uri| !uri.contains("good2")), "{asked:?}");
    assert_eq!(asked[..2], ["/live/s.m3u8?token=bad", "/live/s.m3u8?token=good1"]);
}

#[test]
fn an_edge_fetches_nothing_for_whom_it_does_not_let_play() {
    let (origin, asked) = strict_origin();
    let (hooks, seen) = service::service(|body| if body["param"] == "?token=good" { "0" } else { "1" });
    // An open vhost of the same servers opens nothing of the guarded one's.
    let edge = edge(
        &[7],
        &format!(
            "origin_http {origin}; }}
             http_hooks {{ enabled on; on_play http://{hooks}/; on_stop http://{hooks}/; }} }}
             vhost open {{ cluster {{ mode remote; origin 127.0.0.1:7; origin_http {origin}; }} }}
             vhost apart {{ cluster {{ mode remote; origin 127.0.0.1:8;"
        ),
    );
    for path in
        ["/live/s.m3u8", "/live/s.m3u8?token=bad", "/live/s.m3u8?vhost=open", "/live/s-0.key?vhost=open"]
    {
        assert!(["401", "403"].contains(&get(&edge, path).0.as_str()), "{path}");
    }
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
    let told = |action: &str| seen.lock().unwrap().iter().filter(|body| body["action"] == action).count();
    assert_eq!(told("on_play"), 3);
    // Another's servers are another's files.
    assert_eq!(get(&edge, "/live/s.m3u8?vhost=apart").0, "404");
    assert_eq!(told("on_play"), 3);
    // Who may play what is not there has stopped.
    assert_eq!(get(&edge, "/live/none.m3u8?token=good").0, "404");
    wait_until("on_stop is told", || told("on_stop") == 1);
    let (_, master) = get(&edge, "/live/s.m3u8?token=good");
    let url = master.lines().last().unwrap();
    assert_eq!(get(&edge, url).0, "200");
    assert_eq!((told("on_play"), told("on_stop")), (5, 1));
    assert_eq!(edge.api("/api/v1/clients/")["clients"][0]["type"], "hls-play");
}

#[test]
fn redirects_are_followed() {
    let origin = TestServer::start("", "");
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    origin.wait_for_stream("livestream");
    let url = origin.rtmp("live/livestream");
    let first = odd_origin(move |stream| redirect(stream, &url));
    let edge = edge(&[first], "");
    Viewer::start(&edge.rtmp("live/livestream")).sees(10);
}

#[test]
fn origins_decide_about_tokens() {
    let origin = TestServer::start("", "");
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    origin.wait_for_stream("livestream");
    let url = origin.rtmp("live/livestream");
    let gatekeeper = odd_origin(move |stream| redirect(stream, &url));
    let edge = edge(&[gatekeeper], "token_traverse on;");
    for (token, good) in [("bad", false), ("good", true)] {
        let url = edge.rtmp(&format!("live?token={token}/livestream"));
        let output = play(&url, "1");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(errors.is_empty(), good, "{url}: {errors}");
    }
    let (head, _) = common::request(edge.address(Service::Http), "GET", "/live/none", &[]);
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let refused = TcpStream::connect(edge.address(Service::Http)).unwrap();
    (&refused).write_all(b"GET /live/livestream.flv?token=bad HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    (&refused).read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty(), "the same holds for HTTP: {answer:?}");
}

#[test]
fn origins_that_misbehave_are_left_for_the_next() {
    let origin = TestServer::start("", "");
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    origin.wait_for_stream("livestream");
    let mut held = Vec::new();
    let odd = [
        odd_origin(|mut stream| drop(stream.write_all(&[b'x'; 10_000]))),
        odd_origin(move |stream| held.push(stream)),
        odd_origin(|stream| redirect(stream, "http://127.0.0.1/")),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let circle = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            redirect(stream.unwrap(), &format!("rtmp://127.0.0.1:{circle}/live/livestream"));
        }
    });
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let edge = edge(&[odd[0], odd[1], odd[2], circle, gone, rtmp_port(&origin)], "");
    let viewer = Viewer::start(&edge.rtmp("live/livestream"));
    wait_until("the good origin is found", || viewer.frames() > 10);
}

/// Serves a little of a stream of another codec, and then says nothing more.
fn freeze(mut stream: TcpStream) {
    let mut session = Session::new(1, 1);
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            return;
        }
        let mut out = Vec::new();
        let mut input = &buffer[..count];
        while let Ok(Some(event)) = session.read(&mut input, &mut out) {
            match event {
                session::Event::Connect(_) => session.accept_connect(&mut out, &identity()),
                session::Event::Play(_) => {
                    // HEVC in the way of Chinese CDNs.
                    for (time, payload) in [(0, [0x1c, 0, 0, 0, 0, 1]), (40, [0x1c, 1, 0, 0, 0, 2])] {
                        chunk::write(&mut out, 60_000, 6, TagKind::Video as u8, 1, time, &payload);
                    }
                }
                _ => {}
            }
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

#[test]
fn a_stream_that_stalls_goes_on_from_another_origin_in_another_codec() {
    let origin = TestServer::start("", "");
    let _publisher = publish(&media(), &origin.rtmp("live/livestream"));
    origin.wait_for_stream("livestream");
    let stalled = odd_origin(freeze);
    let edge = edge(&[stalled, rtmp_port(&origin)], "");
    let viewer = Viewer::start(&edge.rtmp("live/livestream"));
    viewer.sees(2);
    viewer.sees(30);
    assert!(viewer.times.lock().unwrap().is_sorted());
    let stream = edge.api("/api/v1/streams/")["streams"][0].clone();
    assert_eq!(stream["video"]["codec"], "H264");
}

#[test]
fn an_edge_stays_one_over_a_reload_and_takes_new_origins() {
    let (first, second) = (TestServer::start("", ""), TestServer::start("", ""));
    let _publishers = [&first, &second].map(|origin| publish(&media(), &origin.rtmp("live/livestream")));
    first.wait_for_stream("livestream");
    second.wait_for_stream("livestream");
    let conf =
        |cluster: &str| format!("listen 127.0.0.1:0; vhost __defaultVhost__ {{ cluster {{ {cluster} }} }}");
    let remote = |port: u16| conf(&format!("mode remote; origin 127.0.0.1:{port};"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("srs.conf");
    std::fs::write(&path, remote(rtmp_port(&first))).unwrap();
    let settings = media_server::conf::load(&path).unwrap();
    let version = media_server::server::Version::parse("4.0.271").unwrap();
    let running = media_server::cli::Running::start_from(settings, version, Some(path.clone())).unwrap();
    let address = running.address(Service::Rtmp).unwrap();
    let viewer = Viewer::start(&format!("rtmp://{address}/live/livestream"));
    viewer.sees(10);
    std::fs::write(&path, conf("mode local;")).unwrap();
    let error = media_server::reload::reload(&running.server, Some(&path)).unwrap_err();
    assert!(error.to_string().contains("cluster.mode"), "{error}");
    std::fs::write(&path, remote(rtmp_port(&second))).unwrap();
    media_server::reload::reload(&running.server, Some(&path)).unwrap();
    viewer.sees(10);
    drop(first);
    viewer.sees(30);
    assert_eq!(players(&second), 1);
    drop(viewer);
    running.stop();
}

#[test]
fn a_server_that_is_its_own_origin_knows_itself() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "listen 127.0.0.1:{port}; vhost __defaultVhost__ {{ cluster {{ mode remote; origin 127.0.0.1:{port}; }} }}"
    );
    let settings = media_server::conf::from_text(&text).unwrap();
    let version = media_server::server::Version::parse("4.0.271").unwrap();
    let running = media_server::cli::Running::start(settings, version).unwrap();
    let viewer = Viewer::start(&format!("rtmp://127.0.0.1:{port}/live/livestream"));
    wait_until("it plays", || running.server.stat.client_count() == 1);
    // It never becomes its own player, however often it tries.
    let until = std::time::Instant::now() + Duration::from_secs(3);
    while std::time::Instant::now() < until {
        assert_eq!(running.server.stat.client_count(), 1);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(viewer);
    wait_until("nothing is left", || running.server.sources.is_empty());
    running.stop();
}
