//! Pushes an image by the OCI distribution protocol.

use std::time::Duration;

use bytes::Bytes;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::{RegistryOperation, manifest::OCI_IMAGE_MEDIA_TYPE};

use super::error::ImageError;
use super::{Credentials, Image, ImageName, OnProgress, Progress};

/// How to push.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// As whom.
    pub credentials: Credentials,
    /// Allow HTTP without TLS. Always allowed to this machine itself (`localhost`, 127.0.0.0/8).
    pub insecure: bool,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The image by digest, `REGISTRY/REPOSITORY@sha256:…`: what a manifest should name to mean exactly this.
    pub by_digest: String,
    /// How many blobs were uploaded; the others were there.
    pub uploaded: usize,
}

/// A registry that says nothing for this long is given up.
const SILENCE: Duration = Duration::from_mins(1);

/// Pushes the image under `name`, uploading only the blobs that the registry does not have.
pub async fn push(
    image: &Image,
    name: &ImageName,
    options: &PushOptions,
    progress: OnProgress<'_>,
) -> Result<Pushed, ImageError> {
    let failed = |error| explain(error, name, options);
    let client = client(name, options).map_err(failed)?;
    client.auth(name, &options.credentials.to_auth(), RegistryOperation::Push).await.map_err(failed)?;
    let mut uploaded = 0;
    for (digest, blob) in image.blobs() {
        if client.blob_exists(name, digest).await.map_err(failed)? {
            progress(Progress::Exists { digest: digest.clone() });
            continue;
        }
        progress(Progress::Uploading { digest: digest.clone(), size: blob.len() });
        client.push_blob(name, Bytes::clone(blob), digest).await.map_err(failed)?;
        uploaded += 1;
    }
    put_manifest(&client, image, name).await.map_err(failed)?;
    let by_digest = format!("{}/{}@{}", name.registry(), name.repository(), image.digest());
    Ok(Pushed { by_digest, uploaded })
}

async fn put_manifest(
    client: &Client,
    image: &Image,
    name: &ImageName,
) -> Result<String, OciDistributionError> {
    let media_type = OCI_IMAGE_MEDIA_TYPE.parse().expect("a media type is a header value");
    client.push_manifest_raw(name, image.manifest().clone(), media_type).await
}

fn client(name: &ImageName, options: &PushOptions) -> Result<Client, OciDistributionError> {
    // Fails only if the program chose a provider before, which is then the one to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = name.resolve_registry();
    let protocol = if options.insecure || is_this_machine(registry) {
        ClientProtocol::HttpsExcept(vec![registry.to_owned()])
    } else {
        ClientProtocol::Https
    };
    Client::try_from(ClientConfig {
        protocol,
        use_monolithic_push: true,
        connect_timeout: Some(Duration::from_secs(15)),
        read_timeout: Some(SILENCE),
        user_agent: concat!("stackctl/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}

/// Whether what is sent to this registry never leaves the machine.
fn is_this_machine(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn explain(error: OciDistributionError, name: &ImageName, options: &PushOptions) -> ImageError {
    use OciDistributionError as E;
    let denied = match &error {
        E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => true,
        E::RequestError(request) => {
            request.status().is_some_and(|status| matches!(status.as_u16(), 401 | 403))
        }
        E::ServerError { code, .. } => matches!(code, 401 | 403),
        E::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            use oci_client::errors::OciErrorCode::{Denied, Unauthorized};
            matches!(error.code, Denied | Unauthorized)
        }),
        _ => false,
    };
    if denied {
        return ImageError::Unauthorized {
            registry: name.registry().to_owned(),
            repository: name.repository().to_owned(),
            user: options.credentials.user().map(str::to_owned),
        };
    }
    let hint = match &error {
        E::RequestError(request) if request.is_connect() => {
            "; the registry cannot be reached: check its name and port, \
             and give --insecure if it speaks HTTP without TLS"
        }
        E::RequestError(request) if request.is_timeout() => "; the registry did not answer in time",
        _ => "",
    };
    ImageError::Registry { name: name.whole(), hint, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_for_this_machine_only() {
        for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8"] {
            assert!(is_this_machine(here), "{here}");
        }
        for elsewhere in ["docker.io", "10.0.0.1:5000", "127.0.0.1.example.com", "localhost.example.com:80"] {
            assert!(!is_this_machine(elsewhere), "{elsewhere}");
        }
    }
}
