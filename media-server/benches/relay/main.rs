//! The server's speed and memory beside nginx-rtmp's, as a Markdown table.
//!
//! ```text
//! cargo bench --package media-server --bench relay
//! cargo bench --package media-server --bench relay -- --rows rtmp-2000,idle --seconds 10
//! ```
//!
//! Every row starts servers as processes of their own and loads them over loopback: a publisher that sends the file tag
//! by tag, players that discard what they get, and 50 players among them that tell how long after its sending a frame
//! arrived. CPU is the time of the server's own process, user and system, as % of one core, and in seconds for each
//! gigabit that was delivered. The load shares the cores
//! with the server: what one run says can be compared within that run, not with another machine's.
//!
//! Debian's nginx and libnginx-mod-rtmp are installed where they are missing. Without the shared `bbb.flv` ffmpeg makes a
//! stream of the same shape.
#![allow(
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "figures for people; the modules are this program's own"
)]

mod process;
mod scenario;
mod servers;

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::Parser;

use scenario::{By, Figures, Players};
use servers::Server;

/// Why the benchmark can't go on.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The defaults, and a vhost that sends at once, as SRS's realtime.conf has it; both with this in `cluster`.
fn vhosts(cluster: &str) -> String {
    format!(
        "vhost __defaultVhost__ {{ cluster {{ {cluster} }}
             http_remux {{ enabled on; mount [vhost]/[app]/[stream].flv; }} }}
         vhost realtime {{ cluster {{ {cluster} }} min_latency on; tcp_nodelay on;
             play {{ mw_latency 0; gop_cache off; queue_length 10; }} }}"
    )
}

