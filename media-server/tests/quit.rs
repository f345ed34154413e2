//! Quitting gracefully, as processes: who is served how long, how each kind of client is moved to another server, and
//! that none of them sees an error.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Reaped, ffmpeg, media, request, wait_until};
use media_server::rtmp::client::{Client, Event, Intent};
use media_server::rtmp::url::Target;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

const PROGRAM: &str = env!("CARGO_BIN_EXE_media-server");
/// Longer than any wait here on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server in a process of its own.
struct Origin {
    process: Reaped,
    dir: tempfile::TempDir,
    rtmp: SocketAddr,
    api: SocketAddr,
    http: SocketAddr,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Origin {
    fn start(root: &str, vhost: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["conf", "objs", "etc/init.d"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink(PROGRAM, dir.path().join("etc/init.d/srs")).unwrap();
        let [rtmp, api, http] = [free_address(), free_address(), free_address()];
        let conf = format!(
            "listen {rtmp}; daemon off; srs_log_tank file; srs_log_file ./objs/srs.log; {root}
             http_api {{ enabled on; listen {api}; }}
             http_server {{ enabled on; listen {http}; dir ./objs; }}
             vhost __defaultVhost__ {{ http_remux {{ enabled on; mount /[app]/[stream].flv; }} {vhost} }}"
        );
        std::fs::write(dir.path().join("conf/srs.conf"), conf).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["-c", "conf/srs.conf"]).current_dir(dir.path()).stdout(Stdio::null());
        let process = Reaped(command.spawn().unwrap());
        wait_until("the server listens", || TcpStream::connect(http).is_ok());
        wait_until("its pid is written", || dir.path().join("objs/srs.pid").is_file());
        Origin { process, dir, rtmp, api, http }
    }

    fn rtmp(&self) -> String {
        format!("rtmp://{}/live/livestream", self.rtmp)
    }

    fn flv(&self) -> String {
        format!("http://{}/live/livestream.flv", self.http)
    }

    /// What the API says about the drain.
    fn drain(&self) -> serde_json::Value {
        let (_, body) = request(self.api, "GET", "/api/v1/summaries", &[]);
        let summaries: serde_json::Value = serde_json::from_str(&body).unwrap();
        summaries["data"]["self"]["media_server"]["drain"].clone()
    }

    fn players(&self) -> u64 {
        self.drain()["players"].as_u64().unwrap()
    }

    fn ready(&self) -> bool {
        request(self.api, "GET", "/readyz", &[]).0.starts_with("HTTP/1.1 200")
    }

    fn grace(&self) {
        let script = self.dir.path().join("etc/init.d/srs");
        assert_eq!(Command::new(script).arg("grace").status().unwrap().code(), Some(0));
    }

    fn signal(&self, name: &str) {
        let pid = self.process.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("objs/srs.log")).unwrap_or_default()
    }

    fn publisher(&self) -> Reaped {
        let publisher = start_publisher(&self.rtmp(), &[]);
        wait_until("it is published", || self.drain()["publishers"] == 1);
        publisher
    }

