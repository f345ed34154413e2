//! Which field managers are people.
//!
//! A field of ours that a person changed is drift and is taken back; one that a controller changed is its work.
//! Managers name themselves, mostly by the program's file name: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers>.

/// Names, or beginnings of names followed by `-`, `_`, `/` or the end, of programs that do what a person at a keyboard says.
const PEOPLE: &[&str] = &[
    // `kubectl`, `kubectl-edit`, `kubectl-rollout`, `kubectl-client-side-apply`, `kubectl_annotate`…
    "kubectl",
    "oc",
    "k9s",
    // Lens: it is a Node program.
    "node-fetch",
    "Lens",
    "OpenLens",
    "freelens",
    // Kubernetes' dashboard and other web consoles hand on the browser's `User-Agent`.
    "Mozilla",
    "dashboard",
    "kubernetes-dashboard",
    "headlamp",
    "headlamp-server",
    "rancher",
    "octant",
    "curl",
];

/// Whether the manager is a person's tool rather than a controller.
///
/// `before-first-apply` is nobody: the API server puts the fields under that name that an object without managedFields had
/// when it was first applied. `kubectl-client-side-apply` is a person's `kubectl apply -f`.
pub fn is_human(manager: &str) -> bool {
    let manager = manager.trim();
    PEOPLE.iter().any(|name| {
        manager.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && manager[name.len()..].chars().next().is_none_or(|next| !next.is_ascii_alphanumeric())
            && !is_agent(&manager[name.len()..])
    })
}

/// Parts of some of those products are controllers all the same, such as `rancher-agent`.
fn is_agent(rest: &str) -> bool {
    ["agent", "controller", "operator", "webhook"].iter().any(|word| rest.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_human;

    #[test]
    fn tells_people_from_controllers() {
        for person in [
            "kubectl",
            "kubectl-edit",
            "kubectl-client-side-apply",
            "kubectl-rollout",
            "kubectl-annotate",
            "k9s",
            "node-fetch",
            "Mozilla",
            "Mozilla/5.0",
            "headlamp",
            "rancher",
            "curl",
        ] {
            assert!(is_human(person), "{person}");
        }
        for controller in [
            "kube-controller-manager",
            "kubelet",
            "before-first-apply",
            "cloud-controller-manager",
            "stackctl.quick-start",
            "helm",
            "argocd-controller",
            "rancher-agent",
            "ocean",
            "",
            "é",
        ] {
            assert!(!is_human(controller), "{controller}");
        }
    }
}
