//! The command: `cargo cluster …`.

use std::{
    ffi::OsString, fs, io::Write, os::unix::process::CommandExt, path::PathBuf, process::ExitCode,
    time::Instant,
};

use clap::{Parser, Subcommand};

use crate::{
    Error, Result, Status, Tier, cni,
    description::Ends,
    error::at,
    guardian, init,
    lifecycle::{self, Running, Wanted},
    nas,
    paths::ClusterDir,
    progress::say,
};

/// Exit code for an error.
const FAILED: u8 = 1;
/// Exit code for a command line that is none (as in sysexits.h).
const USAGE: u8 = 64;

/// A real Kubernetes on this machine: start it, use it, take it away without a trace.
#[derive(Parser)]
#[command(name = "cluster", bin_name = "cargo cluster", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

/// The name of the cluster.
#[derive(clap::Args)]
struct Name {
    /// Name of the cluster
    #[arg(long, default_value = "local")]
    name: String,
}

#[derive(Subcommand)]
enum Verb {
    /// Start the cluster unless it runs; builds Kubernetes the first time
    Up {
        #[command(flatten)]
        name: Name,
        /// How much of Kubernetes runs
        #[arg(long, value_enum, default_value_t = Tier::Node)]
        tier: Tier,
    },
    /// End the cluster and remove all of it
    Down {
        #[command(flatten)]
        name: Name,
    },
    /// Show one cluster, or all of this user's
    Status {
        /// Name of the cluster
        #[arg(long)]
        name: Option<String>,
    },
    /// Print the path of the administrator's kubeconfig
    Kubeconfig {
        #[command(flatten)]
        name: Name,
    },
    /// Run kubectl as the administrator; arguments and exit code pass through
    Kubectl {
        #[command(flatten)]
        name: Name,
        /// kubectl's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Load images (an OCI layout as a tar file) into the node
    Load {
        #[command(flatten)]
        name: Name,
        /// The file
        image: PathBuf,
    },
    /// Print a program's log, or the names of the programs that have one
    Logs {
        #[command(flatten)]
        name: Name,
        /// The program, for example kubelet
        program: Option<String>,
    },
    /// The process that waits for the cluster's first process
    #[command(hide = true)]
    Guardian { dir: PathBuf },
    /// The cluster's first process
    #[command(hide = true)]
    Init { dir: PathBuf },
    /// The CSI driver of NAS
    #[command(hide = true)]
    Nas { dir: PathBuf },
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let called_as = std::env::args_os().next().map(PathBuf::from);
    if called_as.is_some_and(|path| path.ends_with(cni::NAME)) {
        return network_plugin();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let usage = error.use_stderr();
            // Standard output may be closed.
            let _ = error.print();
            return if usage { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments.verb) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn network_plugin() -> ExitCode {
    let (answer, code) = match cni::run() {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(error) => (cni::failure(&error), ExitCode::from(FAILED)),
    };
    if !answer.is_null() {
        print(&answer.to_string());
    }
    code
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up { name: Name { name }, tier } => {
            let begin = Instant::now();
            let was_up = matches!(lifecycle::status(&name)?, Status::Running(_));
            let wanted = Wanted { name, tier, ends: Ends::ByHand };
            let exe = || std::env::current_exe().map_err(at("find", "this program"));
            let (running, ()) = lifecycle::up(&wanted, &exe, |_| Ok(()))?;
            if was_up {
                say(&format!("cluster `{}` is up already", running.name()));
            } else {
                say(&format!(
                    "cluster `{}` is up after {:.1} s",
                    running.name(),
                    begin.elapsed().as_secs_f64()
                ));
            }
            print(&describe(&running));
        }
        Verb::Down { name: Name { name } } => {
            if lifecycle::down(&name)? {
                say(&format!("cluster `{name}` is gone"));
            } else {
                say(&format!("there is no cluster `{name}`"));
            }
        }
        Verb::Status { name } => return status(name.as_deref()),
        Verb::Kubeconfig { name: Name { name } } => {
            print(&lifecycle::running(&name)?.dir().kubeconfig().display().to_string());
        }
        Verb::Kubectl { name: Name { name }, arguments } => {
            let mut kubectl = lifecycle::running(&name)?.kubectl();
            // Only returns when it could not become kubectl.
            let source = kubectl.args(arguments).exec();
            return Err(Error::Command { command: "kubectl".to_owned(), detail: source.to_string() });
        }
        Verb::Load { name: Name { name }, image } => {
            say(lifecycle::running(&name)?.load_image(&image)?.trim_end());
        }
        Verb::Logs { name: Name { name }, program } => return logs(&name, program.as_deref()),
        Verb::Guardian { dir } => guardian::run(&ClusterDir::at(dir))?,
        Verb::Init { dir } => init::run(&ClusterDir::at(dir))?,
        Verb::Nas { dir } => nas::run(&ClusterDir::at(dir))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn status(name: Option<&str>) -> Result<ExitCode> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => lifecycle::names()?,
    };
    if names.is_empty() {
        say("no cluster; start one with `cargo cluster up`");
    }
    let mut all_run = true;
    for name in names {
        match lifecycle::status(&name)? {
            Status::Running(running) => print(&describe(&running)),
            Status::Starting(dir) => {
                all_run = false;
                print(&format!("NAME={name}\nSTATE=starting\nLOGS={}", dir.logs().display()));
            }
            Status::Stopped(dir) => {
                all_run = false;
                print(&format!("NAME={name}\nSTATE=stopped\nLOGS={}", dir.logs().display()));
            }
            Status::Absent => {
                all_run = false;
                print(&format!("NAME={name}\nSTATE=absent"));
            }
        }
    }
    // One that was asked for by name and does not run is an answer of its own for scripts.
    Ok(if all_run || name.is_none() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The cluster as lines that a shell can read as well as a person.
fn describe(running: &Running) -> String {
    let dir = running.dir();
    let mut lines = vec![
        format!("NAME={}", running.name()),
        "STATE=running".to_owned(),
        format!("TIER={}", running.tier()),
        format!("SERVER={}", running.server()),
        format!("KUBECONFIG={}", dir.kubeconfig().display()),
    ];
    if running.tier() == Tier::Node {
        lines.push(format!("CONTAINERD_ADDRESS={}", dir.containerd_socket().display()));
    }
    lines.push(format!("AUDIT_LOG={}", dir.audit_log().display()));
    lines.push(format!("LOGS={}", dir.logs().display()));
    lines.join("\n")
}

fn logs(name: &str, program: Option<&str>) -> Result<ExitCode> {
    let dir = ClusterDir::of(name)?;
    if let Some(program) = program {
        let path = dir.log(program);
        print(fs::read_to_string(&path).map_err(at("read", path))?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let mut names: Vec<String> = fs::read_dir(dir.logs())
        .map_err(at("read", dir.logs()))?
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    print(&names.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// Writes data to standard output.
fn print(text: &str) {
    // A reader that has gone, such as `head`, has had enough.
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn kubectl_keeps_its_own_flags() {
        let arguments =
            Arguments::try_parse_from(["cluster", "kubectl", "get", "pods", "--name", "-A"]).unwrap();
        let Verb::Kubectl { name, arguments } = arguments.verb else { panic!("not kubectl") };
        assert_eq!(name.name, "local");
        assert_eq!(arguments, ["get", "pods", "--name", "-A"]);
    }
}
