//! What can go wrong between us and the API server.

use crate::observation::Rejection;

/// A request to the cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No kubeconfig, an unknown context, or a broken entry in it.
    #[error("{message}")]
    Config {
        /// What is wrong, and in which file.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Nobody answers at the address.
    #[error("cannot reach the cluster at {server}: {message}")]
    Unreachable {
        /// The API server's address.
        server: String,
        /// The transport's words.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The credentials are not accepted (401), or a certificate is expired or unknown.
    #[error("the cluster at {server} does not accept these credentials: {message}")]
    Unauthorized {
        /// The API server's address.
        server: String,
        /// The server's or the certificate check's words.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The server answered «no» (403, 404, 409, 422, …).
    #[error("{verb} {object}: {}", rejection.message)]
    Rejected {
        /// What was asked, such as `apply` or `list`.
        verb: &'static str,
        /// Of which object or kind.
        object: String,
        /// The server's answer.
        rejection: Rejection,
    },
    /// The server answered something that isn't Kubernetes.
    #[error("{verb} {object}: the server's answer could not be read: {message}")]
    Malformed {
        /// What was asked.
        verb: &'static str,
        /// Of which object or kind.
        object: String,
        /// What was wrong with the answer.
        message: String,
    },
}
