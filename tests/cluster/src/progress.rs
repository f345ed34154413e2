//! Progress on standard error: bars on a terminal, a line per step elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Writes one line for the person in front of it.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell that standard error is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The progress of a number of steps that take their time.
pub(crate) struct Steps {
    bar: Option<ProgressBar>,
    done: u64,
    total: u64,
    current: Option<(String, Instant)>,
}

impl Steps {
    pub(crate) fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) =
                ProgressStyle::with_template("[{elapsed_precise}] {bar:30} {pos}/{len} {msg} {spinner}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, done: 0, total, current: None }
    }

    /// The next step begins.
    pub(crate) fn begin(&mut self, name: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(name.to_owned()),
            None => say(&format!("[{}/{}] {name} ...", self.done + 1, self.total)),
        }
        self.current = Some((name.to_owned(), Instant::now()));
    }

    /// The step that was begun is done.
    pub(crate) fn end(&mut self) {
        self.done += 1;
        match (&self.bar, self.current.take()) {
            (Some(bar), _) => bar.inc(1),
            (None, Some((name, since))) => {
                say(&format!(
                    "[{}/{}] {name}: {:.0} s",
                    self.done,
                    self.total,
                    since.elapsed().as_secs_f64()
                ));
            }
            (None, None) => {}
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
