//! The system under test: origins and edges, publishers that go from origin to origin, players that go from edge to
//! edge. Each server is a process on a host of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Failure;
use crate::network::{Host, Network};
use crate::process::Process;

const PROGRAM: &str = env!("CARGO_BIN_EXE_media-server");
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const RTMP: u16 = 1935;
const API: u16 = 1985;

/// How large the system is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Of origins.
    pub origins: usize,
    /// Of edges.
    pub edges: usize,
    /// Streams, spread over the origins.
    pub streams: usize,
    /// Players, spread over the streams and edges; at least one a stream.
    pub players: usize,
}

/// A server's process and its host.
#[derive(Debug)]
pub struct Server {
    /// `origin-0`, `edge-1`, …
    pub name: String,
    /// Its host.
    pub host: Host,
    folder: PathBuf,
    process: Option<Process>,
}

/// What a server holds.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Open files and sockets.
    pub files: usize,
    /// Resident memory, in MB.
    pub memory: f64,
}

/// All of it.
#[derive(Debug)]
pub struct System {
    /// Dropped first, so that nothing runs when its host goes.
    pub origins: Vec<Server>,
    /// Edges in front of the origins.
    pub edges: Vec<Server>,
    publishers: Vec<Option<Process>>,
    size: Size,
    media: PathBuf,
    /// The host of publishers, but the first one's own.
    encoders: Host,
    /// The host of the first stream's publisher.
    pub encoder: Host,
    audience: Host,
    /// The hosts.
    pub network: Network,
    folder: tempfile::TempDir,
}

/// A command that ends with the thread that starts it, however that ends.
fn bound(program: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["child", &std::process::id().to_string(), "--", program]);
    command
}

