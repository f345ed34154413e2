//! DVR of streams that real ffmpeg publishes, read by real ffmpeg.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the numbers are small")]

mod common;

use std::path::{Path, PathBuf};

use common::{TestServer, ffmpeg, media, play, probe, publish, wait_until};

/// The files of a folder with that ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect();
    files.sort();
    files
}

/// ffmpeg decodes the whole file and finds nothing to complain of.
fn decodes(file: &Path) {
    let output = play(&file.display().to_string(), "60");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", file.display());
}

fn duration(file: &Path) -> f64 {
    let mut command = ffmpeg("ffprobe");
    let output =
        command.args(["-show_entries", "format=duration", "-of", "csv=p=0"]).arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

/// Ten seconds with B-frames, a keyframe a second.
fn with_b_frames(dir: &Path) -> PathBuf {
    let file = dir.join("b.flv");
    let mut command = ffmpeg("ffmpeg");
    command.args(["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=10", "-f", "lavfi", "-i", "sine=d=10"]);
    command.args(["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "3", "-b_strategy", "0"]);
    assert!(command.args(["-c:a", "aac"]).arg(&file).status().unwrap().success());
    file
}

#[test]
fn a_session_becomes_one_flv_file_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = TestServer::start(
        &format!("dvr {{ enabled on; dvr_path {path}/[app]/[2006]/[stream].[timestamp].flv; }}"),
        "utc_time on;",
    );
    let publisher = publish(&media(), &server.rtmp("live/livestream"));
    let year = dir.path().join("live").join(
        String::from_utf8(std::process::Command::new("date").args(["-u", "+%Y"]).output().unwrap().stdout)
            .unwrap()
            .trim(),
    );
    wait_until("something is written", || {
        files(&year, "tmp").first().is_some_and(|file| file.metadata().unwrap().len() > 100_000)
    });
    assert!(files(&year, "flv").is_empty());
    drop(publisher);
    wait_until("the file is complete", || files(&year, "flv").len() == 1);
    assert!(files(&year, "tmp").is_empty());
    let file = &files(&year, "flv")[0];
    decodes(file);
    let (codecs, first) = probe(&file.display().to_string());
    assert_eq!(codecs, ["aac", "h264"]);
    assert!(first < 0.2, "it starts at {first}");
    // What stands in onMetaData is what the tags say.
    let bytes = std::fs::read(file).unwrap();
    let tags = media_server::flv::tags(&bytes).unwrap();
    let values = media_server::amf0::decode_all(tags[0].payload).unwrap();
    let number = |name| values[1].get(name).and_then(media_server::amf0::Value::as_number).unwrap();
    let last = tags.iter().map(|tag| tag.timestamp).max().unwrap();
    assert!((number("duration") - f64::from(last) / 1000.0).abs() < 0.001);
    assert!((number("filesize") - bytes.len() as f64).abs() < 0.5);
}

#[test]
fn mp4_segments_with_b_frames_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = TestServer::start(
        &format!(
            "dvr {{ enabled on; dvr_plan segment; dvr_duration 2;
               dvr_path {path}/[app]/[stream].[timestamp].mp4; dvr_apply live/yes; }}"
        ),
        "",
    );
    let media = with_b_frames(dir.path());
    let _not_applied = publish(&media, &server.rtmp("live/no"));
    let publisher = publish(&media, &server.rtmp("live/yes"));
    let folder = dir.path().join("live");
    wait_until("three files are complete", || files(&folder, "mp4").len() >= 3);
    drop(publisher);
    wait_until("the last one is complete", || files(&folder, "tmp").is_empty());
    let complete = files(&folder, "mp4");
    assert!(complete.iter().all(|file| file.file_name().unwrap().to_string_lossy().starts_with("yes.")));
    for file in &complete {
        decodes(file);
    }
    for file in &complete[..3] {
        let (codecs, _) = probe(&file.display().to_string());
        assert_eq!(codecs, ["aac", "h264"]);
        let duration = duration(file);
        assert!((1.9..3.3).contains(&duration), "{duration}");
    }
    // Frames that are shown in another order than decoded, each once.
    let mut command = ffmpeg("ffprobe");
    command.args(["-select_streams", "v", "-show_entries", "packet=pts_time,dts_time", "-of", "csv=p=0"]);
    let output = command.arg(&complete[1]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let times: Vec<(f64, f64)> = text
        .lines()
        .map(|line| line.split_once(',').unwrap())
        .map(|(pts, dts)| (pts.parse().unwrap(), dts.trim_end_matches(',').parse().unwrap()))
        .collect();
    assert!(times.len() > 40, "{text}");
    assert!(times.windows(2).any(|pair| pair[1].0 < pair[0].0), "{text}");
    assert!(times.windows(2).all(|pair| pair[1].1 > pair[0].1), "{text}");
    let mut shown: Vec<i64> = times.iter().map(|(pts, _)| (pts * 1000.0).round() as i64).collect();
    shown.sort_unstable();
    assert!(shown.windows(2).all(|pair| (35..=45).contains(&(pair[1] - pair[0]))), "{shown:?}");
}

#[test]
fn audio_alone_is_recorded_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let server = TestServer::start(
        &format!(
            "dvr {{ enabled on; dvr_plan segment; dvr_duration 1; dvr_path {path}/[stream].[timestamp].mp4; }}"
        ),
        "",
    );
    let audio = dir.path().join("audio.flv");
    let mut command = ffmpeg("ffmpeg");
    command.args(["-f", "lavfi", "-i", "sine=d=10", "-c:a", "aac"]);
    assert!(command.arg(&audio).status().unwrap().success());
    let publisher = publish(&audio, &server.rtmp("live/audio"));
    wait_until("two files are complete", || files(dir.path(), "mp4").len() >= 2);
    drop(publisher);
    wait_until("the last one is complete", || files(dir.path(), "tmp").is_empty());
    for file in files(dir.path(), "mp4") {
        decodes(&file);
        assert_eq!(probe(&file.display().to_string()).0, ["aac"]);
    }
}

#[test]
fn quitting_completes_what_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    // A folder gets SRS's name of files.
    let server = TestServer::start(&format!("dvr {{ enabled on; dvr_path {path}/dvr/[app]; }}"), "");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    let folder = dir.path().join("dvr/live");
    wait_until("something is written", || {
        files(&folder, "tmp").first().is_some_and(|file| file.metadata().unwrap().len() > 0)
    });
    drop(server);
    assert!(files(&folder, "tmp").is_empty());
    decodes(&files(&folder, "flv")[0]);
}
