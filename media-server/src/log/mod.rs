//! Logs: in SRS's form or as JSON, on the console or in files that are rotated.
//!
//! Lines are written by a thread of their own. When it can't keep up, or the disk is full, lines are lost and counted;
//! nobody waits for them.

mod format;
mod rolling;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::conf::{Directive, Fault, settings};
use format::LineFormat;
use rolling::RollingFile;

/// The most lines that wait to be written; their places are memory that is there from the start.
const WAITING_LINES: usize = 2048;
/// Names the form of the lines, where the configuration does not.
const FORMAT_VARIABLE: &str = "SRS_LOG_FORMAT";

/// What the configuration says of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `srs_log_tank`: true for file, none when the file does not say.
    pub to_file: Option<bool>,
    /// `srs_log_level`.
    pub level: String,
    /// `srs_log_file`.
    pub file: PathBuf,
    /// `srs_log_format`: true for json, none when the file does not say.
    pub json: Option<bool>,
    /// `srs_log_max_size`, in bytes: a file that would grow larger is rotated. 0 for never.
    pub max_size: u64,
    /// `srs_log_max_files`: how many old files are kept, as `FILE.1` (the newest), `FILE.2`, …
    pub max_files: usize,
    /// `utc_time`: times are UTC's, not the machine's.
    pub utc: bool,
}

impl Settings {
    /// Reads the directives, which stand at the top level.
    pub fn read(root: &Directive) -> Result<Self, Fault> {
        let choice = |name: &str, no: &str, yes: &str| match root.get(name).map(|one| (one.line, one.arg())) {
            None => Ok(None),
            Some((_, Some(value))) if value == no => Ok(Some(false)),
            Some((_, Some(value))) if value == yes => Ok(Some(true)),
            Some((line, value)) => {
                let message =
                    format!("{name} is {:?}: {yes:?} or {no:?} is expected", value.unwrap_or_default());
                Err(Fault::new(line, message))
            }
        };
        Ok(Settings {
            to_file: choice("srs_log_tank", "console", "file")?,
            level: root.value("srs_log_level").unwrap_or("trace").into(),
            file: root.value("srs_log_file").unwrap_or("./objs/srs.log").into(),
            json: choice("srs_log_format", "text", "json")?,
            max_size: u64::from(settings::number(root, "srs_log_max_size", 100u32)?) << 20,
            max_files: settings::number(root, "srs_log_max_files", 5usize)?,
            utc: root.on("utc_time"),
        })
    }

    /// What is told; `RUST_LOG` that says nothing sensible counts as none.
    fn filter(&self) -> Targets {
        let wanted = std::env::var("RUST_LOG").ok().and_then(|directives| directives.parse().ok());
        wanted.unwrap_or_else(|| {
            Targets::new().with_default(match self.level.as_str() {
                "verbose" => Level::TRACE,
                "info" => Level::DEBUG,
                "warn" => Level::WARN,
                "error" => Level::ERROR,
                _ => Level::INFO,
            })
        })
    }

    fn is_json(&self) -> bool {
        self.json.unwrap_or_else(|| std::env::var(FORMAT_VARIABLE).is_ok_and(|value| value == "json"))
    }
}

