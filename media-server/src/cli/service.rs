//! What SRS's `etc/init.d/srs` does: `start|stop|restart|status|reload|grace`.
//!
//! The binary does it itself when it is called by that name, so the image needs neither bash nor ps.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::say;

/// A command of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Action {
    /// Start the server in the background
    Start,
    /// Quit at once
    Stop,
    /// Stop, then start
    Restart,
    /// Say whether it runs
    Status,
    /// Read the configuration again
    Reload,
    /// Quit when the clients have gone
    Grace,
}

/// How long `stop` waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// The script's name was called: the server's folder is two levels above it.
pub(super) fn from_script(name: &str, action: Option<&OsString>) -> ExitCode {
    let root = Path::new(name).parent().and_then(Path::parent).and_then(Path::parent).map(PathBuf::from);
    if let Some(root) = root.filter(|root| !root.as_os_str().is_empty())
        && let Err(error) = std::env::set_current_dir(&root)
    {
        say(&format!("{}: {error}", root.display()));
        return ExitCode::FAILURE;
    }
    let text = action.map(|action| action.to_string_lossy().into_owned()).unwrap_or_default();
    if let Ok(action) = Action::from_str(&text, true) {
        return run(action);
    }
    say("Usage: srs {start|stop|restart|status|reload|grace}");
    ExitCode::from(64)
}

/// The running server: what its pid file says, else a container's first process.
fn running() -> Option<Pid> {
    let file = std::fs::read_to_string("objs/srs.pid").ok();
    let named = file.and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
    let first = || Pid::from_raw(1).filter(|pid| is_server(*pid));
    named.filter(|pid| runs(*pid)).or_else(first)
}

/// The process is there, and not only as an exit code that its parent has not fetched.
fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    test_kill_process(pid).is_ok() && state != Some('Z')
}

/// The process runs this program.
fn is_server(pid: Pid) -> bool {
    let path = format!("/proc/{}/exe", pid.as_raw_nonzero());
    match (std::fs::read_link(path), std::env::current_exe()) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    }
}

/// Does it.
pub(super) fn run(action: Action) -> ExitCode {
    let pid = running();
    match (action, pid) {
        (Action::Start, Some(pid)) => {
            say(&format!("SRS started(pid {})                                 [ OK ]", pid.as_raw_nonzero()));
            ExitCode::SUCCESS
        }
        (Action::Start | Action::Restart, None) => start(),
        (Action::Restart, Some(pid)) => match stop(pid) {
            true => start(),
            false => ExitCode::FAILURE,
        },
        (Action::Stop, Some(pid)) => match stop(pid) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        (Action::Status, Some(pid)) => {
            say(&format!("SRS(pid {}) is running.                             [ OK ]", pid.as_raw_nonzero()));
            ExitCode::SUCCESS
        }
        (Action::Reload, Some(pid)) => send(pid, Signal::HUP, "reloads its configuration"),
        (Action::Grace, Some(pid)) => send(pid, Signal::QUIT, "quits when its clients have gone"),
        (Action::Stop, None) => {
            say("SRS not start                                         [ OK ]");
            ExitCode::SUCCESS
        }
        (Action::Status | Action::Reload | Action::Grace, None) => {
            say("SRS is not running                                    [FAILED]");
            ExitCode::FAILURE
        }
    }
}

fn send(pid: Pid, signal: Signal, what: &str) -> ExitCode {
    match kill_process(pid, signal) {
        Ok(()) => {
            say(&format!("SRS(pid {}) {what}                       [ OK ]", pid.as_raw_nonzero()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("SRS(pid {}): {error}", pid.as_raw_nonzero()));
            ExitCode::FAILURE
        }
    }
}

fn stop(pid: Pid) -> bool {
    if send(pid, Signal::TERM, "quits") != ExitCode::SUCCESS {
        return false;
    }
    let since = Instant::now();
    while runs(pid) {
        if since.elapsed() > PATIENCE {
            say(&format!("SRS(pid {}) has not quit after {} s", pid.as_raw_nonzero(), PATIENCE.as_secs()));
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

fn start() -> ExitCode {
    let child = std::env::current_exe()
        .and_then(|program| Command::new(program).args(["-c", "conf/srs.conf"]).stdin(Stdio::null()).spawn());
    match child {
        Ok(child) => {
            say(&format!("SRS started(pid {})                                 [ OK ]", child.id()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("SRS: {error}                                        [FAILED]"));
            ExitCode::FAILURE
        }
    }
}
