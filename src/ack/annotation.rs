//! The one table of the annotations that the cloud controller manager (CCM) reads on a Service of type LoadBalancer.
//!
//! Emitting typed values, checking raw ones, finding changes that can't be made and undoing removed ones all go by it. Source of
//! the rows: CCM's `annotations.go` and Alibaba Cloud's help pages for CLB and NLB annotations; where the two disagree, the
//! narrower range.

use std::collections::BTreeMap;

use serde_json::Value;

use super::value::Form;

/// Prefix of the keys today.
pub(super) const PREFIX: &str = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-";
/// Prefix of the keys in old manifests; still read if the new key is absent.
pub(super) const LEGACY_PREFIX: &str = "service.beta.kubernetes.io/alicloud-loadbalancer-";
/// Which kind of backend a load balancer gets; it has one prefix only.
pub(super) const BACKEND_TYPE: &str = "service.beta.kubernetes.io/backend-type";
/// Non-empty: CCM leaves the Service alone.
pub(super) const IGNORED_CLASS: &str = "service.beta.kubernetes.io/class";
/// `spec.loadBalancerClass` of a Network Load Balancer.
pub(super) const NLB_CLASS: &str = "alibabacloud.com/nlb";

/// The two families of load balancers that a Service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Classic Load Balancer: no load balancer class.
    Clb,
    /// Network Load Balancer: load balancer class `alibabacloud.com/nlb`.
    Nlb,
}

/// What an annotation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// The load balancer itself.
    Instance,
    /// All listeners.
    Listener,
    /// TCP and UDP listeners.
    L4,
    /// HTTP and HTTPS listeners of a CLB.
    L7,
    /// HTTPS listeners of a CLB, TCPSSL listeners of an NLB.
    Tls,
    /// The servers behind it.
    Backend,
}

/// What a later change of an annotation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutability {
    /// It is carried out.
    Mutable,
    /// CCM refuses it for ever.
    Immutable,
    /// CCM reads it at creation and ignores it afterwards, silently.
    CreateOnly,
}

/// One annotation of one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Annotation {
    /// The key without its prefix.
    pub(super) suffix: &'static str,
    pub(super) family: Family,
    pub(super) layer: Layer,
    pub(super) form: Form,
    /// What holds without it, as a value that can be written; none if there is no such value or nobody says which.
    pub(super) default: Option<&'static str>,
    pub(super) mutability: Mutability,
    /// First CCM that reads it; empty: all in use.
    pub(super) since: &'static str,
}

impl Annotation {
    /// The key as it is written today.
    pub(super) fn key(&self) -> String {
        format!("{PREFIX}{}", self.suffix)
    }
}

/// What `family` reads under `suffix`.
pub(super) fn find(family: Family, suffix: &str) -> Option<&'static Annotation> {
    TABLE.iter().find(|row| row.family == family && row.suffix == suffix)
}

/// What a Service says to CCM: its family, and its values by suffix, read as CCM reads them (the new key hides the old one, even if empty).
#[derive(Clone, Debug)]
pub(super) struct Settings<'a> {
    pub(super) family: Family,
    pub(super) values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Settings<'a> {
    /// Reads a Service; `None` if CCM has nothing to do with it.
    pub(super) fn of(service: &'a Value) -> Option<Self> {
        let text = |pointer: &str| service.pointer(pointer).and_then(Value::as_str);
        if text("/spec/type") != Some("LoadBalancer") {
            return None;
        }
        let family = match text("/spec/loadBalancerClass") {
            None => Family::Clb,
            Some(NLB_CLASS) => Family::Nlb,
            Some(_) => return None,
        };
        let annotations = annotations(service);
        if annotations.get(IGNORED_CLASS).is_some_and(|class| !class.is_empty()) {
            return None;
        }
        let mut values = BTreeMap::new();
        for prefix in [LEGACY_PREFIX, PREFIX] {
            values.extend(
                annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, *value))),
            );
        }
        Some(Self { family, values })
    }

    /// The value of `suffix`; empty values are none.
    pub(super) fn get(&self, suffix: &str) -> Option<&'a str> {
        self.values.get(suffix).copied().filter(|value| !value.is_empty())
    }

    /// The value of `suffix`, or what holds without it.
    pub(super) fn effective(&self, suffix: &str) -> Option<&'a str> {
        self.get(suffix).or_else(|| find(self.family, suffix)?.default)
    }

    /// Whether `suffix` has this value. On/off values of an NLB are read without regard to case.
    pub(super) fn is(&self, suffix: &str, value: &str) -> bool {
        self.effective(suffix).is_some_and(|found| match self.family {
            Family::Clb => found == value,
            Family::Nlb => found.eq_ignore_ascii_case(value),
        })
    }

    /// A map of `a:b,c:d`, such as `protocol-port`, without its malformed entries.
    pub(super) fn map(&self, suffix: &str) -> Vec<(&'a str, &'a str)> {
        self.get(suffix)
            .into_iter()
            .flat_map(|value| value.split(','))
            .filter_map(|entry| entry.trim().split_once(':'))
            .collect()
    }

    /// The protocols of its listeners, in capitals: by `protocol-port`, else by the Service's port.
    pub(super) fn protocols(&self, service: &Value) -> Vec<(u64, String)> {
        let declared = self.map("protocol-port");
        ports(service)
            .into_iter()
            .map(|(port, protocol)| {
                let listener = declared.iter().find(|(_, number)| number.parse() == Ok(port));
                (port, listener.map_or(protocol, |(protocol, _)| protocol).to_ascii_uppercase())
            })
            .collect()
    }
}

