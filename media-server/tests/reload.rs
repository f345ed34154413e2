//! A configuration that changes under live streams.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{media, play, publish, request, wait_until};
use media_server::cli::Running;
use media_server::conf;
use media_server::reload;
use media_server::server::{Service, Version};
use media_server::stat::ClientStat;

struct Reloadable {
    running: Running,
    dir: tempfile::TempDir,
    ports: Vec<u16>,
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Reloadable {
    fn start(rest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(5);
        let path = dir.path().join("srs.conf");
        write(&path, &ports, rest);
        let settings = conf::load(&path).unwrap();
        let version = Version::parse("4.0.271").unwrap();
        let running = Running::start_from(settings, version, Some(path)).unwrap();
        Reloadable { running, dir, ports }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("srs.conf")
    }

    fn reload(&self, rest: &str) -> Result<(), reload::Error> {
        write(&self.path(), &self.ports, rest);
        reload::reload(&self.running.server, Some(&self.path()))
    }

    fn rtmp(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{name}", self.ports[0])
    }
}

fn write(path: &Path, ports: &[u16], rest: &str) {
    let api = "raw_api { enabled on; allow_reload on; }";
    let text = format!(
        "listen 127.0.0.1:{};\nhttp_api {{ enabled on; listen 127.0.0.1:{}; {api} }}\n{rest}",
        ports[0], ports[1]
    );
    std::fs::write(path, text).unwrap();
}

const PLAIN: &str = "vhost __defaultVhost__ { http_remux { enabled on; } }";

#[test]
fn streams_go_on_and_what_changed_is_done() {
    let server = Reloadable::start(PLAIN);
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    wait_until("it publishes", || server.running.server.sources.all().iter().any(|source| source.is_live()));
    let player = std::thread::spawn({
        let url = server.rtmp("live/livestream");
        move || play(&url, "5")
    });
    wait_until("both are there", || server.running.server.stat.client_count() == 2);
    // A port more, HLS on, latency and chunk size changed.
    let hls = server.dir.path().join("hls");
    let http = SocketAddr::from(([127, 0, 0, 1], server.ports[2]));
    let rest = format!(
        "http_server {{ enabled on; listen {http}; }} vhost __defaultVhost__ {{ min_latency on; chunk_size 512;
         http_remux {{ enabled on; }} hls {{ enabled on; hls_fragment 1; hls_path {}; }} }}",
        hls.display()
    );
    server.reload(&rest).unwrap();
    wait_until("the new port listens", || TcpStream::connect(http).is_ok());
    wait_until("HLS is written", || hls.join("live/livestream.m3u8").is_file());
    assert!(play(&format!("http://{http}/live/livestream.flv"), "1").stderr.is_empty());
    // And back.
    server.reload(PLAIN).unwrap();
    wait_until("the port is closed", || TcpStream::connect(http).is_err());
    let output = player.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    server.running.stop();
}

/// Players that waited for their slot of the wheel are served in a circle from now on, and the other way.
#[test]
fn a_stream_becomes_realtime_and_back_under_its_players() {
    let server = Reloadable::start(PLAIN);
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    wait_until("it publishes", || server.running.server.sources.all().iter().any(|source| source.is_live()));
    let players: Vec<_> = (0..3)
        .map(|_| {
            let url = server.rtmp("live/livestream");
            std::thread::spawn(move || play(&url, "6"))
        })
        .collect();
    wait_until("all are there", || server.running.server.stat.client_count() == 4);
    let source = server.running.server.sources.all().pop().unwrap();
    for (rest, realtime) in [("min_latency on;", true), ("play { mw_latency 500; }", false), ("", false)] {
        server.reload(&format!("vhost __defaultVhost__ {{ http_remux {{ enabled on; }} {rest} }}")).unwrap();
        wait_until("the stream follows", || source.policy().realtime == realtime);
        // Every player gets something in the new way.
        let clients = server.running.server.stat.clients();
        let sent = |client: &Arc<ClientStat>| client.traffic.send.load(Ordering::Relaxed);
        let before: Vec<u64> = clients.iter().map(sent).collect();
        wait_until("all go on", || {
            clients
                .iter()
                .zip(&before)
                .all(|(client, before)| client.publish || sent(client) > before + 10_000)
        });
    }
    for player in players {
        let output = player.join().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
    }
    assert_eq!(source.players(), 0);
    server.running.stop();
}

