//! `forward`: streams that go on to other servers.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{Reaped, TestServer, media, play, publish, wait_until};
use media_server::rtmp::session::{Event, Identity, Session};
use media_server::server::Service;

fn port(server: &TestServer) -> u16 {
    server.address(Service::Rtmp).port()
}

/// An origin that accepts every publish and writes down what it saw; `drops` connections are closed right after the
/// first media.
fn recorder(mut drops: usize) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writes = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let drop_it = drops > 0;
            drops = drops.saturating_sub(1);
            record(stream.unwrap(), drop_it, &writes);
        }
    });
    (port, seen)
}

fn record(mut stream: TcpStream, drop_it: bool, seen: &Mutex<Vec<String>>) {
    let mut session = Session::new(1, 1);
    let identity = Identity {
        signature: "recorder".into(),
        version: "1".into(),
        server_ip: "127.0.0.1".into(),
        pid: 1,
        id: "x".into(),
        server_id: "other".into(),
    };
    let mut buffer = vec![0; 1 << 16];
    let say = |text: String| seen.lock().unwrap().push(text);
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let mut out = Vec::new();
        let mut input = &buffer[..count];
        while let Some(event) = session.read(&mut input, &mut out).unwrap() {
            match event {
                Event::Connect(connect) => {
                    say(format!("connect {}", connect.tc_url.rsplit('/').next().unwrap()));
                    session.accept_connect(&mut out, &identity);
                }
                Event::Publish(target, kind) => {
                    say(format!("{} {}{}", kind.name(), target.stream, target.param));
                    session.accept_publish(&mut out);
                }
                Event::Media(kind, time, payload) => {
                    say(format!("{kind:?} {time} {}", payload.len()));
                    if drop_it {
                        return;
                    }
                }
                other => say(format!("{other:?}")),
            }
        }
        if stream.write_all(&out).is_err() {
            break;
        }
    }
    say("closed".into());
}

#[test]
fn a_stream_goes_to_every_destination_and_ends_with_its_publisher() {
    // Each has chunks of its own size.
    let (first, second) = (TestServer::start("chunk_size 128;", ""), TestServer::start("", ""));
    // One that does not exist, one that is this server's own port: neither hurts the others.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let forward = format!(
        "forward {{ enabled on; destination 127.0.0.1:{} 127.0.0.1:{} {gone}; }}",
        port(&first),
        port(&second)
    );
    let server = TestServer::start(&forward, "chunk_size 700;");
    let publisher = publish(&media(), &server.rtmp("live/livestream"));
    for destination in [&first, &second] {
        destination.wait_for_stream("livestream");
        let output = play(&destination.rtmp("live/livestream"), "1");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let kind = first.api("/api/v1/clients/")["clients"][0]["type"].clone();
    assert_eq!(kind, "flash-publish");
    drop(publisher);
    for server in [&first, &second, &server] {
        wait_until("the stream is gone everywhere", || server.running().server.sources.is_empty());
    }
}

#[test]
fn what_goes_out_is_what_srs_sends_and_goes_on_after_a_loss() {
    let (port, seen) = recorder(1);
    let server = TestServer::start(&format!("forward 127.0.0.1:{port};"), "");
    let publisher = publish(&media(), &server.rtmp("live/fwd?token=a"));
    let count = |what: &str| seen.lock().unwrap().iter().filter(|line| line.starts_with(what)).count();
    wait_until("the second connection has media", || count("connect") >= 2 && count("Video") > 20);
    drop(publisher);
    wait_until("the end is told", || count("closed") >= 1);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[..2], ["connect live", "flash-publish fwd?token=a"]);
    let again = seen.iter().rposition(|line| line.starts_with("connect")).unwrap();
    let kinds: Vec<&str> = seen[again + 2..].iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(kinds[..3], ["Script", "Audio", "Video"], "headers first");
    assert_eq!(kinds[kinds.len() - 2..], ["Unpublish", "closed"]);
    // The time of the second connection is later than the first one's, and never goes back.
    let times: Vec<u32> = seen[again + 5..]
        .iter()
        .filter(|line| line.starts_with("Video"))
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn nginx_rtmp_takes_it() {
    common::ensure_packages(&["nginx", "libnginx-mod-rtmp"]);
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = dir.path().join("nginx.conf");
    std::fs::write(
        &conf,
        format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so; daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr;
             events {{ }} rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}",
            dir = dir.path().display()
        ),
    )
    .unwrap();
    let nginx = Command::new("nginx")
        .args(["-p", dir.path().to_str().unwrap(), "-c", conf.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn();
    let _nginx = Reaped(nginx.unwrap());
    let server = TestServer::start(&format!("forward {{ enabled on; destination 127.0.0.1:{port}; }}"), "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    wait_until("nginx plays it", || {
        let output = play(&format!("rtmp://127.0.0.1:{port}/live/livestream"), "1");
        output.status.success() && output.stderr.is_empty()
    });
}

#[test]
fn a_destination_that_does_not_read_hurts_nobody() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("forward {{ enabled on; destination {}; }}", deaf.local_addr().unwrap());
    let server = TestServer::start(&forward, "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    let (_held, _) = deaf.accept().unwrap();
    let output = play(&server.rtmp("live/livestream"), "2");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_reload_adds_and_removes_destinations() {
    let (first, second) = (TestServer::start("", ""), TestServer::start("", ""));
    let conf = |port: u16| {
        format!(
            "listen 127.0.0.1:0; vhost __defaultVhost__ {{
                 forward {{ enabled on; destination 127.0.0.1:{port}; }} }}"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("srs.conf");
    std::fs::write(&path, conf(port(&first))).unwrap();
    let settings = media_server::conf::load(&path).unwrap();
    let version = media_server::server::Version::parse("4.0.271").unwrap();
    let running = media_server::cli::Running::start_from(settings, version, Some(path.clone())).unwrap();
    let address = running.address(Service::Rtmp).unwrap();
    let _publisher = publish(&media(), &format!("rtmp://{address}/live/livestream"));
    first.wait_for_stream("livestream");
    std::fs::write(&path, conf(port(&second))).unwrap();
    media_server::reload::reload(&running.server, Some(&path)).unwrap();
    second.wait_for_stream("livestream");
    wait_until("the old destination has it no more", || first.running().server.sources.is_empty());
    running.stop();
    wait_until("nor the new one", || second.running().server.sources.is_empty());
}
