//! The command line: SRS's own options, and the subcommands `publish` and `load`.

mod container;
mod load;
mod parent;
mod publish;
mod quit;
mod resolve;
mod serve;
mod service;
mod swarm;
mod tls;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use serve::Running;

use crate::children;
use crate::conf;
use crate::http;
use crate::server::{COMPATIBILITY_VERSION, Version};

/// A live media server compatible with SRS 3 and 4.
#[derive(Debug, Parser)]
#[command(name = "srs", disable_version_flag = true, args_conflicts_with_subcommands = true)]
struct Cli {
    /// The configuration [default: conf/srs.conf]
    #[arg(short, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Test the configuration and exit
    #[arg(short)]
    test: bool,
    /// Print the compatible version of SRS on stderr
    #[arg(short, short_alias = 'V')]
    version: bool,
    /// Print the server's signature
    #[arg(short = 'g')]
    signature: bool,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Publish an FLV file in real time
    Publish(PublishArgs),
    /// Load a server with players or publishers and measure
    Load(LoadArgs),
    /// Write the web pages into a folder, for another web server to serve
    Pages {
        /// The folder; files of the same names are replaced
        folder: PathBuf,
    },
    /// Manage a running server, as etc/init.d/srs does
    Service {
        /// What to do
        action: service::Action,
    },
    /// Become a program that ends with the server
    #[command(name = children::SUBCOMMAND, hide = true)]
    Child {
        /// The server's process
        server: u32,
        /// The program and its arguments
        #[arg(required = true, last = true)]
        argv: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct PublishArgs {
    /// An FLV file
    file: PathBuf,
    /// rtmp://HOST[:PORT]/APP/STREAM
    url: String,
    /// Start again at the end, timestamps going on
    #[arg(long = "loop")]
    repeat: bool,
    /// Publish so many streams; `_1`, `_2`, … are appended to the name
    #[arg(long, value_name = "N", default_value_t = 1)]
    streams: usize,
    /// Append the time of sending to each frame, for a `load` on this machine to tell latencies
    #[arg(long)]
    marks: bool,
    /// Connect there instead of where the URL's name leads; several are tried in turn
    #[arg(long, value_name = "IP:PORT")]
    address: Vec<std::net::SocketAddr>,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// rtmp://HOST[:PORT]/APP/STREAM, or for players http[s]://HOST[:PORT]/APP/STREAM.flv
    url: String,
    /// So many players of the stream
    #[arg(long, value_name = "N", default_value_t = 0)]
    players: usize,
    /// So many publishers, each of a stream of its own
    #[arg(long, value_name = "N", default_value_t = 0)]
    publishers: usize,
    /// The FLV file that publishers send; with --players it is published to the URL, with marks that tell the latency
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The process whose CPU time and memory are reported
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Every so many players one tells the latencies of marked frames
    #[arg(long, value_name = "N", default_value_t = 20)]
    sample: usize,
    /// Measure for so many seconds, or until SIGINT or SIGTERM, once all are connected
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Send in bursts of so many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    burst: u64,
    /// Clients that lose their connection connect again; what players missed of marked media is told
    #[arg(long)]
    reconnect: bool,
    /// Connect there instead of where the URL's name leads; several are tried in turn
    #[arg(long, value_name = "IP:PORT")]
    address: Vec<std::net::SocketAddr>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// Runs the command line; the process's whole main.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name = args.first().map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
    if name.ends_with("init.d/srs") {
        return service::from_script(&name, args.get(1));
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let done = match cli.command {
        Some(Subcommands::Publish(args)) => publish::run(&args),
        Some(Subcommands::Load(args)) => load::run(&args),
        Some(Subcommands::Pages { folder }) => http::pages::write(&folder)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| format!("{}: {error}", folder.display()).into()),
        Some(Subcommands::Child { server, argv }) => {
            let error = children::become_program(server, &argv);
            Err(format!("{}: {error}", argv.first().unwrap_or(&OsString::new()).display()).into())
        }
        Some(Subcommands::Service { action }) => return service::run(action),
        None => run_server(&cli),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            say(&format!("srs: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// An error of the command line, in words for the reader.
type Failure = Box<dyn std::error::Error>;

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The compatible version: a setting of the image.
fn version() -> Result<Version, Failure> {
    let text =
        std::env::var("SRS_COMPATIBILITY_VERSION").unwrap_or_else(|_| COMPATIBILITY_VERSION.to_owned());
    let parsed = Version::parse(&text);
    parsed.ok_or_else(|| {
        format!("SRS_COMPATIBILITY_VERSION is {text:?}: three numbers are expected, as 4.0.271").into()
    })
}

fn run_server(cli: &Cli) -> Result<ExitCode, Failure> {
    let version = version()?;
    if cli.version {
        say(&version.text);
        return Ok(ExitCode::SUCCESS);
    }
    if cli.signature {
        print(&version.signature());
        return Ok(ExitCode::SUCCESS);
    }
    let path = conf::locate(cli.conf.as_deref().unwrap_or_else(|| "conf/srs.conf".as_ref()));
    let settings = conf::load(&path)?;
    if cli.test {
        serve::check(&settings)?;
        for warning in conf::support::warnings(&settings.root) {
            say(&format!("{}: {warning}", path.display()));
        }
        say(&format!("{}: the configuration is good", path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    serve::run(&path, settings, version)
}
