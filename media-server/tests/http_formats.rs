//! HTTP-TS, HTTP-AAC and HTTP-MP3 of streams that real ffmpeg publishes, read by real ffmpeg.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::{Reaped, TestServer, ffmpeg, media, play, probe, publish, wait_until};
use media_server::server::Service;
use media_server::source::Remux;

fn remux(ending: &str) -> String {
    format!("http_remux {{ enabled on; mount [vhost]/[app]/[stream].{ending}; }}")
}

/// A minute of a test picture and tone, coded as the options say.
fn generate(dir: &tempfile::TempDir, options: &[&str]) -> PathBuf {
    let path = dir.path().join("generated.flv");
    let mut command = ffmpeg("ffmpeg");
    command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=60"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=60"]);
    command.args(options).args(["-f", "flv"]).arg(&path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

const H264: [&str; 8] = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p"];

/// Decodes everything of some seconds without a single complaint.
fn assert_clean(url: &str, codecs: &[&str]) {
    assert_eq!(probe(url).0, codecs, "{url}");
    let output = play(url, "3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{url}: {errors}");
}

#[test]
fn ts_plays() {
    let server = TestServer::start(&remux("ts"), "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    server.wait_for_stream("livestream");
    assert_clean(&server.http("live/livestream.ts"), &["aac", "h264"]);
    let (head, _) = start(&server, "/live/livestream.ts");
    assert!(head.contains("Content-Type: video/MP2T\r\n"), "{head}");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
}

#[test]
fn ts_carries_b_frames() {
    let dir = tempfile::tempdir().unwrap();
    let options = [&H264[..2], &["-bf", "3", "-g", "25", "-b_strategy", "0", "-c:a", "aac"]].concat();
    let file = generate(&dir, &options);
    let server = TestServer::start(&remux("ts"), "");
    let _publisher = publish(&file, &server.rtmp("live/b"));
    server.wait_for_stream("b");
    let url = server.http("live/b.ts");
    assert_clean(&url, &["aac", "h264"]);
    let mut command = ffmpeg("ffprobe");
    let entries = ["-select_streams", "v", "-show_entries", "frame=pict_type", "-of", "csv=p=0"];
    let output = command.args(entries).args(["-read_intervals", "%+#60", &url]).output().unwrap();
    let types = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(types.contains('B') && types.starts_with('I'), "{types}");
}

#[test]
fn ts_carries_video_or_audio_alone_and_mp3() {
    let cases: [(&[&str], &[&str]); 3] = [
        (&["-an"], &["h264"]),
        (&["-vn", "-c:a", "aac"], &["aac"]),
        (&["-c:a", "libmp3lame"], &["h264", "mp3"]),
    ];
    for (audio, codecs) in cases {
        let dir = tempfile::tempdir().unwrap();
        let options = if audio.contains(&"-vn") { audio.to_vec() } else { [&H264, audio].concat() };
        let file = generate(&dir, &options);
        let server = TestServer::start(&remux("ts"), "");
        let _publisher = publish(&file, &server.rtmp("live/s"));
        server.wait_for_stream("s");
        assert_clean(&server.http("live/s.ts"), codecs);
    }
}

#[test]
fn aac_and_mp3_play() {
    for (ending, encoder, kind) in [("aac", "aac", "audio/x-aac"), ("mp3", "libmp3lame", "audio/mpeg")] {
        let dir = tempfile::tempdir().unwrap();
        let file = generate(&dir, &[&H264[..], &["-c:a", encoder]].concat());
        let server = TestServer::start(&remux(ending), "");
        let _publisher = publish(&file, &server.rtmp("live/s"));
        server.wait_for_stream("s");
        assert_clean(&server.http(&format!("live/s.{ending}")), &[ending]);
        let (head, _) = start(&server, &format!("/live/s.{ending}"));
        assert!(head.contains(&format!("Content-Type: {kind}\r\n")), "{head}");
    }
}

/// Opens a viewer of HTTP/1.0 and gives the head and the first bytes behind it.
fn start(server: &TestServer, path: &str) -> (String, Viewer) {
    let mut viewer = Viewer::open(server, path, "1.1");
    let head = viewer.head();
    (head, viewer)
}

struct Viewer {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Viewer {
    fn open(server: &TestServer, path: &str, version: &str) -> Self {
        let mut stream = TcpStream::connect(server.address(Service::Http)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET {path} HTTP/{version}\r\nHost: h\r\n\r\n").unwrap();
        Viewer { stream, bytes: Vec::new() }
    }

    fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.bytes[..at + 4]).into_owned();
                self.bytes.drain(..at + 4);
                return head;
            }
            assert!(self.more() > 0, "no head");
        }
    }

    fn more(&mut self) -> usize {
        let mut buffer = vec![0; 65536];
        let count = self.stream.read(&mut buffer).unwrap();
        self.bytes.extend_from_slice(&buffer[..count]);
        count
    }

    fn up_to(&mut self, length: usize) -> &[u8] {
        while self.bytes.len() < length {
            assert!(self.more() > 0, "the stream ended after {} bytes", self.bytes.len());
        }
        &self.bytes[..length]
    }
}

