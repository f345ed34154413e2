//! The typed values of a configuration, with SRS 4's defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{self, Cluster};
use super::{Directive, Fault};
use crate::addresses;
use crate::children::exec::{self, Exec};
use crate::children::ingest::Ingest;
use crate::dvr::Dvr;
use crate::hls::Hls;
use crate::hooks::Hooks;
use crate::http::heartbeat::Heartbeat;
use crate::http::secret::Place;
use crate::http::statics::HttpStatic;
use crate::http::{context, guard};
use crate::limits::Limits;
use crate::log;
use crate::real_ip::RealIp;
use crate::refer::Refer;
use crate::rtmp::session::Sizes;
use crate::rtmp::{CHUNK_SIZES, OUT_CHUNK_SIZE, WINDOW};
use crate::security::Security;
use crate::tls::Https;

/// The vhost that stands for all names that have none of their own.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

/// A configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The parsed file, for what is asked rarely.
    pub root: Directive,
    /// RTMP's addresses.
    pub listen: Vec<SocketAddr>,
    /// `pid`.
    pub pid: PathBuf,
    /// `max_connections`.
    pub max_connections: usize,
    /// `daemon on`; containers ignore it, as `disable_daemon_for_docker` says.
    pub daemon: bool,
    /// Logs, `utc_time` with them.
    pub log: log::Settings,
    /// `heartbeat`, where enabled.
    pub heartbeat: Option<Heartbeat>,
    /// `stats.network`: which of [`addresses::own`] the heartbeat tells.
    pub network: usize,
    /// `stats.disk`: the disks that summaries tell about.
    pub disks: Vec<String>,
    /// `ff_log_dir`.
    pub ff_log_dir: PathBuf,
    /// `ff_log_level`.
    pub ff_log_level: String,
    /// `grace_start_wait`.
    pub grace_start_wait: Duration,
    /// `grace_final_wait`.
    pub grace_final_wait: Duration,
    /// `force_grace_quit`.
    pub force_grace_quit: bool,
    /// `grace_deadline`, this server's own: the process is gone so long after the first signal to quit gracefully.
    pub grace_deadline: Option<Duration>,
    /// `grace_handover`, this server's own: clients are moved to other servers within this time before the deadline.
    pub grace_handover: Duration,
    /// `server_id`.
    pub server_id: Option<String>,
    /// `http_api`, where enabled.
    pub http_api: Option<HttpApi>,
    /// `http_server`, where enabled.
    pub http_server: Option<HttpServer>,
    /// `http_server.hls_ctx_secret_file` or `hls_ctx_secret_env`, this server's own: what `hls_ctx` is signed with. It
    /// counts where the HTTP port is off too, for nginx may ask about files that other servers gave playlists of.
    pub hls_secret: Option<Place>,
    /// `real_ip`.
    pub real_ip: RealIp,
    /// `limits`.
    pub limits: Limits,
    /// The vhosts, in the order of the file.
    pub vhosts: Vec<Vhost>,
}

/// `http_api { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpApi {
    /// `listen`.
    pub listen: SocketAddr,
    /// `crossdomain`.
    pub crossdomain: bool,
    /// `raw_api.enabled`.
    pub raw_api: bool,
    /// `raw_api.allow_reload`.
    pub allow_reload: bool,
    /// `auth`, where enabled.
    pub auth: Option<Place>,
    /// `https`, where enabled.
    pub https: Option<Https>,
}

/// `http_server { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpServer {
    /// `listen`.
    pub listen: SocketAddr,
    /// `dir`.
    pub dir: PathBuf,
    /// `crossdomain`.
    pub crossdomain: bool,
    /// `https`, where enabled.
    pub https: Option<Https>,
}

/// `time_jitter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeJitter {
    /// Players start at 0 and jumps of more than 250 ms are smoothed.
    Full,
    /// Players start at 0.
    Zero,
    /// Timestamps are passed on.
    Off,
}

