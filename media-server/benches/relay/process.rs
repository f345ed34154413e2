//! Processes: children that do not outlive the benchmark, and what /proc tells of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::Failure;

/// The kernel's unit of CPU time in /proc, on every architecture that Debian has.
const TICKS: f64 = 100.0;

/// A child, killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Starts a command; what it says on stderr is kept for [`Process::wait_for_line`].
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let name = command.get_program().to_string_lossy().into_owned();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let name = format!("{} {}", name.rsplit('/').next().unwrap_or_default(), arguments.join(" "));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let (sender, lines) = channel();
        let stderr = child.stderr.take().ok_or("stderr is not a pipe")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    // Somebody must read on, or the child would block.
                }
            }
        });
        Ok(Process { name, child, lines })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says a line with `word`.
    pub fn wait_for_line(&mut self, word: &str, patience: Duration) -> Result<String, Failure> {
        let until = Instant::now() + patience;
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(word) {
                return Ok(line);
            }
            said.push(line);
        }
        let state = match self.child.try_wait()? {
            Some(status) => format!("it ended with {status}"),
            None => format!("{} s have passed", patience.as_secs()),
        };
        Err(format!("{}: no {word:?}, and {state}; it said: {}", self.name, said.join(" / ")).into())
    }

    /// Asks it to end by SIGTERM and gives what it wrote on stdout.
    pub fn finish(mut self, patience: Duration) -> Result<String, Failure> {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid().try_into()?) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        self.output(patience)
    }

    /// Waits until it ends by itself and gives what it wrote on stdout.
    pub fn output(&mut self, patience: Duration) -> Result<String, Failure> {
        let until = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= until {
                return Err(format!("{}: does not end in {} s", self.name, patience.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut text = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut text)?;
        }
        Ok(text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has used up to a moment.
#[derive(Debug, Clone)]
pub struct Usage {
    at: Instant,
    user: f64,
    system: f64,
    threads: BTreeMap<u32, (String, f64)>,
    wakeups: u64,
}

/// What a process used between two moments.
#[derive(Debug, Clone)]
pub struct Spent {
    /// Seconds between them.
    pub seconds: f64,
    /// % of one core in its own code.
    pub user: f64,
    /// % of one core in the kernel.
    pub system: f64,
    /// The threads that used the most, with % of one core.
    pub threads: Vec<(String, f64)>,
    /// Voluntary context switches: how often a thread slept and was woken.
    pub wakeups: u64,
}

impl Usage {
    /// Up to now.
    pub fn now(pid: u32) -> Result<Self, Failure> {
        let root = format!("/proc/{pid}");
        let (_, user, system) = times(&format!("{root}/stat"))?;
        let mut threads = BTreeMap::new();
        let mut wakeups = 0;
        for entry in fs::read_dir(format!("{root}/task"))? {
            let task = entry?.path();
            // A thread may end while it is looked at.
            let Ok((name, user, system)) = times(&task.join("stat").to_string_lossy()) else { continue };
            let id = task.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0);
            threads.insert(id, (name, user + system));
            wakeups += number(&task.join("status").to_string_lossy(), "voluntary_ctxt_switches:");
        }
        Ok(Usage { at: Instant::now(), user, system, threads, wakeups })
    }

    /// From this moment until now.
    pub fn spent(&self, pid: u32) -> Result<Spent, Failure> {
        let now = Usage::now(pid)?;
        let seconds = (now.at - self.at).as_secs_f64();
        let share = |before: f64, after: f64| (after - before) / seconds * 100.0;
        let mut threads: Vec<(String, f64)> = now
            .threads
            .iter()
            .map(|(id, (name, time))| {
                (name.clone(), share(self.threads.get(id).map_or(0.0, |(_, time)| *time), *time))
            })
            .filter(|(_, percent)| *percent >= 0.5)
            .collect();
        threads.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(Spent {
            seconds,
            user: share(self.user, now.user),
            system: share(self.system, now.system),
            threads,
            wakeups: now.wakeups.saturating_sub(self.wakeups),
        })
    }
}

/// Name, and seconds of user and system time.
fn times(path: &str) -> Result<(String, f64, f64), Failure> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let (head, rest) = text.rsplit_once(')').ok_or("a line without a name")?;
    let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let seconds = |index: usize| -> Result<f64, Failure> {
        Ok(fields.get(index).ok_or("a short line")?.parse::<f64>()? / TICKS)
    };
    Ok((name, seconds(11)?, seconds(12)?))
}

/// Resident memory and its share that is not shared with other processes, in MB.
pub fn memory(pid: u32) -> (f64, f64) {
    let path = format!("/proc/{pid}/smaps_rollup");
    let megabytes = |name| number(&path, name) as f64 * 1024.0 / 1e6;
    (megabytes("Rss:"), megabytes("Pss:"))
}

fn number(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
