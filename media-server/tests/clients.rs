//! Who a client is behind load balancers and proxies, where it may come from, and how many may come.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{TestServer, request, wait_until};
use media_server::amf0::{Value, encode_all};
use media_server::rtmp::{chunk, handshake};
use media_server::server::Service;

const COMMAND: u8 = 20;
/// 203.0.113.7:4000 to 10.0.0.1:1935.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x0f\xa0\x07\x8f";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const V1: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 4000 1935\r\n";
const TRUSTED: &str = "real_ip { trusted 127.0.0.0/8; proxy_protocol on; x_forwarded_for on; }";

/// Everything up to the request to publish (or else play).
fn rtmp(publish: bool, name: &str, page_url: &str) -> Vec<u8> {
    let mut bytes = handshake::client_hello(1, 2);
    bytes.resize(1 + 2 * handshake::SIZE, 0);
    let fields = [("app", "live"), ("tcUrl", "rtmp://127.0.0.1/live"), ("pageUrl", page_url)];
    let fields = fields.map(|(name, value)| (name.to_owned(), Value::string(value)));
    let connect = [Value::string("connect"), Value::Number(1.0), Value::Object(fields.into())];
    let create = [Value::string("createStream"), Value::Number(2.0), Value::Null];
    let verb = if publish { "publish" } else { "play" };
    let ask = [Value::string(verb), Value::Number(3.0), Value::Null, Value::string(name)];
    for command in [&connect[..], &create, &ask] {
        chunk::write(&mut bytes, 128, 3, COMMAND, 0, 0, &encode_all(command));
    }
    bytes
}

fn get(path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

/// Sends bytes in two parts; the connection stays open.
fn send(server: &TestServer, service: Service, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address(service)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (first, second) = bytes.split_at(bytes.len().min(9));
    stream.write_all(first).unwrap();
    stream.write_all(second).unwrap();
    stream
}

/// The server closes it within the bound of the read's timeout.
fn assert_closes(stream: &mut TcpStream, what: &str) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// The address that the API shows for the one client of a stream.
fn ip_of(server: &TestServer, name: &str) -> String {
    let find = || {
        let clients = server.running().server.stat.clients();
        clients.iter().find(|client| client.stream.name == name).map(|client| client.ip.clone())
    };
    wait_until(&format!("a client of {name} is there"), || find().is_some());
    find().unwrap()
}

#[test]
fn a_proxy_header_of_a_trusted_peer_names_the_client() {
    let server = TestServer::start("http_remux { enabled on; }", TRUSTED);
    let cases: [(&str, &[u8], &str); 4] = [
        ("v1", V1, "203.0.113.7"),
        ("v2", V2, "203.0.113.7"),
        ("local", LOCAL, "127.0.0.1"),
        ("bare", b"", "127.0.0.1"),
    ];
    for (name, header, expected) in cases {
        let _publisher = send(&server, Service::Rtmp, &[header, &rtmp(true, name, "")].concat());
        assert_eq!(ip_of(&server, name), expected, "RTMP {name}");
        let viewed = format!("http-{name}");
        let ask = get(&format!("/live/{viewed}.flv"), "");
        let _viewer = send(&server, Service::Http, &[header, &ask].concat());
        assert_eq!(ip_of(&server, &viewed), expected, "HTTP {name}");
        let ask = get("/api/v1/versions", "Connection: close\r\n");
        let mut answer = String::new();
        let mut api = send(&server, Service::Api, &[header, &ask].concat());
        api.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "API {name}: {answer}");
    }
    let mut broken = send(&server, Service::Rtmp, b"PROXY TCP9 1.2.3.4 5.6.7.8 1 2\r\n");
    assert_closes(&mut broken, "a header that is not valid");
}

#[test]
fn nobody_else_is_believed() {
    let server = TestServer::start(
        "http_remux { enabled on; }",
        "real_ip { trusted 192.0.2.1; proxy_protocol on; x_forwarded_for on; }",
    );
    let mut proxied = send(&server, Service::Rtmp, &[V1, &rtmp(true, "v1", "")].concat());
    assert_closes(&mut proxied, "a header of a peer that is not trusted");
    let prefix = [0xf3, 0, 4, 203, 0, 113, 7];
    let _prefixed = send(&server, Service::Rtmp, &[&prefix[..], &rtmp(true, "prefixed", "")].concat());
    assert_eq!(ip_of(&server, "prefixed"), "127.0.0.1");
    let _viewer = send(&server, Service::Http, &get("/live/xff.flv", "X-Forwarded-For: 203.0.113.7\r\n"));
    assert_eq!(ip_of(&server, "xff"), "127.0.0.1");
}

