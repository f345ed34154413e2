//! What goes into the image: found, or built, and looked at.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;

use super::elf::{self, Elf};
use super::error::ImageError;
use super::{OnProgress, Progress};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PACKAGE: &str = "media-server";

/// A statically linked program.
#[derive(Debug, Clone)]
pub struct Binary {
    pub(super) path: PathBuf,
    pub(super) content: Bytes,
    pub(super) elf: Elf,
}

impl Binary {
    /// Reads a program and refuses it if it needs libraries, which the image does not have.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::File { action: "read", path: path.to_owned(), source };
        let content = Bytes::from(fs::read(path).map_err(failed)?);
        let refused = |why: String| ImageError::Binary { path: path.to_owned(), why };
        let elf = elf::look(&content).map_err(|why| refused(why.to_owned()))?;
        if !elf.is_static {
            let why = "it is dynamically linked, and the image has no libraries; \
                       link it with RUSTFLAGS='-C target-feature=+crt-static' and --target";
            return Err(refused(why.to_owned()));
        }
        Ok(Self { path: path.to_owned(), content, elf })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes the media server from `path`, or else builds it with cargo in the workspace at or above `from`.
pub fn find_binary(path: Option<&Path>, from: &Path, progress: OnProgress<'_>) -> Result<Binary, ImageError> {
    match path {
        Some(path) => Binary::read(path),
        None => Binary::read(&compile(&workspace(from)?, &[], progress)?),
    }
}

/// Lets the media server write its web pages, with the players that are embedded in it, so that an nginx can serve a copy.
pub fn write_pages(binary: &Binary, folder: &Path) -> Result<(), ImageError> {
    let refused = |why: String| ImageError::Binary { path: binary.path.clone(), why };
    let output = Command::new(&binary.path)
        .arg("pages")
        .arg(folder)
        .output()
        .map_err(|error| refused(format!("it can't be started here to write its pages: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(refused(format!("it does not write its pages: {}", said.trim())));
    }
    Ok(())
}

/// Takes the image's content from `path`, or else from the workspace at or above `from`.
pub fn find_content(path: Option<&Path>, from: &Path) -> Result<PathBuf, ImageError> {
    match path {
        Some(path) => Ok(path.to_owned()),
        None => Ok(workspace(from)?.join(PACKAGE).join("image")),
    }
}

/// Takes busybox from `path`, or else from where Debian's busybox-static puts it.
pub fn find_busybox(path: Option<&Path>) -> Result<Binary, ImageError> {
    let path = path.unwrap_or(Path::new("/bin/busybox"));
    match Binary::read(path) {
        Err(ImageError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Err(ImageError::NoBusybox { path: path.to_owned() })
        }
        // Debian's package busybox is the same program, dynamically linked.
        Err(ImageError::Binary { path, why }) => Err(ImageError::Binary {
            path,
            why: format!("{why} (Debian's static busybox: apt-get install busybox-static)"),
        }),
        result => result,
    }
}

/// The folder that has the media server as one of its packages.
fn workspace(from: &Path) -> Result<PathBuf, ImageError> {
    let has_it = |folder: &&Path| {
        folder.join("Cargo.toml").is_file() && folder.join(PACKAGE).join("Cargo.toml").is_file()
    };
    from.ancestors()
        .find(has_it)
        .map(Path::to_owned)
        .ok_or_else(|| ImageError::NoSource { from: from.to_owned() })
}

/// Builds the media server in cargo's own target folder, and gives the program's path as cargo reports it.
pub(super) fn compile(
    workspace: &Path,
    more_arguments: &[&OsStr],
    progress: OnProgress<'_>,
) -> Result<PathBuf, ImageError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    // Paths of this machine are no part of the program: the same sources give the same bytes anywhere.
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.push(format!("--remap-path-prefix={}=.", workspace.display()));
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    flags.extend(home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    let arguments = ["build", "--release", "-p", PACKAGE, "--target", TARGET];
    progress(Progress::Compiling {
        command: format!("RUSTFLAGS='{}' cargo {}", flags.join(" "), arguments.join(" ")),
    });
    let output = Command::new(&cargo)
        .args(arguments)
        .args(more_arguments)
        .arg("--message-format=json-render-diagnostics")
        // The encoded form (separated by 0x1f) takes paths with spaces, and goes before RUSTFLAGS.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| ImageError::Program {
            program: cargo.display().to_string(),
            hint: "install Rust from https://rustup.rs, or give a built media server with --binary PATH"
                .into(),
            source,
        })?;
    let failed = |status: String| ImageError::Failed {
        program: format!("cargo {}", arguments.join(" ")),
        status,
        stderr: String::new(),
    };
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let program = String::from_utf8_lossy(&output.stdout).lines().find_map(program_of);
    program.ok_or_else(|| failed("it reports no program".to_owned()))
}

/// The program's path, from the message with which cargo reports it.
fn program_of(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == PACKAGE;
    message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
}

/// The paths, without a leading slash, under which busybox wants to be linked: it says so itself.
pub(super) fn applets(busybox: &Binary) -> Result<Vec<String>, ImageError> {
    let program = || format!("{} --list-full", busybox.path.display());
    let output = Command::new(&busybox.path).arg("--list-full").output().map_err(|source| {
        let hint = "it must be a busybox that runs on this machine".to_owned();
        ImageError::Program { program: program(), hint, source }
    })?;
    let list: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|path| !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")))
        .filter(|path| *path != "bin/busybox")
        .map(str::to_owned)
        .collect();
    if !output.status.success() || !list.iter().any(|path| path == "bin/sh") {
        return Err(ImageError::Failed {
            program: program(),
            status: format!("{}, no shell in its list", output.status),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(list)
}
