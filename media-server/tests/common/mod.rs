//! A server of its own for each test, real ffmpeg, and the files to play.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's helpers fail its test")]

pub mod witness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use media_server::cli::Running;
use media_server::conf;
use media_server::server::{Service, Version};

/// A server on ports that the system chose.
pub struct TestServer {
    running: Option<Running>,
    pub dir: tempfile::TempDir,
}

impl TestServer {
    /// With what stands in the default vhost, and at the top level.
    pub fn start(vhost: &str, root: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), |_| vhost.to_owned(), root)
    }

    /// The same where the vhost says something of the folder that the HTTP port serves.
    pub fn start_in(dir: tempfile::TempDir, vhost: impl Fn(&Path) -> String, root: &str) -> Self {
        let vhost = vhost(dir.path());
        std::fs::write(dir.path().join("index.html"), "<h1>hello</h1>").unwrap();
        let text = format!(
            "listen 127.0.0.1:0; daemon off; {root}
             http_api {{ enabled on; listen 127.0.0.1:0; }}
             http_server {{ enabled on; listen 127.0.0.1:0; dir {}; }}
             vhost __defaultVhost__ {{ {vhost} }}",
            dir.path().display()
        );
        let settings = conf::from_text(&text).unwrap();
        let running = Running::start(settings, Version::parse("4.0.271").unwrap()).unwrap();
        TestServer { running: Some(running), dir }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn address(&self, service: Service) -> SocketAddr {
        self.running().address(service).unwrap()
    }

    pub fn rtmp(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.address(Service::Rtmp))
    }

    pub fn http(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address(Service::Http))
    }

    /// The body of a GET at the API.
    pub fn api(&self, path: &str) -> serde_json::Value {
        let (_, body) = request(self.address(Service::Api), "GET", path, &[]);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Waits until a stream of that name is published.
    pub fn wait_for_stream(&self, name: &str) {
        wait_until(&format!("{name} is published"), || {
            let sources = self.running().server.sources.all();
            sources.iter().any(|source| source.stat.name == name && source.is_live() && source.head() > 5)
        });
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// Waits for a condition for at most a minute: the machine may be busy.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < until, "waited a minute until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Head and body of an answer to one request.
pub fn request(address: SocketAddr, method: &str, path: &str, fields: &[&str]) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let fields: String = fields.iter().flat_map(|field| [*field, "\r\n"]).collect();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{fields}Connection: close\r\n\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    (head.to_owned(), body.to_owned())
}

/// Installs Debian packages that are missing; fails with what to install where that is not allowed.
pub fn ensure_packages(packages: &[&str]) {
    debian_packages::ensure(packages).unwrap_or_else(|error| panic!("{error}"));
}

/// ffmpeg or ffprobe, installed where it is missing.
pub fn ffmpeg(program: &str) -> Command {
    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| ensure_packages(&["ffmpeg"]));
    let mut command = Command::new(program);
    command.args(["-hide_banner", "-v", "error"]).stdin(Stdio::null());
    command
}

/// The file that stands for a real stream: the shared one where it is there, else the image's own demo.
pub fn media() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../../shared/media/bbb.flv");
    if shared.is_file() {
        return shared;
    }
    eprintln!("{} is not there: the demo stream of the image is used instead", shared.display());
    root.join("image/doc/source.flv")
}

/// A child that does not outlive its test.
pub struct Reaped(pub Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// ffmpeg that publishes a file in real time.
pub fn publish(file: &Path, url: &str) -> Reaped {
    let mut command = ffmpeg("ffmpeg");
    command.args(["-re", "-stream_loop", "-1", "-i"]).arg(file).args(["-c", "copy", "-f", "flv", url]);
    Reaped(command.stderr(Stdio::null()).spawn().unwrap())
}

/// Plays so many seconds with ffmpeg, decoding everything; gives its errors.
pub fn play(url: &str, seconds: &str) -> Output {
    let mut command = ffmpeg("ffmpeg");
    command.args(["-rw_timeout", "20000000", "-i", url, "-t", seconds, "-f", "null", "-"]);
    command.output().unwrap()
}

/// The codecs, and the first timestamp in seconds, that ffprobe sees.
pub fn probe(url: &str) -> (Vec<String>, f64) {
    let mut command = ffmpeg("ffprobe");
    let entries = "stream=codec_name,codec_type:packet=pts_time";
    command.args([
        "-rw_timeout",
        "20000000",
        "-show_entries",
        entries,
        "-read_intervals",
        "%+#30",
        "-of",
        "json",
        url,
    ]);
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let streams = value["streams"].as_array().unwrap();
    // RTMP's script messages are a data stream to ffmpeg, as they are with SRS.
    let codecs = streams.iter().filter(|stream| stream["codec_type"] != "data");
    let mut codecs: Vec<String> =
        codecs.map(|stream| stream["codec_name"].as_str().unwrap().to_owned()).collect();
    codecs.sort();
    let packets = value["packets"].as_array().unwrap();
    let times = packets.iter().filter_map(|packet| packet["pts_time"].as_str()?.parse::<f64>().ok());
    (codecs, times.fold(f64::MAX, f64::min))
}