#[test]
fn proxies_are_believed_for_security_too() {
    let server = TestServer::start(
        "http_remux { enabled on; }
         security { enabled on; allow play all; deny play 203.0.113.7; allow publish 198.51.100.1; }",
        TRUSTED,
    );
    let viewer =
        |name: &str, fields: &str| send(&server, Service::Http, &get(&format!("/live/{name}.flv"), fields));
    let mut denied = viewer("denied", "X-Forwarded-For: 198.51.100.1, 203.0.113.7, 127.0.0.9\r\n");
    assert_closes(&mut denied, "the address that security denies");
    let _allowed = viewer("allowed", "X-Forwarded-For: 203.0.113.7, 198.51.100.1\r\n");
    assert_eq!(ip_of(&server, "allowed"), "198.51.100.1");
    let _real = viewer("real", "X-Real-IP: 198.51.100.2\r\n");
    assert_eq!(ip_of(&server, "real"), "198.51.100.2");
    let prefix = [0xf3, 0, 4, 198, 51, 100, 1];
    let _prefixed = send(&server, Service::Rtmp, &[&prefix[..], &rtmp(true, "prefixed", "")].concat());
    assert_eq!(ip_of(&server, "prefixed"), "198.51.100.1");
    let mut bare = send(&server, Service::Rtmp, &rtmp(true, "bare", ""));
    assert_closes(&mut bare, "a publisher that security does not allow");
}

#[test]
fn pages_are_checked_as_srs_checks_them() {
    let server = TestServer::start(
        "http_remux { enabled on; } refer { enabled on; all example.com; publish studio.example.com; }",
        "",
    );
    let mut stranger = send(&server, Service::Rtmp, &rtmp(false, "stranger", "http://example.com.evil.org/"));
    assert_closes(&mut stranger, "a page of another domain");
    let mut viewer = send(&server, Service::Rtmp, &rtmp(true, "viewer", "http://www.example.com/"));
    assert_closes(&mut viewer, "a page that may only play");
    let _publisher = send(&server, Service::Rtmp, &rtmp(true, "studio", "https://studio.example.com/x"));
    ip_of(&server, "studio");
    let mut nowhere = send(&server, Service::Http, &get("/live/nowhere.flv", ""));
    assert_closes(&mut nowhere, "no page");
    let _page = send(&server, Service::Http, &get("/live/page.flv", "Referer: http://www.example.com/a\r\n"));
    ip_of(&server, "page");
    let clients = server.api("/api/v1/clients/");
    let clients = clients["clients"].as_array().unwrap();
    assert!(clients.iter().any(|client| client["pageUrl"] == "http://www.example.com/a"), "{clients:?}");
}

