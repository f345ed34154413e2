//! The program as the image runs it: options, quitting, and the script of `etc/init.d/srs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Reaped, media, publish, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_media-server");

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A folder like the image's, with its program under both names, and a port for RTMP.
fn installed(more: &str) -> (tempfile::TempDir, u16) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["conf", "objs", "etc/init.d"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for name in ["objs/srs", "etc/init.d/srs"] {
        std::os::unix::fs::symlink(PROGRAM, dir.path().join(name)).unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; {more} vhost __defaultVhost__ {{ }}"
    );
    std::fs::write(dir.path().join("conf/srs.conf"), conf).unwrap();
    (dir, port)
}

fn serve(dir: &Path, port: u16) -> Reaped {
    let child = Command::new(dir.join("objs/srs"))
        .args(["-c", "conf/docker.conf"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Reaped(child);
    wait_until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    wait_until("its pid is written", || dir.join("objs/srs.pid").is_file());
    server
}

fn script(dir: &Path, action: &str) -> Output {
    Command::new(dir.join("etc/init.d/srs")).arg(action).output().unwrap()
}

#[test]
fn a_test_of_the_configuration_reads_the_files_that_it_names() {
    let more =
        "http_api { enabled on; listen 127.0.0.1:0; https { enabled on; key tls.key; cert tls.crt; } }";
    let (dir, _) = installed(more);
    let tested = || run(dir.path(), &["-t", "-c", "conf/srs.conf"]);
    let missing = tested();
    assert!(!missing.status.success());
    let told = text(&missing.stderr);
    assert!(told.contains("http_api.https") && told.contains("No such file"), "{told}");
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("tls.key"), own.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.path().join("tls.crt"), own.cert.pem()).unwrap();
    let good = tested();
    assert!(good.status.success(), "{}", text(&good.stderr));
}

#[test]
fn versions_are_told_as_srs_tells_them() {
    let (dir, _) = installed("");
    let output = run(dir.path(), &["-v"]);
    assert_eq!(
        (output.status.code(), text(&output.stderr), text(&output.stdout)),
        (Some(0), "4.0.271\n", "")
    );
    assert_eq!(text(&run(dir.path(), &["-g"]).stdout), "SRS/4.0.271(Leo)\n");
    assert_eq!(text(&run(dir.path(), &["-V"]).stderr), "4.0.271\n");
    assert!(text(&run(dir.path(), &["-h"]).stdout).contains("publish"));
    let output = Command::new(PROGRAM).arg("-v").env("SRS_COMPATIBILITY_VERSION", "v4.0.5").output().unwrap();
    assert_eq!(text(&output.stderr), "4.0.5\n");
    let output = Command::new(PROGRAM).arg("-v").env("SRS_COMPATIBILITY_VERSION", "latest").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("three numbers"), "{}", text(&output.stderr));
    assert_eq!(run(dir.path(), &["--nothing"]).status.code(), Some(64));
}