/// `vhost NAME { … }`.
#[expect(clippy::struct_excessive_bools, reason = "they are the file's switches")]
#[derive(Debug, Clone, PartialEq)]
pub struct Vhost {
    /// Its name.
    pub name: String,
    /// `enabled`.
    pub enabled: bool,
    /// `min_latency`.
    pub min_latency: bool,
    /// `tcp_nodelay`.
    pub tcp_nodelay: bool,
    /// `chunk_size`, else the root's; `out_ack_size` and `in_ack_size`.
    pub sizes: Sizes,
    /// `play.gop_cache`.
    pub gop_cache: bool,
    /// `play.queue_length`.
    pub queue_length: Duration,
    /// `play.time_jitter`.
    pub time_jitter: TimeJitter,
    /// `play.mix_correct`.
    pub mix_correct: bool,
    /// `play.atc`.
    pub atc: bool,
    /// `play.atc_auto`.
    pub atc_auto: bool,
    /// `play.reduce_sequence_header`.
    pub reduce_headers: bool,
    /// `play.send_min_interval`.
    pub send_min_interval: Duration,
    /// `play.mw_latency`.
    pub mw_latency: Duration,
    /// `play.mw_msgs`.
    pub mw_msgs: usize,
    /// `publish.firstpkt_timeout`.
    pub firstpkt_timeout: Duration,
    /// `publish.normal_timeout`.
    pub normal_timeout: Duration,
    /// `http_remux.mount`, where enabled.
    pub http_remux: Option<String>,
    /// `http_remux.fast_cache`, for a mount of audio alone.
    pub fast_cache: Duration,
    /// `http_static`, where enabled.
    pub http_static: Option<HttpStatic>,
    /// `security`.
    pub security: Security,
    /// `refer`.
    pub refer: Refer,
    /// `http_hooks`.
    pub hooks: Arc<Hooks>,
    /// `hls`, where enabled.
    pub hls: Option<Hls>,
    /// `cluster`.
    pub cluster: Cluster,
    /// `forward.destination`, where enabled.
    pub forward: Vec<crate::upstream::Endpoint>,
    /// `dvr`, where enabled.
    pub dvr: Option<Dvr>,
    /// `ingest`, those that are enabled.
    pub ingests: Vec<Ingest>,
    /// `exec.publish`, where enabled.
    pub exec: Vec<Exec>,
}

impl Settings {
    /// The vhost of that name, else the default one; none when it is not enabled.
    pub fn vhost(&self, name: &str) -> Option<&Vhost> {
        let find = |name: &str| self.vhosts.iter().find(|vhost| vhost.name == name);
        find(name).or_else(|| find(DEFAULT_VHOST)).filter(|vhost| vhost.enabled)
    }
}

/// Reads the typed values of a checked tree.
pub fn read(root: Directive) -> Result<Settings, Fault> {
    let listen = root.get("listen").ok_or_else(|| {
        Fault::new(
            1,
            "\"listen\" is missing: at least one port for RTMP is expected, for example `listen 1935;`",
        )
    })?;
    let listen = listen.args.iter().map(|arg| address(arg, listen.line)).collect::<Result<Vec<_>, _>>()?;
    if listen.is_empty() {
        return Err(Fault::new(1, "\"listen\" has no port"));
    }
    if root.on("is_full") {
        return Err(Fault::new(
            line_of(&root, "is_full"),
            "\"is_full on\" marks an example that lists everything",
        ));
    }
    if root.on("daemon") && root.on("asprocess") {
        return Err(Fault::new(line_of(&root, "asprocess"), "\"daemon\" and \"asprocess\" can't both be on"));
    }
    let max_connections = number(&root, "max_connections", 1000u32)? as usize;
    if max_connections == 0 {
        return Err(Fault::new(line_of(&root, "max_connections"), "max_connections must be more than 0"));
    }
    let mut vhosts = Vec::new();
    for directive in root.all("vhost") {
        let vhost = vhost(directive, &root)?;
        if vhosts.iter().any(|other: &Vhost| other.name == vhost.name) {
            return Err(Fault::new(directive.line, format!("vhost {:?} stands twice", vhost.name)));
        }
        vhosts.push(vhost);
    }
    Ok(Settings {
        listen,
        pid: root.value("pid").unwrap_or("./objs/srs.pid").into(),
        max_connections,
        daemon: root.not_off("daemon"),
        log: log::Settings::read(&root)?,
        heartbeat: root.get("heartbeat").map(Heartbeat::read).transpose()?.flatten(),
        network: network(&root)?,
        disks: disks(&root),
        ff_log_dir: root.value("ff_log_dir").unwrap_or("./objs").into(),
        ff_log_level: root.value("ff_log_level").unwrap_or("info").into(),
        grace_start_wait: Duration::from_millis(number(&root, "grace_start_wait", 2300u64)?),
        grace_final_wait: Duration::from_millis(number(&root, "grace_final_wait", 3200u64)?),
        force_grace_quit: root.on("force_grace_quit"),
        grace_deadline: match root.value("grace_deadline") {
            None => None,
            Some(_) => Some(Duration::from_millis(number(&root, "grace_deadline", 0u64)?)),
        },
        grace_handover: Duration::from_millis(number(&root, "grace_handover", 30_000u64)?),
        server_id: root.value("server_id").map(str::to_owned),
        http_api: root.get("http_api").filter(|block| block.on("enabled")).map(http_api).transpose()?,
        http_server: root
            .get("http_server")
            .filter(|block| block.on("enabled"))
            .map(http_server)
            .transpose()?,
        hls_secret: context::place(root.get("http_server"))?,
        real_ip: RealIp::read(root.get("real_ip"))?,
        limits: Limits::read(root.get("limits"))?,
        vhosts,
        root,
    })
}

