//! Where the program writes: data to standard output, everything else to standard error.

use std::io::{self, BufRead, IsTerminal as _, Write};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;

use super::error::Error;

/// Columns where neither the terminal nor `COLUMNS` says.
const DEFAULT_WIDTH: usize = 80;

/// `--color`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The program's three streams.
pub(crate) struct Output {
    data: Box<dyn Write + Send>,
    rest: Box<dyn Write + Send>,
    input: Box<dyn BufRead + Send>,
    /// Somebody sits before it: standard input and standard error are a terminal.
    pub(crate) terminal: bool,
    /// Standard error takes moving lines.
    pub(crate) moving: bool,
    /// Standard error takes colour.
    pub(crate) colour: bool,
    /// Columns.
    pub(crate) width: usize,
}

impl Output {
    /// The process's own streams.
    pub(crate) fn of_process(color: Color) -> Self {
        let choice = match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        let rest = AutoStream::new(io::stderr(), choice);
        let moving = io::stderr().is_terminal();
        Self {
            colour: rest.current_choice() != ColorChoice::Never,
            data: Box::new(AutoStream::new(io::stdout(), choice)),
            rest: Box::new(rest),
            input: Box::new(io::BufReader::new(io::stdin())),
            terminal: moving && io::stdin().is_terminal(),
            moving,
            width: width(),
        }
    }

    /// Writes data.
    pub(crate) fn data(&mut self, text: &str) -> Result<(), Error> {
        self.data.write_all(text.as_bytes())?;
        self.data.flush()?;
        Ok(())
    }

    /// Writes one JSON document in a line.
    pub(crate) fn document(&mut self, document: &serde_json::Value) -> Result<(), Error> {
        self.data(&format!("{document}\n"))
    }

    /// Writes everything else. That nobody reads it is no reason to stop.
    pub(crate) fn say(&mut self, text: &str) {
        let _ = self.rest.write_all(text.as_bytes()).and_then(|()| self.rest.flush());
    }

    /// Asks, and gives the answer without the space around it; empty at the end of the input.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String, Error> {
        self.say(question);
        let mut answer = String::new();
        self.input
            .read_line(&mut answer)
            .map_err(|error| Error::failed(format_args!("cannot read the answer: {error}")))?;
        if !answer.ends_with('\n') {
            self.say("\n");
        }
        Ok(answer.trim().to_owned())
    }

    #[cfg(test)]
    pub(crate) fn of_test(data: Shared, rest: Shared, answer: Option<&str>) -> Self {
        Self {
            data: Box::new(data),
            rest: Box::new(rest),
            input: Box::new(io::Cursor::new(answer.unwrap_or_default().to_owned())),
            terminal: answer.is_some(),
            moving: false,
            colour: false,
            width: DEFAULT_WIDTH,
        }
    }
}

/// `COLUMNS`, or what the terminal says.
fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.filter(|columns| *columns > 0)
        .or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
        .unwrap_or(DEFAULT_WIDTH)
}

/// What a test reads afterwards.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Shared {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap().clone();
        anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string()
    }
}

#[cfg(test)]
impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
