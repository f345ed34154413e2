//! Certificates and keys of `https { … }`: read, checked against one another, and read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a certificate can't be used. Every message names the file, and the directive that names it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("{directive} {}: {source}", path.display())]
    Read {
        /// `http_api.https.cert` and the like.
        directive: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is not what should be in a file.
    #[error("{directive} {}: {problem}", path.display())]
    Content {
        /// `http_api.https.cert` and the like.
        directive: String,
        /// The file.
        path: PathBuf,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// Certificate and key are not a pair, or not of a kind that TLS takes.
    #[error("{directive}.cert {} and {directive}.key {}: {problem}", cert.display(), key.display())]
    Pair {
        /// `http_api.https` and the like.
        directive: String,
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// `https { … }`, where enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Https {
    /// `http_api.https` or `http_server.https`, for messages.
    pub directive: &'static str,
    /// `listen`.
    pub listen: std::net::SocketAddr,
    /// `key`.
    pub key: PathBuf,
    /// `cert`.
    pub cert: PathBuf,
}

/// A certificate in use.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// What connections are made with.
    pub config: Arc<ServerConfig>,
    /// Both files' bytes, to tell whether they have changed.
    bytes: [Vec<u8>; 2],
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Https {
    /// Reads and checks both files.
    pub fn load(&self) -> Result<Certificate, Error> {
        let read = |name: &str, path: &Path| {
            std::fs::read(path).map_err(|source| Error::Read {
                directive: format!("{}.{name}", self.directive),
                path: path.to_owned(),
                source,
            })
        };
        let content = |name: &str, path: &Path, problem: String| Error::Content {
            directive: format!("{}.{name}", self.directive),
            path: path.to_owned(),
            problem,
        };
        let bytes = [read("cert", &self.cert)?, read("key", &self.key)?];
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes[0])
            .collect::<Result<_, _>>()
            .map_err(|error| content("cert", &self.cert, format!("is no PEM: {error}")))?;
        if chain.is_empty() {
            let problem = "has no certificate: BEGIN CERTIFICATE is expected".to_owned();
            return Err(content("cert", &self.cert, problem));
        }
        let key = PrivateKeyDer::from_pem_slice(&bytes[1])
            .map_err(|error| content("key", &self.key, format!("has no private key in PEM: {error}")))?;
        let pair = |problem: rustls::Error| Error::Pair {
            directive: self.directive.to_owned(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            problem: problem.to_string(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each ticket is a write and an entry of the cache; browsers use one.
        config.send_tls13_tickets = 1;
        Ok(Certificate { config: Arc::new(config), bytes })
    }
}
