//! A layer: files, folders and links as a tar whose bytes depend on nothing but them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::archive::sha256;
use super::error::ImageError;

/// What a layer holds, by path without a leading slash. The map's order is the tar's order.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Folder { mode: u32 },
    File { content: Bytes, mode: u32 },
    Link { target: PathBuf },
}

/// A layer as it is stored, with the digest of the tar inside (`diff_id` in an image's configuration).
#[derive(Debug, Clone)]
pub(super) struct PackedLayer {
    pub(super) gzip: Bytes,
    pub(super) diff_id: String,
}

impl Layer {
    /// Adds a folder with a mode of its own; other folders are made as needed with 0755.
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.insert(path.into(), Node::Folder { mode });
    }

    /// Adds a program (0755).
    pub(super) fn program(&mut self, path: &str, content: Bytes) {
        self.insert(path.into(), Node::File { content, mode: 0o755 });
    }

    /// Adds a file (0644).
    pub(super) fn file(&mut self, path: &str, content: impl Into<Bytes>) {
        self.insert(path.into(), Node::File { content: content.into(), mode: 0o644 });
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.insert(path.into(), Node::Link { target: target.into() });
    }

    /// Adds a folder of this machine with all that is in it, under `to`. Of the files' modes only whether they
    /// can be executed is kept, of the rest (owner, times) nothing.
    pub(super) fn tree(&mut self, from: &Path, to: &Path) -> Result<(), ImageError> {
        let failed = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| ImageError::File { action, path, source }
        };
        self.insert(to.to_owned(), Node::Folder { mode: 0o755 });
        for entry in fs::read_dir(from).map_err(failed("list", from))? {
            let entry = entry.map_err(failed("list", from))?;
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type().map_err(failed("read", &path))?;
            if kind.is_dir() {
                self.tree(&path, &to)?;
            } else if kind.is_file() {
                let content = fs::read(&path).map_err(failed("read", &path))?;
                let mode = if is_executable(&entry).map_err(failed("read", &path))? { 0o755 } else { 0o644 };
                self.insert(to, Node::File { content: content.into(), mode });
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(failed("read", &path))?;
                self.insert(to, Node::Link { target });
            } else {
                return Err(ImageError::SpecialFile { path });
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: PathBuf, node: Node) {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Folder { mode: 0o755 });
        }
        self.nodes.insert(path, node);
    }

    /// The layer as gzip of tar, everything owned by root and last changed at `mtime` (seconds of Unix time).
    pub(super) fn pack(&self, mtime: u64) -> io::Result<PackedLayer> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, node) in &self.nodes {
            let mut header = Header::new_gnu();
            header.set_mtime(mtime);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            match node {
                Node::Folder { mode } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(*mode);
                    // By convention a folder's name ends with a slash.
                    tar.append_data(&mut header, path.join(""), io::empty())?;
                }
                Node::File { content, mode } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(*mode);
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, path, &content[..])?;
                }
                Node::Link { target } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        let tar = tar.into_inner()?;
        // The level is part of the bytes, so it is not left to a default.
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(6));
        gzip.write_all(&tar)?;
        Ok(PackedLayer { gzip: gzip.finish()?.into(), diff_id: sha256(&tar) })
    }
}

fn is_executable(entry: &fs::DirEntry) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(entry.metadata()?.permissions().mode() & 0o111 != 0)
}
