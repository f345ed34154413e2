//! Local Kubernetes.