/// Waits until a condition holds, longer than it takes on a busy machine.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    while !condition()? {
        if Instant::now() >= until {
            return Err(format!("waited {} s until {what}", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn get(address: SocketAddr, path: &str) -> Result<(String, String), Failure> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("half an answer")?;
    Ok((head.to_owned(), body.to_owned()))
}

impl Server {
    fn pid(&self) -> Result<u32, Failure> {
        Ok(self.process.as_ref().ok_or_else(|| format!("{} does not run", self.name))?.pid())
    }

    /// Starts it, and waits until it says that it is ready.
    pub fn start(&mut self, network: &Network) -> Result<(), Failure> {
        let folder = self.folder.clone();
        self.process = Some(network.on(self.host, move || {
            Process::start(bound(PROGRAM).args(["-c", "srs.conf"]).current_dir(folder))
        })?);
        let api = self.host.port(API);
        wait_until(&format!("{} is ready", self.name), || {
            let answer = network.on(self.host, move || get(api, "/readyz"));
            Ok(answer.is_ok_and(|(head, _)| head.starts_with("HTTP/1.1 200")))
        })
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal that makes it quit, and waits until it has.
    pub fn quit(&mut self, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_raw(self.pid()?.try_into()?).ok_or("no process has the id 0")?;
        kill_process(pid, signal)?;
        self.process.as_mut().ok_or("it does not run")?.output(PATIENCE)?;
        self.process = None;
        Ok(())
    }

    /// Its streams as the API tells them: those that are published or pulled.
    pub fn streams(&self, network: &Network) -> Result<usize, Failure> {
        let api = self.host.port(API);
        let (_, body) = network.on(self.host, move || get(api, "/api/v1/streams/?count=1000"))?;
        let answer: Value = serde_json::from_str(&body)?;
        let streams = answer["streams"].as_array().ok_or("the API has no list of streams")?;
        Ok(streams.iter().filter(|stream| stream["publish"]["active"] == true).count())
    }

    /// Connections of players and publishers.
    pub fn clients(&self, network: &Network) -> Result<usize, Failure> {
        let api = self.host.port(API);
        let (_, body) = network.on(self.host, move || get(api, "/api/v1/clients/?count=10000"))?;
        let answer: Value = serde_json::from_str(&body)?;
        Ok(answer["clients"].as_array().ok_or("the API has no list of clients")?.len())
    }

    /// What it holds now.
    pub fn held(&self) -> Result<Held, Failure> {
        let pid = self.pid()?;
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Held { files, memory: crate::process::memory(pid).0 })
    }
}

impl System {
    /// Starts servers and publishers; returns when all streams are there.
    pub fn start(size: Size, media: &Path) -> Result<Self, Failure> {
        let mut network = Network::new()?;
        let folder = tempfile::tempdir()?;
        let mut hosts = |count| (0..count).map(|_| network.host()).collect::<Result<Vec<Host>, Failure>>();
        let (origins, edges) = (hosts(size.origins)?, hosts(size.edges)?);
        let list: Vec<String> = origins.iter().map(|host| host.ip().to_string()).collect();
        let list = list.join(" ");
        let server = |kind: &str, index: usize, host: Host, cluster: &str| -> Result<Server, Failure> {
            let name = format!("{kind}-{index}");
            let folder = folder.path().join(&name);
            fs::create_dir(&folder)?;
            // A grace that is short enough to restart one server after the other.
            let conf = format!(
                "listen {RTMP}; daemon off; max_connections 4000; pid ./srs.pid;
                 srs_log_tank file; srs_log_file ./srs.log; srs_log_level trace;
                 grace_start_wait 500; grace_final_wait 300; grace_deadline 20000; grace_handover 12000;
                 http_api {{ enabled on; listen {API}; }}
                 vhost __defaultVhost__ {{ cluster {{ {cluster} }} }}"
            );
            fs::write(folder.join("srs.conf"), conf)?;
            Ok(Server { name, host, folder, process: None })
        };
        let cluster = format!("mode local; origin_cluster on; coworkers {list};");
        let remote = format!("mode remote; origin {list};");
        let origins =
            origins.iter().enumerate().map(|(index, host)| server("origin", index, *host, &cluster));
        let edges = edges.iter().enumerate().map(|(index, host)| server("edge", index, *host, &remote));
        let mut system = System {
            origins: origins.collect::<Result<_, _>>()?,
            edges: edges.collect::<Result<_, _>>()?,
            publishers: Vec::new(),
            size,
            media: media.to_owned(),
            encoders: network.host()?,
            encoder: network.host()?,
            audience: network.host()?,
            network,
            folder,
        };
        for server in system.origins.iter_mut().chain(&mut system.edges) {
            server.start(&system.network)?;
        }
        system.publish_all()?;
        Ok(system)
    }

    /// Starts all publishers.
    pub fn publish_all(&mut self) -> Result<(), Failure> {
        for stream in 0..=self.size.streams {
            let host = if stream == 0 { self.encoder } else { self.encoders };
            let publisher = self.publisher(stream, host)?;
            self.publishers.push(Some(publisher));
        }
        self.wait_for_streams()
    }

    /// Until the origins have all streams.
    pub fn wait_for_streams(&self) -> Result<(), Failure> {
        wait_until("all streams are published", || {
            let mut streams = 0;
            for origin in self.origins.iter().filter(|origin| origin.process.is_some()) {
                streams += origin.streams(&self.network)?;
            }
            Ok(streams > self.size.streams)
        })
    }

    fn publisher(&self, stream: usize, host: Host) -> Result<Process, Failure> {
        let mut command = bound(PROGRAM);
        command.args(["publish", "--loop"]);
        // Decoders take marks amiss: the one more stream that ffmpeg records has none.
        if stream < self.size.streams {
            command.arg("--marks");
        }
        for turn in 0..self.size.origins {
            let origin = &self.origins[(stream + turn) % self.size.origins];
            command.args(["--address", &origin.host.port(RTMP).to_string()]);
        }
        command.arg(&self.media).arg(format!("rtmp://{}/live/stream{stream}", self.origins[0].host.ip()));
        self.network.on(host, move || Process::start(&mut command))
    }

    /// Kills a stream's publisher and starts another one on that host.
    pub fn replace_publisher(&mut self, stream: usize, host: Host) -> Result<(), Failure> {
        self.publishers[stream] = None;
        self.publishers[stream] = Some(self.publisher(stream, host)?);
        Ok(())
    }

    /// The host where publishers are.
    pub fn encoders(&self) -> Host {
        self.encoders
    }

    /// Players of all streams, which tell what they miss from when this returns.
    pub fn audience(&self) -> Result<Audience, Failure> {
        let mut loads = Vec::new();
        for stream in 0..self.size.streams {
            let (streams, players) = (self.size.streams, self.size.players.max(self.size.streams));
            let count = players / streams + usize::from(stream < players % streams);
            let mut command = bound(PROGRAM);
            command.args([
                "load",
                "--players",
                &count.to_string(),
                "--reconnect",
                "--json",
                "--seconds",
                "3600",
            ]);
            // Players are dealt out by turns, so that each stream begins with another edge.
            for turn in 0..self.size.edges {
                let edge = &self.edges[(stream + turn) % self.size.edges];
                command.args(["--address", &edge.host.port(RTMP).to_string()]);
            }
            command.arg(format!("rtmp://{}/live/stream{stream}", self.edges[0].host.ip()));
            loads.push(self.network.on(self.audience, move || Process::start(&mut command))?);
        }
        for load in &mut loads {
            load.wait_for_line("measuring", PATIENCE * 2)?;
        }
        Ok(Audience { loads })
    }

    /// ffmpeg that copies the stream without marks from each edge into a file until it ends.
    pub fn recorders(&self) -> Result<Vec<Child>, Failure> {
        debian_packages::ensure(&["ffmpeg"])?;
        let mut children = Vec::new();
        for edge in &self.edges {
            let file = self.folder.path().join(format!("{}.flv", edge.name));
            // An older one would say that it records before it does.
            let _ = fs::remove_file(&file);
            let url = format!("rtmp://{}/live/stream{}", edge.host.ip(), self.size.streams);
            let mut command = bound("ffmpeg");
            command.args(["-hide_banner", "-v", "error", "-rw_timeout", "30000000", "-i", &url]);
            command.args(["-c", "copy", "-f", "flv", "-y"]).arg(&file);
            command.stdin(Stdio::null()).stderr(Stdio::piped());
            let mut child = self.network.on(self.audience, move || Ok(command.spawn()?))?;
            let records = || Ok(fs::metadata(&file).is_ok_and(|file| file.len() > 10_000));
            if let Err(error) = wait_until("ffmpeg records", records) {
                let _ = child.kill();
                let output = child.wait_with_output()?;
                return Err(format!("{error}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
            children.push(child);
        }
        Ok(children)
    }

    /// Ends all publishers, and waits until no server holds a stream or a connection of a client.
    pub fn rest(&mut self) -> Result<(), Failure> {
        self.publishers.clear();
        let network = &self.network;
        for server in self.origins.iter().chain(&self.edges) {
            wait_until(&format!("{} has no streams and clients any more", server.name), || {
                Ok(server.streams(network)? == 0 && server.clients(network)? == 0)
            })?;
        }
        Ok(())
    }
}

/// Players.
#[derive(Debug)]
pub struct Audience {
    loads: Vec<Process>,
}

/// What players saw.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Players that played at the end.
    pub playing: usize,
    /// Those that gave up.
    pub failed: usize,
    /// Connections that were followed by another.
    pub reconnects: u64,
    /// Milliseconds of media that never came: the median of the streams' medians, the most of any player.
    pub missed: (f64, f64),
    /// The longest time without media, in milliseconds, likewise.
    pub pause: (f64, f64),
}

impl Audience {
    /// Ends them.
    pub fn leave(self) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        let (mut missed, mut pauses) = (Vec::new(), Vec::new());
        for load in self.loads {
            let report: Value = serde_json::from_str(&load.finish(PATIENCE)?)?;
            let count = |name: &str| report[name].as_u64().unwrap_or(0) as usize;
            seen.playing += count("connected");
            seen.failed += count("failed");
            seen.reconnects +=
                report["missed"]["reconnects"].as_u64().ok_or("the report has no reconnects")?;
            let pair = |part: &Value| -> Result<(f64, f64), Failure> {
                let number =
                    |name: &str| part[name].as_f64().ok_or(format!("the report has no {name}: {report}"));
                Ok((number("p50_ms")?, number("max_ms")?))
            };
            missed.push(pair(&report["missed"])?);
            pauses.push(pair(&report["missed"]["pause"])?);
        }
        seen.missed = together(&missed);
        seen.pause = together(&pauses);
        Ok(seen)
    }
}

fn together(pairs: &[(f64, f64)]) -> (f64, f64) {
    let mut medians: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
    medians.sort_by(f64::total_cmp);
    let most = pairs.iter().map(|pair| pair.1).fold(0.0, f64::max);
    (medians.get(medians.len() / 2).copied().unwrap_or(0.0), most)
}
