//! Fields that a diff leaves out: those that only the server or a controller writes.

use super::path::{self, Path};

/// Of every kind: identity, bookkeeping and status.
const COMMON: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.deletionGracePeriodSeconds",
    "metadata.deletionTimestamp",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.selfLink",
    "metadata.uid",
    "status",
];

/// Annotations that tools leave behind and read again; as long as the program doesn't set them they are left alone.
const KEPT: &[&str] =
    &["kubectl.kubernetes.io/last-applied-configuration", "kubectl.kubernetes.io/restartedAt"];

/// What to leave out for one kind.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    /// In dotted form.
    of_kind: Vec<String>,
}

impl Noise {
    /// The common noise, and these dotted paths ([`crate::kinds::KindRules::noise`]).
    pub fn new<'p>(of_kind: impl IntoIterator<Item = &'p str>) -> Self {
        Self { of_kind: of_kind.into_iter().map(path::dotted).collect() }
    }

    /// Whether the field is noise. A field that the program sets is none, except for identity and bookkeeping: that is for
    /// the caller to look at, with [`Noise::is_bookkeeping`].
    pub fn contains(&self, path: &Path) -> bool {
        let dotted = path.dotted();
        Self::is_common(&dotted)
            || KEPT.iter().any(|name| path.0.last().is_some_and(|last| is_field(last, name)))
            || self.of_kind.iter().any(|noise| path::inside(&dotted, noise))
    }

    /// Whether only the server writes the field, whatever a program says.
    pub fn is_bookkeeping(path: &Path) -> bool {
        Self::is_common(&path.dotted())
    }

    fn is_common(dotted: &str) -> bool {
        COMMON.iter().any(|noise| path::inside(dotted, noise))
    }
}

fn is_field(step: &path::Step, name: &str) -> bool {
    matches!(step, path::Step::Field(field) if field == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_common_kept_and_kind_noise() {
        let noise = Noise::new(["spec.clusterIP", "metadata.annotations.deployment.kubernetes.io/revision"]);
        let is = |names: &[&str]| noise.contains(&Path::of_fields(names.iter().copied()));
        assert!(is(&["status", "replicas"]));
        assert!(is(&["metadata", "uid"]));
        assert!(is(&["spec", "clusterIP"]));
        assert!(is(&["metadata", "annotations", "deployment.kubernetes.io/revision"]));
        assert!(is(&["spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"]));
        assert!(!is(&["spec", "clusterIPs"]));
        assert!(!is(&["metadata", "labels"]));
        assert!(!is(&["spec", "status"]));
    }
}
