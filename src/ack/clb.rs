//! Classic Load Balancer (CLB, once SLB).

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::Ipv4Addr;

use super::annotation::{BACKEND_TYPE, Family};
use super::health_check::HealthCheck;
use super::http::Http;
use super::settings::{self, Listeners, Scheduler, Values, list, pairs};
use crate::graph::build::{LoadBalancer, Port};

/// A Classic Load Balancer. `S` says where it comes from: created on the [`Internet`] or on the [`Intranet`], or [`Reused`]; each offers what is
/// possible there only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clb<S> {
    source: PhantomData<S>,
    values: Values,
    health_check: Option<HealthCheck>,
    http: Option<Http>,
    backend_type: Option<BackendType>,
}

/// Created by CCM with a public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Internet {}

/// Created by CCM with an address in the cluster's VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intranet {}

/// Made by somebody else, and kept when the Service goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reused {}

/// [`Internet`] and [`Intranet`]: CCM creates the load balancer.
pub trait Created: sealed::Sealed {}
impl Created for Internet {}
impl Created for Intranet {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Internet {}
    impl Sealed for super::Intranet {}
}

impl Clb<Internet> {
    /// A new one with a public address.
    pub fn internet() -> Self {
        Self::new().with("address-type", "internet")
    }

    /// Paid by bandwidth, so many Mbit/s at most (1..5120), which needs payment by specification.
    pub fn bandwidth(self, megabits: u16) -> Self {
        self.with("instance-charge-type", "PayBySpec")
            .with("charge-type", "paybybandwidth")
            .with("bandwidth", megabits)
    }
}

impl Clb<Intranet> {
    /// A new one with an address in the cluster's VPC.
    pub fn intranet() -> Self {
        Self::new().with("address-type", "intranet")
    }

    /// In this vSwitch (`vsw-…`) of the cluster's VPC. Read at creation only.
    pub fn vswitch(self, id: impl Into<String>) -> Self {
        self.with("vswitch-id", id.into())
    }

    /// With this free address of this vSwitch (CCM 2.7.0). It can't change later.
    pub fn address(self, vswitch: impl Into<String>, address: Ipv4Addr) -> Self {
        self.vswitch(vswitch).with("ip", address)
    }

    /// Shows the elastic IP that is bound to it, instead of its own address, as the Service's.
    pub fn external_ip_is_eip(self) -> Self {
        self.with("external-ip-type", "eip")
    }
}

impl Clb<Reused> {
    /// One that exists (`lb-…`), made neither by CCM nor for the API server. It can't be added to a Service that has a load balancer already.
    pub fn reuse(id: impl Into<String>, listeners: Listeners) -> Self {
        Self::new().with("id", id.into()).with("force-override-listeners", listeners.value())
    }

    /// What it is; must be true.
    pub fn address_type(self, address_type: AddressType) -> Self {
        self.with("address-type", address_type.value())
    }

    /// Leads ports to server groups of one's own (`rsp-…`) instead of CCM's (CCM 2.0.1).
    pub fn server_groups<G: Into<String>>(self, groups: impl IntoIterator<Item = (G, u16)>) -> Self {
        let groups = groups.into_iter().map(|(group, port)| format!("{}:{port}", group.into()));
        self.with("vgroup-port", list(groups))
    }

    /// The share of this cluster's servers in [`Clb::server_groups`] (0..100).
    pub fn weight(self, weight: u16) -> Self {
        self.with("weight", weight)
    }
}

impl<S: Created> Clb<S> {
    /// Of this size, paid by specification.
    pub fn spec(self, spec: Spec) -> Self {
        self.with("instance-charge-type", "PayBySpec").with("spec", spec.value())
    }

    /// Paid by use (LCU), the only way for new accounts; excludes [`Clb::spec`] and a bandwidth.
    pub fn pay_by_lcu(self) -> Self {
        self.with("instance-charge-type", "PayByCLCU")
    }

    /// In these two zones; not in every region. It can't change later.
    pub fn zones(self, master: impl Into<String>, slave: impl Into<String>) -> Self {
        self.with("master-zoneid", master.into()).with("slave-zoneid", slave.into())
    }

    /// With an IPv6 address; kube-proxy must be in IPVS mode. It can't change later.
    pub fn ipv6(self) -> Self {
        self.with("ip-version", "ipv6")
    }

    /// In this resource group (`rg-…`). It can't change later.
    pub fn resource_group(self, id: impl Into<String>) -> Self {
        self.with("resource-group-id", id.into())
    }

    /// Can be deleted in the console. (Deleting the Service deletes it in any case.)
    pub fn without_delete_protection(mut self) -> Self {
        self.values.switch("delete-protection", false);
        self
    }

    /// Can be changed in the console; CCM takes such changes back.
    pub fn without_modification_protection(self) -> Self {
        self.with("modification-protection", "NonProtection")
    }

    /// Stays, with its address, when the Service is deleted (CCM 2.10.0); its listeners go all the same.
    pub fn preserve_on_delete(self) -> Self {
        self.with("preserve-lb-on-delete", "true")
    }
}

impl<S> Clb<S> {
    fn new() -> Self {
        Self {
            source: PhantomData,
            values: Values::default(),
            health_check: None,
            http: None,
            backend_type: None,
        }
    }

    fn with(mut self, suffix: &'static str, value: impl ToString) -> Self {
        self.values.set(suffix, value);
        self
    }

