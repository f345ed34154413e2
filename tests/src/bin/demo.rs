//! `cargo demo`: from a fresh clone to a running Quick Start on a real local Kubernetes, with a stream that plays.
//!
//! It runs what a user would run, and says so; `cargo cluster down` takes everything away again.

use std::error::Error;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// The image's name in the demo.
const IMAGE: &str = "ossrs/srs:4";
/// How long the stream may take to show up after everything is ready.
const STREAM_WITHIN: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    cluster::packages::ensure(&["busybox-static"])?;
    step("A real Kubernetes, on this machine");
    cargo(&root, &["cluster", "up"], &[])?;
    let running = cluster::running("local")?;
    let kubeconfig = running.dir().kubeconfig();
    let socket = running.dir().containerd_socket();
    let archive = std::env::temp_dir().join(format!("stackctl-demo-{}.tar", std::process::id()));
    let archive_name = archive.display().to_string();
    step("The media server's image, without Docker");
    cargo(
        &root,
        &["run", "--quiet", "--", "image", "build", "--tag", IMAGE, "--output", &archive_name],
        &[],
    )?;
    let loaded = cargo(
        &root,
        &["run", "--quiet", "--", "image", "load", &archive_name],
        &[("CONTAINERD_ADDRESS", &socket)],
    );
    std::fs::remove_file(&archive)?;
    loaded?;
    step("The tutorial's Quick Start, and a demo stream");
    for stack in ["quick-start", "demo-streams"] {
        let image = format!("image={IMAGE}");
        cargo(
            &root,
            &["run", "--quiet", "--", "up", stack, "--yes", "--set", &image],
            &[("KUBECONFIG", &kubeconfig)],
        )?;
    }
    let address = address(&running)?;
    wait_for_stream(&address)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nThe stream plays at")?;
    writeln!(out, "  rtmp://{address}/live/livestream")?;
    writeln!(out, "  http://{address}:8080/live/livestream.flv")?;
    writeln!(out, "and the media server answers at")?;
    writeln!(out, "  http://{address}:1985/api/v1/versions")?;
    writeln!(out, "\nTry")?;
    writeln!(out, "  ffplay rtmp://{address}/live/livestream")?;
    writeln!(out, "  KUBECONFIG={} cargo run -- status quick-start", kubeconfig.display())?;
    writeln!(out, "  cargo cluster kubectl get pods")?;
    writeln!(out, "and, to take everything away,")?;
    writeln!(out, "  cargo cluster down")?;
    Ok(())
}

/// Runs cargo in the workspace, and shows the command.
fn cargo(root: &Path, arguments: &[&str], variables: &[(&str, &PathBuf)]) -> Result<(), Box<dyn Error>> {
    let shown: Vec<String> =
        variables.iter().map(|(name, path)| format!("{name}={}", path.display())).collect();
    let line =
        shown.into_iter().chain(["cargo".to_owned()]).chain(arguments.iter().map(|word| (*word).to_owned()));
    say(&format!("$ {}", line.collect::<Vec<_>>().join(" ")));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root);
    for (name, path) in variables {
        command.env(name, path);
    }
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} ended with {status}", arguments.join(" ")).into())
    }
}

/// The load balancer's address, as `kubectl get service` shows it.
fn address(running: &cluster::Running) -> Result<String, Box<dyn Error>> {
    let output = running
        .kubectl()
        .args(["get", "service", "srs-origin-service", "--output"])
        .arg("jsonpath={.status.loadBalancer.ingress[0].ip}")
        .output()?;
    let address = String::from_utf8(output.stdout)?;
    if address.is_empty() { Err("the load balancer has no address".into()) } else { Ok(address) }
}

/// Asks the media server until somebody publishes the demo stream.
fn wait_for_stream(address: &str) -> Result<(), Box<dyn Error>> {
    let until = Instant::now() + STREAM_WITHIN;
    loop {
        let found = streams(address);
        if found.as_ref().is_ok_and(|body| body.contains("\"livestream\"")) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("no stream at {address} within a minute: {found:?}").into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn streams(address: &str) -> std::io::Result<String> {
    let timeout = Duration::from_secs(2);
    let to = format!("{address}:1985").parse().map_err(std::io::Error::other)?;
    let mut connection = TcpStream::connect_timeout(&to, timeout)?;
    connection.set_read_timeout(Some(timeout))?;
    connection.write_all(b"GET /api/v1/streams/ HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.take(1 << 20).read_to_string(&mut answer)?;
    Ok(answer)
}

fn step(title: &str) {
    let (bold, plain) = if std::io::stderr().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    say(&format!("\n{bold}{title}{plain}"));
}

fn say(line: &str) {
    // Nobody to tell is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{line}");
}