    /// Its exit code.
    fn exit_code(mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.process.0.try_wait().unwrap() {
                Some(status) => return status.code(),
                None => assert!(Instant::now() < until, "it has not quit: {}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Publishes; who knows other addresses goes there before a keyframe when the server asks.
fn start_publisher(url: &str, others: &[SocketAddr]) -> Reaped {
    let mut command = Command::new(PROGRAM);
    command.args(["publish", "--loop"]).arg(media()).arg(url);
    for other in others {
        command.args(["--address", &other.to_string()]);
    }
    Reaped(command.stderr(Stdio::null()).spawn().unwrap())
}

/// ffmpeg that copies what it plays into a file until the stream ends.
fn record(url: &str, file: &Path) -> Child {
    let mut command = ffmpeg("ffmpeg");
    command.args(["-rw_timeout", "30000000", "-i", url, "-c", "copy", "-f", "flv", "-y"]).arg(file);
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for its end; gives what it complained about.
fn complaints(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

/// Whether the last video frame of a file is the last one of a GOP: the frames that the demo stream has after a
/// keyframe are known from the file that is published.
fn ends_with_a_whole_gop(file: &Path) -> bool {
    let frames = |file: &Path| -> Vec<bool> {
        let mut command = ffmpeg("ffprobe");
        command.args(["-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0"]).arg(file);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.starts_with('K')).collect()
    };
    let last = frames(file).iter().rev().position(|key| *key).unwrap() + 1;
    // The lengths of the GOPs that are published; the file's last one is followed by its first in a loop.
    let published = frames(&media());
    let keys: Vec<usize> = (0..published.len()).filter(|index| published[*index]).collect();
    let mut lengths: Vec<usize> = keys.windows(2).map(|pair| pair[1] - pair[0]).collect();
    lengths.push(published.len() - keys.last().unwrap());
    lengths.contains(&last)
}

/// Until the listeners close everything is served; then the API stays and shows who is left.
#[test]
fn a_drain_goes_through_its_phases() {
    let mut origin = Origin::start("grace_start_wait 3000; grace_final_wait 300;", "");
    let _publisher = origin.publisher();
    assert!(origin.ready());
    assert_eq!(origin.drain()["state"], "serving");
    let dir = tempfile::tempdir().unwrap();
    let first = record(&origin.rtmp(), &dir.path().join("first.flv"));
    wait_until("one plays", || origin.players() == 1);
    origin.grace();
    wait_until("it says that it goes", || !origin.ready());
    // New clients are still served.
    let mut late = TcpStream::connect(origin.http).unwrap();
    write!(late, "GET /live/livestream.flv HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    wait_until("the late one plays, too", || origin.players() == 2);
    let drain = origin.drain();
    assert_eq!((&drain["state"], &drain["publishers"]), (&"start_wait".into(), &1.into()));
    assert!(drain["since_ms"].as_u64().unwrap() > 0 && drain["deadline_ms"].is_null());
    wait_until("listeners close", || origin.drain()["state"] == "waiting");
    wait_until("nobody new comes in", || TcpStream::connect(origin.rtmp).is_err());
    assert!(TcpStream::connect(origin.http).is_err());
    let (_, metrics) = request(origin.api, "GET", "/metrics", &[]);
    assert!(metrics.contains("srs_drain_phase 2") && metrics.contains("srs_draining 1"), "{metrics}");
    // Without a deadline clients stay, until somebody has no more patience.
    assert!(origin.process.0.try_wait().unwrap().is_none());
    assert_eq!(origin.players(), 2);
    let log = origin.log();
    for line in [
        "sig=3, user start gracefully quit",
        "cleanup for quit signal fast=0, grace=1",
        "main cycle terminated, system quit normally.",
        "start wait for 3000ms",
        "grace_deadline is not set",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    origin.signal("-TERM");
    let code = origin.exit_code();
    assert_eq!(code, Some(0));
    drop(late);
    let _ = first.wait_with_output();
}

/// Players of every kind get a clean end of the stream at a keyframe, and the server is gone before the deadline.
#[test]
fn viewers_are_handed_over_before_the_deadline() {
    // Time enough for the publisher to reach a keyframe, the last of which come after 3 s.
    let root = "grace_start_wait 300; grace_final_wait 300; grace_deadline 40000; grace_handover 38000;";
    let origin = Origin::start(root, "");
    let _publisher = start_publisher(&origin.rtmp(), &[origin.rtmp, free_address()]);
    wait_until("it is published", || origin.drain()["publishers"] == 1);
    let dir = tempfile::tempdir().unwrap();
    let files = [dir.path().join("rtmp.flv"), dir.path().join("http.flv")];
    let players: Vec<Child> =
        [origin.rtmp(), origin.flv()].iter().zip(&files).map(|(url, file)| record(url, file)).collect();
    let mut plain = TcpStream::connect(origin.http).unwrap();
    write!(plain, "GET /live/livestream.flv HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    wait_until("all play", || origin.players() == 3);
    let quits = Instant::now();
    // The kubelet's order, whatever the configuration says about SIGTERM: `grace` came first.
    origin.grace();
    let mut bytes = Vec::new();
    plain.read_to_end(&mut bytes).unwrap();
    assert!(bytes.ends_with(b"\r\n0\r\n\r\n"), "the answer has an end");
    for (player, file) in players.into_iter().zip(&files) {
        assert_eq!(complaints(player), "", "{}", file.display());
        assert!(ends_with_a_whole_gop(file), "{}", file.display());
    }
    let log = origin.log();
    let code = origin.exit_code();
    assert!(quits.elapsed() < Duration::from_secs(40), "{log}");
    assert_eq!(code, Some(0));
}

/// A page's WebSocket is told that the server goes (RFC 6455, 7.4.1), and a transport stream ends with a whole GOP.
#[test]
fn viewers_by_websocket_and_of_ts_are_handed_over() {
    // Time enough for publishers to reach a keyframe, the last of which come after 3 s.
    let root = "grace_start_wait 300; grace_final_wait 300; grace_deadline 40000; grace_handover 38000;
        vhost ts { http_remux { enabled on; mount /[app]/[stream].ts; } }";
    let origin = Origin::start(root, "");
    let addresses = [origin.rtmp, free_address()];
    let _publishers =
        ["", "?vhost=ts"].map(|vhost| start_publisher(&format!("{}{vhost}", origin.rtmp()), &addresses));
    wait_until("both are published", || origin.drain()["publishers"] == 2);
    let dir = tempfile::tempdir().unwrap();
    let files = [dir.path().join("ts.flv"), dir.path().join("websocket.flv")];
    let ts = record(&format!("http://{}/live/livestream.ts?vhost=ts", origin.http), &files[0]);
    let stream = TcpStream::connect(origin.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut socket, _) =
        tungstenite::client(format!("ws://{}/live/livestream.flv", origin.http), stream).unwrap();
    wait_until("both play", || origin.players() == 2);
    origin.grace();
    let mut bytes = Vec::new();
    let closed = loop {
        match socket.read().unwrap() {
            Message::Binary(part) => bytes.extend_from_slice(&part),
            Message::Close(frame) => break frame.unwrap(),
            _ => {}
        }
    };
    assert_eq!(closed.code, CloseCode::Away);
    std::fs::write(&files[1], bytes).unwrap();
    assert_eq!(complaints(ts), "");
    for file in &files {
        assert!(ends_with_a_whole_gop(file), "{}", file.display());
    }
    assert_eq!(origin.exit_code(), Some(0));
}

/// Reads what a server says to a client of ours until it closes; gives whether it asked to connect again.
fn asked(target: &str, address: SocketAddr, started: impl FnOnce()) -> Option<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut out = Vec::new();
    let mut client = Client::new(Target::from_url(target).unwrap(), Intent::Play, 7, &mut out);
    let mut started = Some(started);
    let mut buffer = vec![0; 64 << 10];
    loop {
        stream.write_all(&out).unwrap();
        out.clear();
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return None;
        }
        let mut input = &buffer[..count];
        while let Some(event) = client.read(&mut input, &mut out).unwrap() {
            match event {
                Event::Started => started.take().into_iter().for_each(|then| then()),
                Event::Reconnect(url) => return url,
                _ => {}
            }
        }
    }
}

/// Enhanced RTMP's request comes on the wire, with the URL that the client came by.
#[test]
fn who_announces_it_is_asked_to_connect_again() {
    let root = "grace_start_wait 0; grace_final_wait 0; grace_deadline 15000; grace_handover 15000;";
    let origin = Origin::start(root, "");
    let _publisher = origin.publisher();
    let url = asked("rtmp://lb.example.com/live/livestream", origin.rtmp, || origin.signal("-QUIT"));
    assert_eq!(url.as_deref(), Some("rtmp://lb.example.com/live"));
    assert_eq!(origin.exit_code(), Some(0));
}

/// Publisher and players go over to another server, and miss no more than a GOP.
#[test]
fn our_clients_follow_to_another_server() {
    let root = "grace_start_wait 0; grace_final_wait 0; grace_deadline 20000; grace_handover 12000;";
    let (old, new) = (Origin::start(root, ""), Origin::start("", ""));
    let mut command = Command::new(PROGRAM);
    command.args(["load", "--players", "4", "--seconds", "600", "--reconnect", "--json", "--file"]);
    command.arg(media()).arg(old.rtmp());
    for address in [old.rtmp, new.rtmp] {
        command.args(["--address", &address.to_string()]);
    }
    let mut load = Reaped(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let players = || old.players() + new.players();
    wait_until("all play", || players() == 4 && old.drain()["publishers"].as_u64() == Some(1));
    old.signal("-QUIT");
    assert_eq!(old.exit_code(), Some(0));
    wait_until("all have gone over", || {
        let drain = new.drain();
        drain["players"] == 4 && drain["publishers"] == 1
    });
    assert!(Command::new("kill").args(["-INT", &load.0.id().to_string()]).status().unwrap().success());
    let mut text = String::new();
    load.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["failed"], 0, "{text}");
    let missed = &report["missed"];
    assert!(missed["reconnects"].as_u64().unwrap() >= 1, "{text}");
    // A GOP of the published file is shorter than this.
    assert!(missed["max_ms"].as_f64().unwrap() <= 10_000.0, "{text}");
}

/// `force_grace_quit` makes SIGTERM graceful, but not SIGINT, and a second SIGTERM changes nothing.
#[test]
fn a_forced_grace_takes_sigterm_for_sigquit() {
    let mut origin = Origin::start("grace_start_wait 0; grace_final_wait 0; force_grace_quit on;", "");
    let publisher = origin.publisher();
    origin.signal("-TERM");
    wait_until("it drains", || origin.drain()["state"] == "waiting");
    origin.signal("-TERM");
    wait_until("it has heard", || origin.log().matches("force gracefully quit, signo=15").count() == 2);
    assert!(origin.process.0.try_wait().unwrap().is_none());
    drop(publisher);
    assert_eq!(origin.exit_code(), Some(0));
    let origin = Origin::start("grace_start_wait 60000; force_grace_quit on;", "");
    origin.signal("-TERM");
    wait_until("it waits", || !origin.ready());
    origin.signal("-INT");
    assert_eq!(origin.exit_code(), Some(0));
}
