//! HEVC and AV1 by Enhanced RTMP: published by the program's own client, played back to the byte by RTMP and HTTP-FLV,
//! decoded by ffmpeg from HLS and HTTP-TS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]
#![allow(clippy::cast_possible_truncation, reason = "milliseconds of a short file")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Reaped, TestServer, ffmpeg, play, probe, wait_until};
use media_server::flv::{self, Role, TagKind};
use media_server::rtmp::client::{Client, Event, Intent};
use media_server::rtmp::url::Target;
use media_server::server::Service;

/// How the header of video is written.
#[derive(Clone, Copy, PartialEq)]
enum Header {
    Enhanced(&'static [u8; 4]),
    /// Codec 12, as before Enhanced RTMP.
    Legacy,
}

/// An MP4 of a test picture and a tone.
fn generate(dir: &Path, encoder: &[&str]) -> PathBuf {
    let path = dir.join("generated.mp4");
    let mut command = ffmpeg("ffmpeg");
    command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=20"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=20"]);
    command.args(encoder).args(["-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"]).arg(&path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

const HEVC: [&str; 6] =
    ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=25:bframes=3"];
const AV1: [&str; 6] = ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"];

/// The body of the first box of that name.
fn mp4_box<'a>(file: &'a [u8], name: &str) -> &'a [u8] {
    let at = file.windows(4).position(|four| four == name.as_bytes()).unwrap();
    let size = u32::from_be_bytes(file[at - 4..at].try_into().unwrap()) as usize;
    &file[at + 4..at - 4 + size]
}

/// Makes an FLV file of an MP4, as encoders that speak Enhanced RTMP send it.
fn flv_of(mp4: &Path, header: Header, configuration: &str) -> Vec<u8> {
    let file = std::fs::read(mp4).unwrap();
    let mut command = ffmpeg("ffprobe");
    let entries = "packet=codec_type,pts_time,dts_time,pos,size,flags";
    let output = command.args(["-show_entries", entries, "-of", "json"]).arg(mp4).output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut tags: Vec<(i64, TagKind, Vec<u8>)> = Vec::new();
    for packet in value["packets"].as_array().unwrap() {
        let text = |name: &str| packet[name].as_str().unwrap_or_else(|| panic!("{packet}: no {name}"));
        let millis = |name: &str| (text(name).parse::<f64>().unwrap() * 1000.0).round() as i64;
        let at: usize = text("pos").parse().unwrap();
        let data = &file[at..at + text("size").parse::<usize>().unwrap()];
        let dts = millis("dts_time");
        if text("codec_type") == "audio" {
            tags.push((dts, TagKind::Audio, [&[0xaf, 1], data].concat()));
            continue;
        }
        let kind: u8 = if text("flags").starts_with('K') { 1 } else { 2 };
        let composition = &(millis("pts_time") - dts).to_be_bytes()[5..];
        let payload = match header {
            Header::Legacy => [&[kind << 4 | 0x0c, 1], composition, data].concat(),
            // Only some codecs have a composition time.
            Header::Enhanced(b"hvc1") => [&[0x80 | kind << 4 | 1][..], b"hvc1", composition, data].concat(),
            Header::Enhanced(four_cc) => [&[0x80 | kind << 4 | 1][..], four_cc, data].concat(),
        };
        tags.push((dts, TagKind::Video, payload));
    }
    tags.sort_by_key(|(time, ..)| *time);
    let first = tags[0].0;
    let record = mp4_box(&file, configuration);
    let sequence_header = match header {
        Header::Legacy => [&[0x1c, 0, 0, 0, 0], record].concat(),
        Header::Enhanced(four_cc) => [&[0x90][..], four_cc, record].concat(),
    };
    let mut out = flv::file_header(true, true).to_vec();
    flv::push_tag(&mut out, TagKind::Video, 0, &sequence_header);
    // AAC LC, 44100 Hz, mono.
    flv::push_tag(&mut out, TagKind::Audio, 0, &[0xaf, 0, 0x12, 0x08]);
    for (time, kind, payload) in &tags {
        flv::push_tag(&mut out, *kind, u32::try_from(time - first).unwrap(), payload);
    }
    out
}

