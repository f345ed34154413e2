//! Network Load Balancer (NLB).

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::Ipv4Addr;

use super::annotation::{Family, NLB_CLASS};
use super::clb::{AddressType, Internet, Intranet, Reused};
use super::health_check::HealthCheck;
use super::http::CipherPolicy;
use super::settings::{self, Listeners, Scheduler, Values, list, pairs};
use crate::graph::build::{LoadBalancer, Port};

/// A Network Load Balancer: TCP, UDP and TLS, in two zones or more, known by a host name instead of an address. Needs Kubernetes 1.24 and CCM
/// 2.5.0. `S` says where it comes from, as with [`Clb`](super::Clb).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nlb<S> {
    source: PhantomData<S>,
    values: Values,
    zones: Vec<Zone>,
    health_check: Option<HealthCheck>,
    tls: Option<Tls>,
}

impl Nlb<Internet> {
    /// A new one with public addresses, in these two zones.
    pub fn internet(first: Zone, second: Zone) -> Self {
        Self::new(vec![first, second]).with("address-type", AddressType::Internet.value())
    }

    /// Paid with this shared bandwidth package (`cbwp-…`; CCM 2.9.1).
    pub fn bandwidth_package(self, id: impl Into<String>) -> Self {
        self.with("bandwidth-package-id", id.into())
    }
}

impl Nlb<Intranet> {
    /// A new one with addresses in its VPC, in these two zones.
    pub fn intranet(first: Zone, second: Zone) -> Self {
        Self::new(vec![first, second]).with("address-type", AddressType::Intranet.value())
    }
}

impl Nlb<Reused> {
    /// One that exists (`nlb-…`). It can't be added to a Service that has a load balancer already.
    pub fn reuse(id: impl Into<String>, listeners: Listeners) -> Self {
        Self::new(Vec::new()).with("id", id.into()).with("force-override-listeners", listeners.value())
    }
}

impl<S: super::Created> Nlb<S> {
    /// In one more zone.
    pub fn zone(mut self, zone: Zone) -> Self {
        self.zones.push(zone);
        self
    }

    /// With IPv6 addresses, too, public ones or not. That it has some can't change later.
    pub fn dual_stack(self, addresses: AddressType) -> Self {
        self.with("ip-version", "DualStack").with("ipv6-address-type", addresses.value())
    }

    /// In these security groups (`sg-…`; CCM 2.6.0).
    pub fn security_groups<T: Into<String>>(self, ids: impl IntoIterator<Item = T>) -> Self {
        self.with("security-group-ids", list(ids))
    }

    /// A zone's address leads to servers of that zone only (CCM 2.13).
    pub fn without_cross_zone(mut self) -> Self {
        self.values.switch("cross-zone-enabled", false);
        self
    }

    /// In this resource group (`rg-…`). It can't change later.
    pub fn resource_group(self, id: impl Into<String>) -> Self {
        self.with("resource-group-id", id.into())
    }

    /// Stays when the Service is deleted; its listeners go all the same.
    pub fn preserve_on_delete(self) -> Self {
        self.with("preserve-lb-on-delete", "true")
    }
}

impl<S> Nlb<S> {
    fn new(zones: Vec<Zone>) -> Self {
        Self { source: PhantomData, values: Values::default(), zones, health_check: None, tls: None }
    }

    fn with(mut self, suffix: &'static str, value: impl ToString) -> Self {
        self.values.set(suffix, value);
        self
    }

    /// Its name in the console (1..80 letters, digits, dots, underscores, hyphens; a letter first).
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with("name", name.into())
    }

    /// With these tags.
    pub fn tags<K: Into<String>, V: Into<String>>(self, tags: impl IntoIterator<Item = (K, V)>) -> Self {
        self.with("additional-resource-tags", pairs(tags))
    }

    /// How connections are distributed (default [`Scheduler::Wrr`]).
    pub fn scheduler(self, scheduler: Scheduler) -> Self {
        self.with("scheduler", scheduler.value())
    }

    /// How it finds out which servers work. Without one, UDP listeners are checked by TCP as well.
    pub fn health_check(mut self, check: HealthCheck) -> Self {
        self.health_check = Some(check);
        self
    }

    /// TLS listeners.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Lets connections to a server that goes away live for so many seconds (10..900).
    pub fn connection_drain(mut self, seconds: u16) -> Self {
        self.values.switch("connection-drain", true);
        self.with("connection-drain-timeout", seconds)
    }

    /// Closes connections after so many seconds without data (10..900, default 900 for TCP).
    pub fn idle_timeout(self, seconds: u16) -> Self {
        self.with("idle-timeout", seconds)
    }

    /// New connections per second and zone, at most (0..1000000; 0, the default: no limit).
    pub fn connections_per_second(self, connections: u32) -> Self {
        self.with("cps", connections)
    }

    /// Tells servers the client's address by the PROXY protocol, version 2, which they must understand.
    pub fn proxy_protocol(mut self) -> Self {
        self.values.switch("proxy-protocol", true);
        self
    }

    /// Servers see the load balancer's address instead of the client's. With TLS listeners it is always so.
    pub fn without_client_ip(mut self) -> Self {
        self.values.switch("preserve-client-ip", false);
        self
    }

    /// What its server groups hold (CCM 2.8.0). A change makes them anew.
    pub fn server_group_type(self, kind: ServerGroupType) -> Self {
        self.with("server-group-type", kind.value())
    }
}