/// Continuity counters of all packets but null ones; the position of the first error.
fn discontinuity(packets: &[u8]) -> Option<usize> {
    let mut counters = std::collections::HashMap::new();
    for (index, packet) in packets.chunks_exact(188).enumerate() {
        assert_eq!(packet[0], 0x47, "packet {index}");
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let counter = packet[3] & 15;
        if packet[3] & 0x10 != 0
            && counters.insert(pid, counter).is_some_and(|last| (last + 1) & 15 != counter)
        {
            return Some(index);
        }
    }
    None
}

#[test]
fn viewers_share_one_layout_and_join_with_tables_and_a_keyframe() {
    let server = TestServer::start(&remux("ts"), "");
    let _publisher = publish(&media(), &server.rtmp("live/s"));
    server.wait_for_stream("s");
    let mut first = Viewer::open(&server, "/live/s.ts", "1.0");
    assert!(first.head().contains("Connection: Close"));
    first.up_to(188 * 50);
    // Later ones join in the middle, on any core.
    let mut later: Vec<Viewer> = (0..4).map(|_| Viewer::open(&server, "/live/s.ts", "1.0")).collect();
    for viewer in later.iter_mut().chain([&mut first]) {
        if viewer.bytes.is_empty() {
            viewer.head();
        }
        let packets = viewer.up_to(188 * 400).to_vec();
        assert_eq!(discontinuity(&packets), None);
        let pid =
            |index: usize| u16::from_be_bytes([packets[index * 188 + 1] & 0x1f, packets[index * 188 + 2]]);
        assert_eq!((pid(0), pid(1)), (0, 0x1001), "PAT and PMT stand first");
        let video = (2..400).find(|index| pid(*index) == 0x100).unwrap();
        assert_eq!(packets[video * 188 + 5] & 0x40, 0x40, "the first picture is a keyframe");
    }
    // The ring's batches have the layout, made once.
    let sources = server.running().server.sources.all();
    let mut view = media_server::source::View::default();
    sources[0].sync(usize::MAX, None, &mut view, std::time::Instant::now());
    assert!(view.batches.iter().any(|batch| batch.layout(Remux::Ts).is_some()));
    assert!(view.batches.iter().all(|batch| batch.layout(Remux::Aac).is_none()));
}