struct Published {
    _dir: tempfile::TempDir,
    file: Vec<u8>,
    _publisher: Reaped,
}

fn publish(server: &TestServer, name: &str, encoder: &[&str], header: Header) -> Published {
    let dir = tempfile::tempdir().unwrap();
    let mp4 = generate(dir.path(), encoder);
    let configuration = if encoder == AV1 { "av1C" } else { "hvcC" };
    let file = flv_of(&mp4, header, configuration);
    let path = dir.path().join("s.flv");
    std::fs::write(&path, &file).unwrap();
    let program = env!("CARGO_BIN_EXE_media-server");
    let mut command = Command::new(program);
    command.args(["publish", "--loop"]).arg(&path).arg(server.rtmp(&format!("live/{name}")));
    let publisher = Reaped(command.stderr(Stdio::null()).spawn().unwrap());
    server.wait_for_stream(name);
    Published { _dir: dir, file, _publisher: publisher }
}

/// Video payloads that a player of RTMP gets.
fn play_rtmp(server: &TestServer, name: &str, count: usize) -> Vec<Vec<u8>> {
    let target = Target::from_url(&server.rtmp(&format!("live/{name}"))).unwrap();
    let mut stream = TcpStream::connect(server.address(Service::Rtmp)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut out = Vec::new();
    let mut client = Client::new(target, Intent::Play, 7, &mut out);
    let mut payloads = Vec::new();
    let mut buffer = vec![0; 65536];
    while payloads.len() < count {
        stream.write_all(&std::mem::take(&mut out)).unwrap();
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the stream ended");
        let mut input = &buffer[..read];
        while let Some(event) = client.read(&mut input, &mut out).unwrap() {
            if let Event::Media(TagKind::Video, _, payload) = event {
                payloads.push(payload.into_owned());
            }
        }
    }
    payloads
}

/// The same by HTTP-FLV.
fn play_flv(server: &TestServer, name: &str, count: usize) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect(server.address(Service::Http)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET /live/{name}.flv HTTP/1.0\r\nHost: h\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 65536];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the stream ended");
        bytes.extend_from_slice(&buffer[..read]);
        let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let body = &bytes[at + 4..];
        let tags = match flv::tags(body) {
            Ok(tags) => tags,
            // The last tag has not come to its end.
            Err(flv::Error::Tag(end)) => flv::tags(&body[..end]).unwrap(),
            Err(flv::Error::Signature) => continue,
        };
        let video = tags.iter().filter(|tag| tag.kind == TagKind::Video);
        let payloads: Vec<Vec<u8>> = video.map(|tag| tag.payload.to_vec()).collect();
        if payloads.len() >= count {
            return payloads;
        }
    }
}

/// The header first, then from a keyframe on what the file has, in its order and to the byte.
fn assert_same(file: &[u8], played: &[Vec<u8>]) {
    let tags = flv::tags(file).unwrap();
    let video: Vec<&[u8]> =
        tags.iter().filter(|tag| tag.kind == TagKind::Video).map(|tag| tag.payload).collect();
    assert_eq!(played[0], video[0], "the sequence header");
    assert_eq!(flv::video_role(&played[1]), Role::Keyframe, "the first picture");
    let frames = &video[1..];
    let start = frames.iter().position(|frame| *frame == played[1]).unwrap();
    // The ring may hold the publisher's own header behind the one that a player is given first.
    let rest = played[1..].iter().filter(|payload| flv::video_role(payload) != Role::SequenceHeader);
    for (index, payload) in rest.enumerate() {
        assert_eq!(payload, frames[(start + index) % frames.len()], "frame {index}");
    }
}

