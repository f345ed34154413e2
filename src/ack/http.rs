//! HTTP and HTTPS listeners of a CLB, and what only they can do.

use super::settings::Values;

/// The HTTP and HTTPS listeners of a CLB. The Service's other ports stay TCP or UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    ports: Vec<(&'static str, u16)>,
    values: Values,
}

impl Http {
    /// HTTP on this port of the Service.
    pub fn plain(port: u16) -> Self {
        Self { ports: vec![("http", port)], values: Values::default() }
    }

    /// HTTPS on this port of the Service, with this certificate of the cloud's certificate service. All its HTTPS ports have the same.
    pub fn https(port: u16, certificate: impl Into<String>) -> Self {
        let mut values = Values::default();
        values.set("cert-id", certificate.into());
        Self { ports: vec![("https", port)], values }
    }

    /// HTTP on one more port.
    pub fn and_plain(mut self, port: u16) -> Self {
        self.ports.push(("http", port));
        self
    }

    /// Sends clients of the HTTP port `from` to the HTTPS port `to`; both must be listeners here. A change makes the HTTP listener anew.
    pub fn redirect(mut self, from: u16, to: u16) -> Self {
        self.values.set("forward-port", format!("{from}:{to}"));
        self
    }

    /// Which TLS versions and ciphers are offered (HTTPS; default TLS 1.0 and newer).
    pub fn cipher_policy(mut self, policy: CipherPolicy) -> Self {
        self.values.set("tls-cipher-policy", policy.value());
        self
    }

    /// No HTTP/2 (HTTPS; it is on by default).
    pub fn without_http2(mut self) -> Self {
        self.values.switch("http2-enabled", false);
        self
    }

    /// Closes connections after so many seconds without a request (1..60, default 15).
    pub fn idle_timeout(mut self, seconds: u16) -> Self {
        self.values.set("idle-timeout", seconds);
        self
    }

    /// Gives up on a server after so many seconds without an answer (1..180, default 60).
    pub fn request_timeout(mut self, seconds: u16) -> Self {
        self.values.set("request-timeout", seconds);
        self
    }

    /// Keeps a client on one server.
    pub fn sticky(mut self, sticky: Sticky) -> Self {
        self.values.switch("sticky-session", true);
        match sticky {
            Sticky::Insert { timeout } => {
                self.values.set("sticky-session-type", "insert");
                self.values.set("cookie-timeout", timeout);
            }
            Sticky::Server { cookie } => {
                self.values.set("sticky-session-type", "server");
                self.values.set("cookie", cookie);
            }
        }
        self
    }

    /// Tells servers the listener's protocol in `X-Forwarded-Proto`.
    pub fn forwarded_proto(mut self) -> Self {
        self.values.switch("xforwardedfor-proto", true);
        self
    }

    /// Tells servers the listener's port in `X-Forwarded-Port`.
    pub fn forwarded_port(mut self) -> Self {
        self.values.switch("xforwardedfor-slbport", true);
        self
    }

    /// Tells servers the client's port in `X-Forwarded-Client-srcport`.
    pub fn forwarded_client_port(mut self) -> Self {
        self.values.switch("xforwardedfor-clientsrcport", true);
        self
    }

    pub(super) fn write(&self, values: &mut Values) {
        values.extend(&self.values);
        let ports = self.ports.iter().map(|(protocol, port)| format!("{protocol}:{port}"));
        values.set("protocol-port", super::settings::list(ports));
    }
}

/// How a client is kept on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// By a cookie of the load balancer.
    Insert {
        /// Seconds that it is valid (1..86400).
        timeout: u32,
    },
    /// By a cookie of the server.
    Server {
        /// Its name (1..200 letters, digits, underscores and hyphens).
        cookie: String,
    },
}

/// TLS versions and ciphers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherPolicy {
    /// TLS 1.0 and newer.
    Tls10,
    /// TLS 1.1 and newer.
    Tls11,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.2, forward secrecy only.
    Tls12Strict,
    /// TLS 1.2 with forward secrecy, and TLS 1.3.
    Tls12StrictWith13,
}

impl CipherPolicy {
    pub(super) fn value(self) -> &'static str {
        match self {
            Self::Tls10 => "tls_cipher_policy_1_0",
            Self::Tls11 => "tls_cipher_policy_1_1",
            Self::Tls12 => "tls_cipher_policy_1_2",
            Self::Tls12Strict => "tls_cipher_policy_1_2_strict",
            Self::Tls12StrictWith13 => "tls_cipher_policy_1_2_strict_with_1_3",
        }
    }
}