fn http_api(block: &Directive) -> Result<HttpApi, Fault> {
    let raw = block.get("raw_api");
    Ok(HttpApi {
        listen: address(block.value("listen").unwrap_or("1985"), line_of(block, "listen"))?,
        crossdomain: block.not_off("crossdomain"),
        raw_api: raw.is_some_and(|raw| raw.on("enabled")),
        allow_reload: raw.is_some_and(|raw| raw.on("allow_reload")),
        auth: guard::place(block.get("auth"))?,
        https: https(block, "http_api.https", "1990")?,
    })
}

fn https(block: &Directive, directive: &'static str, port: &str) -> Result<Option<Https>, Fault> {
    let Some(block) = block.get("https").filter(|block| block.on("enabled")) else { return Ok(None) };
    Ok(Some(Https {
        directive,
        listen: address(block.value("listen").unwrap_or(port), line_of(block, "listen"))?,
        key: block.value("key").unwrap_or("./conf/server.key").into(),
        cert: block.value("cert").unwrap_or("./conf/server.crt").into(),
    }))
}

fn http_server(block: &Directive) -> Result<HttpServer, Fault> {
    Ok(HttpServer {
        listen: address(block.value("listen").unwrap_or("8080"), line_of(block, "listen"))?,
        dir: block.value("dir").unwrap_or("./objs/nginx/html").into(),
        crossdomain: block.not_off("crossdomain"),
        https: https(block, "http_server.https", "8088")?,
    })
}