/// The first CCM of all clusters that are still supported; whatever needs an older one needs no word.
const OLDEST_CCM: &str = "2.0.0";

/// The newest CCM that a Service's annotations need, with the suffix that needs it; `None` if any CCM in use will do.
pub(super) fn least_ccm(settings: &Settings<'_>) -> Option<(&'static str, &'static str)> {
    let needed = settings
        .values
        .keys()
        .filter_map(|suffix| find(settings.family, suffix))
        .filter(|row| version(row.since) > version(OLDEST_CCM));
    needed.max_by_key(|row| version(row.since)).map(|row| (row.since, row.suffix))
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|number| number.parse().unwrap_or_default()).collect()
}

/// An object's annotations.
pub(super) fn annotations(object: &Value) -> BTreeMap<&str, &str> {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// A Service's ports with their protocols.
pub(super) fn ports(service: &Value) -> Vec<(u64, &str)> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    ports
        .into_iter()
        .flatten()
        .filter_map(|port| {
            Some((port.get("port")?.as_u64()?, port.get("protocol").and_then(Value::as_str).unwrap_or("TCP")))
        })
        .collect()
}

const fn row(
    family: Family,
    layer: Layer,
    suffix: &'static str,
    form: Form,
    default: Option<&'static str>,
    mutability: Mutability,
    since: &'static str,
) -> Annotation {
    Annotation { suffix, family, layer, form, default, mutability, since }
}

use Family::{Clb, Nlb};
use Form::{
    Anything, Codes, Enum, FlagTrue, Host, Int, List, Map, Name, OnOff, Pairs, Path, Prefixed, Ranges, Zones,
};
use Layer::{Backend, Instance, L4, L7, Listener, Tls};
use Mutability::{CreateOnly, Immutable, Mutable};

const CIPHERS: &[&str] = &[
    "tls_cipher_policy_1_0",
    "tls_cipher_policy_1_1",
    "tls_cipher_policy_1_2",
    "tls_cipher_policy_1_2_strict",
    "tls_cipher_policy_1_2_strict_with_1_3",
];
const SPECS: &[&str] =
    &["slb.s1.small", "slb.s2.small", "slb.s2.medium", "slb.s3.small", "slb.s3.medium", "slb.s3.large"];

