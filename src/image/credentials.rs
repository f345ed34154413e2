//! Whose push it is: the credentials that `docker login` left.

use std::fmt;
use std::fs::File;
use std::path::Path;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

use super::error::ImageError;

/// Credentials for a registry. The password is never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// None.
    #[default]
    Anonymous,
    /// A name and a password or token.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
}

impl Credentials {
    /// The user's name.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Password { user, .. } => Some(user),
        }
    }

    pub(super) fn to_auth(&self) -> RegistryAuth {
        match self {
            Self::Anonymous => RegistryAuth::Anonymous,
            Self::Password { user, password } => RegistryAuth::Basic(user.clone(), password.clone()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
        }
    }
}

/// Docker's own name for Docker Hub in its configuration.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Takes the credentials for `registry` from Docker's configuration in `folder` (`$DOCKER_CONFIG` or
/// `~/.docker`), asking credential helpers where it says so. No configuration or no entry means anonymous.
///
/// Runs the helper, so it may block.
pub fn docker_credentials(folder: &Path, registry: &str) -> Result<Credentials, ImageError> {
    let failed = |why: String| ImageError::Credentials { registry: registry.to_owned(), why };
    let path = folder.join("config.json");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Credentials::Anonymous),
        Err(source) => return Err(ImageError::File { action: "read", path, source }),
    };
    let server = if matches!(registry, "docker.io" | "index.docker.io") { DOCKER_HUB } else { registry };
    match docker_credential::get_credential_from_reader(file, server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Credentials::Password { user, password })
        }
        Ok(DockerCredential::IdentityToken(_)) => {
            Err(failed("it has an identity token, which is not supported here".to_owned()))
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Credentials::Anonymous),
        // What a helper printed might be, or quote, what it keeps.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            Err(failed(format!("the credential helper {helper} failed")))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn from_config(config: &str, registry: &str) -> Result<Credentials, ImageError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        docker_credentials(folder.path(), registry)
    }

    #[test]
    fn are_those_of_docker_login() {
        // base64 of alice:hunter2
        let config = r#"{"auths":{"registry.example.com:5000":{"auth":"YWxpY2U6aHVudGVyMg=="},
            "https://index.docker.io/v1/":{"auth":"YWxpY2U6aHVudGVyMg=="}}}"#;
        let alice = Credentials::Password { user: "alice".into(), password: "hunter2".into() };
        for registry in ["registry.example.com:5000", "docker.io", "index.docker.io"] {
            assert_eq!(from_config(config, registry).unwrap(), alice, "{registry}");
        }
        assert_eq!(from_config(config, "other.example.com").unwrap(), Credentials::Anonymous);
        assert_eq!(docker_credentials(Path::new("/nowhere"), "r").unwrap(), Credentials::Anonymous);
        assert!(!format!("{alice:?}").contains("hunter2"));
    }

    #[test]
    fn that_are_damaged_are_named_but_not_shown() {
        for config in [
            "hunter2",
            r#"{"auths":{"r":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"r":{"auth":"aHVudGVyMg=="}}}"#,
        ] {
            let error = from_config(config, "r").unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("docker login r") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_missing_helper_is_named() {
        let config = r#"{"credHelpers":{"r":"stackctl-test-nonexistent"}}"#;
        assert!(matches!(from_config(config, "r"), Err(ImageError::Credentials { .. })));
    }
}