#[test]
fn recording_begins_moves_and_ends_under_a_live_stream() {
    let server = Reloadable::start(PLAIN);
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    wait_until("it publishes", || server.running.server.sources.all().iter().any(|source| source.is_live()));
    let path = |name: &str| server.dir.path().join(name);
    let record = |name: &str| {
        let path = path(name);
        format!("vhost __defaultVhost__ {{ dvr {{ enabled on; dvr_path {}; }} }}", path.display())
    };
    let grows = |name: &str| {
        let temporary = path(&format!("{name}.tmp"));
        wait_until("a second is recorded", || temporary.metadata().is_ok_and(|data| data.len() > 60_000));
    };
    server.reload(&record("first.flv")).unwrap();
    grows("first.flv");
    server.reload(&record("second.mp4")).unwrap();
    wait_until("the first file is complete", || path("first.flv").is_file());
    grows("second.mp4");
    server.reload(PLAIN).unwrap();
    wait_until("the second file is complete", || path("second.mp4").is_file());
    for name in ["first.flv", "second.mp4"] {
        assert!(!path(&format!("{name}.tmp")).exists());
        let output = play(&path(name).display().to_string(), "60");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{name}: {errors}");
    }
    // The publisher was not disturbed.
    assert_eq!(server.running.server.stat.client_count(), 1);
    server.running.stop();
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let server = Reloadable::start(PLAIN);
    let error = server.reload("vhost __defaultVhost__ { http_remux { enabled on; }").unwrap_err();
    assert!(error.to_string().contains("srs.conf:3: "), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let busy = format!("http_server {{ enabled on; listen {address}; }} vhost __defaultVhost__ {{ }}");
    let error = server.reload(&busy).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(server.running.server.settings().vhost("x").unwrap().http_remux.is_some());
    assert_eq!(server.running.server.reloads().failed, 2);
    let api = server.running.address(Service::Api).unwrap();
    let (_, body) = request(api, "GET", "/api/v1/raw?rpc=reload", &[]);
    assert!(body.contains("\"code\":1023") && body.contains("listen") || body.contains("in use"), "{body}");
    write(&server.path(), &server.ports, PLAIN);
    let (_, body) = request(api, "GET", "/api/v1/raw?rpc=reload", &[]);
    assert_eq!(body, "{\"code\":0}");
    server.running.stop();
}

/// A pipe that nobody writes stands for a volume that does not answer.
#[test]
fn a_configuration_that_can_t_be_read_stops_only_its_reload() {
    let server = Reloadable::start(PLAIN);
    let path = server.path();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let api = server.running.address(Service::Api).unwrap();
    let reload = move || request(api, "GET", "/api/v1/raw?rpc=reload", &[]).1;
    let asked = [std::thread::spawn(reload), std::thread::spawn(reload)];
    // The API's thread has their requests by the time that it answers a later one.
    for _ in 0..3 {
        assert!(request(api, "GET", "/api/v1/versions", &[]).1.contains("\"code\":0"));
    }
    let writes = |_: usize| std::fs::write(&path, &text).unwrap();
    writes(1);
    wait_until("the first is done", || server.running.server.reloads().succeeded == 1);
    writes(2);
    wait_until("the second is done", || server.running.server.reloads().succeeded == 2);
    for answer in asked.map(|asked| asked.join().unwrap()) {
        // On a busy machine nobody waits so long for it.
        assert!(answer == "{\"code\":0}" || answer.contains("The reload goes on"), "{answer}");
    }
    server.running.stop();
}

#[test]
fn ports_change_places_and_addresses() {
    let server = Reloadable::start(PLAIN);
    let ports = &server.ports;
    let [api, http] = [ports[1], ports[2]];
    let write = |api: &str, http: &str| {
        let text = format!(
            "listen 127.0.0.1:{}; http_api {{ enabled on; listen {api}; }}
             http_server {{ enabled on; listen {http}; dir {}; }} {PLAIN}",
            ports[0],
            server.dir.path().display()
        );
        std::fs::write(server.path(), text).unwrap();
        reload::reload(&server.running.server, Some(&server.path()))
    };
    let answers_api = |port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_until("it listens", || TcpStream::connect(address).is_ok());
        request(address, "GET", "/api/v1/versions", &[]).0.starts_with("HTTP/1.1 200")
    };
    let local = |port: u16| format!("127.0.0.1:{port}");
    write(&local(api), &local(http)).unwrap();
    wait_until("the API is there", || answers_api(api) && !answers_api(http));
    write(&local(http), &local(api)).unwrap();
    wait_until("they have changed places", || answers_api(http) && !answers_api(api));
    // All addresses of a port instead of one, and back.
    write(&http.to_string(), &local(api)).unwrap();
    wait_until("all addresses answer", || {
        TcpStream::connect((std::net::Ipv4Addr::new(127, 0, 0, 2), http)).is_ok()
    });
    assert!(answers_api(http));
    write(&local(http), &local(api)).unwrap();
    wait_until("one address answers", || {
        TcpStream::connect((std::net::Ipv4Addr::new(127, 0, 0, 2), http)).is_err()
    });
    assert!(answers_api(http));
    // One of the addresses is somebody else's: all stay where they were.
    let taken = TcpListener::bind("127.0.0.3:0").unwrap();
    let busy = taken.local_addr().unwrap().port();
    write(&local(busy), &local(api)).unwrap();
    wait_until("the API has moved", || answers_api(busy));
    let error = write(&busy.to_string(), &local(http)).unwrap_err();
    assert!(error.to_string().contains(&format!("0.0.0.0:{busy}")), "{error}");
    assert!(answers_api(busy) && !answers_api(api));
    server.running.stop();
}

