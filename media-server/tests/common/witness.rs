//! A server as a process of its own, with a stream that somebody watches from the first to the last moment: whatever
//! hostile peers do meanwhile, the stream goes on without a gap and the process keeps its size.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use media_server::flv::TagKind;
use media_server::rtmp::client::{Client, Event, Intent};
use media_server::rtmp::url::Target;

use super::{Reaped, media, request, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_media-server");
/// What the process may grow by: the unfinished messages of one publisher and a stream's ring, twice.
const GROWTH_KB: u64 = 96 << 10;
/// The longest step between two video frames of the watched stream, in its milliseconds.
const LONGEST_STEP: u32 = 1000;

/// The server with its watched stream.
pub struct Witness {
    server: Reaped,
    _publisher: Reaped,
    player: Option<JoinHandle<Result<u32, String>>>,
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU32>,
    before_kb: u64,
    pub rtmp: SocketAddr,
    pub http: SocketAddr,
    pub api: SocketAddr,
    pub dir: tempfile::TempDir,
}

impl Witness {
    /// With what stands in the default vhost. HLS goes to `dir/hls` and is disposed; DVR may go to `dir/dvr`.
    pub fn start(vhost: &str) -> Self {
        Self::with_hls("hls_dispose 1;", vhost)
    }

    /// With what stands in the default vhost and in its block of HLS.
    pub fn with_hls(hls: &str, vhost: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        std::fs::create_dir(dir.path().join("hls")).unwrap();
        let [rtmp, http, api] = free_addresses();
        let conf = format!(
            "listen {rtmp}; daemon off; pid {root}/srs.pid; srs_log_tank console; srs_log_level error;
             http_api {{ enabled on; listen {api}; }}
             http_server {{ enabled on; listen {http}; dir {root}/hls; }}
             vhost __defaultVhost__ {{
                 http_remux {{ enabled on; mount [vhost]/[app]/[stream].flv; }}
                 hls {{ enabled on; hls_fragment 1; {hls} hls_path {root}/hls; }}
                 {vhost} }}"
        );
        std::fs::write(dir.path().join("srs.conf"), conf).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["-c", "srs.conf"]).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Reaped(command.spawn().unwrap());
        wait_until("the server listens", || TcpStream::connect(rtmp).is_ok());
        let url = format!("rtmp://{rtmp}/live/watched");
        let mut command = Command::new(PROGRAM);
        command.args(["publish", "--loop"]).arg(media()).arg(&url).stderr(Stdio::null());
        let publisher = Reaped(command.spawn().unwrap());
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let player = std::thread::spawn({
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            move || watch(&url, &stop, &seen)
        });
        let mut witness = Witness {
            server,
            _publisher: publisher,
            player: Some(player),
            stop,
            seen,
            before_kb: 0,
            rtmp,
            http,
            api,
            dir,
        };
        witness.sees_more();
        witness.before_kb = witness.status("VmRSS:");
        witness
    }

    /// Waits until the watched stream has gone on.
    pub fn sees_more(&self) {
        let before = self.seen.load(Ordering::Relaxed);
        wait_until("the watched stream goes on", || {
            let ended = self.player.as_ref().is_none_or(JoinHandle::is_finished);
            ended || self.seen.load(Ordering::Relaxed) > before + 10
        });
    }

    /// A number of /proc/PID/status, in kB.
    pub fn status(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.server.0.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The clients that the API tells.
    pub fn clients(&self) -> usize {
        let (_, body) = request(self.api, "GET", "/api/v1/clients/?count=100", &[]);
        let value: serde_json::Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        value["clients"].as_array().unwrap().len()
    }

    /// Nobody but the watched stream's own clients is left, it has had no gap, and the server has kept its size.
    pub fn assert_unharmed(mut self) {
        wait_until("only publisher and player are left", || self.clients() == 2);
        self.sees_more();
        self.stop.store(true, Ordering::Relaxed);
        let step = self.player.take().unwrap().join().unwrap().unwrap_or_else(|error| panic!("{error}"));
        assert!(step <= LONGEST_STEP, "the watched stream has jumped by {step} ms");
        let (peak, before) = (self.status("VmHWM:"), self.before_kb);
        assert!(peak <= before + GROWTH_KB, "the server grew from {before} kB to {peak} kB");
        assert!(self.server.0.try_wait().unwrap().is_none(), "the server has ended");
        for entry in files(self.dir.path()) {
            let inside = ["hls", "dvr"].iter().any(|folder| entry.starts_with(self.dir.path().join(folder)));
            let own = ["srs.conf", "srs.pid"].iter().any(|name| entry == self.dir.path().join(name));
            assert!(inside || own, "{} was written outside of its folder", entry.display());
        }
    }
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.map_while(Result::ok) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found
}

/// Addresses that are free now and taken by the server in a moment.
fn free_addresses() -> [SocketAddr; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Plays until it is told to stop; gives the longest step between two video frames.
fn watch(url: &str, stop: &AtomicBool, seen: &AtomicU32) -> Result<u32, String> {
    let say = |error: std::io::Error| format!("the watched stream broke: {error}");
    let target = Target::from_url(url).map_err(|error| error.to_string())?;
    let mut stream = TcpStream::connect((target.host.as_str(), target.port)).map_err(say)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(say)?;
    let mut out = Vec::new();
    let mut client = Client::new(target, Intent::Play, 9, &mut out);
    let mut buffer = vec![0; 64 << 10];
    let (mut last, mut longest) = (None, 0);
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&out).map_err(say)?;
        out.clear();
        let count = stream.read(&mut buffer).map_err(say)?;
        if count == 0 {
            return Err("the server closed the watched stream".into());
        }
        let mut input = &buffer[..count];
        while let Some(event) = client.read(&mut input, &mut out).map_err(|error| error.to_string())? {
            if let Event::Media(TagKind::Video, time, _) = event {
                seen.fetch_add(1, Ordering::Relaxed);
                longest = longest.max(time.saturating_sub(last.unwrap_or(time)));
                last = Some(time);
            }
        }
    }
    Ok(longest)
}