fn vhost(block: &Directive, root: &Directive) -> Result<Vhost, Fault> {
    let utc = root.on("utc_time");
    let name = block.arg().ok_or_else(|| Fault::new(block.line, "a vhost needs a name"))?;
    let empty = Directive { line: block.line, ..Directive::default() };
    let play = block.get("play").unwrap_or(&empty);
    let publish = block.get("publish").unwrap_or(&empty);
    let min_latency = block.on("min_latency");
    let mut ingests: Vec<Option<&str>> = Vec::new();
    for ingest in block.all("ingest") {
        if ingests.contains(&ingest.arg()) {
            return Err(Fault::new(
                ingest.line,
                format!("ingest {:?} stands twice", ingest.arg().unwrap_or("")),
            ));
        }
        ingests.push(ingest.arg());
    }
    let hls = block.get("hls").map(|hls| Hls::read(hls, utc)).transpose()?.flatten();
    let remux = block.get("http_remux").filter(|remux| remux.on("enabled"));
    let mount = remux.map(|remux| remux.value("mount").unwrap_or("[vhost]/[app]/[stream].flv").to_owned());
    // SRS keeps it for audio alone; with video the GOP is there.
    let fast_cache = match (remux, mount.as_deref().and_then(|mount| mount.rsplit_once('.'))) {
        (Some(remux), Some((_, "aac" | "mp3"))) => Duration::from_secs_f64(number(remux, "fast_cache", 0.0)?),
        _ => Duration::ZERO,
    };
    Ok(Vhost {
        name: name.to_owned(),
        enabled: block.not_off("enabled"),
        min_latency,
        tcp_nodelay: block.on("tcp_nodelay"),
        sizes: Sizes {
            chunk: number(block, "chunk_size", number(root, "chunk_size", OUT_CHUNK_SIZE)?)?
                .clamp(*CHUNK_SIZES.start(), *CHUNK_SIZES.end()),
            out_ack: number(block, "out_ack_size", WINDOW)?,
            in_ack: number(block, "in_ack_size", 0u32)?,
        },
        gop_cache: play.not_off("gop_cache"),
        queue_length: Duration::from_secs_f64(number(play, "queue_length", 30.0)?),
        time_jitter: time_jitter(play)?,
        mix_correct: play.on("mix_correct"),
        atc: play.on("atc"),
        atc_auto: play.on("atc_auto"),
        reduce_headers: play.on("reduce_sequence_header"),
        send_min_interval: send_min_interval(play)?,
        mw_latency: Duration::from_millis(number(play, "mw_latency", if min_latency { 0 } else { 350u64 })?),
        mw_msgs: number(play, "mw_msgs", if min_latency { 0 } else { 8usize })?,
        firstpkt_timeout: Duration::from_millis(number(publish, "firstpkt_timeout", 20_000u64)?),
        normal_timeout: Duration::from_millis(number(publish, "normal_timeout", 5_000u64)?),
        http_remux: mount,
        fast_cache,
        http_static: HttpStatic::read(block.get("http_static"), name),
        security: Security::read(block.get("security"))?,
        refer: Refer::read(block.get("refer")),
        hooks: Arc::new(Hooks::read(block.get("http_hooks"))),
        hls,
        cluster: Cluster::read(block.get("cluster"))?,
        forward: cluster::forward(block.get("forward"))?,
        ingests: block
            .all("ingest")
            .map(Ingest::read)
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect(),
        exec: exec::read(block.get("exec"))?,
        dvr: block.get("dvr").map(|dvr| Dvr::read(dvr, utc)).transpose()?.flatten(),
    })
}

/// The index of `stats.network`, which must exist.
fn network(root: &Directive) -> Result<usize, Fault> {
    let Some(stats) = root.get("stats") else { return Ok(0) };
    let index: usize = number(stats, "network", 0)?;
    // The default is right whatever there is.
    let count = if index == 0 { 1 } else { addresses::own().len() };
    if index >= count {
        let message =
            format!("stats.network is {index}, but this machine has {count} addresses: 0 is the first");
        return Err(Fault::new(line_of(stats, "network"), message));
    }
    Ok(index)
}

/// The disks of `stats`.
fn disks(root: &Directive) -> Vec<String> {
    let stats = root.get("stats").filter(|stats| stats.not_off("enabled"));
    stats.and_then(|stats| stats.get("disk")).map_or_else(Vec::new, |disk| disk.args.clone())
}

/// A block's `time_jitter`, `full` unless it says otherwise.
pub fn time_jitter(block: &Directive) -> Result<TimeJitter, Fault> {
    match block.value("time_jitter") {
        None | Some("full") => Ok(TimeJitter::Full),
        Some("zero") => Ok(TimeJitter::Zero),
        Some("off") => Ok(TimeJitter::Off),
        Some(other) => {
            let message = format!("time_jitter is {other:?}: \"full\", \"zero\" or \"off\" is expected");
            Err(Fault::new(line_of(block, "time_jitter"), message))
        }
    }
}

/// `send_min_interval`: milliseconds, of which parts count.
fn send_min_interval(play: &Directive) -> Result<Duration, Fault> {
    let Some(directive) = play.get("send_min_interval") else { return Ok(Duration::ZERO) };
    let text = directive.arg().unwrap_or_default();
    let interval = text.parse().ok().filter(|ms: &f64| (0.0..=60_000.0).contains(ms));
    interval.map(|ms| Duration::from_secs_f64(ms / 1000.0)).ok_or_else(|| {
        let message = format!("send_min_interval is {text:?}: 0 to 60000 milliseconds are expected");
        Fault::new(directive.line, message)
    })
}