/// Measures the server and prints a table.
#[derive(Debug, Parser)]
#[command(name = "relay")]
struct Options {
    /// Only these rows
    #[arg(long, value_delimiter = ',', value_name = "ROW,…")]
    rows: Vec<String>,
    /// How long each row is measured, once all clients are connected
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    seconds: u64,
    /// Divide all numbers of clients, to try the benchmark out
    #[arg(long, value_name = "N", default_value_t = 1)]
    divide: usize,
    /// Cargo says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a row measures.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Players, beside nginx-rtmp with as many.
    Beside(usize),
    /// Players of RTMP.
    Rtmp(usize),
    /// Players of the realtime vhost, and as many of the default one beside.
    Realtime(usize, usize),
    /// Players of an edge's default or realtime vhost, and as many of an origin alone.
    Edge(usize, Option<&'static str>),
    /// Players of HTTP-FLV.
    Flv(usize),
    /// Players of HTTPS-FLV, and of HTTP-FLV as many by another server.
    Tls(usize),
    /// RTMP players of a stream of 8 Mbit/s: as many bytes as both cores can send while the load takes them.
    Heavy(usize),
    /// Publishers that send in bursts of so many milliseconds.
    Publishers(usize, u64),
    /// Nobody, at a server as the image configures it.
    Idle,
}

/// What is to be reached; what is not named is not judged.
#[derive(Debug, Default)]
struct Target {
    cpu: Option<f64>,
    memory: Option<f64>,
    client: Option<f64>,
    p99: Option<f64>,
    wakeups: Option<u64>,
}

struct Row {
    name: &'static str,
    title: &'static str,
    work: Work,
    target: Target,
}

/// The whole table. Targets in % of a core, MB, kB and milliseconds.
fn rows() -> Vec<Row> {
    let row = |name, title, work, target| Row { name, title, work, target };
    let cpu = |cpu, memory| Target { cpu: Some(cpu), memory, ..Target::default() };
    let realtime = |cpu, p99| Target { cpu, p99: Some(p99), ..Target::default() };
    vec![
        row("rtmp-2000", "2,000 RTMP players", Work::Beside(2000), Target::default()),
        row("rtmp-5000", "5,000 RTMP players", Work::Rtmp(5000), cpu(22.0, Some(45.0))),
        row("rtmp-10000", "10,000 RTMP players", Work::Rtmp(10_000), cpu(38.0, Some(80.0))),
        row("realtime-1000", "1,000 realtime", Work::Realtime(1000, 0), realtime(Some(50.0), 10.0)),
        row("realtime-2000", "2,000 realtime", Work::Realtime(2000, 0), realtime(Some(55.0), 50.0)),
        row(
            "realtime-1000-beside",
            "1,000 realtime, 5,000 others beside",
            Work::Realtime(1000, 5000),
            realtime(None, 10.0),
        ),
        row(
            "realtime-2000-beside",
            "2,000 realtime, 5,000 others beside",
            Work::Realtime(2000, 5000),
            realtime(None, 50.0),
        ),
        row("edge-10000", "10,000 RTMP players of an edge", Work::Edge(10_000, None), Target::default()),
        row(
            "edge-realtime",
            "1,000 realtime of an edge",
            Work::Edge(1000, Some("realtime")),
            Target::default(),
        ),
        row("flv-5000", "5,000 HTTP-FLV players", Work::Flv(5000), cpu(25.0, None)),
        row(
            "tls-2000",
            "2,000 HTTPS-FLV players",
            Work::Tls(2000),
            Target { client: Some(40.0), ..Target::default() },
        ),
        row("cores", "500 RTMP players of 8 Mbit/s, all cores", Work::Heavy(500), Target::default()),
        row(
            "publishers-burst",
            "1,000 publishers, bursts of 300 ms",
            Work::Publishers(1000, 300),
            cpu(15.0, Some(200.0)),
        ),
        row("publishers-paced", "1,000 publishers, tag by tag", Work::Publishers(1000, 0), Target::default()),
        row("idle", "idle", Work::Idle, Target { memory: Some(8.0), wakeups: Some(0), ..Target::default() }),
    ]
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let mut rows = rows();
    if let Some(unknown) = options.rows.iter().find(|name| rows.iter().all(|row| row.name != **name)) {
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        return Err(format!("there is no row {unknown:?}; there are {}", names.join(", ")).into());
    }
    if options.divide > 1 {
        // What is not the whole work has no target.
        for row in &mut rows {
            row.target = Target::default();
        }
    }
    rows.retain(|row| options.rows.is_empty() || options.rows.iter().any(|name| name == row.name));
    let folder = tempfile::tempdir()?;
    let media = servers::media(folder.path())?;
    head(&options, &media)?;
    let mut failed = 0;
    for row in &rows {
        if let Err(error) = measure(row, &options, &media) {
            failed += 1;
            say(&format!("| {} | failed: {error} | | | | | | | | |", row.title))?;
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(format!("{failed} rows could not be measured").into()),
    }
}

fn measure(row: &Row, options: &Options, media: &Path) -> Result<(), Failure> {
    let window = Duration::from_secs(options.seconds);
    let of = |count: usize| (count / options.divide.max(1)).max(usize::from(count > 0));
    let by = |count, by| Players { count: of(count), vhost: None, by };
    let rtmp = |count| by(count, By::Rtmp);
    let ours = || Server::ours(&vhosts(""));
    match row.work {
        Work::Beside(count) => {
            let own = scenario::players(&ours()?, media, &[rtmp(count)], window)?;
            let nginx = scenario::players(&Server::nginx()?, media, &[rtmp(count)], window)?;
            print(&format!("{}, nginx-rtmp", row.title), &nginx, "", "")?;
            let (cpu, memory) = (nginx.cpu() / own.cpu(), nginx.per_client / own.per_client);
            let met = cpu >= 3.0 && memory >= 3.0 && own.failed == 0;
            let verdict = if options.divide > 1 { "tried out" } else { word(met) };
            let reached = format!("{verdict}: CPU {cpu:.1} times less, memory {memory:.1}");
            print(row.title, &own, "CPU and memory per connection 3 times less than nginx-rtmp", &reached)
        }
        Work::Rtmp(count) => judge(row, &scenario::players(&ours()?, media, &[rtmp(count)], window)?),
        Work::Realtime(count, beside) => {
            let mut kinds = vec![Players { count: of(count), vhost: Some("realtime"), by: By::Rtmp }];
            if beside > 0 {
                kinds.push(rtmp(beside));
            }
            judge(row, &scenario::players(&ours()?, media, &kinds, window)?)
        }
        Work::Edge(count, vhost) => {
            let kinds = [Players { count: of(count), vhost, by: By::Rtmp }];
            let origin = scenario::players(&ours()?, media, &kinds, window)?;
            print(&row.title.replace("an edge", "an origin"), &origin, "", "")?;
            let edge = scenario::players(&Server::edge(vhosts)?, media, &kinds, window)?;
            let (target, met, reached) = compare(&origin, &edge, vhost.is_some());
            let verdict = if options.divide > 1 { "tried out" } else { word(met && edge.failed == 0) };
            print(row.title, &edge, target, &format!("{verdict}: {reached}"))
        }
        Work::Flv(count) => judge(row, &scenario::players(&ours()?, media, &[by(count, By::Http)], window)?),
        Work::Tls(count) => {
            let plain = scenario::players(&ours()?, media, &[by(count, By::Http)], window)?;
            print(&format!("{}, without TLS", row.title), &plain, "", "")?;
            judge(row, &scenario::players(&ours()?, media, &[by(count, By::Https)], window)?)
        }
        Work::Heavy(count) => {
            let folder = tempfile::tempdir()?;
            let heavy = servers::encode(&folder.path().join("heavy.flv"), "1920x1080", 7900)?;
            judge(row, &scenario::players(&ours()?, &heavy, &[rtmp(count)], window)?)
        }
        Work::Publishers(count, burst) => {
            let burst = Duration::from_millis(burst);
            judge(row, &scenario::publishers(&ours()?, media, of(count), burst, window)?)
        }
        Work::Idle => judge(row, &scenario::idle(&Server::of_image()?, window)?),
    }
}

/// What an edge may cost more than an origin with the same players, whether it does, and what it costs.
fn compare(origin: &Figures, edge: &Figures, realtime: bool) -> (&'static str, bool, String) {
    if realtime && let (Some(origin), Some(edge)) = (origin.latency, edge.latency) {
        let (p50, p99) = (edge.0 - origin.0, edge.1 - origin.1);
        let reached = format!("{p50:+.1} and {p99:+.1} ms");
        return ("p50 and p99 ≤ 30 ms more than at the origin", p50.max(p99) <= 30.0, reached);
    }
    let (cpu, memory) = (edge.cpu() / origin.cpu(), edge.memory.0 / origin.memory.0);
    let reached = format!("CPU {cpu:.2} times, memory {memory:.2}");
    ("CPU and memory ≤ 1.1 times the origin's", cpu.max(memory) <= 1.1, reached)
}

fn judge(row: &Row, figures: &Figures) -> Result<(), Failure> {
    let Target { cpu, memory, client, p99, wakeups } = row.target;
    let mut wanted = Vec::new();
    let mut met = figures.failed == 0;
    if let Some(cpu) = cpu {
        wanted.push(format!("≤ {cpu} %"));
        met &= figures.cpu() <= cpu;
    }
    if let Some(memory) = memory {
        wanted.push(format!("≤ {memory} MB"));
        met &= figures.memory.0 <= memory;
    }
    if let Some(client) = client {
        wanted.push(format!("≤ {client} kB per client"));
        met &= figures.per_client <= client;
    }
    if let Some(p99) = p99 {
        wanted.push(format!("p99 ≤ {p99} ms"));
        met &= figures.latency.is_some_and(|(_, measured)| measured <= p99);
    }
    let mut reached = String::new();
    if let Some(wakeups) = wakeups {
        wanted.push(format!("{wakeups} wake-ups"));
        met &= figures.spent.wakeups <= wakeups;
        reached = format!(": {} wake-ups in {:.0} s", figures.spent.wakeups, figures.spent.seconds);
    }
    if figures.failed > 0 {
        reached = format!("{reached}: {} clients failed", figures.failed);
    }
    let reached = if wanted.is_empty() { reached } else { format!("{}{reached}", word(met)) };
    print(row.title, figures, &wanted.join(", "), &reached)
}

fn word(met: bool) -> &'static str {
    if met { "met" } else { "not met" }
}

fn head(options: &Options, media: &Path) -> Result<(), Failure> {
    let first = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let part = match options.divide {
        0 | 1 => String::new(),
        divide => format!("; one {divide}th of the clients, to try the benchmark out"),
    };
    let build = if cfg!(debug_assertions) { "; a debug build, its figures mean nothing" } else { "" };
    say(&format!(
        "{}, {cores} cores, {}, Linux {}; {} of {} bytes, each row measured {} s{part}{build}\n",
        first("/proc/cpuinfo", "model name"),
        first("/proc/meminfo", "MemTotal"),
        kernel.trim(),
        media.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        std::fs::metadata(media)?.len(),
        options.seconds
    ))?;
    say(
        "| work | CPU, % of a core: user + system | by thread | memory, MB: RSS (PSS) | kB per client | latency, ms: p50 / p99 | Gbit/s | CPU s per Gbit | to reach | |",
    )?;
    say("|---|---|---|---|---|---|---|---|---|---|")
}

fn print(title: &str, figures: &Figures, target: &str, reached: &str) -> Result<(), Failure> {
    let spent = &figures.spent;
    let threads: Vec<String> =
        spent.threads.iter().take(4).map(|(name, percent)| format!("{name} {percent:.0}")).collect();
    let latency = figures.latency.map_or(String::new(), |(p50, p99)| format!("{p50:.1} / {p99:.1}"));
    let (rate, cost) = match figures.gigabits {
        rate if rate > 0.0 => (format!("{rate:.2}"), format!("{:.3}", figures.cpu() / 100.0 / rate)),
        _ => (String::new(), String::new()),
    };
    let client = if figures.per_client > 0.0 { format!("{:.1}", figures.per_client) } else { String::new() };
    say(&format!(
        "| {title} | {:.1} + {:.1} = **{:.1}** | {} | {:.1} ({:.1}) | {client} | {latency} | {rate} | {cost} | {target} | {reached} |",
        spent.user,
        spent.system,
        figures.cpu(),
        threads.join(", "),
        figures.memory.0,
        figures.memory.1
    ))
}

fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
