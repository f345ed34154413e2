//! What can go wrong with an image, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why an image was not made, pushed or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write`, `list`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Something in the content folder cannot be in an image.
    #[error("{} is neither a file, a folder nor a symbolic link; remove it from the image's content", path.display())]
    SpecialFile {
        /// The file.
        path: PathBuf,
    },
    /// No media server to put into the image.
    #[error(
        "there is no media-server to build at or above {}; \
         give a statically linked one with --binary PATH, and its conf/, doc/ and html/ with --content DIR",
        from.display()
    )]
    NoSource {
        /// The folder from which it was looked for.
        from: PathBuf,
    },
    /// No busybox to put into the image.
    #[error(
        "there is no busybox at {}; install one (apt-get install busybox-static) or give another with --busybox PATH",
        path.display()
    )]
    NoBusybox {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A program that is not one of Linux, or not one that an image without libraries can run.
    #[error("{} cannot go into the image: {why}", path.display())]
    Binary {
        /// The program.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// Another program that is needed cannot be started.
    #[error("cannot run {program}; {hint}")]
    Program {
        /// The program.
        program: String,
        /// What to install or set.
        hint: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Another program failed.
    #[error("{program} failed ({status}){}", said(stderr))]
    Failed {
        /// The program with its verb.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote to stderr, where that was not shown already.
        stderr: String,
    },
    /// Not the name of an image.
    #[error("{name:?} is not the name of an image ({why}); names look like REGISTRY/REPOSITORY:TAG")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that is not an image archive, or a damaged one.
    #[error("{} is not an OCI image archive: {why}; make it with `stackctl image build`", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Docker's configuration or its helper has no usable credentials for a registry.
    #[error(
        "cannot take credentials for {registry} from Docker's configuration: {why}; log in again with `docker login {registry}`"
    )]
    Credentials {
        /// The registry.
        registry: String,
        /// What is wrong. Never a piece of the credentials.
        why: String,
    },
    /// The registry wants other credentials.
    #[error(
        "{registry} refuses to let {} push {repository}; log in with `docker login {registry}` as a user who may",
        user.as_deref().map_or_else(|| "an anonymous user".to_owned(), |user| format!("{user:?}"))
    )]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What was to be pushed.
        repository: String,
        /// Whose credentials were used.
        user: Option<String>,
    },
    /// The registry failed, or is not there.
    #[error("cannot push {name}{hint}")]
    Registry {
        /// The image's name.
        name: String,
        /// What to do, where that is known; starts with `; `.
        hint: &'static str,
        /// The client's error.
        #[source]
        source: Box<oci_client::errors::OciDistributionError>,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}
