//! `image build|load|push`: the media server's image, without Docker.

use std::env;
use std::fmt;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::image::{self, BuildOptions, Image, ImageError, LoadOptions, OnProgress, PushOptions, Pushed};

/// Make, push or load the media server's image, without Docker
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    verb: ImageVerb,
}

#[derive(Debug, Subcommand)]
enum ImageVerb {
    Build(BuildArgs),
    Load(LoadArgs),
    Push(PushArgs),
}

/// Make the image as an OCI archive
///
/// Without --binary the media server is built with cargo, statically linked, from the sources at or above the
/// current folder. The same inputs give the same bytes; SOURCE_DATE_EPOCH sets the time in the image.
#[derive(Debug, Args)]
struct BuildArgs {
    /// A name for the image; may be given several times
    #[arg(long = "tag", short, value_name = "NAME", default_value = "ossrs/srs:4")]
    tags: Vec<String>,
    /// The file to write
    #[arg(long, short, value_name = "FILE", default_value = "media-server.tar")]
    output: PathBuf,
    /// The media server, statically linked
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// busybox, statically linked [default: /bin/busybox]
    #[arg(long, value_name = "PATH")]
    busybox: Option<PathBuf>,
    /// The folder with conf/, doc/ and html/ [default: that of the sources]
    #[arg(long, value_name = "DIR")]
    content: Option<PathBuf>,
    /// The time in the image, in seconds of Unix time
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", default_value_t = 0, hide = true)]
    created: u32,
}

/// Load an image archive into containerd, for the kubelet of this machine
#[derive(Debug, Args)]
struct LoadArgs {
    /// The archive that `image build` wrote
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// containerd's socket
    #[arg(long, value_name = "SOCKET", env = "CONTAINERD_ADDRESS", default_value = LoadOptions::ADDRESS)]
    address: String,
    /// containerd's namespace
    #[arg(long, value_name = "NAME", default_value = LoadOptions::NAMESPACE)]
    containerd_namespace: String,
}

/// Push an image archive to a registry
///
/// Credentials are those of `docker login`.
#[derive(Debug, Args)]
struct PushArgs {
    /// The archive that `image build` wrote
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// The names to push it under; those in the archive if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Allow a registry that speaks HTTP without TLS
    #[arg(long)]
    insecure: bool,
}

/// What was done. `Display` is what to print on stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageOutcome {
    /// An archive was written.
    Built {
        /// The file.
        archive: PathBuf,
        /// The image's digest.
        digest: String,
        /// The image's names.
        names: Vec<String>,
    },
    /// An archive was loaded.
    Loaded {
        /// ctr's report.
        lines: Vec<String>,
    },
    /// An archive was pushed, once under each name.
    Pushed(Vec<Pushed>),
}

