//! How busy the disks are that `stats.disk` names, from /proc/diskstats.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a sector, whatever the disk's are.
const SECTOR: u64 = 512;

/// Sums over the disks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counters {
    read: u64,
    written: u64,
    /// Milliseconds.
    busy: u64,
}

/// What the API tells.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    /// KB a second.
    pub(super) read: u64,
    /// KB a second.
    pub(super) write: u64,
    /// A part of the time; 1.0 for each disk.
    pub(super) busy: f64,
}

/// The rates since the last question.
#[derive(Debug, Default)]
pub(super) struct Disks(Mutex<Option<(Instant, Counters, Rates)>>);

impl Disks {
    pub(super) fn rates(&self, names: &[String]) -> Rates {
        if names.is_empty() {
            return Rates::default();
        }
        let now = counters(&std::fs::read_to_string("/proc/diskstats").unwrap_or_default(), names);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let rates = match *last {
            None => Rates::default(),
            Some((before, _, rates)) if at - before < Duration::from_secs(1) => return rates,
            Some((before, then, _)) => rates(then, now, at - before),
        };
        *last = Some((at, now, rates));
        rates
    }
}

fn rates(then: Counters, now: Counters, elapsed: Duration) -> Rates {
    let milliseconds = (elapsed.as_millis() as u64).max(1);
    let rate = |then: u64, now: u64| now.saturating_sub(then) * SECTOR * 1000 / 1024 / milliseconds;
    Rates {
        read: rate(then.read, now.read),
        write: rate(then.written, now.written),
        busy: now.busy.saturating_sub(then.busy) as f64 / milliseconds as f64,
    }
}

fn counters(text: &str, names: &[String]) -> Counters {
    let mut sum = Counters::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if !fields.get(2).is_some_and(|name| names.iter().any(|wanted| wanted == name)) {
            continue;
        }
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        sum.read += field(5);
        sum.written += field(9);
        sum.busy += field(12);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_named_disks() {
        let text = |read: u64, written: u64, busy: u64| {
            format!(
                "   8       0 sda 100 0 {read} 7 50 0 {written} 9 0 {busy} 20 0 0 0 0\n   8  1 sda1 1 0 9 9 9 0 9 9 0 9 9\n"
            )
        };
        let names = ["sda".to_owned()];
        let then = counters(&text(1000, 2000, 300), &names);
        assert_eq!(then, Counters { read: 1000, written: 2000, busy: 300 });
        let now = counters(&text(5000, 2400, 1300), &names);
        let expected = Rates { read: 1000, write: 100, busy: 0.5 };
        assert_eq!(rates(then, now, Duration::from_secs(2)), expected);
        assert_eq!(counters("", &names), Counters::default());
    }
}
