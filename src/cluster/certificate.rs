//! Until when a client certificate is valid: said where the API server only says 401.

use jiff::Timestamp;
use x509_parser::pem::Pem;

/// The client certificate of a kubeconfig's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    /// Where it was read: a file, or the user's entry in the kubeconfig.
    pub(super) source: String,
    /// `validity.notBefore` (RFC 5280 section 4.1.2.5).
    pub(super) not_before: Timestamp,
    /// `validity.notAfter`: it is valid up to and including this second.
    pub(super) not_after: Timestamp,
}

impl ClientCertificate {
    /// Reads the first certificate of some PEM text; `None` if there is none, which the TLS library tells better.
    pub(super) fn parse(source: String, pem: &[u8]) -> Option<Self> {
        let pem = Pem::iter_from_buffer(pem).filter_map(Result::ok).find(|pem| pem.label == "CERTIFICATE")?;
        let certificate = pem.parse_x509().ok()?;
        let validity = certificate.validity();
        Some(Self {
            source,
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        })
    }

    /// Says what is wrong with it at `now`; `None` if its dates are good.
    pub(super) fn fault(&self, now: Timestamp) -> Option<String> {
        let Self { source, not_before, not_after } = self;
        if now > *not_after {
            Some(format!(
                "the client certificate in {source} expired on {not_after} (it was valid from {not_before})"
            ))
        } else if now < *not_before {
            Some(format!("the client certificate in {source} is valid only from {not_before} to {not_after}"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_until_when_a_certificate_was_valid() {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.not_before = rcgen::date_time_ymd(2024, 3, 1);
        parameters.not_after = rcgen::date_time_ymd(2025, 3, 1);
        let pem = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let certificate = ClientCertificate::parse("c.pem".into(), pem.as_bytes()).unwrap();

        let fault = |now: &str| certificate.fault(now.parse().unwrap());
        assert_eq!(fault("2025-03-01T00:00:00Z"), None);
        assert_eq!(
            fault("2025-03-01T00:00:01Z").unwrap(),
            "the client certificate in c.pem expired on 2025-03-01T00:00:00Z (it was valid from 2024-03-01T00:00:00Z)"
        );
        assert_eq!(
            fault("2024-02-29T23:59:59Z").unwrap(),
            "the client certificate in c.pem is valid only from 2024-03-01T00:00:00Z to 2025-03-01T00:00:00Z"
        );
        assert_eq!(ClientCertificate::parse("c.pem".into(), b"no certificate"), None);
    }
}
