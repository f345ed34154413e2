//! Files of the HTTP port: ranges, and seeking in FLV.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::{TestServer, ffmpeg, media};
use media_server::flv::{self, Role, TagKind};
use media_server::server::Service;

/// Status line, head and body of a request.
fn get(server: &TestServer, method: &str, path: &str, fields: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address(Service::Http)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&bytes[..at + 2]).into_owned(), bytes[at + 4..].to_vec())
}

#[test]
fn ranges_are_answered_and_bad_ones_refused() {
    let server = TestServer::start("", "");
    let file: Vec<u8> = (0..1000u32).map(|index| (index % 251) as u8).collect();
    std::fs::write(server.dir.path().join("a.mp4"), &file).unwrap();
    for (path, fields) in
        [("/a.mp4", "Range: bytes=10-19\r\n"), ("/a.mp4?range=10-19", ""), ("/a.mp4?range=bytes=10-19", "")]
    {
        let (head, body) = get(&server, "GET", path, fields);
        assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
        assert!(head.contains("Content-Range: bytes 10-19/1000\r\n"), "{head}");
        assert_eq!(body, file[10..20]);
    }
    let (head, body) = get(&server, "GET", "/a.mp4", "Range: bytes=990-\r\n");
    assert!(head.starts_with("HTTP/1.1 206 ") && body == file[990..], "{head}");
    for range in [
        "bytes=1000-",
        "bytes=5000-6000",
        "bytes=20-10",
        "bytes=0-18446744073709551616",
        "bytes=18446744073709551615-18446744073709551615",
        "bytes=-0",
        "bytes=x-y",
        "bytes=0-1,5-6,900-901",
    ] {
        let (head, _) = get(&server, "GET", "/a.mp4", &format!("Range: {range}\r\n"));
        assert!(head.starts_with("HTTP/1.1 416 "), "{range}: {head}");
        let (head, _) = get(&server, "GET", &format!("/a.mp4?range={}", &range[6..]), "");
        assert!(head.starts_with("HTTP/1.1 416 "), "?range={range}: {head}");
    }
    // Bytes that are no field are left out.
    let (head, body) = get(&server, "GET", "/a.mp4", "");
    assert!(head.starts_with("HTTP/1.1 200 ") && body == file, "{head}");
}

#[test]
fn an_flv_file_starts_at_a_byte_behind_its_headers() {
    let server = TestServer::start("http_remux { enabled on; }", "");
    let file = std::fs::read(media()).unwrap();
    std::fs::create_dir(server.dir.path().join("live")).unwrap();
    std::fs::write(server.dir.path().join("live/a.flv"), &file).unwrap();
    // The keyframe nearest to the middle.
    let tags = flv::tags(&file).unwrap();
    let place = |payload: &[u8]| payload.as_ptr() as usize - file.as_ptr() as usize - flv::TAG_HEADER;
    let mut keyframes = tags.iter().filter(|tag| flv::role(tag.kind, tag.payload) == Role::Keyframe);
    let start = place(keyframes.find(|tag| place(tag.payload) > file.len() / 2).unwrap().payload);
    let path = format!("/live/a.flv?start={start}");
    let (head, body) = get(&server, "GET", &path, "");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Type: video/x-flv\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.ends_with(&file[start..]));
    let got = flv::tags(&body).unwrap();
    let roles: Vec<(TagKind, Role)> =
        got.iter().take(3).map(|tag| (tag.kind, flv::role(tag.kind, tag.payload))).collect();
    assert!(roles[..2].contains(&(TagKind::Video, Role::SequenceHeader)), "{roles:?}");
    assert!(roles[..2].contains(&(TagKind::Audio, Role::SequenceHeader)), "{roles:?}");
    assert_eq!(roles[2], (TagKind::Video, Role::Keyframe));
    let url = server.http(&path[1..]);
    let output = ffmpeg("ffmpeg").args(["-i", &url, "-f", "null", "-"]).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (head, body) = get(&server, "HEAD", &path, "");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    for (path, status) in [
        (format!("/live/a.flv?start={}", file.len()), "416"),
        ("/live/a.flv?start=18446744073709551615".to_owned(), "416"),
        ("/live/a.flv?start=99999999999999999999".to_owned(), "200"),
        ("/live/none.flv?start=5".to_owned(), "404"),
        ("/../a.flv?start=5".to_owned(), "404"),
    ] {
        let (head, _) = get(&server, "GET", &path, "");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    }
}

#[test]
fn a_mount_of_a_vhost_has_its_folder_and_guards_what_is_written_there() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["sub", "hls/live"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for file in ["a b.txt", "sub/index.html", "hls/live/s.m3u8", "hls/live/s-1.ts"] {
        std::fs::write(dir.path().join(file), file).unwrap();
    }
    let path = dir.path().display();
    let vhost = format!(
        "http_static {{ enabled on; mount [vhost]/files; dir {path}; }} security {{ enabled on; deny play all; }}
         hls {{ enabled on; hls_path {path}/hls; }}"
    );
    let server = TestServer::start(&vhost, "");
    std::fs::write(server.dir.path().join("root.txt"), "root").unwrap();
    for (path, status, body) in [
        ("/files/a%20b.txt", "200", "a b.txt"),
        ("/files/sub/", "200", "sub/index.html"),
        ("/root.txt", "200", "root"),
        ("/files/root.txt", "404", ""),
        ("/a%20b.txt", "404", ""),
        ("/files/../root.txt", "404", ""),
        ("/files/%2e%2e/root.txt", "404", ""),
        ("/files/hls/live/s.m3u8", "403", ""),
    ] {
        let (head, found) = get(&server, "GET", path, "");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        assert!(body.is_empty() || found == body.as_bytes(), "{path}");
    }
    let (head, _) = get(&server, "GET", "/files/sub?a=1", "");
    assert!(head.to_lowercase().contains("location: /files/sub/?a=1\r\n"), "{head}");
}
