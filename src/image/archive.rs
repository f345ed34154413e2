//! An image as one file: an OCI image layout (image-spec v1.1, "Image Layout") in a tar.
//!
//! containerd (`ctr images import`), Docker from version 25 (`docker load`), podman and skopeo read it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use bytes::Bytes;
use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageIndexBuilder, ImageManifest, MediaType,
    OciLayoutBuilder, SCHEMA_VERSION,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::build::descriptor;
use super::error::ImageError;
use super::{ImageName, parse_name};

/// The full name of an image, for containerd.
const ANNOTATION_CONTAINERD_NAME: &str = "io.containerd.image.name";
const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const BLOBS: &str = "blobs/sha256";

/// An image in memory: a manifest, the blobs that it names, and the image's names.
#[derive(Debug, Clone)]
pub struct Image {
    manifest: Bytes,
    /// By digest, the manifest not among them.
    blobs: BTreeMap<String, Bytes>,
    names: Vec<ImageName>,
}

impl Image {
    pub(super) fn new(
        manifest: Bytes,
        blobs: impl IntoIterator<Item = Bytes>,
        names: Vec<ImageName>,
    ) -> Self {
        Self { manifest, blobs: blobs.into_iter().map(|blob| (sha256(&blob), blob)).collect(), names }
    }

    /// The manifest, byte for byte.
    pub fn manifest(&self) -> &Bytes {
        &self.manifest
    }

    /// The image's digest: that of its manifest, as a registry and the kubelet show it.
    pub fn digest(&self) -> String {
        sha256(&self.manifest)
    }

    /// Layers and configuration by digest.
    pub fn blobs(&self) -> &BTreeMap<String, Bytes> {
        &self.blobs
    }

    /// The image's names.
    pub fn names(&self) -> &[ImageName] {
        &self.names
    }

    /// Writes the image as a file. The same image gives the same bytes.
    pub fn write(&self, path: &Path) -> Result<(), ImageError> {
        let write = || {
            let mut file = BufWriter::new(File::create(path)?);
            self.write_tar(&mut file)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
        };
        write().map_err(|source| ImageError::File { action: "write", path: path.to_owned(), source })
    }

    fn write_tar(&self, writer: impl Write) -> io::Result<()> {
        let layout = OciLayoutBuilder::default()
            .image_layout_version("1.0.0")
            .build()
            .expect("all required fields are set");
        let mut tar = tar::Builder::new(writer);
        let mut append = |path: &str, content: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content)
        };
        append(LAYOUT_FILE, &canonical_json(&layout))?;
        append(INDEX_FILE, &canonical_json(&self.index()))?;
        let manifest = (self.digest(), self.manifest.clone());
        let blobs: BTreeMap<_, _> = self.blobs.clone().into_iter().chain([manifest]).collect();
        for (digest, blob) in &blobs {
            append(&blob_path(digest), blob)?;
        }
        tar.into_inner()?.flush()
    }

    /// One entry a name, all of the same manifest.
    fn index(&self) -> ImageIndex {
        let named = |name: &ImageName| {
            let mut manifest = descriptor(MediaType::ImageManifest, &self.manifest);
            manifest.set_annotations(Some(HashMap::from([
                (ANNOTATION_CONTAINERD_NAME.to_owned(), name.whole()),
                (ANNOTATION_REF_NAME.to_owned(), name.tag().unwrap_or("latest").to_owned()),
            ])));
            manifest
        };
        ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(self.names.iter().map(named).collect::<Vec<_>>())
            .build()
            .expect("all required fields are set")
    }

    /// Reads an image from a file that holds one, under one or more names, and checks every digest.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let failed = |source| ImageError::File { action: "read", path: path.to_owned(), source };
        let damaged = |why: String| ImageError::Archive { path: path.to_owned(), why };
        let file = File::open(path).map_err(failed)?;
        let (mut index, mut blobs) = (None, BTreeMap::new());
        let mut tar = tar::Archive::new(BufReader::new(file));
        for entry in tar.entries().map_err(failed)? {
            let mut entry = entry.map_err(|error| damaged(error.to_string()))?;
            let name = entry.path().map_err(|error| damaged(error.to_string()))?.into_owned();
            let is_index = name == Path::new(INDEX_FILE);
            if !is_index && !name.starts_with(BLOBS) {
                continue;
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|error| damaged(error.to_string()))?;
            if is_index {
                index = Some(content);
            } else if entry.header().entry_type() == EntryType::Regular {
                let digest = sha256(&content);
                if name != Path::new(&blob_path(&digest)) {
                    return Err(damaged(format!("{} has another digest than its name", name.display())));
                }
                blobs.insert(digest, Bytes::from(content));
            }
        }
        let index = index.ok_or_else(|| damaged(format!("it has no {INDEX_FILE}")))?;
        Self::from_parts(&index, blobs).map_err(damaged)
    }

    fn from_parts(index: &[u8], mut blobs: BTreeMap<String, Bytes>) -> Result<Self, String> {
        let index: ImageIndex =
            serde_json::from_slice(index).map_err(|error| format!("its {INDEX_FILE}: {error}"))?;
        let (first, others) = index.manifests().split_first().ok_or("it has no image")?;
        if others.iter().any(|other| other.digest() != first.digest()) {
            return Err("it has more than one image".to_owned());
        }
        let missing = |digest: &dyn std::fmt::Display| format!("{digest} is missing");
        let manifest = blobs.remove(first.digest().as_ref()).ok_or_else(|| missing(first.digest()))?;
        let parsed: ImageManifest =
            serde_json::from_slice(&manifest).map_err(|error| format!("its manifest: {error}"))?;
        for named in parsed.layers().iter().chain([parsed.config()]) {
            if !blobs.contains_key(named.digest().as_ref()) {
                return Err(missing(named.digest()));
            }
        }
        let name = |manifest: &Descriptor| {
            let name = manifest.annotations().as_ref()?.get(ANNOTATION_CONTAINERD_NAME)?;
            Some(parse_name(name).map_err(|error| error.to_string()))
        };
        let names = index.manifests().iter().filter_map(name).collect::<Result<_, _>>()?;
        Ok(Self { manifest, blobs, names })
    }
}

fn blob_path(digest: &str) -> String {
    format!("{BLOBS}/{}", digest.trim_start_matches("sha256:"))
}

/// `sha256:` and the digest in hexadecimal, as OCI writes it.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// JSON with sorted keys: the types of oci-spec hold labels and annotations in hash maps.
pub(super) fn canonical_json(value: &impl Serialize) -> Bytes {
    let mut json = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut json, olpc_cjson::CanonicalFormatter::new());
    value.serialize(&mut serializer).expect("these types always serialize");
    json.into()
}