    /// Its name in the console (1..80 letters, digits, dots, underscores, hyphens; a letter first).
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with("name", name.into())
    }

    /// With these tags, ten at most (CCM 2.10). Others than these are taken off it.
    pub fn tags<K: Into<String>, V: Into<String>>(self, tags: impl IntoIterator<Item = (K, V)>) -> Self {
        self.with("additional-resource-tags", pairs(tags))
    }

    /// Shows this host name instead of the address as the Service's, so that traffic from inside the cluster goes through the load balancer, too.
    pub fn hostname(self, hostname: impl Into<String>) -> Self {
        self.with("hostname", hostname.into())
    }

    /// How connections are distributed (default [`Scheduler::Rr`]).
    pub fn scheduler(self, scheduler: Scheduler) -> Self {
        self.with("scheduler", scheduler.value())
    }

    /// How it finds out which servers work.
    pub fn health_check(mut self, check: HealthCheck) -> Self {
        self.health_check = Some(check);
        self
    }

    /// HTTP and HTTPS listeners.
    pub fn http(mut self, http: Http) -> Self {
        self.http = Some(http);
        self
    }

    /// Lets connections to a server that goes away live for so many seconds (10..900; TCP and UDP).
    pub fn connection_drain(mut self, seconds: u16) -> Self {
        self.values.switch("connection-drain", true);
        self.with("connection-drain-timeout", seconds)
    }

    /// Closes TCP connections after so many seconds without data (10..900).
    pub fn established_timeout(self, seconds: u16) -> Self {
        self.with("established-timeout", seconds)
    }

    /// Keeps a source address on one server for so many seconds (0..3600; TCP and UDP).
    pub fn persistence_timeout(self, seconds: u16) -> Self {
        self.with("persistence-timeout", seconds)
    }

    /// Tells servers the client's address by the PROXY protocol, version 2, which they must understand (TCP and UDP).
    pub fn proxy_protocol(mut self) -> Self {
        self.values.switch("proxy-protocol", true);
        self
    }

    /// Whom the listeners let in.
    pub fn acl(mut self, acl: Acl) -> Self {
        let (kind, ids) = match acl {
            Acl::Allow(ids) => ("white", ids),
            Acl::Deny(ids) => ("black", ids),
        };
        self.values.switch("acl-status", true);
        self.with("acl-type", kind).with("acl-id", list(ids))
    }

    /// What is behind it (default: pods on Terway clusters, nodes elsewhere).
    pub fn backend_type(mut self, backend: BackendType) -> Self {
        self.backend_type = Some(backend);
        self
    }

    /// Nodes with all of these labels only ([`BackendType::Ecs`]).
    pub fn backend_labels<K: Into<String>, V: Into<String>>(
        self,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.with("backend-label", pairs(labels))
    }

    /// No cordoned nodes ([`BackendType::Ecs`]).
    pub fn remove_unscheduled_backends(mut self) -> Self {
        self.values.switch("remove-unscheduled-backend", true);
        self
    }
}

impl<S> LoadBalancer for Clb<S> {
    fn annotations(&self) -> BTreeMap<String, String> {
        let mut values = self.values.clone();
        if let Some(http) = &self.http {
            http.write(&mut values);
        }
        if let Some(check) = &self.health_check {
            check.write_clb(self.http.is_some(), &mut values);
        }
        let mut annotations = values.annotations();
        annotations
            .extend(self.backend_type.map(|backend| (BACKEND_TYPE.to_owned(), backend.value().to_owned())));
        annotations
    }

    fn class(&self) -> Option<String> {
        None
    }

    fn problems(&self, ports: &[Port]) -> Vec<String> {
        settings::problems(Family::Clb, &self.annotations(), ports)
    }
}

/// Public or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressType {
    /// With a public address.
    Internet,
    /// With an address in the VPC.
    Intranet,
}

impl AddressType {
    pub(super) fn value(self) -> &'static str {
        match self {
            Self::Internet => "internet",
            Self::Intranet => "intranet",
        }
    }
}

/// Sizes of a CLB paid by specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// `slb.s1.small`: 5,000 connections.
    S1Small,
    /// `slb.s2.small`: 50,000 connections.
    S2Small,
    /// `slb.s2.medium`: 100,000 connections.
    S2Medium,
    /// `slb.s3.small`: 200,000 connections.
    S3Small,
    /// `slb.s3.medium`: 500,000 connections.
    S3Medium,
    /// `slb.s3.large`: 1,000,000 connections.
    S3Large,
}

impl Spec {
    fn value(self) -> &'static str {
        match self {
            Self::S1Small => "slb.s1.small",
            Self::S2Small => "slb.s2.small",
            Self::S2Medium => "slb.s2.medium",
            Self::S3Small => "slb.s3.small",
            Self::S3Medium => "slb.s3.medium",
            Self::S3Large => "slb.s3.large",
        }
    }
}

/// Access control lists of the listeners, by their ids. An empty list lets everybody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acl {
    /// Only the addresses in these lists.
    Allow(Vec<String>),
    /// All but the addresses in these lists.
    Deny(Vec<String>),
}

/// What is behind a CLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendType {
    /// The pods themselves (Terway only).
    Eni,
    /// The nodes' ports.
    Ecs,
}

impl BackendType {
    fn value(self) -> &'static str {
        match self {
            Self::Eni => "eni",
            Self::Ecs => "ecs",
        }
    }
}
