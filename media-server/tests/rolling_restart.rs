//! All origins, and then all edges, are restarted one after the other under viewers: what each viewer misses, with a
//! graceful quit near a deadline and, beside it, with a plain SIGTERM.
//!
//! ```text
//! publisher ──► edge ──► two origins ──► two edges ──► viewers, of either edge
//! ```
//!
//! A few viewers in CI; with many: `ROLLING_VIEWERS=500 cargo test -p media-server --test rolling_restart -- --nocapture`

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's helpers fail its test")]

mod common;

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use common::{Reaped, media, request, wait_until};
use media_server::flv::{self, Role, TagKind};

const PROGRAM: &str = env!("CARGO_BIN_EXE_media-server");

/// A place where a server runs, again and again.
struct Node {
    dir: tempfile::TempDir,
    rtmp: SocketAddr,
    api: SocketAddr,
    process: Option<Reaped>,
}

/// An address that stays free while its server is away: connections, which also take ports, are from 127.0.0.1.
fn free_address() -> SocketAddr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let ip = Ipv4Addr::new(127, 0, 3, LAST.fetch_add(1, Ordering::Relaxed) + 1);
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

impl Node {
    fn new(vhost: &str) -> Self {
        let node = Node {
            dir: tempfile::tempdir().unwrap(),
            rtmp: free_address(),
            api: free_address(),
            process: None,
        };
        let conf = format!(
            "listen {}; daemon off; srs_log_tank file; srs_log_file ./srs.log; pid ./srs.pid;
             grace_start_wait 500; grace_final_wait 200; grace_deadline 20000; grace_handover 15000;
             http_api {{ enabled on; listen {}; }} vhost __defaultVhost__ {{ {vhost} }}",
            node.rtmp, node.api
        );
        std::fs::write(node.dir.path().join("srs.conf"), conf).unwrap();
        node
    }

    fn start(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.args(["-c", "srs.conf"]).current_dir(self.dir.path()).stdout(Stdio::null());
        self.process = Some(Reaped(command.spawn().unwrap()));
        wait_until("it listens", || TcpStream::connect(self.rtmp).is_ok());
    }

    /// Ends as the signal says; gives the exit code.
    fn quit(&mut self, signal: &str) -> Option<i32> {
        let mut process = self.process.take().unwrap();
        let pid = process.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut code = None;
        wait_until("it has quit", || {
            code = process.0.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        });
        code.unwrap()
    }

    fn players(&self) -> usize {
        let (_, body) = request(self.api, "GET", "/api/v1/summaries", &[]);
        let summaries: serde_json::Value = serde_json::from_str(&body).unwrap();
        let players = summaries["data"]["self"]["media_server"]["drain"]["players"].as_u64().unwrap();
        usize::try_from(players).unwrap()
    }
}

/// The longest time from one keyframe of the file to the next, in milliseconds.
fn longest_gop(file: &Path) -> f64 {
    let bytes = std::fs::read(file).unwrap();
    let tags = flv::tags(&bytes).unwrap();
    let key = |tag: &&flv::Tag<'_>| {
        tag.kind == TagKind::Video && flv::role(tag.kind, tag.payload) == Role::Keyframe
    };
    let mut times: Vec<u32> = tags.iter().filter(key).map(|tag| tag.timestamp).collect();
    times.push(tags.iter().map(|tag| tag.timestamp).max().unwrap());
    times.windows(2).map(|pair| f64::from(pair[1] - pair[0])).fold(0.0, f64::max)
}

/// What viewers miss, as `load` reports it, while all origins or all edges are restarted.
fn roll(signal: &str, viewers: usize, edges_change: bool) -> serde_json::Value {
    let mut origins = [Node::new(""), Node::new("")];
    let list = format!("{} {}", origins[0].rtmp, origins[1].rtmp);
    let edge = format!("cluster {{ mode remote; origin {list}; }}");
    let mut entry = Node::new(&edge);
    let mut edges = [Node::new(&edge), Node::new(&edge)];
    for node in origins.iter_mut().chain([&mut entry]).chain(&mut edges) {
        node.start();
    }
    let mut command = Command::new(PROGRAM);
    command.args(["publish", "--loop", "--marks"]).arg(media());
    command.arg(format!("rtmp://{}/live/s", entry.rtmp)).stderr(Stdio::null());
    let _publisher = Reaped(command.spawn().unwrap());
    let mut command = Command::new(PROGRAM);
    command.args(["load", "--seconds", "3600", "--reconnect", "--json", "--players", &viewers.to_string()]);
    for edge in &edges {
        command.args(["--address", &edge.rtmp.to_string()]);
    }
    command.arg("rtmp://127.0.0.1/live/s");
    let mut load = Reaped(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    // It says so when it measures.
    let mut said = [0; 1];
    load.0.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(edges.iter().map(Node::players).sum::<usize>(), viewers);
    for index in 0..2 {
        let node = if edges_change { &mut edges[index] } else { &mut origins[index] };
        assert_eq!(node.quit(signal), Some(0));
        node.start();
        if edges_change {
            // The other one has them all.
            wait_until("viewers have come back", || edges[1 - index].players() == viewers);
            plays_on(&edges[1 - index]);
        } else {
            edges.iter().for_each(plays_on);
        }
    }
    assert!(Command::new("kill").args(["-INT", &load.0.id().to_string()]).status().unwrap().success());
    let mut text = String::new();
    load.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let report: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(report["latency_ms"]["samples"].as_u64() > Some(0), "no marks were seen: {text}");
    report
}

/// The two ways beside each other; the graceful one must cost no viewer more than a GOP.
fn compare(what: &str, edges_change: bool) -> serde_json::Value {
    let viewers = std::env::var("ROLLING_VIEWERS").ok().map_or(10, |text| text.parse().unwrap());
    let gop = longest_gop(&media());
    let graceful = roll("-QUIT", viewers, edges_change);
    eprintln!("{what} change under {viewers} viewers, gracefully: {}", graceful["missed"]);
    let plain = roll("-TERM", viewers, edges_change);
    eprintln!("{what} change under {viewers} viewers, by SIGTERM: {}", plain["missed"]);
    assert_eq!(graceful["failed"], 0, "{graceful}");
    // On a busy machine everybody waits for a turn; `cargo bench --bench cluster` says what it is on a quiet one.
    let slack = 8000.0;
    assert!(graceful["missed"]["max_ms"].as_f64().unwrap() <= gop + slack, "{graceful}, a GOP is {gop} ms");
    graceful
}

/// Waits until viewers get media again: so many bytes are more than what was on its way.
fn plays_on(edge: &Node) {
    let sent = || -> u64 {
        let (_, body) = request(edge.api, "GET", "/api/v1/streams/", &[]);
        let streams: serde_json::Value = serde_json::from_str(&body).unwrap();
        streams["streams"][0]["recv_bytes"].as_u64().unwrap_or_default()
    };
    let before = sent();
    wait_until("the stream goes on", || sent() > before + (64 << 10));
}

#[test]
fn viewers_behind_edges_lose_no_more_than_a_gop_while_origins_change() {
    compare("origins", false);
}

#[test]
fn viewers_who_connect_again_lose_no_more_than_a_gop_while_edges_change() {
    let graceful = compare("edges", true);
    assert!(graceful["missed"]["reconnects"].as_u64() > Some(0), "{graceful}");
}
