//! Loads an image into a running containerd, where the kubelet finds it without a registry.

use std::env;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::error::ImageError;
use super::{OnProgress, Progress};

/// Into which containerd to load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// containerd's socket.
    pub address: String,
    /// containerd's namespace; that of the kubelet is `k8s.io`.
    pub namespace: String,
}

impl Default for LoadOptions {
    /// `$CONTAINERD_ADDRESS`, as ctr itself has it, or containerd's usual socket.
    fn default() -> Self {
        let address = env::var("CONTAINERD_ADDRESS").unwrap_or_else(|_| Self::ADDRESS.to_owned());
        Self { address, namespace: Self::NAMESPACE.to_owned() }
    }
}

impl LoadOptions {
    /// containerd's usual socket.
    pub const ADDRESS: &str = "/run/containerd/containerd.sock";
    /// The kubelet's namespace.
    pub const NAMESPACE: &str = "k8s.io";
}

/// Imports an image archive, and gives the lines with which `ctr` reports it.
pub async fn load(
    archive: &Path,
    options: &LoadOptions,
    progress: OnProgress<'_>,
) -> Result<Vec<String>, ImageError> {
    let LoadOptions { address, namespace } = options;
    progress(Progress::Importing { address: address.clone() });
    let output = Command::new("ctr")
        .args(["--address", address, "--namespace", namespace, "images", "import"])
        .arg(archive)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| ImageError::Program {
            program: "ctr".to_owned(),
            hint: "it comes with containerd (apt-get install containerd)".to_owned(),
            source,
        })?;
    if !output.status.success() {
        return Err(ImageError::Failed {
            program: format!("ctr --address {address} images import"),
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
