//! The OCI image of the media server, made, pushed and loaded without Docker.
//!
//! ```text
//! content folder ─┐
//! media-server  ──┼─► build ─► Image ─► write ─► FILE.tar ─► load (containerd)
//! busybox       ──┘              └────────────────────────► push (a registry)
//! ```
//!
//! The image is what the tutorial's manifests expect of `ossrs/srs`: `WORKDIR /usr/local/srs`, `./objs/srs`,
//! `conf/`, `etc/init.d/srs`, `objs/nginx/html`, `doc/source.flv`, and a shell that knows `[[`. The same inputs
//! give the same bytes: nothing of the clock, the user or the file system's order is in them.

mod archive;
mod binary;
mod build;
mod credentials;
mod elf;
mod error;
mod layer;
mod load;
mod push;

use std::fmt;

pub use archive::Image;
pub use binary::{Binary, find_binary, find_busybox, find_content, write_pages};
pub use build::{BuildOptions, build};
pub use credentials::{Credentials, docker_credentials};
pub use error::ImageError;
pub use load::{LoadOptions, load};
/// The name of an image, with Docker's defaults: `ossrs/srs:3` is `docker.io/ossrs/srs:3`.
pub use oci_client::Reference as ImageName;
pub use push::{PushOptions, Pushed, push};

/// Reads an image's name, which must have a tag (or get `latest`) and no digest: a digest is the outcome of a
/// build, not a name for one.
pub fn parse_name(name: &str) -> Result<ImageName, ImageError> {
    let invalid = |why: String| ImageError::Name { name: name.to_owned(), why };
    let parsed: ImageName = name.parse().map_err(|error| invalid(format!("{error}")))?;
    if parsed.digest().is_some() {
        return Err(invalid("a digest cannot be given in advance".to_owned()));
    }
    Ok(parsed)
}

/// What is going on, for whoever watches. `Display` is a line to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Cargo builds the media server; its own output goes to stderr.
    Compiling {
        /// The command with its environment, as one would type it.
        command: String,
    },
    /// A layer is being packed.
    Packing {
        /// What is in it.
        layer: &'static str,
    },
    /// The registry already has a blob.
    Exists {
        /// Its digest.
        digest: String,
    },
    /// A blob is being uploaded.
    Uploading {
        /// Its digest.
        digest: String,
        /// Its size in bytes.
        size: usize,
    },
    /// containerd imports the image.
    Importing {
        /// The socket.
        address: String,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compiling { command } => write!(f, "compiling the media server: {command}"),
            Self::Packing { layer } => write!(f, "packing {layer}"),
            Self::Exists { digest } => write!(f, "{digest} is there already"),
            Self::Uploading { digest, size } => write!(f, "uploading {digest} ({} KiB)", size.div_ceil(1024)),
            Self::Importing { address } => write!(f, "importing into containerd at {address}"),
        }
    }
}

/// Takes the news of what is going on.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

#[cfg(test)]
mod tests;