#[test]
fn hevc_comes_back_to_the_byte() {
    let server = TestServer::start("http_remux { enabled on; }", "");
    for (name, header) in [("enhanced", Header::Enhanced(b"hvc1")), ("legacy", Header::Legacy)] {
        let published = publish(&server, name, &HEVC, header);
        assert_same(&published.file, &play_rtmp(&server, name, 60));
        assert_same(&published.file, &play_flv(&server, name, 60));
        let streams = server.api("/api/v1/streams/");
        let of_name = |stream: &&serde_json::Value| stream["name"] == name;
        let video = streams["streams"].as_array().unwrap().iter().find(of_name).unwrap()["video"].clone();
        assert_eq!((&video["codec"], &video["profile"]), (&"HEVC".into(), &"Main".into()), "{video}");
        assert_eq!((&video["width"], &video["height"]), (&320.into(), &180.into()), "{video}");
    }
}

#[test]
fn av1_comes_back_to_the_byte_and_transport_streams_have_its_audio() {
    let server = TestServer::start("http_remux { enabled on; }", "");
    let published = publish(&server, "s", &AV1, Header::Enhanced(b"av01"));
    assert_same(&published.file, &play_rtmp(&server, "s", 60));
    assert_same(&published.file, &play_flv(&server, "s", 60));
    let video = server.api("/api/v1/streams/")["streams"][0]["video"].clone();
    assert_eq!(video["codec"], "AV1", "{video}");
    assert_eq!((&video["width"], &video["height"]), (&320.into(), &180.into()), "{video}");
    drop(published);
    drop(server);
    let server = TestServer::start("http_remux { enabled on; mount [vhost]/[app]/[stream].ts; }", "");
    let _published = publish(&server, "s", &AV1, Header::Enhanced(b"av01"));
    assert_eq!(probe(&server.http("live/s.ts")).0, ["aac"]);
}

#[test]
fn hevc_plays_from_hls_and_http_ts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let conf = format!(
        "hls {{ enabled on; hls_fragment 2; hls_path {path}; }}
         http_remux {{ enabled on; mount [vhost]/[app]/[stream].ts; }}"
    );
    let server = TestServer::start(&conf, "");
    let _published = publish(&server, "s", &HEVC, Header::Enhanced(b"hvc1"));
    let ts = server.http("live/s.ts");
    assert_eq!(probe(&ts).0, ["aac", "hevc"]);
    let output = play(&ts, "3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let playlist = dir.path().join("live/s.m3u8");
    let listed = || std::fs::read_to_string(&playlist).map_or(0, |text| text.matches("#EXTINF").count());
    wait_until("two segments are listed", || listed() >= 2);
    for segment in ["s-0.ts", "s-1.ts"] {
        let segment = dir.path().join("live").join(segment).display().to_string();
        assert_eq!(probe(&segment).0, ["aac", "hevc"]);
        let output = play(&segment, "10");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{segment}: {errors}");
    }
}

#[test]
fn recordings_in_mp4_have_the_codec_s_own_name_and_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = TestServer::start(&format!("dvr {{ enabled on; dvr_path {path}/[stream].mp4; }}"), "");
    for (name, encoder, header, entry, record) in [
        ("enhanced", HEVC, Header::Enhanced(b"hvc1"), "hvc1", "hvcC"),
        ("legacy", HEVC, Header::Legacy, "hvc1", "hvcC"),
        ("av1", AV1, Header::Enhanced(b"av01"), "av01", "av1C"),
    ] {
        let published = publish(&server, name, &encoder, header);
        let (temporary, file) =
            (dir.path().join(format!("{name}.mp4.tmp")), dir.path().join(format!("{name}.mp4")));
        wait_until("seconds are recorded", || temporary.metadata().is_ok_and(|data| data.len() > 200_000));
        let sent = flv::tags(&published.file).unwrap()[0].payload[5..].to_vec();
        drop(published);
        wait_until("the file is complete", || file.is_file());
        assert_eq!(mp4_box(&std::fs::read(&file).unwrap(), record), sent, "{name}");
        let mut command = ffmpeg("ffprobe");
        command.args(["-select_streams", "v", "-show_entries", "stream=codec_tag_string,width,height"]);
        let output = command.args(["-of", "csv=p=0"]).arg(&file).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("{entry},320,180"), "{name}");
        let output = play(&file.display().to_string(), "60");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{name}: {errors}");
    }
}
