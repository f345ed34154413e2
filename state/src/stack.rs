//! Which stack: the cluster, the namespace and the name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stack's identity. Two clusters with equal names of everything still have two stacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct StackId {
    cluster: String,
    namespace: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Parts {
    cluster: String,
    namespace: String,
    name: String,
}

/// A part of a stack's identity that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {part} {value:?} of a stack must be a DNS label (RFC 1123): \
     1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
)]
pub struct InvalidStackId {
    /// `cluster`, `namespace` or `name`.
    pub part: &'static str,
    /// The value as given.
    pub value: String,
}

impl StackId {
    /// The stack `name` in `namespace` of the cluster whose namespace kube-system has the uid `cluster`.
    ///
    /// Each part must be a DNS label (RFC 1123), which a uid is too.
    pub fn new(
        cluster: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<Self, InvalidStackId> {
        let id = Self { cluster: cluster.into(), namespace: namespace.into(), name: name.into() };
        for (part, value) in [("cluster", &id.cluster), ("namespace", &id.namespace), ("name", &id.name)] {
            if !is_dns_label(value) {
                return Err(InvalidStackId { part, value: value.clone() });
            }
        }
        Ok(id)
    }

    /// The uid of the cluster's namespace kube-system.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The namespace that the stack was made for.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The stack's name in the program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of one of this stack's values in a [`crate::Store`].
    pub fn key(&self, value: &str) -> String {
        format!("stacks/{}/{}/{}/{value}", self.cluster, self.namespace, self.name)
    }
}

fn is_dns_label(value: &str) -> bool {
    let edge_ok = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    value.len() <= 63
        && edge_ok(value.chars().next())
        && edge_ok(value.chars().next_back())
        && value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

impl fmt::Display for StackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stack {} in namespace {} of cluster {}", self.name, self.namespace, self.cluster)
    }
}

impl TryFrom<Parts> for StackId {
    type Error = InvalidStackId;

    fn try_from(parts: Parts) -> Result<Self, InvalidStackId> {
        Self::new(parts.cluster, parts.namespace, parts.name)
    }
}

impl From<StackId> for Parts {
    fn from(id: StackId) -> Self {
        Self { cluster: id.cluster, namespace: id.namespace, name: id.name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_dns_labels_and_cannot_lead_elsewhere() {
        let id = StackId::new("0b1c2d3e-0000-4000-8000-000000000000", "default", "quick-start").unwrap();
        assert_eq!(id.key("lock"), "stacks/0b1c2d3e-0000-4000-8000-000000000000/default/quick-start/lock");
        for bad in ["", "..", "a/b", "-a", "a-", "A", "ä", &"a".repeat(64)] {
            let error = StackId::new("c", "n", bad).unwrap_err();
            assert_eq!((error.part, error.value.as_str()), ("name", bad));
        }
        serde_json::from_str::<StackId>(r#"{"cluster":"..","namespace":"n","name":"s"}"#).unwrap_err();
    }
}
