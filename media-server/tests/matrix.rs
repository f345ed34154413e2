//! ffmpeg, rtmpdump and our own client publish and play streams of every shape; ffmpeg and ffprobe find no error.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Reaped, TestServer, ensure_packages, ffmpeg, media, play, publish, wait_until};
use media_server::flv::{self, Role, TagKind};
use media_server::rtmp::client::{Client, Event, Intent};
use media_server::rtmp::url::Target;
use media_server::server::Service;

const PICTURE: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"];
const SOUND: [&str; 4] = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"];

/// Has ffmpeg make a file.
fn make(dir: &Path, inputs: &[&str], coding: &[&str]) -> PathBuf {
    let file = dir.join("made.flv");
    let mut command = ffmpeg("ffmpeg");
    let output = command.args(inputs).args(coding).args(["-y", "-f", "flv"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

/// Runs a command that must say nothing on stderr.
fn quiet(what: &str, command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{what}: {errors}");
    output.stdout
}

/// The codecs of a file or playlist, after decoding all of it without an error.
fn decoded(what: &str, input: &Path) -> String {
    quiet(what, ffmpeg("ffmpeg").arg("-i").arg(input).args(["-f", "null", "-"]));
    let mut probe = ffmpeg("ffprobe");
    probe.args(["-show_entries", "stream=codec_name", "-of", "csv=p=0"]).arg(input);
    let codecs = String::from_utf8(quiet(what, &mut probe)).unwrap();
    // A stream of a playlist stands there twice: on its own and in its program.
    let mut codecs: Vec<&str> = codecs
        .lines()
        .map(|line| line.trim_end_matches(','))
        .filter(|line| ["aac", "h264"].contains(line))
        .collect();
    codecs.sort_unstable();
    codecs.dedup();
    codecs.join(" ")
}

/// The timestamp of the last whole tag of a file that is being written.
fn last_timestamp(file: &[u8]) -> u32 {
    let (mut at, mut last) = (13, 0);
    while let Some(header) = file.get(at..at + flv::TAG_HEADER) {
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        at += flv::TAG_HEADER + length + 4;
        if at <= file.len() {
            last = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        }
    }
    last
}

/// Our own client plays for some time of the stream's; gives it as FLV.
fn play_ourselves(address: &str, milliseconds: u32) -> Vec<u8> {
    let target = Target::from_url(address).unwrap();
    let mut stream = TcpStream::connect((target.host.as_str(), target.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut out = Vec::new();
    let mut client = Client::new(target, Intent::Play, 3, &mut out);
    let mut file = flv::file_header(true, true).to_vec();
    let mut buffer = vec![0; 64 << 10];
    loop {
        stream.write_all(&out).unwrap();
        out.clear();
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed");
        let mut input = &buffer[..count];
        while let Some(event) = client.read(&mut input, &mut out).unwrap() {
            if let Event::Media(kind, time, payload) = event {
                flv::push_tag(&mut file, kind, time, &payload);
                if time >= milliseconds {
                    return file;
                }
            }
        }
    }
}

/// Who publishes.
#[derive(Clone, Copy)]
enum By {
    Ffmpeg,
    OurClient,
}

fn publish_by(by: By, file: &Path, url: &str) -> Reaped {
    match by {
        By::Ffmpeg => publish(file, url),
        By::OurClient => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_media-server"));
            command.args(["publish", "--loop"]).arg(file).arg(url).stderr(Stdio::null());
            Reaped(command.spawn().unwrap())
        }
    }
}

/// Publishes a file and lets everybody play it by every protocol.
///
/// Segments that become much longer than `hls_fragment` are left out, as SRS does: it must fit the keyframes.
fn everybody_plays(file: &Path, by: By, codecs: &str, fragment: u32) {
    let dir = tempfile::tempdir().unwrap();
    let hls = dir.path().display();
    let server = TestServer::start(
        &format!(
            "http_remux {{ enabled on; mount [vhost]/[app]/[stream].flv; }}
             hls {{ enabled on; hls_fragment {fragment}; hls_window 60; hls_path {hls}; }}"
        ),
        "",
    );
    let (rtmp, http) = (server.rtmp("live/matrix"), server.http("live/matrix.flv"));
    let publisher = publish_by(by, file, &rtmp);
    server.wait_for_stream("matrix");
    for url in [&rtmp, &http] {
        let output = play(url, "3");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{url}: {errors}");
    }
    ensure_packages(&["rtmpdump"]);
    let dumped = dir.path().join("rtmpdump.flv");
    let mut command = Command::new("rtmpdump");
    command.args(["--quiet", "--live", "--timeout", "30", "--rtmp", &rtmp, "--flv"]).arg(&dumped);
    let mut rtmpdump = Reaped(command.spawn().unwrap());
    wait_until("rtmpdump has three seconds", || {
        std::fs::read(&dumped).is_ok_and(|bytes| last_timestamp(&bytes) >= 3000)
    });
    // SIGINT ends it well, with all tags whole.
    let status = Command::new("kill").args(["-INT", &rtmpdump.0.id().to_string()]).status().unwrap();
    assert!(status.success());
    wait_until("rtmpdump has ended", || rtmpdump.0.try_wait().unwrap().is_some());
    assert_eq!(decoded("rtmpdump", &dumped), codecs);
    let played = dir.path().join("own.flv");
    std::fs::write(&played, play_ourselves(&rtmp, 3000)).unwrap();
    assert_eq!(decoded("our own client", &played), codecs);
    let playlist = dir.path().join("live/matrix.m3u8");
    wait_until("a segment is listed", || {
        std::fs::read_to_string(&playlist).is_ok_and(|text| text.contains("#EXTINF"))
    });
    drop(publisher);
    wait_until("the last segment is closed", || server.running().server.sources.is_empty());
    // A player takes a playlist without an end for live and waits for more.
    let text = std::fs::read_to_string(&playlist).unwrap();
    std::fs::write(&playlist, format!("{text}#EXT-X-ENDLIST\n")).unwrap();
    assert_eq!(decoded("HLS", &playlist), codecs);
    drop(server);
    // A vhost has one mount.
    let server = TestServer::start("http_remux { enabled on; mount [vhost]/[app]/[stream].ts; }", "");
    let _publisher = publish_by(by, file, &server.rtmp("live/matrix"));
    server.wait_for_stream("matrix");
    let stored = dir.path().join("stored.ts");
    let mut command = ffmpeg("ffmpeg");
    command.args(["-rw_timeout", "20000000", "-i", &server.http("live/matrix.ts"), "-t", "3", "-c", "copy"]);
    quiet("HTTP-TS", command.arg(&stored));
    assert_eq!(decoded("HTTP-TS", &stored), codecs);
}

#[test]
fn frames_that_are_reordered() {
    let dir = tempfile::tempdir().unwrap();
    let coding =
        ["-t", "8", "-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "50", "-pix_fmt", "yuv420p"];
    let file = make(dir.path(), &[PICTURE, SOUND].concat(), &[&coding[..], &["-c:a", "aac"]].concat());
    let bytes = std::fs::read(&file).unwrap();
    let reordered = |tag: &flv::Tag<'_>| tag.kind == TagKind::Video && tag.payload[2..5] != [0, 0, 0];
    assert!(flv::tags(&bytes).unwrap().iter().any(reordered), "there are no B-frames");
    everybody_plays(&file, By::Ffmpeg, "aac h264", 2);
}

#[test]
fn audio_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = make(dir.path(), &SOUND, &["-t", "10", "-c:a", "aac"]);
    everybody_plays(&file, By::OurClient, "aac", 2);
}

#[test]
fn video_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = make(
        dir.path(),
        &PICTURE,
        &["-t", "8", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p"],
    );
    everybody_plays(&file, By::OurClient, "h264", 2);
}

#[test]
fn a_keyframe_every_ten_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let coding = ["-t", "20", "-c:v", "libx264", "-preset", "ultrafast", "-g", "250", "-keyint_min", "250"];
    let more = ["-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    let file = make(dir.path(), &[PICTURE, SOUND].concat(), &[&coding[..], &more].concat());
    everybody_plays(&file, By::Ffmpeg, "aac h264", 10);
}

#[test]
fn eight_megabits_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let coding = ["-t", "6", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p"];
    let rate =
        ["-b:v", "8M", "-minrate", "8M", "-maxrate", "8M", "-bufsize", "4M", "-x264-params", "nal-hrd=cbr"];
    let file = make(dir.path(), &[PICTURE, SOUND].concat(), &[&coding[..], &rate, &["-c:a", "aac"]].concat());
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(size > 5_500_000, "{size} bytes in 6 s");
    everybody_plays(&file, By::OurClient, "aac h264", 2);
}

/// A publisher of our own, on a thread or by hand.
struct Publisher {
    stream: TcpStream,
    client: Client,
}

impl Publisher {
    fn connect(server: &TestServer, name: &str) -> Self {
        let target = Target::from_url(&server.rtmp(&format!("live/{name}"))).unwrap();
        let mut stream = TcpStream::connect(server.address(Service::Rtmp)).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut out = Vec::new();
        let mut client = Client::new(target, Intent::Publish, 5, &mut out);
        let mut buffer = [0; 8192];
        loop {
            stream.write_all(&out).unwrap();
            out.clear();
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed");
            let mut input = &buffer[..count];
            while let Some(event) = client.read(&mut input, &mut out).unwrap() {
                if matches!(event, Event::Started) {
                    return Publisher { stream, client };
                }
            }
        }
    }

    fn send(&mut self, kind: TagKind, time: u32, payload: &[u8]) {
        let mut out = Vec::new();
        self.client.send(&mut out, kind, time, payload);
        self.stream.write_all(&out).unwrap();
    }
}

/// A second after it starts the stream's timestamp passes `wrap`.
fn plays_over(wrap: u64) {
    let server = TestServer::start("http_remux { enabled on; }", "");
    let file = std::fs::read(media()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut publisher = Publisher::connect(&server, "wrap");
    let publishing = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let tags = flv::tags(&file).unwrap();
            let began = Instant::now();
            for tag in tags.iter().filter(|tag| tag.kind != TagKind::Script) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let due = began + Duration::from_millis(tag.timestamp.into());
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // 32 bits go round, as an encoder's do after 49 days.
                let time = (wrap - 1000 + u64::from(tag.timestamp)) & 0xffff_ffff;
                publisher.send(tag.kind, time as u32, tag.payload);
            }
        }
    });
    let urls = [server.rtmp("live/wrap"), server.http("live/wrap.flv")];
    let players: Vec<_> =
        urls.into_iter().map(|url| std::thread::spawn(move || (play(&url, "5"), url))).collect();
    for player in players {
        let (output, url) = player.join().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{wrap:#x}, {url}: {errors}");
    }
    stop.store(true, Ordering::Relaxed);
    publishing.join().unwrap();
}

#[test]
fn timestamps_become_extended() {
    plays_over(1 << 24);
}

#[test]
fn timestamps_pass_31_bits() {
    plays_over(1 << 31);
}

#[test]
fn timestamps_pass_32_bits() {
    plays_over(1 << 32);
}

/// What a player gets that joins between two keyframes, when nothing more is published.
#[test]
fn a_late_player_gets_its_first_picture_from_the_cache() {
    let server = TestServer::start(
        "http_remux { enabled on; } publish { normal_timeout 60000; } play { mw_latency 350; }",
        "",
    );
    let file = std::fs::read(media()).unwrap();
    let tags = flv::tags(&file).unwrap();
    let second_keyframe =
        |tag: &&flv::Tag<'_>| tag.timestamp > 1000 && flv::role(tag.kind, tag.payload) == Role::Keyframe;
    let end = tags.iter().find(second_keyframe).map_or(3000, |tag| tag.timestamp);
    let gop: Vec<_> = tags.iter().filter(|tag| tag.kind != TagKind::Script && tag.timestamp < end).collect();
    let mut publisher = Publisher::connect(&server, "late");
    for tag in &gop {
        publisher.send(tag.kind, tag.timestamp, tag.payload);
    }
    let is_frame = |kind, payload: &[u8]| flv::role(kind, payload) != Role::SequenceHeader;
    let from = gop.iter().position(|tag| flv::role(tag.kind, tag.payload) == Role::Keyframe).unwrap();
    let wanted: Vec<(TagKind, &[u8])> = gop[from..].iter().map(|tag| (tag.kind, tag.payload)).collect();
    let source = server.running().server.sources.all().pop().unwrap();
    wait_until("everything is there", || {
        let video = gop.iter().filter(|tag| tag.kind == TagKind::Video).count() as u64;
        source.stat.frames.load(Ordering::Relaxed) == video
    });
    drop(source);
    let last = gop.last().unwrap().timestamp - gop[from].timestamp;
    let played = play_ourselves(&server.rtmp("live/late"), last);
    let by_http = fetch_flv(&server, "/live/late.flv", last);
    for (what, played) in [("RTMP", played), ("HTTP-FLV", by_http)] {
        let got = flv::tags(&played).unwrap();
        let mut got: Vec<_> = got.iter().filter(|tag| tag.kind != TagKind::Script).collect();
        let headers = got.iter().take_while(|tag| !is_frame(tag.kind, tag.payload)).count();
        assert_eq!(headers, 2, "{what}: both sequence headers come first");
        got.retain(|tag| is_frame(tag.kind, tag.payload));
        assert_eq!(got[0].timestamp, 0, "{what}");
        let got: Vec<(TagKind, &[u8])> = got.iter().map(|tag| (tag.kind, tag.payload)).collect();
        assert!(got == wanted, "{what}: {} frames instead of {}", got.len(), wanted.len());
    }
}

/// The FLV of a GET up to a timestamp, out of its chunks.
fn fetch_flv(server: &TestServer, path: &str, milliseconds: u32) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address(Service::Http)).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed");
        bytes.extend_from_slice(&buffer[..count]);
        let file = unchunked(&bytes);
        if flv::tags(&file).is_ok_and(|tags| tags.iter().any(|tag| tag.timestamp >= milliseconds)) {
            return file;
        }
    }
}

/// The whole chunks of an answer.
fn unchunked(answer: &[u8]) -> Vec<u8> {
    let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Vec::new() };
    let (mut rest, mut body) = (&answer[at + 4..], Vec::new());
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else { break };
        body.extend_from_slice(chunk);
        let Some(after) = rest.get(end + 4 + size..) else { break };
        rest = after;
    }
    body
}
