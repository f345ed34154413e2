//! Running commands of the system.

use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result};

/// Runs `command` to its end and returns its standard output; an error carries its last words.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    Err(Error::Command {
        command: line(command),
        detail: format!("{}: {}", output.status, last_lines(&String::from_utf8_lossy(words), 20)),
    })
}

/// Runs `command` to its end, whatever it says.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Command { command: line(command), detail: source.to_string() })
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_says_what_it_was_and_what_it_said() {
        let error = run(Command::new("sh").args(["-c", "echo words >&2; exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh -c echo words >&2; exit 3` failed: exit status: 3: words");
    }

    #[test]
    fn last_lines_of_short_texts_are_the_text() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }
}