/// The table: one row an annotation and family.
#[rustfmt::skip]
pub(super) static TABLE: &[Annotation] = &[
    // CLB, the load balancer itself
    row(Clb, Instance, "address-type", Enum(&["internet", "intranet"]), Some("internet"), Immutable, "1.9.3"),
    row(Clb, Instance, "vswitch-id", Prefixed("vsw-"), None, CreateOnly, ""),
    row(Clb, Instance, "ip", Form::Ipv4, None, Immutable, "2.7.0"),
    row(Clb, Instance, "network-type", Enum(&["classic", "vpc"]), None, Immutable, "2.11"),
    row(Clb, Instance, "spec", Enum(SPECS), Some("slb.s1.small"), Mutable, ""),
    // No default: it is another one from CCM 2.12.1 on.
    row(Clb, Instance, "instance-charge-type", Enum(&["PayBySpec", "PayByCLCU"]), None, Mutable, "2.4.0"),
    row(Clb, Instance, "charge-type", Enum(&["paybytraffic", "paybybandwidth"]), Some("paybytraffic"), Mutable, ""),
    row(Clb, Instance, "bandwidth", Int(1, 5120), Some("50"), Mutable, ""),
    row(Clb, Instance, "id", Prefixed("lb-"), None, Immutable, "1.9.3.81"),
    row(Clb, Instance, "force-override-listeners", FlagTrue, Some("false"), Mutable, ""),
    row(Clb, Instance, "name", Name(80), None, Mutable, ""),
    row(Clb, Instance, "resource-group-id", Prefixed("rg-"), None, Immutable, ""),
    row(Clb, Instance, "additional-resource-tags", Pairs, None, Mutable, "2.10"),
    row(Clb, Instance, "delete-protection", OnOff, Some("on"), Mutable, ""),
    row(Clb, Instance, "modification-protection", Enum(&["ConsoleProtection", "NonProtection"]), Some("ConsoleProtection"), Mutable, ""),
    row(Clb, Instance, "master-zoneid", Anything, None, Immutable, ""),
    row(Clb, Instance, "slave-zoneid", Anything, None, Immutable, ""),
    row(Clb, Instance, "ip-version", Enum(&["ipv4", "ipv6"]), Some("ipv4"), Immutable, ""),
    row(Clb, Instance, "external-ip-type", Enum(&["eip"]), None, Mutable, ""),
    row(Clb, Instance, "hostname", Host, None, Mutable, "2.3.0"),
    // Any value but none switches it on, so no value switches it off.
    row(Clb, Instance, "preserve-lb-on-delete", Anything, None, Mutable, "2.10.0"),
    // CLB, its listeners
    row(Clb, Listener, "protocol-port", Map(&["http", "https", "tcp", "udp"]), None, Mutable, ""),
    row(Clb, Tls, "cert-id", Anything, None, Mutable, ""),
    row(Clb, Tls, "domain-extensions", Map(&[]), None, Mutable, "2.13"),
    row(Clb, Tls, "tls-cipher-policy", Enum(CIPHERS), Some("tls_cipher_policy_1_0"), Mutable, "2.4.0"),
    row(Clb, Tls, "http2-enabled", OnOff, Some("on"), Mutable, "2.1.0"),
    row(Clb, Tls, "forward-port", Map(&[]), None, Mutable, ""),
    row(Clb, Listener, "scheduler", Enum(&["rr", "wrr", "sch", "tch"]), Some("rr"), Mutable, ""),
    row(Clb, L4, "persistence-timeout", Int(0, 3600), Some("0"), Mutable, ""),
    row(Clb, L4, "established-timeout", Int(10, 900), None, Mutable, "2.3.0"),
    row(Clb, L7, "idle-timeout", Int(1, 60), Some("15"), Mutable, "2.1.0"),
    row(Clb, L7, "request-timeout", Int(1, 180), Some("60"), Mutable, "2.3.0"),
    row(Clb, L7, "sticky-session", OnOff, Some("off"), Mutable, ""),
    row(Clb, L7, "sticky-session-type", Enum(&["insert", "server"]), None, Mutable, ""),
    row(Clb, L7, "cookie-timeout", Int(1, 86_400), None, Mutable, ""),
    row(Clb, L7, "cookie", Form::Cookie, None, Mutable, ""),
    row(Clb, Listener, "acl-status", OnOff, Some("off"), Mutable, ""),
    row(Clb, Listener, "acl-id", List(""), None, Mutable, ""),
    row(Clb, Listener, "acl-type", Enum(&["white", "black"]), None, Mutable, ""),
    row(Clb, L4, "connection-drain", OnOff, Some("off"), Mutable, "2.0.1"),
    row(Clb, L4, "connection-drain-timeout", Int(10, 900), None, Mutable, "2.0.1"),
    row(Clb, L4, "proxy-protocol", OnOff, Some("off"), Mutable, "2.6.0"),
    row(Clb, L7, "xforwardedfor-proto", OnOff, Some("off"), Mutable, "2.1.0"),
    row(Clb, L7, "xforwardedfor-slbport", OnOff, Some("off"), Mutable, "2.9.1"),
    row(Clb, L7, "xforwardedfor-clientsrcport", OnOff, Some("off"), Mutable, "2.9.1"),
    row(Clb, L4, "health-check-switch", OnOff, Some("on"), Mutable, "2.6.0"),
    row(Clb, L7, "health-check-flag", OnOff, Some("off"), Mutable, ""),
    row(Clb, Listener, "health-check-type", Enum(&["tcp", "http"]), Some("tcp"), Mutable, ""),
    row(Clb, Listener, "health-check-uri", Path(80), None, Mutable, ""),
    row(Clb, Listener, "health-check-connect-port", Form::PortOr(-520), Some("-520"), Mutable, ""),
    row(Clb, Listener, "healthy-threshold", Int(2, 10), Some("3"), Mutable, ""),
    row(Clb, Listener, "unhealthy-threshold", Int(2, 10), Some("3"), Mutable, ""),
    row(Clb, Listener, "health-check-interval", Int(1, 50), Some("2"), Mutable, ""),
    row(Clb, Listener, "health-check-connect-timeout", Int(1, 300), Some("5"), Mutable, ""),
    row(Clb, L7, "health-check-timeout", Int(1, 300), Some("5"), Mutable, ""),
    row(Clb, Listener, "health-check-domain", Form::Domain("$_ip"), None, Mutable, ""),
    row(Clb, Listener, "health-check-httpcode", Codes, Some("http_2xx"), Mutable, ""),
    row(Clb, Listener, "health-check-method", Enum(&["head", "get"]), Some("head"), Mutable, "2.3.0"),
    // CLB, the servers behind it
    row(Clb, Backend, "backend-label", Pairs, None, Mutable, ""),
    row(Clb, Backend, "remove-unscheduled-backend", OnOff, Some("off"), Mutable, ""),
    row(Clb, Backend, "vgroup-port", Map(&[]), None, Mutable, "2.0.1"),
    row(Clb, Backend, "weight", Int(0, 100), None, Mutable, ""),
    row(Clb, Backend, "default-weight", Int(0, 100), Some("100"), Mutable, "2.14"),
    row(Clb, Backend, "ignore-weight-update", OnOff, Some("off"), Mutable, "2.11.1"),
    row(Clb, Backend, "backend-ip-version", Enum(&["ipv4", "ipv6"]), Some("ipv4"), Mutable, ""),
    // NLB, the load balancer itself
    row(Nlb, Instance, "zone-maps", Zones, None, Mutable, ""),
    row(Nlb, Instance, "address-type", Enum(&["internet", "intranet"]), Some("internet"), Mutable, ""),
    row(Nlb, Instance, "ip-version", Enum(&["ipv4", "DualStack"]), Some("ipv4"), Immutable, ""),
    row(Nlb, Instance, "ipv6-address-type", Enum(&["intranet", "internet"]), Some("intranet"), Mutable, "2.9.1"),
    row(Nlb, Instance, "security-group-ids", List("sg-"), None, Mutable, "2.6.0"),
    row(Nlb, Instance, "bandwidth-package-id", Prefixed("cbwp-"), None, Mutable, "2.9.1"),
    row(Nlb, Instance, "cross-zone-enabled", OnOff, Some("on"), Mutable, "2.13"),
    row(Nlb, Instance, "id", Prefixed("nlb-"), None, Immutable, ""),
    row(Nlb, Instance, "force-override-listeners", FlagTrue, Some("false"), Mutable, ""),
    row(Nlb, Instance, "preserve-lb-on-delete", Anything, None, Mutable, ""),
    row(Nlb, Instance, "name", Name(80), None, Mutable, ""),
    row(Nlb, Instance, "resource-group-id", Prefixed("rg-"), None, Immutable, ""),
    row(Nlb, Instance, "additional-resource-tags", Pairs, None, Mutable, ""),
    // NLB, its listeners
    row(Nlb, Listener, "protocol-port", Map(&["TCP", "UDP", "TCPSSL"]), None, Mutable, ""),
    row(Nlb, Tls, "cert-id", List(""), None, Mutable, ""),
    row(Nlb, Tls, "additional-cert-ids", List(""), None, Mutable, "2.13"),
    row(Nlb, Tls, "cacert", OnOff, Some("off"), Mutable, ""),
    row(Nlb, Tls, "cacert-id", Anything, None, Mutable, ""),
    // A policy of one's own has an id, which nothing here can check.
    row(Nlb, Tls, "tls-cipher-policy", Anything, Some("tls_cipher_policy_1_0"), Mutable, ""),
    row(Nlb, Tls, "alpn", OnOff, Some("off"), Mutable, "2.10"),
    row(Nlb, Tls, "alpn-policy", Enum(&["HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred"]), None, Mutable, "2.10"),
    row(Nlb, Listener, "proxy-protocol", OnOff, Some("off"), Mutable, ""),
    row(Nlb, Listener, "ppv2-pvl-ep-id-enabled", OnOff, Some("off"), Mutable, "2.9.1"),
    row(Nlb, Listener, "ppv2-pvl-eps-id-enabled", OnOff, Some("off"), Mutable, "2.9.1"),
    row(Nlb, Listener, "ppv2-pvl-vpc-id-enabled", OnOff, Some("off"), Mutable, "2.9.1"),
    row(Nlb, Listener, "cps", Int(0, 1_000_000), Some("0"), Mutable, ""),
    row(Nlb, Listener, "idle-timeout", Int(10, 900), Some("900"), Mutable, ""),
    row(Nlb, Listener, "listener-port-range", Ranges, None, Mutable, "2.11.4"),
    // NLB, the servers behind it
    row(Nlb, Backend, "server-group-type", Enum(&["Instance", "Ip"]), Some("Instance"), Mutable, "2.8.0"),
    row(Nlb, Backend, "scheduler", Enum(&["wrr", "rr", "sch", "tch", "wlc"]), Some("wrr"), Mutable, ""),
    row(Nlb, Backend, "connection-drain", OnOff, Some("off"), Mutable, ""),
    row(Nlb, Backend, "connection-drain-timeout", Int(10, 900), None, Mutable, ""),
    row(Nlb, Backend, "preserve-client-ip", OnOff, Some("on"), Mutable, ""),
    row(Nlb, Backend, "health-check-flag", OnOff, Some("on"), Mutable, ""),
    row(Nlb, Backend, "health-check-type", Enum(&["tcp", "http", "udp"]), Some("tcp"), Mutable, ""),
    row(Nlb, Backend, "health-check-connect-port", Int(0, 65_535), Some("0"), Mutable, ""),
    row(Nlb, Backend, "health-check-connect-timeout", Int(1, 300), Some("5"), Mutable, ""),
    row(Nlb, Backend, "healthy-threshold", Int(2, 10), Some("2"), Mutable, ""),
    row(Nlb, Backend, "unhealthy-threshold", Int(2, 10), Some("2"), Mutable, ""),
    row(Nlb, Backend, "health-check-interval", Int(1, 50), Some("10"), Mutable, ""),
    row(Nlb, Backend, "health-check-uri", Path(80), None, Mutable, ""),
    row(Nlb, Backend, "health-check-domain", Form::Domain("$SERVER_IP"), None, Mutable, ""),
    row(Nlb, Backend, "health-check-method", Enum(&["GET", "HEAD"]), None, Mutable, ""),
    row(Nlb, Backend, "health-check-httpcode", Codes, Some("http_2xx"), Mutable, ""),
    row(Nlb, Backend, "backend-ip-version", Enum(&["ipv4", "ipv6", "dualstack"]), Some("ipv4"), Mutable, ""),
    row(Nlb, Backend, "vgroup-port", Map(&[]), None, Mutable, "2.9.1"),
    row(Nlb, Backend, "weight", Int(0, 100), None, Mutable, ""),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn no_row_stands_twice_and_every_default_is_a_value() {
        let mut seen = BTreeSet::new();
        for row in TABLE {
            assert!(seen.insert(format!("{:?} {}", row.family, row.suffix)), "{row:?}");
            if let Some(default) = row.default {
                assert_eq!(row.form.check(default), Ok(()), "{row:?}");
            }
        }
    }

    #[test]
    fn the_new_key_hides_the_old_one_even_if_empty() {
        let service = json!({"spec": {"type": "LoadBalancer"}, "metadata": {"annotations": {
            format!("{PREFIX}id"): "", format!("{LEGACY_PREFIX}id"): "lb-x", format!("{LEGACY_PREFIX}spec"): "slb.s2.small"}}});
        let settings = Settings::of(&service).unwrap();
        assert_eq!(settings.get("id"), None);
        assert_eq!(settings.get("spec"), Some("slb.s2.small"));
        assert_eq!(settings.effective("address-type"), Some("internet"));
    }

    #[test]
    fn the_newest_ccm_that_is_needed() {
        let service = json!({"spec": {"type": "LoadBalancer"}, "metadata": {"annotations": {
            format!("{PREFIX}ip"): "10.0.0.1", format!("{PREFIX}preserve-lb-on-delete"): "true", format!("{PREFIX}spec"): "slb.s1.small"}}});
        let settings = Settings::of(&service).unwrap();
        assert_eq!(least_ccm(&settings), Some(("2.10.0", "preserve-lb-on-delete")));
    }

    #[test]
    fn which_services_are_whose() {
        for (spec, annotation, expected) in [
            (json!({"type": "LoadBalancer"}), "", Some(Family::Clb)),
            (json!({"type": "LoadBalancer", "loadBalancerClass": NLB_CLASS}), "", Some(Family::Nlb)),
            (json!({"type": "LoadBalancer", "loadBalancerClass": "metallb"}), "", None),
            (json!({"type": "LoadBalancer"}), "other", None),
            (json!({"type": "ClusterIP"}), "", None),
        ] {
            let service = json!({"spec": spec, "metadata": {"annotations": {IGNORED_CLASS: annotation}}});
            assert_eq!(Settings::of(&service).map(|settings| settings.family), expected, "{service}");
        }
    }
}
