//! The log of a real process: its form, its files, and a disk that is full.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Reaped, request, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A server of its own process, and its API.
fn serve(dir: &Path, more: &str) -> (Reaped, SocketAddr) {
    let held: Vec<TcpListener> =
        (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let [rtmp, api] = [0, 1].map(|index: usize| held[index].local_addr().unwrap());
    drop(held);
    let conf = dir.join("srs.conf");
    std::fs::write(
        &conf,
        format!(
            "listen {rtmp}; daemon off; pid {}/srs.pid; {more}
             http_api {{ enabled on; listen {api}; }} vhost __defaultVhost__ {{ }}",
            dir.display()
        ),
    )
    .unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_media-server"))
        .arg("-c")
        .arg(&conf)
        .current_dir(dir)
        .env_remove("RUST_LOG")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Reaped(child);
    wait_until("the API answers", || TcpStream::connect(api).is_ok());
    (server, api)
}

fn signal(server: &Reaped, signal: Signal) {
    kill_process(Pid::from_raw(server.0.id().cast_signed()).unwrap(), signal).unwrap();
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_file_that_was_renamed_is_opened_again_and_a_reload_changes_the_form() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("objs/srs.log");
    let (server, _) = serve(dir.path(), "srs_log_tank file; utc_time on;");
    wait_until("it is written", || read(&log).contains("listens at"));
    let first = read(&log);
    assert!(first.starts_with("[20") && first.contains("][Trace]["), "{first}");
    let old = dir.path().join("old.log");
    std::fs::rename(&log, &old).unwrap();
    signal(&server, Signal::USR1);
    wait_until("there is a new file", || read(&log).contains("opened again"));
    assert!(!read(&old).contains("opened again"));
    let conf = dir.path().join("srs.conf");
    let json = read(&conf).replace("utc_time on;", "utc_time on; srs_log_format json;");
    std::fs::write(&conf, json).unwrap();
    signal(&server, Signal::HUP);
    wait_until("it is reloaded", || read(&log).contains("reload config success."));
    let text = read(&log);
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["level"], &last["message"]), (&"info".into(), &"reload config success.".into()));
}

#[test]
fn a_full_disk_loses_lines_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, api) = serve(dir.path(), "srs_log_tank file; srs_log_file /dev/full;");
    let lost = || {
        let (_, text) = request(api, "GET", "/metrics", &[]);
        let line = text.lines().find_map(|line| line.strip_prefix("srs_log_lost_total "));
        line.and_then(|count| count.parse::<u64>().ok()).unwrap()
    };
    wait_until("lost lines are counted", || lost() > 0);
    assert!(request(api, "GET", "/api/v1/versions", &[]).0.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_client_is_followed_by_its_id_and_can_not_write_lines() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("objs/srs.log");
    let (_server, api) = serve(dir.path(), "srs_log_tank file; srs_log_format json;");
    let evil = "/live/a%0a[2026]fake.m3u8";
    request(api, "GET", "/api/v1/auth", &[&format!("X-Original-URI: {evil}")]);
    let mut raw = TcpStream::connect(api).unwrap();
    raw.write_all(b"GET /\x1b[2J HTTP/1.1\r\n\r\n").unwrap();
    wait_until("the refusal is told", || read(&log).contains("auth_request"));
    for line in read(&log).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["time"].is_string() && line["message"].is_string(), "{line}");
    }
}