#[test]
fn probes_are_only_counted() {
    let server = TestServer::start("", TRUSTED);
    let shared = &server.running().server;
    for service in [Service::Rtmp, Service::Http, Service::Api] {
        drop(TcpStream::connect(server.address(service)).unwrap());
        drop(send(&server, service, LOCAL));
        // As load balancers end their probes: by a reset.
        let stream = TcpStream::connect(server.address(service)).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    wait_until("all probes are gone", || {
        shared.probes.load(Ordering::Relaxed) == 9 && shared.connections.load(Ordering::Relaxed) == 0
    });
    let (_, metrics) = request(server.address(Service::Api), "GET", "/metrics", &[]);
    assert!(metrics.contains("srs_probes_total 9\n"), "{metrics}");
}

#[test]
fn an_address_has_so_many_connections_and_a_silent_one_so_much_time() {
    let server = TestServer::start(
        "",
        &format!("{TRUSTED} limits {{ connections_per_ip 2; handshake_timeout 1000; }}"),
    );
    // Clients of a load balancer are counted by their own addresses.
    let hello = [V1, &handshake::client_hello(1, 2)[..]].concat();
    let mut first = send(&server, Service::Rtmp, &hello);
    let _second = send(&server, Service::Rtmp, &hello);
    let mut byte = [0];
    first.read_exact(&mut byte).unwrap();
    let mut third = send(&server, Service::Rtmp, &hello);
    assert_closes(&mut third, "one too many");
    let _other = send(&server, Service::Rtmp, &[LOCAL, &rtmp(true, "other", "")].concat());
    assert_eq!(ip_of(&server, "other"), "127.0.0.1");
    // They say nothing more, and half of a header is not enough either.
    assert_closes(&mut first, "a handshake that does not go on");
    let mut half = send(&server, Service::Http, &V1[..20]);
    assert_closes(&mut half, "half of a PROXY header");
    let mut again = send(&server, Service::Rtmp, &hello);
    again.read_exact(&mut byte).unwrap();
}

#[test]
fn clients_of_a_proxy_are_counted_by_their_own_addresses() {
    let forwarded = TestServer::start(
        "http_remux { enabled on; }",
        "real_ip { trusted 127.0.0.1; x_forwarded_for on; } limits { connections_per_ip 1; }",
    );
    let ask = |name: &str, ip: &str| {
        send(
            &forwarded,
            Service::Http,
            &get(&format!("/live/{name}.flv"), &format!("X-Forwarded-For: {ip}\r\n")),
        )
    };
    let first = ask("first", "203.0.113.7");
    assert_eq!(ip_of(&forwarded, "first"), "203.0.113.7");
    let _second = ask("second", "203.0.113.8");
    assert_eq!(ip_of(&forwarded, "second"), "203.0.113.8");
    assert_closes(&mut ask("third", "203.0.113.7"), "one too many");
    drop(first);
    wait_until("it has left", || forwarded.running().server.stat.client_count() == 1);
    let _again = ask("again", "203.0.113.7");
    assert_eq!(ip_of(&forwarded, "again"), "203.0.113.7");

    let prefixed = TestServer::start("", "limits { connections_per_ip 1; }");
    let publish = |name: &str, last: u8| {
        let prefix = [0xf3, 0, 4, 203, 0, 113, last];
        send(&prefixed, Service::Rtmp, &[&prefix[..], &rtmp(true, name, "")].concat())
    };
    let _first = publish("first", 7);
    assert_eq!(ip_of(&prefixed, "first"), "203.0.113.7");
    let _second = publish("second", 8);
    assert_eq!(ip_of(&prefixed, "second"), "203.0.113.8");
    assert_closes(&mut publish("third", 7), "one too many");
}

#[test]
fn probes_leave_no_line_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let conf = dir.path().join("srs.conf");
    let log = dir.path().join("log");
    let text = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; pid {}; {TRUSTED} vhost __defaultVhost__ {{ }}",
        dir.path().join("pid").display()
    );
    std::fs::write(&conf, text).unwrap();
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_media-server"))
        .arg("-c")
        .arg(&conf)
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _server = common::Reaped(child);
    let address = ("127.0.0.1", port);
    wait_until("the server listens", || TcpStream::connect(address).is_ok());
    for header in [b"".as_slice(), LOCAL, V1] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(header).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_closes(&mut stream, "a probe");
    }
    // Somebody with something to say is told.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_closes(&mut stream, "no RTMP");
    let lines = || std::fs::read_to_string(&log).unwrap();
    wait_until("the stranger is told", || lines().contains("version 71"));
    let about: Vec<String> = lines()
        .lines()
        .filter(|line| line.contains("127.0.0.1:") || line.contains("203.0.113"))
        .map(String::from)
        .collect();
    let told = about.iter().filter(|line| !line.contains("listens at") && !line.contains("version 71"));
    assert_eq!(told.count(), 0, "{about:#?}");
}

#[test]
fn who_takes_nothing_is_closed_in_time() {
    let server = TestServer::start("", "limits { send_timeout 1000; }");
    std::fs::write(server.dir.path().join("big.bin"), vec![7; 64 << 20]).unwrap();
    let mut lazy = send(&server, Service::Http, &get("/big.bin", ""));
    // Its answer has begun, and does not fit into the sockets' buffers.
    lazy.read_exact(&mut [0; 100]).unwrap();
    let (client, port) = (lazy.local_addr().unwrap().port(), lazy.peer_addr().unwrap().port());
    // The server's end of it, as the kernel tells: 01 is established.
    let ends = format!(":{port:04X} 0100007F:{client:04X} 01 ");
    let established = || std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&ends);
    assert!(established());
    wait_until("the server gives up", || !established());
}
