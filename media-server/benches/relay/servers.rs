//! The servers that are measured: this one and nginx-rtmp, each a process of its own on ports that were free.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::process::Process;

/// This program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_media-server");
/// Addresses that servers listen on; players are spread over them, because a pair of addresses has 28,000 ports.
pub const ADDRESSES: usize = 3;
/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Open files of the largest row, with some room.
const CONNECTIONS: usize = 15_000;

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    rtmp: u16,
    http: u16,
    https: u16,
    /// Where its streams are published, when that is not here.
    origin: Option<Box<Server>>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// This server; `vhosts` are its blocks of that name.
    pub fn ours(vhosts: &str) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let [rtmp, http, https, api] = free_ports()?;
        let (key, cert) = certificate(folder.path())?;
        let listen: Vec<String> = addresses().map(|address| format!("{address}:{rtmp}")).collect();
        let conf = format!(
            "listen {}; daemon off; max_connections {CONNECTIONS}; pid {root}/srs.pid;
             srs_log_tank console; srs_log_level warn;
             http_api {{ enabled on; listen 127.0.0.1:{api}; }}
             http_server {{ enabled on; listen 127.0.0.1:{http}; dir {root};
                 https {{ enabled on; listen 127.0.0.1:{https}; key {}; cert {}; }} }}
             {vhosts}",
            listen.join(" "),
            key.display(),
            cert.display(),
            root = folder.path().display()
        );
        Self::start(conf, [rtmp, http, https], folder)
    }

    /// This server with the image's own configuration, but for the ports.
    pub fn of_image() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let [rtmp, http, https, api] = free_ports()?;
        let mut conf = include_str!("../../image/conf/srs.conf").to_owned();
        for (usual, port) in [("1935;", rtmp), ("1985;", api), ("8080;", http)] {
            conf = conf.replace(usual, &format!("127.0.0.1:{port};"));
        }
        Self::start(conf, [rtmp, http, https], folder)
    }

    fn start(conf: String, ports: [u16; 3], folder: tempfile::TempDir) -> Result<Self, Failure> {
        let file = folder.path().join("srs.conf");
        std::fs::write(&file, conf)?;
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(file).current_dir(folder.path());
        Self::wait(Process::start(&mut command)?, ports, folder)
    }

    /// This server as an edge, and an origin that it pulls from; `vhosts` makes the blocks of both, with what stands in
    /// `cluster`.
    pub fn edge(vhosts: impl Fn(&str) -> String) -> Result<Self, Failure> {
        let origin = Self::ours(&vhosts(""))?;
        let cluster = format!("mode remote; origin 127.0.0.1:{};", origin.rtmp);
        Ok(Server { origin: Some(Box::new(origin)), ..Self::ours(&vhosts(&cluster))? })
    }

    /// nginx with the module rtmp as Debian builds it: one process, its defaults.
    pub fn nginx() -> Result<Self, Failure> {
        debian_packages::ensure(&["nginx", "libnginx-mod-rtmp"])?;
        let folder = tempfile::tempdir()?;
        let [rtmp, http, https, _] = free_ports()?;
        let listen: Vec<String> = addresses().map(|address| format!("listen {address}:{rtmp};")).collect();
        let listen = listen.join(" ");
        let conf = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
             daemon off; master_process off; worker_rlimit_nofile {CONNECTIONS};
             pid {root}/nginx.pid; error_log {root}/error.log;
             events {{ worker_connections {CONNECTIONS}; }}
             rtmp {{ access_log off; server {{ {listen} application live {{ live on; }} }} }}",
            root = folder.path().display()
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, conf)?;
        let process = Process::start(Command::new("nginx").arg("-c").arg(file))?;
        Self::wait(process, [rtmp, http, https], folder)
    }

    fn wait(mut process: Process, ports: [u16; 3], folder: tempfile::TempDir) -> Result<Self, Failure> {
        let [rtmp, http, https] = ports;
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", rtmp)).is_err() {
            if Instant::now() >= until {
                // Gives what it said.
                process.wait_for_line("it listens", Duration::ZERO)?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Server { process, rtmp, http, https, origin: None, _folder: folder })
    }

    /// The URL of a stream by RTMP at one of the addresses; `vhost` none is the default one.
    pub fn rtmp(&self, address: usize, stream: &str, vhost: Option<&str>) -> String {
        let address = addresses().nth(address % ADDRESSES).unwrap_or_default();
        let param = vhost.map_or(String::new(), |vhost| format!("?vhost={vhost}"));
        format!("rtmp://{address}:{}/live/{stream}{param}", self.rtmp)
    }

    /// The URL that a stream is published to.
    pub fn publish(&self, stream: &str, vhost: Option<&str>) -> String {
        self.origin.as_deref().unwrap_or(self).rtmp(0, stream, vhost)
    }

    /// The URL of a stream by HTTP-FLV.
    pub fn flv(&self, stream: &str) -> String {
        format!("http://127.0.0.1:{}/live/{stream}.flv", self.http)
    }

    /// The URL of a stream by HTTP-FLV over TLS.
    pub fn secure_flv(&self, stream: &str) -> String {
        format!("https://127.0.0.1:{}/live/{stream}.flv", self.https)
    }
}

/// Files of a key and of its own certificate, ECDSA P-256 as an ingress has them.
fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (key, cert) = (folder.join("tls.key"), folder.join("tls.crt"));
    std::fs::write(&key, own.signing_key.serialize_pem())?;
    std::fs::write(&cert, own.cert.pem())?;
    Ok((key, cert))
}

fn addresses() -> impl Iterator<Item = String> {
    (1..=ADDRESSES).map(|last| format!("127.0.0.{last}"))
}

/// Ports that are free now and taken by a server in a moment.
fn free_ports() -> Result<[u16; 4], Failure> {
    let mut listeners = Vec::new();
    let mut ports = [0; 4];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        // Open until all are known, so that they differ.
        listeners.push(listener);
    }
    Ok(ports)
}

/// The stream that is published: the shared `bbb.flv` where it is there, else one of the same shape made by ffmpeg.
pub fn media(folder: &Path) -> Result<PathBuf, Failure> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media/bbb.flv");
    if shared.is_file() {
        return Ok(shared);
    }
    encode(&folder.join("made.flv"), "640x360", 270)
}

/// Makes ten seconds of a picture of that size with so many kbit/s of video, in a GOP of two seconds.
pub fn encode(file: &Path, size: &str, kbps: u32) -> Result<PathBuf, Failure> {
    debian_packages::ensure(&["ffmpeg"])?;
    let (rate, buffer) = (format!("{kbps}k"), format!("{}k", kbps * 2));
    let mut command = Command::new("ffmpeg");
    // Noise, so that there is something to spend the bits on.
    let picture = format!("testsrc2=size={size}:rate=25,noise=alls=20:allf=t");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", &picture]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "10"]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p"]);
    command.args(["-b:v", &rate, "-maxrate", &rate, "-bufsize", &buffer, "-c:a", "aac", "-b:a", "64k"]);
    let status = command.args(["-f", "flv"]).arg(file).status()?;
    if !status.success() {
        return Err(format!("ffmpeg could not make a stream: {status}").into());
    }
    Ok(file.to_owned())
}
