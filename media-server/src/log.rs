//! Logs in SRS's form: `[time][Trace][pid][connection] message`.
//!
//! Lines are written by a thread of their own; when it can't keep up they are dropped, never waited for.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The most lines that wait to be written; their places are memory that is there from the start.
const WAITING_LINES: usize = 8192;

/// Starts logging, to a file or the console; the guard writes what is left when it is dropped. `level` is SRS's.
/// `RUST_LOG`, where set, decides instead of it.
pub fn start(file: Option<&Path>, level: &str) -> std::io::Result<WorkerGuard> {
    let queue = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES);
    let (writer, guard) = match file {
        Some(path) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)?;
            }
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            queue.finish(file)
        }
        None => queue.finish(std::io::stdout()),
    };
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::new(directives),
        Err(_) => EnvFilter::new(match level {
            "verbose" => "trace",
            "info" => "debug",
            "warn" => "warn",
            "error" => "error",
            _ => "info",
        }),
    };
    // A second call in one process (a test's) keeps the first one's subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .event_format(SrsFormat { pid: std::process::id() })
        .try_init();
    Ok(guard)
}

struct SrsFormat {
    pid: u32,
}

#[derive(Default)]
struct Parts {
    connection: String,
    message: String,
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String can't fail.
        let _ = match field.name() {
            "cid" => write!(self.connection, "{value:?}"),
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.message, " {name}={value:?}"),
        };
    }
}

impl<S, N> FormatEvent<S, N> for SrsFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        // SRS's trace is what others call info.
        let level = match *event.metadata().level() {
            Level::ERROR => "Error",
            Level::WARN => "Warn",
            Level::INFO => "Trace",
            Level::DEBUG => "Info",
            Level::TRACE => "Verbose",
        };
        let connection = if parts.connection.is_empty() { "-" } else { &parts.connection };
        // What clients sent may be in the message: it can't start a line of its own.
        let message = parts.message.replace(|c: char| c.is_control(), " ");
        writeln!(out, "[{}][{level}][{}][{connection}] {message}", time(SystemTime::now()), self.pid)
    }
}

/// `2026-11-22 15:05:23.388`, in UTC.
fn time(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Howard Hinnant's civil_from_days.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400, "2000-02-29 00:00:00.000"),
            (1_795_359_923, "2026-11-22 15:05:23.000"),
        ] {
            assert_eq!(time(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
