//! Debian packages: installed when missing and allowed, else named with the exact command.

use std::process::Command;

use crate::{
    command::{output, run},
    error::{Error, Result},
    lock, paths,
};

/// What a node needs beside the programs that are built: the container runtime, its network plug-ins and the tools of
/// kube-proxy.
pub const NODE: &[&str] = &["containerd", "runc", "containernetworking-plugins", "iptables", "iproute2"];

/// Makes sure that the Debian packages are installed: those that are missing are installed with apt-get when the
/// caller is root.
///
/// # Errors
/// [`Error::Packages`] names the exact command when they may not or cannot be installed.
pub fn ensure(packages: &[&str]) -> Result<()> {
    if missing(packages)?.is_empty() {
        return Ok(());
    }
    // Two processes that install at the same time would stumble over dpkg's own lock.
    let _lock = lock::exclusive(&paths::cache()?.join("packages.lock"))?;
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    let refused =
        |reason: &str| Error::Packages { command: command.clone(), reason: Some(reason.to_owned()) };
    if !nix::unistd::geteuid().is_root() {
        return Err(refused("only root may"));
    }
    crate::progress::say(&format!("installing packages: {}", missing.join(" ")));
    let install = || {
        run(Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_ok() {
        return Ok(());
    }
    // Most often the lists are missing or old.
    run(Command::new("apt-get").arg("update")).map_err(|error| refused(&error.to_string()))?;
    install().map(drop).map_err(|error| refused(&error.to_string()))
}

fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut missing = Vec::new();
    for package in packages {
        let query = output(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]))
            .map_err(|error| Error::Packages {
                command: format!("your system's package manager: {}", packages.join(" ")),
                reason: Some(format!("this is no Debian: {error}")),
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
