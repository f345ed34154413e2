//! Where a secret is: in a file, as Kubernetes mounts a Secret, or in a variable of the environment. It never stands in
//! srs.conf, which people show to each other.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::conf::{Directive, Fault};

/// The place of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file, such as a mounted Secret.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl Place {
    /// What a block says by two directives of these names, of which one may stand there.
    pub(super) fn read(block: &Directive, file: &str, env: &str) -> Result<Option<Self>, Fault> {
        match (block.value(file), block.value(env)) {
            (Some(path), None) => Ok(Some(Place::File(path.into()))),
            (None, Some(name)) => Ok(Some(Place::Env(name.to_owned()))),
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                let line = block.get(env).map_or(block.line, |directive| directive.line);
                Err(Fault::new(line, format!("{file} and {env} can't both be there: a secret has one place")))
            }
        }
    }

    /// What is there, without white space around it; nothing where a variable is not set.
    pub(super) fn load(&self) -> io::Result<Vec<u8>> {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = match self {
            Place::File(path) => std::fs::read(path)?,
            Place::Env(name) => std::env::var_os(name).unwrap_or_default().into_vec(),
        };
        Ok(bytes.trim_ascii().to_vec())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Env(name) => write!(f, "${name}"),
        }
    }
}
