//! How a load balancer finds out which servers work.

use super::settings::Values;

/// A health check, for every listener of the Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    kind: Kind,
    port: Option<u16>,
    interval: Option<u16>,
    timeout: Option<u16>,
    healthy: Option<u16>,
    unhealthy: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Off,
    Tcp,
    Udp,
    Http(HttpCheck),
}

impl HealthCheck {
    const fn of(kind: Kind) -> Self {
        Self { kind, port: None, interval: None, timeout: None, healthy: None, unhealthy: None }
    }

    /// None: every server gets traffic.
    pub const fn off() -> Self {
        Self::of(Kind::Off)
    }

    /// By connecting. CLB's default for TCP and UDP listeners, and NLB's for all, UDP listeners included: give those [`HealthCheck::udp`]
    /// or the [`port`](HealthCheck::port) of something that listens on TCP.
    pub const fn tcp() -> Self {
        Self::of(Kind::Tcp)
    }

    /// By sending a UDP packet (NLB only; a CLB does so for UDP listeners by itself).
    pub const fn udp() -> Self {
        Self::of(Kind::Udp)
    }

    /// By an HTTP request.
    pub const fn http(check: HttpCheck) -> Self {
        Self::of(Kind::Http(check))
    }

    /// To this port; the default is the server's own port behind the listener.
    pub fn port(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// Every so many seconds (1..50; default 2 on a CLB, 10 on an NLB).
    pub fn interval(self, seconds: u16) -> Self {
        Self { interval: Some(seconds), ..self }
    }

    /// Failed after so many seconds without an answer (1..300, default 5; less than the interval counts as the interval).
    pub fn timeout(self, seconds: u16) -> Self {
        Self { timeout: Some(seconds), ..self }
    }

    /// Well after so many checks in a row (2..10; default 3 on a CLB, 2 on an NLB).
    pub fn healthy_threshold(self, checks: u16) -> Self {
        Self { healthy: Some(checks), ..self }
    }

    /// Broken after so many failed checks in a row (2..10; default 3 on a CLB, 2 on an NLB).
    pub fn unhealthy_threshold(self, checks: u16) -> Self {
        Self { unhealthy: Some(checks), ..self }
    }

    /// As a CLB reads it: layer 4 has a switch, layer 7 a flag and a timeout of its own.
    pub(super) fn write_clb(&self, layer_7: bool, values: &mut Values) {
        match &self.kind {
            Kind::Off => {
                values.switch("health-check-switch", false);
                if layer_7 {
                    values.switch("health-check-flag", false);
                }
                return;
            }
            Kind::Tcp => values.set("health-check-type", "tcp"),
            Kind::Udp => values.set("health-check-type", "udp"),
            Kind::Http(check) => {
                values.set("health-check-type", "http");
                check.write(check.domain_or("$_ip"), check.method.clb(), values);
                if layer_7 {
                    values.switch("health-check-flag", true);
                    if let Some(seconds) = self.timeout {
                        values.set("health-check-timeout", seconds);
                    }
                }
            }
        }
        self.write_common(values);
    }

    /// As an NLB reads it: nothing counts unless the flag is on.
    pub(super) fn write_nlb(&self, values: &mut Values) {
        values.switch("health-check-flag", self.kind != Kind::Off);
        match &self.kind {
            Kind::Off => return,
            Kind::Tcp => values.set("health-check-type", "tcp"),
            Kind::Udp => values.set("health-check-type", "udp"),
            Kind::Http(check) => {
                values.set("health-check-type", "http");
                check.write(check.domain_or("$SERVER_IP"), check.method.nlb(), values);
            }
        }
        self.write_common(values);
    }

    fn write_common(&self, values: &mut Values) {
        for (suffix, value) in [
            ("health-check-connect-port", self.port),
            ("health-check-interval", self.interval),
            ("health-check-connect-timeout", self.timeout),
            ("healthy-threshold", self.healthy),
            ("unhealthy-threshold", self.unhealthy),
        ] {
            if let Some(value) = value {
                values.set(suffix, value);
            }
        }
    }
}

/// The `Host` header of an HTTP health check.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Unset,
    Server,
    Named(String),
}

/// The request of an HTTP health check, and the answers that are fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    path: String,
    method: Method,
    host: Host,
    codes: Vec<HttpCode>,
}

impl HttpCheck {
    /// `GET` of this path (1 to 80 characters, `/` first).
    pub fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), method: Method::Get, host: Host::Unset, codes: Vec::new() }
    }

    /// `HEAD` of this path (1 to 80 characters, `/` first).
    pub fn head(path: impl Into<String>) -> Self {
        Self { method: Method::Head, ..Self::get(path) }
    }

    /// With this `Host` header.
    pub fn host(self, host: impl Into<String>) -> Self {
        Self { host: Host::Named(host.into()), ..self }
    }

    /// With the server's own address as `Host` header.
    pub fn host_is_server(self) -> Self {
        Self { host: Host::Server, ..self }
    }

    /// These answers are fine; the default is 2xx alone.
    pub fn codes(self, codes: impl IntoIterator<Item = HttpCode>) -> Self {
        Self { codes: codes.into_iter().collect(), ..self }
    }

    /// The `Host` header, in a family's word for the server's address.
    fn domain_or(&self, server: &str) -> Option<String> {
        match &self.host {
            Host::Unset => None,
            Host::Server => Some(server.to_owned()),
            Host::Named(name) => Some(name.clone()),
        }
    }

    fn write(&self, domain: Option<String>, method: &str, values: &mut Values) {
        values.set("health-check-uri", &self.path);
        values.set("health-check-method", method);
        if let Some(domain) = domain {
            values.set("health-check-domain", domain);
        }
        if !self.codes.is_empty() {
            values.set(
                "health-check-httpcode",
                super::settings::list(self.codes.iter().map(|code| code.value())),
            );
        }
    }
}

/// The method of an HTTP health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
}

impl Method {
    fn clb(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Head => "head",
        }
    }

    fn nlb(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// A class of HTTP answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpCode {
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirect,
    /// 400 to 499.
    ClientError,
    /// 500 to 599.
    ServerError,
}

impl HttpCode {
    fn value(self) -> &'static str {
        match self {
            Self::Success => "http_2xx",
            Self::Redirect => "http_3xx",
            Self::ClientError => "http_4xx",
            Self::ServerError => "http_5xx",
        }
    }
}