/// What the process's log is; there is one.
struct Log {
    /// Where lines go when the configuration does not say: the console in a container.
    file_by_default: bool,
    wanted: Mutex<Settings>,
    /// The writer looks at `wanted` again, and opens its file again.
    changed: AtomicBool,
    json: AtomicBool,
    utc: AtomicBool,
    set_filter: OnceLock<Box<dyn Fn(Targets) + Send + Sync>>,
    queue_full: OnceLock<ErrorCounter>,
    write_failed: AtomicU64,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts logging; the guard writes what is left when it is dropped. `RUST_LOG`, where set, decides about levels.
/// Without `srs_log_tank`, lines go to a file where `file_by_default` says so.
pub fn start(settings: &Settings, file_by_default: bool) -> io::Result<WorkerGuard> {
    let log = LOG.get_or_init(|| Log {
        file_by_default,
        wanted: Mutex::new(settings.clone()),
        changed: AtomicBool::new(false),
        json: AtomicBool::new(settings.is_json()),
        utc: AtomicBool::new(settings.utc),
        set_filter: OnceLock::new(),
        queue_full: OnceLock::new(),
        write_failed: AtomicU64::new(0),
    });
    let target = Target::open(settings, file_by_default)?;
    let queue = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES);
    let (writer, guard) = queue.finish(Sink { log, target });
    let _ = log.queue_full.set(writer.error_counter());
    let (filter, handle) = reload::Layer::new(settings.filter());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).event_format(LineFormat {
        pid: std::process::id(),
        json: &log.json,
        utc: &log.utc,
    });
    // A second call in one process (a test's) keeps the first one's subscriber.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = log.set_filter.set(Box::new(move |filter| {
            // It fails only when there is no subscriber any more.
            let _ = handle.reload(filter);
        }));
    }
    Ok(guard)
}

/// Does what a new configuration says of logs.
pub fn apply(settings: &Settings) {
    let Some(log) = LOG.get() else { return };
    log.json.store(settings.is_json(), Ordering::Relaxed);
    log.utc.store(settings.utc, Ordering::Relaxed);
    if let Some(set_filter) = log.set_filter.get() {
        set_filter(settings.filter());
    }
    *log.wanted.lock().unwrap_or_else(PoisonError::into_inner) = settings.clone();
    log.changed.store(true, Ordering::Release);
}

/// Opens the file again before the next line, for who has renamed it.
pub fn reopen() {
    if let Some(log) = LOG.get() {
        log.changed.store(true, Ordering::Release);
    }
}

/// How many lines were lost, to a full queue or a full disk.
pub fn lost() -> u64 {
    let Some(log) = LOG.get() else { return 0 };
    let queue_full = log.queue_full.get().map_or(0, ErrorCounter::dropped_lines);
    queue_full as u64 + log.write_failed.load(Ordering::Relaxed)
}

enum Target {
    Console,
    File(RollingFile),
}

impl Target {
    fn open(settings: &Settings, file_by_default: bool) -> io::Result<Self> {
        match settings.to_file.unwrap_or(file_by_default) {
            true => {
                RollingFile::open(&settings.file, settings.max_size, settings.max_files).map(Target::File)
            }
            false => Ok(Target::Console),
        }
    }
}

/// The end of the queue, on the writing thread.
struct Sink {
    log: &'static Log,
    target: Target,
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.log.changed.swap(false, Ordering::AcqRel) {
            let wanted = self.log.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // What can't be opened leaves the old one.
            if let Ok(target) = Target::open(&wanted, self.log.file_by_default) {
                self.target = target;
            }
        }
        let written = match &mut self.target {
            Target::Console => io::stdout().lock().write_all(line),
            Target::File(file) => file.write_line(line),
        };
        if written.is_err() {
            self.log.write_failed.fetch_add(1, Ordering::Relaxed);
        }
        // The queue goes on whatever happened.
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Target::Console = self.target {
            let _ = io::stdout().lock().flush();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, Fault> {
        Settings::read(&crate::conf::parse::parse(text).unwrap())
    }

    #[test]
    fn what_the_directives_say() {
        let default = read("").unwrap();
        assert_eq!((default.to_file, default.json, default.utc), (None, None, false));
        assert_eq!((default.max_size, default.max_files), (100 << 20, 5));
        let set = read(
            "srs_log_tank file; srs_log_format json; srs_log_max_size 1; srs_log_max_files 2; utc_time on;",
        );
        let set = set.unwrap();
        assert_eq!((set.to_file, set.json, set.utc), (Some(true), Some(true), true));
        assert_eq!((set.max_size, set.max_files), (1 << 20, 2));
        for (text, part) in [
            ("srs_log_tank printer;", "console"),
            ("srs_log_format xml;", "json"),
            ("srs_log_max_size big;", "whole number"),
        ] {
            assert!(read(text).unwrap_err().message.contains(part), "{text}");
        }
    }
}
