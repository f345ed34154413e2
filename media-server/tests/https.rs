//! HTTPS for media, files and the API; certificates that change; peers that do not speak TLS well.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{TestServer, media, play, probe, publish, request, wait_until};
use media_server::cli::Running;
use media_server::conf;
use media_server::server::{Service, Version};
use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

/// A certificate for localhost that is its own authority.
struct Pair {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

fn pair(serial: u64) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    let cert = params.self_signed(&key).unwrap();
    Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone() }
}

/// Writes a pair as Kubernetes mounts a Secret: links into a folder that is swapped.
fn mount(dir: &Path, version: &str, pair: &Pair) {
    let data = dir.join(version);
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("tls.crt"), &pair.cert).unwrap();
    std::fs::write(data.join("tls.key"), &pair.key).unwrap();
    let link = dir.join("..data_tmp");
    std::os::unix::fs::symlink(version, &link).unwrap();
    std::fs::rename(link, dir.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        // From the second version on they are there.
        let _ = std::os::unix::fs::symlink(Path::new("..data").join(name), dir.join(name));
    }
}

struct Secure {
    server: TestServer,
    secret: tempfile::TempDir,
    pair: Pair,
}

fn root(secret: &Path) -> String {
    let (key, cert) = (secret.join("tls.key"), secret.join("tls.crt"));
    let https = format!(
        "https {{ enabled on; listen 127.0.0.1:0; key {}; cert {}; }}",
        key.display(),
        cert.display()
    );
    // The first block of a name counts.
    format!(
        "http_api {{ enabled on; listen 127.0.0.1:0; {https} }}
         http_server {{ enabled on; listen 127.0.0.1:0; dir {}; {https} }}",
        secret.display()
    )
}

impl Secure {
    fn start(vhost: &str, more: &str) -> Self {
        let secret = tempfile::tempdir().unwrap();
        let pair = pair(1);
        mount(secret.path(), "..1", &pair);
        let server = TestServer::start(vhost, &format!("{} {more}", root(secret.path())));
        Secure { server, secret, pair }
    }

    fn address(&self, service: Service) -> SocketAddr {
        self.server.address(service)
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A connection whose handshake is over; `first` goes before it.
fn connect(
    address: SocketAddr,
    trusted: &[&Pair],
    version: &'static SupportedProtocolVersion,
    first: &[u8],
) -> std::io::Result<Stream> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    socket.write_all(first)?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// The whole answer; a connection that ends without close_notify is an error.
fn get(mut stream: Stream, path: &str) -> Vec<u8> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn media_files_and_the_api_come_through_tls() {
    let secure = Secure::start("http_remux { enabled on; }", "");
    let big: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(secure.secret.path().join("big.bin"), &big).unwrap();
    let _publisher = publish(&media(), &secure.server.rtmp("live/livestream"));
    secure.server.wait_for_stream("livestream");
    let flv = format!("https://{}/live/livestream.flv", secure.address(Service::HttpTls));
    let (codecs, first) = probe(&flv);
    assert_eq!(codecs, ["aac", "h264"]);
    assert!(first < 1.0, "the first timestamp is {first}");
    let output = play(&flv, "2");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    for version in [&TLS12, &TLS13] {
        let stream = connect(secure.address(Service::ApiTls), &[&secure.pair], version, b"").unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = String::from_utf8(get(stream, "/api/v1/versions")).unwrap();
        assert!(answer.contains("\"version\":\"4.0.271\""), "{answer}");
        let stream = connect(secure.address(Service::HttpTls), &[&secure.pair], version, b"").unwrap();
        let answer = get(stream, "/big.bin");
        assert!(answer.ends_with(&big), "{} bytes", answer.len());
    }
    // The same port without TLS goes on as before.
    let (head, _) = request(secure.address(Service::Api), "GET", "/api/v1/versions", &[]);
    assert!(head.starts_with("HTTP/1.1 200"));
}

#[test]
fn viewers_read_the_same_bytes_with_and_without_tls() {
    let secure = Secure::start("http_remux { enabled on; }", "");
    let _publisher = publish(&media(), &secure.server.rtmp("live/livestream"));
    secure.server.wait_for_stream("livestream");
    let ask = "GET /live/livestream.flv HTTP/1.0\r\nHost: localhost\r\n\r\n";
    // One that reads late: its records wait in the server in part, and none is lost.
    let mut late = connect(secure.address(Service::HttpTls), &[&secure.pair], &TLS13, b"").unwrap();
    late.write_all(ask.as_bytes()).unwrap();
    let mut plain = TcpStream::connect(secure.address(Service::Http)).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    plain.write_all(ask.as_bytes()).unwrap();
    let tags = |stream: &mut dyn Read| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let mut header = [0; 13];
        stream.read_exact(&mut header).unwrap();
        let mut payloads = Vec::new();
        while payloads.len() < 200 {
            let mut tag = [0; 11];
            stream.read_exact(&mut tag).unwrap();
            let size = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]);
            let mut body = vec![0; size as usize + 4];
            stream.read_exact(&mut body).unwrap();
            let told = u32::from_be_bytes(body.split_off(size as usize).try_into().unwrap());
            assert_eq!(told, size + 11);
            payloads.push(body);
        }
        payloads
    };
    let expected = tags(&mut plain);
    let through_tls = tags(&mut late);
    // Both joined at the same key frame or at two that follow one another.
    let at = expected.iter().position(|payload| *payload == through_tls[10]);
    let other = through_tls.iter().position(|payload| *payload == expected[10]);
    let (ours, theirs) = match (at, other) {
        (Some(at), _) => (&expected[at..], &through_tls[10..]),
        (None, Some(at)) => (&expected[10..], &through_tls[at..]),
        (None, None) => panic!("the two viewers have nothing in common"),
    };
    assert!(ours.iter().zip(theirs).all(|(ours, theirs)| ours == theirs));
}

