//! The whole way of an image: built, unpacked and run, pushed to a real registry, loaded into a real containerd.

mod build;
mod containerd;
mod registry;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

/// A small content folder, as `media-server/image` is one.
fn content() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &[u8]| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("Dockerfile", b"not in the image");
    write("conf/srs.conf", b"listen 1935;\n");
    write("conf/docker.conf", b"daemon off;\n");
    write("doc/source.flv", &vec![b'F'; 70_000]);
    write("html/index.html", b"<!doctype html>\n");
    write(
        "html/players/a/rather/deep/folder/whose/path/is/longer/than/the/hundred/bytes/of/a/tar/header.html",
        b"deep",
    );
    folder
}

fn quiet(_: Progress) {}

/// Options with busybox in the media server's place: any static program will do there.
fn options(content: &Path) -> BuildOptions {
    BuildOptions {
        pages: None,
        names: ["ossrs/srs:3", "ossrs/srs:4.0.5"].map(|name| parse_name(name).unwrap()).to_vec(),
        content: content.to_owned(),
        binary: find_busybox(None).unwrap(),
        busybox: find_busybox(None).unwrap(),
        created: 1_700_000_000,
    }
}

fn image() -> Image {
    build(&options(content().path()), &quiet).unwrap()
}

/// A server that a test started, ended with it.
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a program of a Debian package of that name, with all output in a file.
    fn start(program: &str, arguments: &[&str], folder: &Path) -> Self {
        debian_packages::ensure(&[program]).unwrap_or_else(|error| panic!("{error}"));
        let log = folder.join("log");
        let file = fs::File::create(&log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        Self { child, log }
    }

    /// Waits until it answers, at most 30 s; fails with its log when it ends before or never does.
    fn wait_for(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < Duration::from_secs(30),
                "no {what} ({ended:?}): {}",
                fs::read_to_string(&self.log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