#[test]
fn a_configuration_is_tested() {
    let (dir, _) = installed("");
    assert_eq!(run(dir.path(), &["-t", "-c", "conf/srs.conf"]).status.code(), Some(0));
    std::fs::write(dir.path().join("conf/bad.conf"), "listen 1935;\nhttp_api {\n enabled on\n}\n").unwrap();
    let output = run(dir.path(), &["-t", "-c", "conf/bad.conf"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("conf/bad.conf:"), "{}", text(&output.stderr));
    let none = tempfile::tempdir().unwrap();
    let output = run(none.path(), &["-t", "-c", "conf/none.conf"]);
    assert!(text(&output.stderr).contains("none.conf"), "{}", text(&output.stderr));
}

#[test]
fn sigterm_quits_at_once_and_well() {
    let (dir, port) = installed("");
    let mut server = serve(dir.path(), port);
    let _publisher = publish(&media(), &format!("rtmp://127.0.0.1:{port}/live/livestream"));
    assert_eq!(script(dir.path(), "status").status.code(), Some(0));
    assert_eq!(script(dir.path(), "stop").status.code(), Some(0));
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    assert!(!dir.path().join("objs/srs.pid").exists());
    assert_eq!(script(dir.path(), "status").status.code(), Some(1));
    assert_eq!(script(dir.path(), "dance").status.code(), Some(64));
}

/// The preStop hook and the kubelet's SIGTERM after it: clients stay until they leave by themselves.
#[test]
fn grace_waits_for_the_clients() {
    // The port is free now and taken by the server in a moment.
    let api = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let quit = "grace_start_wait 100; grace_final_wait 100; force_grace_quit on;";
    let (dir, port) = installed(&format!("{quit} http_api {{ enabled on; listen {api}; }}"));
    let mut server = serve(dir.path(), port);
    let url = format!("rtmp://127.0.0.1:{port}/live/livestream");
    let mut command = Command::new(PROGRAM);
    command.args(["publish", "--loop"]).arg(media()).arg(&url).stderr(Stdio::null());
    let publisher = Reaped(command.spawn().unwrap());
    let player = std::thread::spawn({
        let url = url.clone();
        move || common::play(&url, "4")
    });
    wait_until("both are there", || {
        let (_, body) = common::request(api, "GET", "/api/v1/clients/", &[]);
        body.matches("\"alive\"").count() == 2
    });
    assert_eq!(script(dir.path(), "grace").status.code(), Some(0));
    wait_until("new clients are refused", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    // What the kubelet sends next changes nothing.
    assert_eq!(Command::new("kill").arg(server.0.id().to_string()).status().unwrap().code(), Some(0));
    let output = player.join().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(server.0.try_wait().unwrap().is_none(), "a publisher is still there");
    drop(publisher);
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn sighup_and_the_script_reload() {
    let (dir, port) = installed("");
    let mut server = serve(dir.path(), port);
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = dir.path().join("conf/srs.conf");
    let before = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, "listen nonsense").unwrap();
    assert_eq!(script(dir.path(), "reload").status.code(), Some(0));
    std::fs::write(&conf, before.replace(&port.to_string(), &other.to_string())).unwrap();
    assert_eq!(script(dir.path(), "reload").status.code(), Some(0));
    wait_until("the other port listens", || std::net::TcpStream::connect(("127.0.0.1", other)).is_ok());
    wait_until("the first does not", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(server.0.try_wait().unwrap().is_none());
    assert_eq!(script(dir.path(), "stop").status.code(), Some(0));
}

/// A process that is not this one's child.
struct Orphan(String);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.trim()).stderr(Stdio::null()).status();
    }
}

/// A shell that starts the server as its own child is killed: with `asprocess` the server follows.
#[test]
fn the_server_ends_with_its_parent_where_it_is_told_to() {
    for follows in [true, false] {
        let (dir, port) = installed(if follows { "asprocess on;" } else { "" });
        let script = "\"$0\" -c conf/srs.conf & echo $! > child; wait";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, PROGRAM])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut shell = Reaped(shell.spawn().unwrap());
        wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let orphan = Orphan(std::fs::read_to_string(dir.path().join("child")).unwrap());
        shell.0.kill().unwrap();
        shell.0.wait().unwrap();
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        if follows {
            wait_until("it is gone", || !listens());
        } else {
            std::thread::sleep(std::time::Duration::from_millis(300));
            assert!(listens(), "it goes on without a parent");
            drop(orphan);
            wait_until("it is gone", || !listens());
        }
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (dir, port) = installed("");
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let output = run(dir.path(), &["-c", "conf/srs.conf"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("127.0.0.1:{port}")), "{}", text(&output.stderr));
}

#[test]
fn the_pages_can_be_written_for_another_web_server() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["pages", "html"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for page in ["index.html", "players/srs_player.html", "players/js/hls.min.js", "console/index.html"] {
        assert!(dir.path().join("html").join(page).is_file(), "{page}");
    }
    std::fs::write(dir.path().join("file"), "").unwrap();
    let output = run(dir.path(), &["pages", "file"]);
    assert!(!output.status.success() && text(&output.stderr).contains("srs: file"), "{output:?}");
}