#[test]
fn a_certificate_that_is_swapped_is_taken_and_a_bad_one_is_not() {
    let secure = Secure::start("", "");
    let address = secure.address(Service::ApiTls);
    let shared = &secure.server.running().server;
    let second = pair(2);
    let served = || {
        let stream = connect(address, &[&secure.pair, &second], &TLS13, b"").unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(served(), secure.pair.der);
    let before = connect(address, &[&secure.pair], &TLS13, b"").unwrap();
    mount(secure.secret.path(), "..2", &second);
    wait_until("the new certificate is served", || served() == second.der);
    assert_eq!(shared.reloads().error, None);
    // A connection from before goes on.
    assert!(get(before, "/api/v1/versions").starts_with(b"HTTP/1.1 200"));
    let mixed = Pair { cert: secure.pair.cert.clone(), ..pair(3) };
    mount(secure.secret.path(), "..3", &mixed);
    wait_until("the bad certificate is told", || shared.reloads().failed == 1);
    let error = shared.reloads().error.unwrap();
    assert!(error.contains("tls.key") && error.contains("http_api.https"), "{error}");
    assert_eq!(served(), second.der);
    let (_, metrics) = request(secure.address(Service::Api), "GET", "/metrics", &[]);
    assert!(metrics.contains("srs_config_good 0\n"), "{metrics}");
    mount(secure.secret.path(), "..4", &second);
    wait_until("all is well again", || shared.reloads().error.is_none());
}

#[test]
fn what_is_wrong_with_a_certificate_is_named() {
    let start = |dir: &Path| {
        let text = format!("listen 127.0.0.1:0; {} vhost __defaultVhost__ {{ }}", root(dir));
        let settings = conf::from_text(&text).unwrap();
        let started = Running::start(settings, Version::parse("4.0.271").unwrap());
        started.map(Running::stop).unwrap_err().to_string()
    };
    let dir = tempfile::tempdir().unwrap();
    let (cert, key): (PathBuf, PathBuf) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let error = start(dir.path());
    assert!(error.starts_with(&format!("http_api.https.cert {}: ", cert.display())), "{error}");
    std::fs::write(&cert, "no certificate").unwrap();
    std::fs::write(&key, "no key").unwrap();
    let error = start(dir.path());
    assert!(error.contains("http_api.https.cert") && error.contains("BEGIN CERTIFICATE"), "{error}");
    std::fs::write(&cert, pair(1).cert).unwrap();
    let error = start(dir.path());
    assert!(error.starts_with(&format!("http_api.https.key {}: ", key.display())), "{error}");
    std::fs::write(&key, pair(2).key).unwrap();
    let error = start(dir.path());
    assert!(error.contains(&format!("http_api.https.key {}", key.display())), "{error}");
}

#[test]
fn who_does_not_speak_tls_is_closed_in_time() {
    let secure = Secure::start(
        "",
        "limits { handshake_timeout 1000; } real_ip { trusted 127.0.0.1; proxy_protocol on; }",
    );
    let address = secure.address(Service::ApiTls);
    let shared = &secure.server.running().server;
    let mut hello = Vec::new();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
    let alert = [21, 3, 3, 0, 2, 2, 0];
    let cases: [(&str, &[u8]); 6] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("a record of the greatest length", &[22, 3, 1, 0xff, 0xff]),
        ("an alert", &alert),
        ("half a handshake", &hello[..hello.len() / 2]),
        ("a handshake that does not go on", &hello),
        ("nothing", b""),
    ];
    for (what, bytes) in cases {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer);
        assert!(
            closed.is_ok() || closed.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "{what}: {closed:?}"
        );
    }
    wait_until("all are forgotten", || shared.connections.load(std::sync::atomic::Ordering::Relaxed) == 0);
    // A PROXY header stands before the handshake, and others did not notice anything.
    let proxy = b"PROXY TCP4 203.0.113.7 10.0.0.1 4000 1990\r\n";
    let stream = connect(address, &[&secure.pair], &TLS13, proxy).unwrap();
    assert!(get(stream, "/api/v1/versions").starts_with(b"HTTP/1.1 200"));
}

#[test]
fn load_plays_https_and_counts_what_it_costs() {
    let secure = Secure::start("http_remux { enabled on; }", "max_connections 400;");
    let _publisher = publish(&media(), &secure.server.rtmp("live/livestream"));
    secure.server.wait_for_stream("livestream");
    let url = format!("https://{}/live/livestream.flv", secure.address(Service::HttpTls));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_media-server"))
        .args(["load", "--players", "100", "--seconds", "3", "--json", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["connected"], 100, "{report}");
    assert_eq!(report["failed"], 0, "{report}");
}

#[test]
fn websockets_come_through_tls_too() {
    let secure = Secure::start("http_remux { enabled on; }", "");
    let _publisher = publish(&media(), &secure.server.rtmp("live/livestream"));
    secure.server.wait_for_stream("livestream");
    let stream = connect(secure.address(Service::HttpTls), &[&secure.pair], &TLS13, b"").unwrap();
    let (mut socket, _) = tungstenite::client("ws://localhost/live/livestream.flv", stream).unwrap();
    let message = socket.read().unwrap();
    assert!(message.into_data().starts_with(b"FLV"));
}
