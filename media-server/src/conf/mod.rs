//! srs.conf: the grammar ([`parse`]), the rewriting of older forms ([`legacy`]), what may stand where ([`known`]),
//! what of it is not done ([`support`]) and the typed values ([`settings`]).

pub mod cluster;
pub mod known;
pub mod legacy;
pub mod parse;
pub mod settings;
pub mod support;

use std::path::{Path, PathBuf};

pub use parse::Directive;
pub use settings::Settings;

/// Why a configuration is not taken. Every message starts with file and line, as compilers print them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not srs.conf's grammar, or a value is not what the directive takes.
    #[error("{}:{line}: {message}", path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
}

/// What is wrong at a line, before the file's name is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Fault {
    /// A fault at a line.
    pub fn new(line: usize, message: impl Into<String>) -> Self {
        Fault { line, message: message.into() }
    }
}

/// Parses and checks a text.
pub fn from_text(text: &str) -> Result<Settings, Fault> {
    let mut root = parse::parse(text)?;
    legacy::rewrite(&mut root);
    known::check(&root)?;
    settings::read(root)
}

/// Reads, parses and checks a file.
pub fn load(path: &Path) -> Result<Settings, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&text);
    from_text(&text).map_err(|fault| Error::At {
        path: path.to_owned(),
        line: fault.line,
        message: fault.message,
    })
}

/// The file that `-c PATH` means: `X/docker.conf` may be `X/srs.conf`, `conf/srs.conf` or `/etc/srs/srs.conf`, as
/// SRS 4's image needs where a ConfigMap brings only srs.conf.
pub fn locate(path: &Path) -> PathBuf {
    let sibling = path.with_file_name("srs.conf");
    let candidates =
        [path.to_owned(), sibling, PathBuf::from("conf/srs.conf"), PathBuf::from("/etc/srs/srs.conf")];
    candidates.into_iter().find(|candidate| candidate.is_file()).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn docker_conf_falls_back_to_srs_conf() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("srs.conf"), "listen 1935;").unwrap();
        assert_eq!(locate(&dir.path().join("docker.conf")), dir.path().join("srs.conf"));
        std::fs::write(dir.path().join("docker.conf"), "listen 1935;").unwrap();
        assert_eq!(locate(&dir.path().join("docker.conf")), dir.path().join("docker.conf"));
    }

    #[test]
    fn errors_name_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("srs.conf");
        std::fs::write(&path, "listen 1935;\nhttp_api {\n  enabld on;\n}\n").unwrap();
        let message = load(&path).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}:3: ", path.display())), "{message}");
        assert!(message.contains("did you mean \"enabled\""), "{message}");
    }

    #[test]
    fn the_shipped_configuration_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/conf/srs.conf");
        let settings = load(&path).unwrap();
        assert_eq!(settings.listen, ["0.0.0.0:1935".parse().unwrap()]);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-z0-9_ ;{}\"'#\n\\PC]{0,200}") {
            let _ = from_text(&text);
        }
    }
}