impl fmt::Display for ImageOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built { archive, digest, names } => {
                write!(f, "{}\n{digest}\n{}", archive.display(), names.join("\n"))
            }
            Self::Loaded { lines } => f.write_str(&lines.join("\n")),
            Self::Pushed(pushed) => {
                let lines: Vec<_> = pushed.iter().map(|pushed| pushed.by_digest.as_str()).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

/// Does what the arguments say.
pub async fn run(args: ImageArgs, progress: OnProgress<'_>) -> Result<ImageOutcome, ImageError> {
    match args.verb {
        ImageVerb::Build(args) => build(&args, progress),
        ImageVerb::Load(args) => load(args, progress).await,
        ImageVerb::Push(args) => push(args, progress).await,
    }
}

fn build(args: &BuildArgs, progress: OnProgress<'_>) -> Result<ImageOutcome, ImageError> {
    let BuildArgs { tags, output, binary, busybox, content, created } = args;
    // What is quick to find wrong comes before what takes minutes to compile.
    let names = tags.iter().map(|tag| image::parse_name(tag)).collect::<Result<Vec<_>, _>>()?;
    let busybox = image::find_busybox(busybox.as_deref())?;
    let here =
        env::current_dir().map_err(|source| ImageError::File { action: "find", path: ".".into(), source })?;
    let content = image::find_content(content.as_deref(), &here)?;
    let binary = image::find_binary(binary.as_deref(), &here, progress)?;
    let folder = tempfile::tempdir().map_err(|source| ImageError::File {
        action: "make a folder in",
        path: env::temp_dir(),
        source,
    })?;
    image::write_pages(&binary, folder.path())?;
    let pages = Some(folder.path().to_owned());
    let options = BuildOptions { names, content, pages, binary, busybox, created: *created };
    let image = image::build(&options, progress)?;
    image.write(output)?;
    Ok(ImageOutcome::Built {
        archive: output.clone(),
        digest: image.digest(),
        names: image.names().iter().map(image::ImageName::whole).collect(),
    })
}

async fn load(args: LoadArgs, progress: OnProgress<'_>) -> Result<ImageOutcome, ImageError> {
    let LoadArgs { archive, address, containerd_namespace: namespace } = args;
    let lines = image::load(&archive, &LoadOptions { address, namespace }, progress).await?;
    Ok(ImageOutcome::Loaded { lines })
}

async fn push(args: PushArgs, progress: OnProgress<'_>) -> Result<ImageOutcome, ImageError> {
    let PushArgs { archive, names, insecure } = args;
    let image = Image::read(&archive)?;
    let names = if names.is_empty() {
        image.names().to_vec()
    } else {
        names.iter().map(|name| image::parse_name(name)).collect::<Result<_, _>>()?
    };
    let docker = env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".docker")));
    let mut pushed = Vec::new();
    for name in names {
        let credentials = match &docker {
            Some(folder) => image::docker_credentials(folder, name.resolve_registry())?,
            None => image::Credentials::Anonymous,
        };
        pushed.push(image::push(&image, &name, &PushOptions { credentials, insecure }, progress).await?);
    }
    Ok(ImageOutcome::Pushed(pushed))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        image: ImageArgs,
    }

    async fn image(arguments: &[&str]) -> Result<ImageOutcome, ImageError> {
        let Program { image } = Program::try_parse_from([&["image"], arguments].concat()).unwrap();
        run(image, &|_| {}).await
    }

    fn show(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    #[tokio::test]
    async fn builds_an_archive_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("conf")).unwrap();
        fs::write(folder.path().join("conf/srs.conf"), "listen 1935;\n").unwrap();
        let archive = folder.path().join("out.tar");
        // A program that is asked for its pages and has none: echo.
        let programs = tempfile::tempdir().unwrap();
        let program = programs.path().join("echo");
        fs::copy("/bin/busybox", &program).unwrap();
        let arguments = ["build", "--binary", show(&program), "--content", show(folder.path())];
        let names = ["--tag", "ossrs/srs:3", "-t", "ossrs/srs:4", "--output", show(&archive)];
        let outcome = image(&[&arguments[..], &names].concat()).await.unwrap();
        let digest = Image::read(&archive).unwrap().digest();
        let lines = [show(&archive), &digest, "docker.io/ossrs/srs:3", "docker.io/ossrs/srs:4"];
        assert_eq!(outcome.to_string(), lines.join("\n"));
    }

    #[tokio::test]
    async fn a_program_that_writes_no_pages_is_no_media_server() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("out.tar");
        let content = show(folder.path());
        let arguments = ["build", "--binary", "/bin/busybox", "--content", content, "-o", show(&archive)];
        let error = image(&arguments).await.unwrap_err().to_string();
        assert!(error.contains("/bin/busybox") && error.contains("pages"), "{error}");
    }

    #[tokio::test]
    async fn names_are_checked_before_anything_is_built() {
        let error = image(&["build", "--tag", "a:b:c"]).await.unwrap_err();
        assert!(matches!(error, ImageError::Name { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_archive_that_is_not_there_is_named() {
        let error = image(&["push", "/nowhere/out.tar"]).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/out.tar");
    }
}