fn line_of(block: &Directive, name: &str) -> usize {
    block.get(name).map_or(block.line, |directive| directive.line)
}

/// Numbers that a directive can hold.
pub trait Bounded: std::str::FromStr + PartialOrd {
    /// What is expected, in words.
    const EXPECTED: &'static str;
    /// False for what parses and can't be meant.
    fn sane(&self) -> bool {
        true
    }
}

impl Bounded for u32 {
    const EXPECTED: &'static str = "a whole number";
}
impl Bounded for u64 {
    const EXPECTED: &'static str = "a whole number of milliseconds";
    fn sane(&self) -> bool {
        *self <= 1000 * 3600 * 24 * 365
    }
}
impl Bounded for usize {
    const EXPECTED: &'static str = "a whole number";
}
impl Bounded for f64 {
    const EXPECTED: &'static str = "a number of seconds";
    fn sane(&self) -> bool {
        self.is_finite() && *self >= 0.0 && *self <= 3600.0 * 24.0 * 365.0
    }
}

/// The number of a directive, or its default.
pub fn number<T: Bounded>(block: &Directive, name: &str, default: T) -> Result<T, Fault> {
    let Some(directive) = block.get(name) else { return Ok(default) };
    let text = directive.arg().unwrap_or_default();
    let parsed = text.parse().ok().filter(T::sane);
    parsed
        .ok_or_else(|| Fault::new(directive.line, format!("{name} is {text:?}: {} is expected", T::EXPECTED)))
}

/// `PORT` or `IP:PORT`.
fn address(text: &str, line: usize) -> Result<SocketAddr, Fault> {
    let bad =
        || Fault::new(line, format!("{text:?} is no address to listen at: PORT or IP:PORT is expected"));
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    }
    text.parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use crate::conf::from_text;

    #[test]
    fn an_address_that_is_not_there_is_refused() {
        assert_eq!(from_text("listen 1935; stats { network 0; }").unwrap().network, 0);
        let fault = from_text("listen 1935;\nstats {\n network 100000; }").unwrap_err();
        assert!(fault.line == 3 && fault.message.starts_with("stats.network is 100000, but"), "{fault:?}");
    }

    #[test]
    fn defaults_are_those_of_srs() {
        let settings = from_text("listen 1935; vhost __defaultVhost__ { }").unwrap();
        assert_eq!(settings.max_connections, 1000);
        assert!(settings.daemon);
        let vhost = settings.vhost("anything").unwrap();
        assert!(vhost.gop_cache && !vhost.min_latency && vhost.http_remux.is_none());
        assert_eq!((vhost.mw_latency.as_millis(), vhost.mw_msgs), (350, 8));
        assert_eq!(vhost.normal_timeout.as_secs(), 5);
    }

    #[test]
    fn vhosts_are_found_by_name_then_default() {
        let settings = from_text("listen 1935; vhost a { } vhost b { enabled off; }").unwrap();
        assert_eq!(settings.vhost("a").unwrap().name, "a");
        assert!(settings.vhost("b").is_none());
        assert!(settings.vhost("c").is_none());
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for (text, part) in [
            ("", "\"listen\" is missing"),
            ("listen;", "no port"),
            ("listen x;", "PORT or IP:PORT"),
            ("listen 1935\nmax_connections 1000;", "PORT or IP:PORT"),
            ("listen 1935; max_connections 0;", "more than 0"),
            ("listen 1935; max_connections many;", "a whole number"),
            ("listen 1935; is_full on;", "is_full"),
            ("listen 1935; daemon on; asprocess on;", "can't both"),
            ("listen 1935; vhost { }", "needs a name"),
            ("listen 1935; vhost a { } vhost a { }", "twice"),
            ("listen 1935; vhost a { ingest x { } ingest x { } }", "twice"),
            ("listen 1935; vhost a { play { queue_length -1; } }", "seconds"),
            ("listen 1935; srs_log_tank printer;", "console"),
            ("listen 1935; http_api { enabled on; listen 99999; }", "PORT or IP:PORT"),
        ] {
            let fault = from_text(text).unwrap_err();
            assert!(fault.message.contains(part), "{text}: {}", fault.message);
        }
    }
}
