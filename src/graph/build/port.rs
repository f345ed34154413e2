//! A port, written once as a constant and used by the container that listens and the Service that leads to it.

/// Number, protocol and, if wanted, name of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    pub(super) number: u16,
    pub(super) protocol: &'static str,
    pub(super) name: Option<&'static str>,
}

impl Port {
    /// A TCP port.
    pub const fn tcp(number: u16) -> Self {
        Self { number, protocol: "TCP", name: None }
    }

    /// A UDP port.
    pub const fn udp(number: u16) -> Self {
        Self { number, protocol: "UDP", name: None }
    }

    /// With a name (at most 15 characters of `a-z0-9-`, IANA_SVC_NAME): Services then refer to it by the name.
    pub const fn named(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.number
    }

    /// `TCP` or `UDP`.
    pub const fn protocol(self) -> &'static str {
        self.protocol
    }
}
