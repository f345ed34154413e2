//! Programs that the server runs: they start, start again, and never stay behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Reaped, TestServer, ffmpeg, media, publish, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Processes of that program with that text in their arguments.
fn running(program: &str, text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines
        .filter(|line| {
            let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            words.next().is_some_and(|first| first.ends_with(program))
                && words.any(|word| word.contains(text))
        })
        .count()
}

fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("program.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn what_is_ingested_goes_with_the_configuration_and_with_the_server() {
    // Says where the program is missing.
    drop(ffmpeg("ffmpeg"));
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = dir.path().join("srs.conf");
    let (root, media) = (dir.path().display(), media());
    let write = |enabled: &str| {
        let text = format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; pid {root}/srs.pid; ff_log_dir {root}/logs;
             ff_log_level error; vhost __defaultVhost__ {{ ingest livestream {{ enabled {enabled}; ffmpeg ffmpeg;
               input {{ type file; url {}; }} engine {{ enabled off; output rtmp://127.0.0.1:[port]/live/ingested; }} }} }}",
            media.display()
        );
        std::fs::write(&conf, text).unwrap();
    };
    write("on");
    let mut command = Command::new(env!("CARGO_BIN_EXE_media-server"));
    let server = command.arg("-c").arg(&conf).stdout(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap());
    let mut server = Reaped(server);
    let url = format!("rtmp://127.0.0.1:{port}/live/ingested");
    wait_until("the file is ingested", || running("ffmpeg", &url) == 1);
    assert_eq!(common::probe(&url).0, ["aac", "h264"]);
    assert!(dir.path().join("logs/ffmpeg-ingest-__defaultVhost__-livestream-.log").exists());
    write("off");
    kill(pid, Signal::SIGHUP).unwrap();
    wait_until("it is stopped", || running("ffmpeg", &url) == 0);
    write("on");
    kill(pid, Signal::SIGHUP).unwrap();
    wait_until("it runs again", || running("ffmpeg", &url) == 1);
    // No chance to tidy up.
    server.0.kill().unwrap();
    server.0.wait().unwrap();
    wait_until("it has gone with the server", || running("ffmpeg", &url) == 0);
}

#[test]
fn a_program_runs_as_long_as_its_stream_and_gets_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "echo \"$@\"; exec sleep 1000.\"$$\"; ");
    let (path, root) = (path.display(), dir.path().display());
    let server = TestServer::start(
        &format!(
            "exec {{ enabled on; publish {path} [app] [stream] [tcUrl] [url] '$(id)' >{root}/[stream].out; }}"
        ),
        &format!("ff_log_dir {root};"),
    );
    let publisher = publish(&media(), &server.rtmp("live/livestream?token=a"));
    let output = dir.path().join("livestream.out");
    let text = || std::fs::read_to_string(&output).unwrap_or_default();
    wait_until("the program runs", || text().ends_with('\n'));
    let tc_url = server.rtmp("live");
    assert_eq!(
        text().trim(),
        format!("live livestream {tc_url} {}?token=a $(id)", server.rtmp("live/livestream"))
    );
    let sleeping = || running("sleep", "1000.");
    wait_until("it waits", || sleeping() == 1);
    drop(publisher);
    wait_until("it has ended with the stream", || sleeping() == 0);
}

#[test]
fn a_program_that_ends_is_started_again_and_stopped_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let lines = dir.path().join("lines");
    let path = script(dir.path(), "echo $$ >> \"$1\"");
    let server = TestServer::start(
        &format!("exec {{ enabled on; publish {} {}; }}", path.display(), lines.display()),
        &format!("ff_log_dir {};", dir.path().display()),
    );
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    let count = || std::fs::read_to_string(&lines).map_or(0, |text| text.lines().count());
    wait_until("it ran twice", || count() >= 2);
    drop(server);
    let ran = count();
    let other = TestServer::start("", "");
    let _publisher = publish(&media(), &other.rtmp("live/livestream"));
    other.wait_for_stream("livestream");
    assert_eq!(count(), ran);
}
