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
    _folder: tempfile::TempDir,
}

impl Server {
    /// This server; `vhosts` are its blocks of that name.
    pub fn ours(vhosts: &str) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let [rtmp, http, api] = free_ports()?;
        let listen: Vec<String> = addresses().map(|address| format!("{address}:{rtmp}")).collect();
        let conf = format!(
            "listen {}; daemon off; max_connections {CONNECTIONS}; pid {root}/srs.pid;
             srs_log_tank console; srs_log_level warn;
             http_api {{ enabled on; listen 127.0.0.1:{api}; }}
             http_server {{ enabled on; listen 127.0.0.1:{http}; dir {root}; }}
             {vhosts}",
            listen.join(" "),
            root = folder.path().display()
        );
        let file = folder.path().join("srs.conf");
        std::fs::write(&file, conf)?;
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(file).current_dir(folder.path());
        Self::wait(Process::start(&mut command)?, rtmp, http, folder)
    }

    /// nginx with the module rtmp as Debian builds it: one process, its defaults.
    pub fn nginx() -> Result<Self, Failure> {
        debian_packages::ensure(&["nginx", "libnginx-mod-rtmp"])?;
        let folder = tempfile::tempdir()?;
        let [rtmp, http, _] = free_ports()?;
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
        Self::wait(process, rtmp, http, folder)
    }

    fn wait(mut process: Process, rtmp: u16, http: u16, folder: tempfile::TempDir) -> Result<Self, Failure> {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", rtmp)).is_err() {
            if Instant::now() >= until {
                // Gives what it said.
                process.wait_for_line("it listens", Duration::ZERO)?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Server { process, rtmp, http, _folder: folder })
    }

    /// The URL of a stream by RTMP at one of the addresses; `vhost` none is the default one.
    pub fn rtmp(&self, address: usize, stream: &str, vhost: Option<&str>) -> String {
        let address = addresses().nth(address % ADDRESSES).unwrap_or_default();
        let param = vhost.map_or(String::new(), |vhost| format!("?vhost={vhost}"));
        format!("rtmp://{address}:{}/live/{stream}{param}", self.rtmp)
    }

    /// The URL of a stream by HTTP-FLV.
    pub fn flv(&self, stream: &str) -> String {
        format!("http://127.0.0.1:{}/live/{stream}.flv", self.http)
    }
}

fn addresses() -> impl Iterator<Item = String> {
    (1..=ADDRESSES).map(|last| format!("127.0.0.{last}"))
}

/// Ports that are free now and taken by a server in a moment.
fn free_ports() -> Result<[u16; 3], Failure> {
    let listeners = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// The stream that is published: the shared `bbb.flv` where it is there, else one of the same shape made by ffmpeg.
pub fn media(folder: &Path) -> Result<PathBuf, Failure> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media/bbb.flv");
    if shared.is_file() {
        return Ok(shared);
    }
    debian_packages::ensure(&["ffmpeg"])?;
    let made = folder.join("made.flv");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "10"]);
    command.args(["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p"]);
    command.args(["-b:v", "270k", "-maxrate", "270k", "-bufsize", "540k", "-c:a", "aac", "-b:a", "64k"]);
    let status = command.args(["-f", "flv"]).arg(&made).status()?;
    if !status.success() {
        return Err(format!("ffmpeg could not make a stream: {status}").into());
    }
    Ok(made)
}
