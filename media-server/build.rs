//! Gathers the pages that are embedded into the program: those of `image/html`, and the two players from npm.
//! And has relocations packed: unpacked they are more than half a megabyte that every start reads.
//!
//! `npm ci` runs when `web/package-lock.json` has changed, in cargo's own folder for this package.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// What of the packages the pages load, and where it stands below the pages.
const LIBRARIES: [(&str, &str); 2] = [
    ("node_modules/hls.js/dist/hls.min.js", "players/js/hls.min.js"),
    ("node_modules/mpegts.js/dist/mpegts.js", "players/js/mpegts.js"),
];
/// Endings of the files that are pages; others stay files of the image.
const KINDS: [(&str, &str); 3] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
];

fn main() {
    if let Err(error) = run() {
        // The way of a build script to stop the build with a message.
        println!("cargo::error={error}");
    }
}

fn run() -> Result<(), String> {
    let source = PathBuf::from(env("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env("OUT_DIR")?);
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    for watched in ["build.rs", "web/package.json", "web/package-lock.json", "image/html"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let packages = install(&source.join("web"), &out.join("web"))?;
    let mut pages = Vec::new();
    collect(&source.join("image/html"), "", &mut pages)?;
    pages.extend(LIBRARIES.map(|(from, to)| (to.to_owned(), packages.join(from))));
    pages.sort();
    // Copies, named from cargo's folder on: another checkout may find this one's result there.
    let copies = out.join("pages");
    fs::create_dir_all(&copies).map_err(|error| at(&copies, &error))?;
    let mut table = String::from("&[\n");
    for (index, (path, file)) in pages.iter().enumerate() {
        let Some(kind) = kind(path) else { continue };
        let body = fs::read(file).map_err(|error| at(file, &error))?;
        let small = gzip(&body).map_err(|error| at(file, &error))?;
        for (name, bytes) in [(format!("{index}"), &body), (format!("{index}.gz"), &small)] {
            let copy = copies.join(name);
            fs::write(&copy, bytes).map_err(|error| at(&copy, &error))?;
        }
        let hash = Sha256::digest(&body);
        let tag = hash.iter().take(8).fold(String::new(), |mut tag, byte| {
            let _ = write!(tag, "{byte:02x}");
            tag
        });
        let included = |name: String| format!(r#"include_bytes!(concat!(env!("OUT_DIR"), "/pages/{name}"))"#);
        let (body, small) = (included(format!("{index}")), included(format!("{index}.gz")));
        // Debug's form of a text is a literal of Rust.
        let _ = writeln!(
            table,
            "    Page {{ path: {path:?}, kind: {kind:?}, tag: {tag:?}, body: {body}, gzip: {small} }},"
        );
    }
    table.push(']');
    let file = out.join("pages.rs");
    fs::write(&file, table).map_err(|error| at(&file, &error))
}

fn env(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn kind(path: &str) -> Option<&'static str> {
    let ending = path.rsplit_once('.')?.1;
    KINDS.iter().find(|(known, _)| *known == ending).map(|(_, kind)| *kind)
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body)?;
    encoder.finish()
}

fn collect(folder: &Path, below: &str, pages: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|error| at(folder, &error))? {
        let path = entry.map_err(|error| at(folder, &error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        if path.is_dir() {
            collect(&path, &name, pages)?;
        } else {
            pages.push((name, path));
        }
    }
    Ok(())
}

/// Installs the packages of the lock file; gives their folder.
fn install(from: &Path, to: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(to).map_err(|error| at(to, &error))?;
    let installed = to.join("installed");
    let lock = fs::read(from.join("package-lock.json")).map_err(|error| at(from, &error))?;
    let there = LIBRARIES.iter().all(|(file, _)| to.join(file).is_file());
    if there && fs::read(&installed).is_ok_and(|before| before == lock) {
        return Ok(to.to_owned());
    }
    for name in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(from.join(name), to.join(name)).map_err(|error| at(&from.join(name), &error))?;
    }
    let mut command = Command::new("npm");
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    let output = command.current_dir(to).stdin(Stdio::null()).output().map_err(|error| {
        format!(
            "npm fetches the players of the web pages and can't be started ({error}): install it \
             (Debian: apt-get install npm)"
        )
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).replace('\n', "; ");
        return Err(format!("npm ci in {} failed: {}", to.display(), said.trim()));
    }
    fs::write(&installed, lock).map_err(|error| at(&installed, &error))?;
    Ok(to.to_owned())
}
