//! What is in the image of the media server.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, Digest, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder,
    ImageManifest, ImageManifestBuilder, MediaType, Os, RootFsBuilder, SCHEMA_VERSION,
};

use super::archive::{Image, canonical_json, sha256};
use super::binary::applets;
use super::elf::Elf;
use super::error::ImageError;
use super::layer::{Layer, PackedLayer};
use super::{Binary, ImageName, OnProgress, Progress};

/// The folder in the image where SRS lives.
const SRS: &str = "usr/local/srs";

/// From what to make an image.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The image's names, at least one.
    pub names: Vec<ImageName>,
    /// A folder that becomes `/usr/local/srs`, except that its `html/` becomes `objs/nginx/html/`.
    pub content: PathBuf,
    /// A folder whose files go into `objs/nginx/html` too: see [`write_pages`](super::write_pages).
    pub pages: Option<PathBuf>,
    /// The media server.
    pub binary: Binary,
    /// busybox, which gives the image its shell and tools.
    pub busybox: Binary,
    /// The time that everything in the image bears, in seconds of Unix time: `SOURCE_DATE_EPOCH`, or 0.
    pub created: u32,
}

/// Makes the image. The same inputs give the same bytes.
pub fn build(options: &BuildOptions, progress: OnProgress<'_>) -> Result<Image, ImageError> {
    let BuildOptions { names, content, pages, binary, busybox, created } = options;
    let architecture = same_architecture(binary, busybox)?;
    let layers = [
        ("busybox and base files", base(busybox)?),
        ("conf, doc and html", content_layer(content, pages.as_deref())?),
        ("the media server", media_server(binary.content.clone())),
    ];
    let mut packed = Vec::new();
    for (layer_name, layer) in layers {
        progress(Progress::Packing { layer: layer_name });
        // Packing is from memory to memory: what fails are paths that a tar cannot hold.
        let layer = layer.pack(u64::from(*created)).map_err(|source| ImageError::File {
            action: "pack",
            path: content.clone(),
            source,
        })?;
        packed.push((layer_name, layer));
    }
    let created = rfc3339(*created);
    let config = canonical_json(&configuration(architecture, &created, &packed));
    let manifest = canonical_json(&manifest(&config, &packed));
    let blobs = packed.into_iter().map(|(_, layer)| layer.gzip).chain([config]);
    Ok(Image::new(manifest, blobs, names.clone()))
}

fn rfc3339(seconds: u32) -> String {
    let time = Timestamp::from_second(i64::from(seconds));
    time.expect("any u32 of seconds is a time that Timestamp can hold").to_string()
}

fn same_architecture(binary: &Binary, busybox: &Binary) -> Result<Arch, ImageError> {
    let Elf { architecture, .. } = &binary.elf;
    if *architecture != busybox.elf.architecture {
        return Err(ImageError::Binary {
            path: busybox.path.clone(),
            why: format!(
                "it is for {}, the media server is for {}; give a busybox for the latter with --busybox PATH",
                busybox.elf.architecture, architecture
            ),
        });
    }
    Ok(architecture.clone())
}

/// busybox with a link for each of its tools, and the few files that programs look for.
fn base(busybox: &Binary) -> Result<Layer, ImageError> {
    let mut layer = Layer::default();
    for applet in applets(busybox)? {
        layer.link(&applet, "/bin/busybox");
    }
    layer.program("bin/busybox", busybox.content.clone());
    layer.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
    layer.file("etc/group", "root:x:0:\nnogroup:x:65534:\n");
    // glibc's order: hosts first, as everybody expects of localhost and of hostAliases.
    layer.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    layer.folder("root", 0o700);
    layer.folder("tmp", 0o1777);
    layer.folder("var/tmp", 0o1777);
    layer.folder("run", 0o755);
    Ok(layer)
}

fn content_layer(content: &Path, pages: Option<&Path>) -> Result<Layer, ImageError> {
    let mut layer = Layer::default();
    let failed = |source| ImageError::File { action: "list", path: content.to_owned(), source };
    for entry in fs::read_dir(content).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let path = entry.path();
        if !path.is_dir() {
            // What lies beside the folders (a Dockerfile, a README) is about the image, not in it.
            continue;
        }
        let to = if name == "html" { Path::new("objs/nginx/html") } else { Path::new(&name) };
        layer.tree(&path, &Path::new(SRS).join(to))?;
    }
    if let Some(pages) = pages {
        layer.tree(pages, &Path::new(SRS).join("objs/nginx/html"))?;
    }
    Ok(layer)
}

fn media_server(binary: Bytes) -> Layer {
    let mut layer = Layer::default();
    layer.program(&format!("{SRS}/objs/srs"), binary);
    // The media server sees by the name it is called with that it is to act as the init script.
    layer.link(&format!("{SRS}/etc/init.d/srs"), "../../objs/srs");
    layer
}

fn configuration(
    architecture: Arch,
    created: &str,
    layers: &[(&'static str, PackedLayer)],
) -> ImageConfiguration {
    let labels = HashMap::from(
        [
            ("org.opencontainers.image.title", "media-server"),
            ("org.opencontainers.image.description", "A live media server compatible with SRS 3 and 4"),
            ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
            ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
            ("org.opencontainers.image.created", created),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let strings = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let config = ConfigBuilder::default()
        .working_dir(format!("/{SRS}"))
        .cmd(strings(&["./objs/srs", "-c", "conf/srs.conf"]))
        .env(strings(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]))
        .exposed_ports(strings(&["1935/tcp", "1985/tcp", "8080/tcp"]))
        .labels(labels)
        .build();
    let diff_ids: Vec<_> = layers.iter().map(|(_, layer)| layer.diff_id.clone()).collect();
    let history: Vec<_> = layers
        .iter()
        .map(|(what, _)| {
            HistoryBuilder::default()
                .created(created)
                .created_by(format!("stackctl image build: {what}"))
                .build()
                .expect(COMPLETE)
        })
        .collect();
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build().expect(COMPLETE);
    ImageConfigurationBuilder::default()
        .created(created)
        .architecture(architecture)
        .os(Os::Linux)
        .config(config.expect(COMPLETE))
        .rootfs(rootfs)
        .history(history)
        .build()
        .expect(COMPLETE)
}

const COMPLETE: &str = "all required fields are set";

fn manifest(config: &Bytes, layers: &[(&'static str, PackedLayer)]) -> ImageManifest {
    let layers: Vec<_> =
        layers.iter().map(|(_, layer)| descriptor(MediaType::ImageLayerGzip, &layer.gzip)).collect();
    ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, config))
        .layers(layers)
        .build()
        .expect(COMPLETE)
}

/// Names a blob by what it is, its size and its digest.
pub(super) fn descriptor(media_type: MediaType, blob: &[u8]) -> Descriptor {
    let digest: Digest = sha256(blob).parse().expect("sha256: and 64 hexadecimal digits are a digest");
    Descriptor::new(media_type, blob.len() as u64, digest)
}
