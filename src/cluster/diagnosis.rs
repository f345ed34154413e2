//! Why a request got no answer: DNS, connection, certificate or credentials, told apart by the causes of the error.

use std::error::Error;
use std::io;

use jiff::Timestamp;
use kube::client::AuthError;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::ClusterError;
use super::certificate::ClientCertificate;

/// The other side, and who we are there: what every error about the way to it names.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The API server's address.
    pub(super) server: String,
    /// The kubeconfig's client certificate.
    pub(super) certificate: Option<ClientCertificate>,
}

impl Peer {
    /// The server answered 401: `message` are its words.
    pub(super) fn unauthorized(&self, message: &str, now: Timestamp) -> ClusterError {
        let fault = self.certificate.as_ref().and_then(|certificate| certificate.fault(now));
        let message = match fault {
            Some(fault) => format!("the server answered 401 {message}: {fault}"),
            None => format!("the server answered 401 {message}"),
        };
        self.refused(message, "get new credentials for this context (a new kubeconfig, or log in again)")
    }

    /// No answer: finds the cause that the reader can do something about.
    pub(super) fn no_answer(&self, error: &(dyn Error + 'static), now: Timestamp) -> ClusterError {
        let causes = causes(error);
        let find = |name: &str| causes.iter().any(|cause| cause.to_string().contains(name));
        for cause in &causes {
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return self.tls(error, now);
            }
            if let Some(error) = cause.downcast_ref::<AuthError>() {
                return self.refused(
                    credentials(error),
                    "run the command or renew the token that the kubeconfig names for this user",
                );
            }
        }
        let io = causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>());
        let words = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        if find("dns error") {
            return self.unreachable(
                format!("its name cannot be resolved ({words})"),
                "check the server's name in the kubeconfig, the network and VPN",
            );
        }
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => self.unreachable(
                "connection refused: nothing listens there".to_owned(),
                "is the cluster running, and is this the right context?",
            ),
            Some(io::ErrorKind::TimedOut) => self.timed_out("nobody answered in time".to_owned()),
            _ => self.unreachable(words, "check the network and the server's address in the kubeconfig"),
        }
    }

    /// No answer within our own bound.
    pub(super) fn timed_out(&self, message: String) -> ClusterError {
        self.unreachable(message, "check the network, the VPN and the cluster's access control list")
    }

    fn tls(&self, error: &rustls::Error, now: Timestamp) -> ClusterError {
        use rustls::Error as Tls;
        let renew_ours = "get a new client certificate for this context";
        let check_ca =
            "is the kubeconfig's certificate-authority the one of this cluster, and the address too?";
        match error {
            Tls::InvalidCertificate(certificate) => match certificate {
                CertificateError::Expired => self.refused(
                    "the server's certificate has expired".to_owned(),
                    "renew the API server's certificate, or check this machine's clock",
                ),
                CertificateError::ExpiredContext { time, not_after } => self.refused(
                    format!(
                        "the server's certificate expired on {} (it is {} now)",
                        date(*not_after),
                        date(*time)
                    ),
                    "renew the API server's certificate, or check this machine's clock",
                ),
                CertificateError::NotValidYetContext { time, not_before } => self.refused(
                    format!(
                        "the server's certificate is valid only from {} (it is {} now)",
                        date(*not_before),
                        date(*time)
                    ),
                    "check this machine's clock",
                ),
                // Of two authorities with one name (every cluster's is called "kubernetes"), the wrong one gives a bad
                // signature.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => self.refused(
                    "the server's certificate is signed by an authority that the kubeconfig does not know"
                        .to_owned(),
                    check_ca,
                ),
                other => self.refused(format!("the server's certificate is not good: {other}"), check_ca),
            },
            Tls::AlertReceived(alert) => {
                let words = match alert {
                    AlertDescription::CertificateExpired => {
                        "the server says that our client certificate has expired"
                    }
                    AlertDescription::UnknownCA => {
                        "the server does not know the authority that signed our client certificate"
                    }
                    AlertDescription::CertificateRequired => {
                        "the server wants a client certificate, and the kubeconfig has none"
                    }
                    AlertDescription::BadCertificate
                    | AlertDescription::UnsupportedCertificate
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::AccessDenied => "the server does not accept our client certificate",
                    _ => {
                        return self.unreachable(
                            format!("the TLS handshake failed: {error}"),
                            "is this the address of a Kubernetes API server?",
                        );
                    }
                };
                let fault = self.certificate.as_ref().and_then(|certificate| certificate.fault(now));
                self.refused(fault.unwrap_or_else(|| words.to_owned()), renew_ours)
            }
            _ => self.unreachable(
                format!("the TLS handshake failed: {error}"),
                "is this the address of a Kubernetes API server, and https right?",
            ),
        }
    }

    fn unreachable(&self, message: String, hint: &str) -> ClusterError {
        ClusterError::Unreachable { server: self.server.clone(), message, hint: Some(hint.to_owned()) }
    }

    fn refused(&self, message: String, hint: &str) -> ClusterError {
        ClusterError::Unauthorized { server: self.server.clone(), message, hint: Some(hint.to_owned()) }
    }
}

/// What went wrong on the way to a token, without the command's output or environment, which may be secret.
pub(super) fn credentials(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let words = String::from_utf8_lossy(&out.stderr);
            let words: String = words.trim().chars().take(500).collect();
            format!("the kubeconfig's credential command failed ({}): {words}", out.status)
        }
        AuthError::AuthExecStart(error) => {
            format!("the kubeconfig's credential command cannot be started: {error}")
        }
        AuthError::AuthExecParse(_) => {
            "the kubeconfig's credential command printed no ExecCredential".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => {
            format!("the token file {} cannot be read: {error}", path.display())
        }
        AuthError::AuthExec(_) => "the kubeconfig's credential command failed".to_owned(),
        other => other.to_string(),
    }
}

/// The error and everything below it, the outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        // An io::Error hides the error that it wraps: its source is that one's source.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| cause.source());
    }
    causes
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}
