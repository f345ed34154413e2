//! A volume that takes no writes stops what is recorded there, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's helpers fail its test")]

#[path = "../common/mod.rs"]
mod common;
mod volume;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use common::{TestServer, media, publish, wait_until};
use media_server::server::Service;
use nix::sys::stat::Mode;
use volume::Volume;

/// A player that counts what it gets.
fn player(address: SocketAddr, path: &str) -> Arc<AtomicU64> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            counted.fetch_add(read as u64, Ordering::Relaxed);
        }
    });
    count
}

/// The number of the newest segment that a playlist lists.
fn newest(playlist: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(playlist).ok()?;
    let line = text.lines().rfind(|line| !line.starts_with('#'))?;
    line.trim_end_matches(".ts").rsplit_once('-')?.1.parse().ok()
}

/// A server with a vhost that records on the volume and one that records in `good`.
fn server(volume: &Path, good: &Path) -> TestServer {
    let hls = |path: &Path| {
        format!("hls {{ enabled on; hls_fragment 1; hls_window 10; hls_path {}; }}", path.display())
    };
    let remux = "http_remux { enabled on; }";
    // What is given last closes the default vhost and opens another.
    let dvr = format!("dvr {{ enabled on; dvr_path {}/[stream].flv; }}", good.display());
    TestServer::start(&format!("{remux} {} }} vhost good {{ {remux} {} {dvr}", hls(volume), hls(good)), "")
}

/// Both players go on getting media, and the other folder segments, for several seconds of the stream.
fn others_go_on(players: &[Arc<AtomicU64>], playlist: &Path) {
    for _ in 0..5 {
        let before: Vec<u64> = players.iter().map(|player| player.load(Ordering::Relaxed)).collect();
        let listed = newest(playlist).unwrap();
        wait_until("players get media and the other stream is recorded", || {
            let more =
                |(player, before): (&Arc<AtomicU64>, &u64)| player.load(Ordering::Relaxed) > before + 100_000;
            players.iter().zip(&before).all(more) && newest(playlist).unwrap() > listed
        });
    }
}

fn stalled(server: &TestServer) -> u64 {
    server.running().server.recording.stalled.load(Ordering::Relaxed)
}

#[test]
fn a_frozen_mount_stops_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let volume = match Volume::mount(dir.path()) {
        Ok(volume) => volume,
        Err(reason) => {
            eprintln!("the test with a frozen FUSE mount is left out: {reason}");
            return;
        }
    };
    let good = dir.path().join("good");
    let server = server(&volume.at, &good);
    let _frozen = publish(&media(), &server.rtmp("live/frozen"));
    let _good = publish(&media(), &server.rtmp("live/good?vhost=good"));
    let ends = publish(&media(), &server.rtmp("live/ends"));
    let (frozen, other) = (volume.behind.join("live/frozen.m3u8"), good.join("live/good.m3u8"));
    wait_until("both are recorded", || newest(&frozen).is_some() && newest(&other).is_some());
    let http = server.address(Service::Http);
    let players = [player(http, "/live/frozen.flv"), player(http, "/live/good.flv?vhost=good")];
    wait_until("both play", || players.iter().all(|player| player.load(Ordering::Relaxed) > 0));

    volume.freeze();
    wait_until("the stall is noticed", || stalled(&server) == 1);
    let at_freeze = newest(&frozen);
    drop(ends);
    wait_until("a stream on the volume can end", || {
        !server
            .running()
            .server
            .sources
            .all()
            .iter()
            .any(|source| source.stat.name == "ends" && source.is_live())
    });
    others_go_on(&players, &other);
    assert_eq!(newest(&frozen), at_freeze);

    volume.thaw();
    wait_until("recording goes on", || newest(&frozen) > at_freeze.map(|number| number + 1));
    wait_until("the end of the stall is noticed", || stalled(&server) == 0);
}

#[test]
fn quitting_does_not_wait_for_a_frozen_mount() {
    let dir = tempfile::tempdir().unwrap();
    let volume = match Volume::mount(dir.path()) {
        Ok(volume) => volume,
        Err(reason) => {
            eprintln!("the test of quitting with a frozen FUSE mount is left out: {reason}");
            return;
        }
    };
    let good = dir.path().join("good");
    let server = server(&volume.at, &good);
    let _frozen = publish(&media(), &server.rtmp("live/frozen"));
    let _good = publish(&media(), &server.rtmp("live/good?vhost=good"));
    let (frozen, other) = (volume.behind.join("live/frozen.m3u8"), good.join("live/good.m3u8"));
    wait_until("both are recorded", || newest(&frozen).is_some() && newest(&other).is_some());
    volume.freeze();
    let (sender, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        drop(server);
        sender.send(()).unwrap();
    });
    stopped.recv_timeout(Duration::from_mins(1)).expect("the server quits");
    // What was open on the good volume is complete.
    assert!(good.join("good.flv").exists() && !good.join("good.flv.tmp").exists());
    assert!(
        std::fs::read_dir(good.join("live"))
            .unwrap()
            .all(|file| { file.unwrap().path().extension().is_some_and(|extension| extension != "tmp") })
    );
}

/// The same without privileges: a pipe where the playlist stands, that nobody writes.
#[test]
fn a_pipe_that_nobody_reads_stops_only_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, good) = (dir.path().join("volume"), dir.path().join("good"));
    std::fs::create_dir_all(folder.join("live")).unwrap();
    let pipe = folder.join("live/frozen.m3u8");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let server = server(&folder, &good);
    let _frozen = publish(&media(), &server.rtmp("live/frozen"));
    let _good = publish(&media(), &server.rtmp("live/good?vhost=good"));
    let (frozen, other) = (folder.join("live/frozen.m3u8"), good.join("live/good.m3u8"));
    wait_until("the good one is recorded", || newest(&other).is_some());
    let http = server.address(Service::Http);
    let players = [player(http, "/live/frozen.flv"), player(http, "/live/good.flv?vhost=good")];
    wait_until("both play", || players.iter().all(|player| player.load(Ordering::Relaxed) > 0));
    wait_until("the stall is noticed", || stalled(&server) == 1);
    others_go_on(&players, &other);
    assert!(!folder.join("live/frozen-0.ts").exists());
    drop(std::fs::OpenOptions::new().write(true).open(pipe).unwrap());
    wait_until("recording goes on", || frozen.is_file() && newest(&frozen) > Some(0));
    wait_until("the end of the stall is noticed", || stalled(&server) == 0);
}

#[test]
#[ignore = "it is the process behind the mount of the other tests, which start it"]
fn volume_process() {
    assert!(volume::serve(), "the other tests start this one");
}
