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
    /// The credentials are not accepted (401), or a certificate of one side is expired or unknown to the other.
    #[error("cannot log in to the cluster at {server}: {message}")]
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

impl ClusterError {
    /// What to do, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Config { hint, .. } | Self::Unreachable { hint, .. } | Self::Unauthorized { hint, .. } => {
                hint.as_deref()
            }
            Self::Rejected { .. } | Self::Malformed { .. } => None,
        }
    }

    /// The server's answer, if it is one that says no.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected { rejection, .. } => Some(rejection),
            _ => None,
        }
    }

    /// Whether the server said no with this HTTP status.
    pub fn is_rejected_with(&self, code: u16) -> bool {
        self.rejection().is_some_and(|rejection| rejection.code == code)
    }
}
