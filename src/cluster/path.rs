//! Paths and queries of the Kubernetes API (Kubernetes docs, "API concepts").

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::ClusterError;
use crate::graph::{Gvk, ObjectId, Scope};
use crate::observation::{KindInfo, Rejection};

/// Everything but RFC 3986's unreserved characters and the `:` of RBAC's names.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub(super) fn version(gvk: &Gvk) -> String {
    if gvk.group.is_empty() {
        format!("/api/{}", gvk.version)
    } else {
        format!("/apis/{}", gvk.api_version())
    }
}

/// Where the objects of a kind are, in one namespace or in all.
pub(super) fn collection(kind: &KindInfo, namespace: Option<&str>) -> String {
    let version = version(&kind.gvk);
    match namespace {
        Some(namespace) => format!("{version}/namespaces/{}/{}", escape(namespace), kind.plural),
        None => format!("{version}/{}", kind.plural),
    }
}

/// Where one object is. A name that is missing would lead to other objects, so it is refused here.
pub(super) fn object(verb: &'static str, kind: &KindInfo, id: &ObjectId) -> Result<String, ClusterError> {
    let missing = match (kind.scope, &id.namespace) {
        _ if id.name.is_empty() => Some("it has no metadata.name"),
        (Scope::Namespaced, None) => Some("its kind is namespaced, and it has no metadata.namespace"),
        (Scope::Cluster, Some(_)) => Some("its kind is in no namespace, and it has a metadata.namespace"),
        _ => None,
    };
    match missing {
        None => Ok(format!("{}/{}", collection(kind, id.namespace.as_deref()), escape(&id.name))),
        Some(message) => Err(ClusterError::Rejected {
            verb,
            object: id.to_string(),
            rejection: Rejection {
                code: 400,
                reason: "BadRequest".to_owned(),
                message: message.to_owned(),
                causes: Vec::new(),
            },
        }),
    }
}

/// A path with the parameters behind it.
pub(super) struct Query(String);

impl Query {
    pub(super) fn new(path: String) -> Self {
        Self(path)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, ESCAPED));
        self
    }

    pub(super) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(gvk: Gvk, plural: &str, scope: Scope) -> KindInfo {
        KindInfo { gvk, plural: plural.to_owned(), scope, verbs: Vec::new() }
    }

    #[test]
    fn leads_to_objects_of_every_scope_and_group() {
        let config_map = kind(Gvk::new("", "v1", "ConfigMap"), "configmaps", Scope::Namespaced);
        let role =
            kind(Gvk::new("rbac.authorization.k8s.io", "v1", "ClusterRole"), "clusterroles", Scope::Cluster);
        let path = |kind: &KindInfo, namespace, name| {
            object("get", kind, &ObjectId::new(&kind.gvk, namespace, name)).map_err(|error| error.to_string())
        };
        assert_eq!(path(&config_map, Some("a"), "b").unwrap(), "/api/v1/namespaces/a/configmaps/b");
        assert_eq!(
            path(&role, None, "system:x").unwrap(),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:x"
        );
        assert_eq!(
            path(&config_map, Some("a"), "../b?c").unwrap(),
            "/api/v1/namespaces/a/configmaps/..%2Fb%3Fc"
        );
        assert_eq!(
            path(&config_map, None, "b").unwrap_err(),
            "get ConfigMap b: its kind is namespaced, and it has no metadata.namespace"
        );
        path(&config_map, Some("a"), "").unwrap_err();
        path(&role, Some("a"), "b").unwrap_err();
    }

    #[test]
    fn parameters_are_escaped() {
        let query = Query::new("/p".into())
            .with("limit", "500")
            .with_some("labelSelector", Some("a/b=c,d"))
            .with_some("x", None);
        assert_eq!(query.finish(), "/p?limit=500&labelSelector=a%2Fb%3Dc%2Cd");
    }
}
