//! Several servers that write HLS into the same folder, as on shared storage: one owner at a time, numbers that go on,
//! and never a segment of two.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Reaped, TestServer, ffmpeg, media, publish, wait_until};

fn server(folder: &Path) -> TestServer {
    let hls = format!("hls {{ enabled on; hls_fragment 1; hls_window 20; hls_path {}; }}", folder.display());
    TestServer::start(&hls, "")
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Playlist {
    epoch: String,
    first: u64,
    /// Each segment's file, and whether a discontinuity stands before it.
    segments: Vec<(String, bool)>,
}

impl Playlist {
    fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("live/s.m3u8")).unwrap_or_default();
        let mut playlist = Playlist::default();
        let mut discontinuity = false;
        for line in text.lines() {
            if let Some(epoch) = line.strip_prefix("#EPOCH:") {
                epoch.clone_into(&mut playlist.epoch);
            } else if let Some(first) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                playlist.first = first.parse().unwrap();
            } else if line == "#EXT-X-DISCONTINUITY" {
                discontinuity = true;
            } else if !line.starts_with('#') {
                playlist.segments.push((line.to_owned(), std::mem::take(&mut discontinuity)));
            }
        }
        playlist
    }

    fn next(&self) -> u64 {
        self.first + self.segments.len() as u64
    }

    /// Every playlist that a player may see is in order: its numbers are in a row, and its segments are there.
    fn check(&self, folder: &Path) {
        for (index, (file, _)) in self.segments.iter().enumerate() {
            assert_eq!(*file, format!("s-{}.ts", self.first + index as u64), "{self:?}");
            assert!(folder.join("live").join(file).metadata().unwrap().len() > 0, "{file} of {self:?}");
        }
    }
}

/// The segments of the folder with what is in them.
fn segments(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(folder.join("live")).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "ts"))
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect()
}

fn url(server: &TestServer) -> String {
    server.rtmp("live/s")
}

/// A publisher of the stream at a server.
fn publish_again(server: &TestServer) -> Reaped {
    publish(&media(), &url(server))
}

#[test]
fn numbers_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let server = server(dir.path());
        let _publisher = publish_again(&server);
        wait_until("two segments are listed", || Playlist::read(dir.path()).segments.len() >= 2);
        drop(server);
        Playlist::read(dir.path())
    };
    let old = segments(dir.path());
    // What a killed server leaves behind.
    std::fs::write(dir.path().join("live/s-3.ts.dead.tmp"), "x").unwrap();
    let server = server(dir.path());
    let _publisher = publish_again(&server);
    let at = before.next();
    wait_until("the list goes on", || Playlist::read(dir.path()).next() > at);
    let after = Playlist::read(dir.path());
    after.check(dir.path());
    assert!(after.epoch > before.epoch, "{before:?} {after:?}");
    assert_eq!((after.first, &after.segments[..before.segments.len()]), (before.first, &before.segments[..]));
    let (file, discontinuity) = &after.segments[before.segments.len()];
    assert_eq!((file.as_str(), *discontinuity), (&*format!("s-{at}.ts"), true));
    for (file, bytes) in old {
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{} was written twice", file.display());
    }
}

/// The stream is published to a second server while the first has its publisher still: the first stops, and no
/// segment changes once it is there.
#[test]
fn the_newer_publisher_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (server(dir.path()), server(dir.path()));
    let _first = publish_again(&one);
    wait_until("the first writes", || Playlist::read(dir.path()).segments.len() >= 2);
    let before = Playlist::read(dir.path());
    let _second = publish_again(&other);
    wait_until("the second has claimed the files", || Playlist::read(dir.path()).epoch > before.epoch);
    let claimed = Playlist::read(dir.path()).epoch;
    let mut seen: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut stale = 0;
    let until = Instant::now() + Duration::from_mins(1);
    let mut last = Playlist::default();
    // As a player looks, until the second has written three segments.
    loop {
        let playlist = Playlist::read(dir.path());
        playlist.check(dir.path());
        if playlist != last {
            stale += usize::from(playlist.epoch < claimed);
            last = playlist.clone();
        }
        for (file, bytes) in segments(dir.path()) {
            let first = seen.entry(file.clone()).or_insert_with(|| bytes.clone());
            // A name is taken by an empty file before it is given to the whole one.
            if first.is_empty() {
                first.clone_from(&bytes);
            }
            assert!(*first == bytes, "{} was written twice", file.display());
        }
        let own = playlist.segments.iter().rev().take_while(|(_, discontinuity)| !discontinuity).count();
        if playlist.epoch == claimed && own >= 2 && playlist.next() >= before.next() + 3 {
            break;
        }
        assert!(Instant::now() < until, "{playlist:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(stale <= 1, "{stale} stale playlists");
    // Both still publish; what the first sends is not among it: a player decodes all without an error.
    drop((one, other));
    let mut command = ffmpeg("ffmpeg");
    command
        .args(["-live_start_index", "0", "-i"])
        .arg(dir.path().join("live/s.m3u8"))
        .args(["-t", "5", "-f", "null", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What one server disposes of at its end is not the other's.
#[test]
fn only_the_owner_disposes() {
    let dir = tempfile::tempdir().unwrap();
    let disposing = format!(
        "hls {{ enabled on; hls_fragment 1; hls_window 20; hls_dispose 1; hls_path {}; }}",
        dir.path().display()
    );
    let one = TestServer::start(&disposing, "");
    let first = publish_again(&one);
    wait_until("the first writes", || Playlist::read(dir.path()).segments.len() >= 2);
    let before = Playlist::read(dir.path());
    let other = server(dir.path());
    let _second = publish_again(&other);
    wait_until("the second goes on", || Playlist::read(dir.path()).next() > before.next());
    drop(first);
    wait_until("the first has ended", || one.running().server.sources.live() == 0);
    // It quits, which disposes at once.
    drop(one);
    let after = Playlist::read(dir.path());
    after.check(dir.path());
    assert!(after.next() > before.next());
}