impl<S> LoadBalancer for Nlb<S> {
    fn annotations(&self) -> BTreeMap<String, String> {
        let mut values = self.values.clone();
        if !self.zones.is_empty() {
            values.set("zone-maps", list(self.zones.iter().map(Zone::value)));
        }
        if let Some(tls) = &self.tls {
            tls.write(&mut values);
        }
        if let Some(check) = &self.health_check {
            check.write_nlb(&mut values);
        }
        values.annotations()
    }

    fn class(&self) -> Option<String> {
        Some(NLB_CLASS.to_owned())
    }

    fn problems(&self, ports: &[Port]) -> Vec<String> {
        settings::problems(Family::Nlb, &self.annotations(), ports)
    }
}

/// One zone of an NLB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    vswitch: String,
    address: Option<(Ipv4Addr, Option<String>)>,
}

impl Zone {
    /// The zone (`cn-beijing-h`) and a vSwitch (`vsw-…`) in it.
    pub fn new(name: impl Into<String>, vswitch: impl Into<String>) -> Self {
        Self { name: name.into(), vswitch: vswitch.into(), address: None }
    }

    /// With this private address (CCM 2.12.1).
    pub fn address(self, address: Ipv4Addr) -> Self {
        Self { address: Some((address, None)), ..self }
    }

    /// With this private address and this elastic IP (`eip-…`), which is then known before anything is applied (CCM 2.12.1).
    pub fn address_and_eip(self, address: Ipv4Addr, eip: impl Into<String>) -> Self {
        Self { address: Some((address, Some(eip.into()))), ..self }
    }

    fn value(&self) -> String {
        let mut parts = vec![self.name.clone(), self.vswitch.clone()];
        if let Some((address, eip)) = &self.address {
            parts.push(address.to_string());
            parts.extend(eip.clone());
        }
        parts.join(":")
    }
}

/// TLS listeners of an NLB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    ports: Vec<u16>,
    values: Values,
}

impl Tls {
    /// TLS on this port of the Service, with this certificate of the cloud's certificate service.
    pub fn on(port: u16, certificate: impl Into<String>) -> Self {
        let mut values = Values::default();
        values.set("cert-id", certificate.into());
        Self { ports: vec![port], values }
    }

    /// On one more port, with the same certificates.
    pub fn and_on(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Certificates for further host names (CCM 2.13).
    pub fn additional_certificates<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Self {
        self.values.set("additional-cert-ids", list(ids));
        self
    }

    /// Clients must show a certificate of this CA.
    pub fn client_ca(mut self, id: impl Into<String>) -> Self {
        self.values.switch("cacert", true);
        self.values.set("cacert-id", id.into());
        self
    }

    /// Which TLS versions and ciphers are offered (default TLS 1.0 and newer).
    pub fn cipher_policy(mut self, policy: CipherPolicy) -> Self {
        self.values.set("tls-cipher-policy", policy.value());
        self
    }

    /// Which HTTP versions are offered by ALPN (CCM 2.10).
    pub fn alpn(mut self, alpn: Alpn) -> Self {
        self.values.switch("alpn", true);
        self.values.set("alpn-policy", alpn.value());
        self
    }

    fn write(&self, values: &mut Values) {
        values.extend(&self.values);
        values.set("protocol-port", list(self.ports.iter().map(|port| format!("TCPSSL:{port}"))));
        // TLS listeners can't keep the client's address, and the default is to keep it.
        values.switch("preserve-client-ip", false);
    }
}

/// HTTP versions that a TLS listener offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.x.
    Http1Only,
    /// HTTP/2.
    Http2Only,
    /// Both, HTTP/1.1 preferred.
    Http2Optional,
    /// Both, HTTP/2 preferred.
    Http2Preferred,
}

impl Alpn {
    fn value(self) -> &'static str {
        match self {
            Self::Http1Only => "HTTP1Only",
            Self::Http2Only => "HTTP2Only",
            Self::Http2Optional => "HTTP2Optional",
            Self::Http2Preferred => "HTTP2Preferred",
        }
    }
}

/// What the server groups of an NLB hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerGroupType {
    /// Instances and their network interfaces.
    Instance,
    /// Addresses.
    Ip,
}

impl ServerGroupType {
    fn value(self) -> &'static str {
        match self {
            Self::Instance => "Instance",
            Self::Ip => "Ip",
        }
    }
}