/// Noise, so that a second fills more than a megabyte.
fn generate_heavy(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("heavy.flv");
    let mut command = ffmpeg("ffmpeg");
    command.args(["-f", "lavfi", "-i", "nullsrc=size=320x180:rate=25:duration=40,geq=random(1)*255:128:128"]);
    command.args(H264).args(["-qp", "10", "-f", "flv"]).arg(&path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

#[test]
fn a_slow_viewer_jumps_to_a_keyframe() {
    let dir = tempfile::tempdir().unwrap();
    let file = generate_heavy(&dir);
    let server = TestServer::start(&format!("{} play {{ queue_length 1; }}", remux("ts")), "");
    let _publisher = publish(&file, &server.rtmp("live/s"));
    server.wait_for_stream("s");
    // The kernel takes less for a viewer with a small buffer.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address(Service::Http).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET /live/s.ts HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
    let mut viewer = Viewer { stream, bytes: Vec::new() };
    viewer.head();
    // It sleeps until it took nothing for more than two of its queue's lengths.
    let source = server.running().server.sources.all().remove(0);
    let newest = || {
        let mut view = media_server::source::View::default();
        source.sync(usize::MAX, None, &mut view, std::time::Instant::now());
        view.batches.back().map_or(0, |batch| batch.last_timestamp)
    };
    let sent = || {
        let clients = server.running().server.stat.clients();
        let player = clients.iter().find(|client| !client.publish).unwrap();
        player.traffic.send.load(std::sync::atomic::Ordering::Relaxed)
    };
    let mut last = (sent(), newest());
    wait_until("the kernel takes no more for two seconds of media", || {
        let now = (sent(), newest());
        if now.0 != last.0 {
            last = now;
        }
        now.1 - last.1 > 2500
    });
    let packets = viewer.up_to(usize::try_from(last.0).unwrap() / 188 * 188 + 188 * 20_000).to_vec();
    let clocks: Vec<(usize, u64)> = clocks(&packets);
    let late = clocks.windows(2).filter(|pair| pair[1].1 > pair[0].1 + 90 * 500);
    let jumps: Vec<usize> = late.map(|pair| pair[1].0).collect();
    assert!(!jumps.is_empty(), "the viewer missed nothing");
    let pid = |index: usize| u16::from_be_bytes([packets[index * 188 + 1] & 0x1f, packets[index * 188 + 2]]);
    for jump in jumps {
        assert_eq!((pid(jump - 2), pid(jump - 1), pid(jump)), (0, 0x1001, 0x100));
        assert_eq!(packets[jump * 188 + 5] & 0x40, 0x40, "it goes on at a keyframe");
    }
}

/// The packets that carry a clock, and what it says.
fn clocks(packets: &[u8]) -> Vec<(usize, u64)> {
    let timed =
        |(_, packet): &(usize, &[u8])| packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x10 != 0;
    let clock =
        |packet: &[u8]| packet[6..11].iter().fold(0, |clock, byte| clock << 8 | u64::from(*byte)) >> 7;
    packets
        .chunks_exact(188)
        .enumerate()
        .filter(timed)
        .map(|(index, packet)| (index, clock(packet)))
        .collect()
}

#[test]
fn aac_of_a_stream_without_audio_hurts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let file = generate(&dir, &[&H264[..], &["-an"]].concat());
    let server = TestServer::start(&remux("aac"), "");
    let publisher = publish(&file, &server.rtmp("live/s"));
    server.wait_for_stream("s");
    // One on each core, and more.
    let mut viewers: Vec<Viewer> = (0..8).map(|_| Viewer::open(&server, "/live/s.aac", "1.1")).collect();
    for viewer in &mut viewers {
        assert!(viewer.head().starts_with("HTTP/1.1 200"));
    }
    // The cores still serve others, and the viewers get the end.
    let output = play(&server.rtmp("live/s"), "2");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(publisher);
    for viewer in &mut viewers {
        while viewer.more() > 0 {}
        assert_eq!(viewer.bytes, b"0\r\n\r\n");
    }
}

#[test]
fn a_viewer_may_come_before_the_publisher_and_is_closed_with_the_stream() {
    let server = TestServer::start(&remux("ts"), "");
    let mut viewer = Viewer::open(&server, "/live/s.ts", "1.1");
    wait_until("it is counted", || server.running().server.stat.client_count() == 1);
    let publisher = publish(&media(), &server.rtmp("live/s"));
    assert!(viewer.head().starts_with("HTTP/1.1 200"));
    viewer.up_to(10_000);
    drop(publisher);
    while viewer.more() > 0 {}
    assert!(viewer.bytes.ends_with(b"\r\n0\r\n\r\n"));
}

#[test]
fn other_endings_than_the_mount_s_are_files() {
    let server = TestServer::start(&remux("ts"), "");
    let (head, _) = common::request(server.address(Service::Http), "GET", "/live/s.flv", &[]);
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

/// A real viewer that is kept as a child goes away with its test.
#[test]
fn the_api_calls_it_as_srs_does() {
    let server = TestServer::start(&remux("ts"), "");
    let _publisher = publish(&media(), &server.rtmp("live/s"));
    server.wait_for_stream("s");
    let mut command = ffmpeg("ffmpeg");
    command.args(["-i", &server.http("live/s.ts"), "-c", "copy", "-f", "null", "-"]).stderr(Stdio::null());
    let _player = Reaped(command.spawn().unwrap());
    wait_until("both are clients", || server.running().server.stat.client_count() == 2);
    let clients = server.api("/api/v1/clients/");
    let kinds: Vec<&str> = clients["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|client| client["type"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"flv-play"), "{kinds:?}");
}
