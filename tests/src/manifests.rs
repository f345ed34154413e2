//! The tutorial's manifests: read where they lie beside the checkout, brought up to date where Kubernetes has moved on.
//!
//! A clone alone has smaller ones of the same shape in `manifests/`.

use std::fs;
use std::path::{Path, PathBuf};

/// What no longer exists, what stands for it today, and why.
const REPLACEMENTS: &[(&str, &str, &str)] = &[(
    "  flexVolume:\n    driver: \"alicloud/nas\"\n    options:\n",
    "  csi:\n    driver: nasplugin.csi.alibabacloud.com\n    volumeHandle: pv-nas\n    volumeAttributes:\n",
    // The options keep their names as the driver's volumeAttributes; volumeHandle is the PersistentVolume's name.
    "ACK has only CSI now",
)];

/// The manifests of one system, in the order in which they are to be applied.
///
/// # Panics
/// If there are none.
pub fn of(system: &str) -> Vec<String> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = base.join("../../shared/seeds/manifests").join(system);
    let folder = if beside.is_dir() { beside } else { base.join("manifests").join(system) };
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of a system's manifests")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no manifests", folder.display());
    files.iter().map(|file| up_to_date(&fs::read_to_string(file).expect("a manifest"))).collect()
}

fn up_to_date(manifest: &str) -> String {
    REPLACEMENTS.iter().fold(manifest.to_owned(), |text, (old, new, _)| text.replace(old, new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flex_volume_becomes_a_csi_volume_with_the_same_options() {
        let old = "spec:\n  flexVolume:\n    driver: \"alicloud/nas\"\n    options:\n      server: \"a\"\n";
        let new = up_to_date(old);
        assert!(
            !new.contains("flexVolume") && new.ends_with("    volumeAttributes:\n      server: \"a\"\n"),
            "{new}"
        );
        assert_eq!(up_to_date(&new), new);
    }

    #[test]
    fn the_clone_has_its_own_for_every_system() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        for system in ["origin-cluster", "edge-cluster", "edge-cluster-article"] {
            assert!(own.join(system).is_dir(), "{system}");
            assert!(!of(system).is_empty());
        }
    }
}
