//! Debian packages: installed when missing and allowed, else named with the exact command.
//!
//! For tests and benchmarks only, which run where Debian is; nothing here is part of what is shipped.

use std::fs::File;
use std::io::{self, Write as _};
use std::process::{Command, Output};

/// Packages are missing and could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("missing packages: install them with `{command}` ({reason})")]
pub struct Error {
    /// The exact command that installs them.
    pub command: String,
    /// Why it was not run, or how it failed.
    pub reason: String,
}

/// Makes sure that the Debian packages are installed: those that are missing are installed with apt-get when the
/// caller is root.
pub fn ensure(packages: &[&str]) -> Result<(), Error> {
    if missing(packages)?.is_empty() {
        return Ok(());
    }
    // Two processes that install at the same time would stumble over apt's own locks, which do not wait.
    let _lock = lock().map_err(|error| Error {
        command: install_command(packages),
        reason: format!("/var/lib/dpkg can't be locked: {error}"),
    })?;
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let refused = |reason: String| Error { command: install_command(&missing), reason };
    if !rustix::process::geteuid().is_root() {
        return Err(refused("only root may".into()));
    }
    let _ = writeln!(io::stderr(), "installing packages: {}", missing.join(" "));
    let install = || apt_get(&[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat());
    if install().is_ok() {
        return Ok(());
    }
    // Most often the lists are missing or old.
    apt_get(&["update"]).map_err(refused)?;
    install().map_err(refused)
}

fn install_command(packages: &[&str]) -> String {
    format!("apt-get install --yes --no-install-recommends {}", packages.join(" "))
}

fn lock() -> io::Result<File> {
    let folder = File::open("/var/lib/dpkg")?;
    folder.lock()?;
    Ok(folder)
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    let Output { status, stderr, .. } = command.output().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&stderr).trim().to_owned()) }
}

fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>, Error> {
    let mut missing = Vec::new();
    for package in packages {
        let query = Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]).output();
        let query = query.map_err(|error| Error {
            command: format!("your system's package manager: {}", packages.join(" ")),
            reason: format!("this is no Debian: {error}"),
        })?;
        if String::from_utf8_lossy(&query.stdout) != "install ok installed" {
            missing.push(*package);
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_package_is_not_missing_and_an_unknown_one_is() {
        assert_eq!(missing(&["dpkg", "no-such-package-anywhere"]).unwrap(), ["no-such-package-anywhere"]);
    }
}
