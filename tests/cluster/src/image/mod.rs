//! OCI images as tar files, made without a registry and without an image builder.
//!
//! An OCI image layout (image-spec 1.0): `oci-layout`, `index.json` and `blobs/sha256/…`. `ctr images import` takes the
//! image's name from the annotation `io.containerd.image.name`.

mod nginx;

use std::{fs, path::Path};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result, at},
    programs::hex,
};

#[derive(Debug, Clone)]
enum Content {
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

/// An image of one layer.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    files: Vec<(String, Content)>,
    entrypoint: Vec<String>,
}

impl Image {
    /// An empty image. The name is a full one, with a tag: `example.com/name:tag`.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), files: Vec::new(), entrypoint: Vec::new() }
    }

    /// A busybox image from this machine's static busybox, with its programs linked in /bin.
    ///
    /// # Errors
    /// The package `busybox-static` is missing and cannot be installed.
    pub fn busybox(name: &str) -> Result<Self> {
        crate::packages::ensure(&["busybox-static"])?;
        let path = "/bin/busybox";
        let busybox = fs::read(path).map_err(at("read", path))?;
        let programs = crate::command::run(std::process::Command::new(path).arg("--list"))?;
        let mut image = Self::new(name).file("bin/busybox", 0o755, busybox).entrypoint(&["/bin/sh"]);
        for program in programs.lines().filter(|program| *program != "busybox") {
            image = image.link(&format!("bin/{program}"), "busybox");
        }
        Ok(image)
    }

    /// Adds a file; the path is relative to the root.
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), Content::File { mode, bytes: content.into() }));
        self
    }

    /// Adds a symbolic link; the path is relative to the root.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.files.push((path.to_owned(), Content::Link { target: target.to_owned() }));
        self
    }

    /// What a container of the image runs.
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(ToString::to_string).collect();
        self
    }

    /// Writes the image as a tar file. The same image gives the same bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let layer = tar_of(&self.files, path)?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "Env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        })
        .to_string()
        .into_bytes();
        let describe = |kind: &str, blob: &[u8]| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(blob), "size": blob.len() });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe("config.v1+json", &config),
            "layers": [describe("layer.v1.tar", &layer)],
        })
        .to_string()
        .into_bytes();
        let mut listed = describe("manifest.v1+json", &manifest);
        listed["annotations"] = json!({ "io.containerd.image.name": self.name });
        let index = json!({ "schemaVersion": 2, "manifests": [listed] }).to_string().into_bytes();
        let file = |path: String, bytes| (path, Content::File { mode: 0o644, bytes });
        let mut files = vec![
            file("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            file("index.json".to_owned(), index),
        ];
        for blob in [layer, config, manifest] {
            files.push(file(format!("blobs/{}", digest(&blob).replace(':', "/")), blob));
        }
        fs::write(path, tar_of(&files, path)?).map_err(at("write", path))
    }
}

/// Go's name of this machine's processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(blob: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(blob)))
}

fn tar_of(files: &[(String, Content)], target: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::File { action: "make", path: target.to_owned(), source };
    let mut builder = tar::Builder::new(Vec::new());
    let mut folders: Vec<&str> =
        files.iter().flat_map(|(path, _)| path.match_indices('/').map(|(end, _)| &path[..end])).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        builder.append_data(&mut header, format!("{folder}/"), &[][..]).map_err(failed)?;
    }
    for (path, content) in files {
        match content {
            Content::File { mode, bytes } => {
                let mut header = header(tar::EntryType::Regular, *mode, bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice())
            }
            Content::Link { target } => {
                builder.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), path, target)
            }
        }
        .map_err(failed)?;
    }
    builder.into_inner().map_err(failed)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn written(image: &Image) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        image.write(&path).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn the_same_image_gives_the_same_bytes_and_every_blob_has_its_digest_for_a_name() {
        let image = Image::new("example.com/a:1").file("bin/a", 0o755, "x").entrypoint(&["/bin/a"]);
        let bytes = written(&image);
        assert_eq!(bytes, written(&image));
        let mut blobs = 0;
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(name) = path.strip_prefix("blobs/sha256/").filter(|name| !name.is_empty()) {
                assert_eq!(digest(&content), format!("sha256:{name}"));
                blobs += 1;
            }
            if path == "index.json" {
                let index: serde_json::Value = serde_json::from_slice(&content).unwrap();
                assert_eq!(
                    index["manifests"][0]["annotations"]["io.containerd.image.name"],
                    "example.com/a:1"
                );
            }
        }
        assert_eq!(blobs, 3);
    }
}