#[test]
fn clients_of_a_vhost_that_is_gone_are_closed() {
    let server = Reloadable::start("vhost __defaultVhost__ { }");
    let _publisher = publish(&media(), &server.rtmp("live/livestream"));
    wait_until("it publishes", || server.running.server.stat.client_count() == 1);
    server.reload("vhost other { }").unwrap();
    wait_until("it is closed", || server.running.server.stat.client_count() == 0);
    server.running.stop();
}

/// Kubernetes swaps a link to a folder, `..data`; the file itself is a link that never changes.
#[test]
fn a_config_map_that_is_swapped_is_noticed() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    for (folder, text) in [("..one", "listen 1935;"), ("..two", "listen 1936;")] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join("srs.conf"), text).unwrap();
    }
    symlink("..one", dir.path().join("..data")).unwrap();
    symlink("..data/srs.conf", dir.path().join("srs.conf")).unwrap();
    let (sender, changes) = std::sync::mpsc::channel();
    let path = dir.path().join("srs.conf");
    reload::watch(&path, Duration::from_millis(10), sender, || ()).unwrap();
    std::fs::write(dir.path().join("other"), "x").unwrap();
    symlink("..two", dir.path().join("..data_tmp")).unwrap();
    std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    changes.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(conf::load(&path).unwrap().listen[0].port(), 1936);
    // What is beside it tells nothing: the one change was the swap.
    assert!(changes.recv_timeout(Duration::from_millis(50)).is_err());
    // A file that is written in place is noticed too.
    let plain = dir.path().join("plain.conf");
    let (sender, changes) = std::sync::mpsc::channel();
    reload::watch(&plain, Duration::from_millis(10), sender, || ()).unwrap();
    std::fs::write(&plain, "listen 1935;").unwrap();
    changes.recv_timeout(Duration::from_secs(20)).unwrap();
}
