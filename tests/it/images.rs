//! The images of the tests' pods: the media server under the names that the tutorial uses, and nginx.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cluster::Running;
use cluster::image::Image;

use crate::harness::FIXTURES;

/// The name under which the tests of stackctl's own stacks load the media server's image.
pub(crate) const SRS: &str = "ossrs/srs:test";

/// The media server's image as a file, made once for this binary.
fn media_server() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        cluster::packages::ensure(&["busybox-static"]).expect("busybox");
        let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media-server.tar");
        let mut build = Command::new(FIXTURES);
        cluster::testing::forget_this_test(&mut build);
        let build = build
            .args(["image", "build", "--tag", SRS, "--tag", "ossrs/srs:3", "--output"])
            .arg(&archive)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .expect("stackctl starts");
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        archive
    })
}

/// Loads the media server's image, by stackctl itself.
pub(crate) fn load_media_server(cluster: &Running) {
    let load = Command::new(FIXTURES)
        .args(["image", "load"])
        .arg(media_server())
        .env("CONTAINERD_ADDRESS", cluster.dir().containerd_socket())
        .output()
        .expect("stackctl starts");
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
}

/// Loads an nginx from Debian's package under the name that manifests give to that of Docker Hub.
pub(crate) fn load_nginx(cluster: &Running) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let archive = folder.path().join("nginx.tar");
    let image = Image::nginx("docker.io/library/nginx:latest").expect("nginx");
    image.write(&archive).expect("an archive");
    cluster.load_image(&archive).expect("a loaded image");
}
