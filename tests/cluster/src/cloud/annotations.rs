//! The annotations of a Service of type LoadBalancer, as CCM and the SLB OpenAPI behind it take them.
//!
//! Nothing checks annotations when they are written: unknown keys are ignored, and a bad value shows only as an event
//! of the Service.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// Classic or network load balancer: two products, two controllers, no way from one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Clb,
    Nlb,
}

/// The class that makes a Service an NLB.
pub(crate) const NLB_CLASS: &str = "alibabacloud.com/nlb";

/// The load balancer family that CCM would give to this Service; `None` when the Service is not for CCM.
pub(crate) fn family(service: &Service) -> Option<Family> {
    let spec = service.spec.as_ref()?;
    let annotations = Annotations::of(service);
    let for_others = annotations
        .all
        .get("service.beta.kubernetes.io/class")
        .is_some_and(|class| !class.is_empty())
        || annotations.all.contains_key("service.beta.kubernetes.io/alibaba-cloud-loadbalancer-tunnel-type");
    if spec.type_.as_deref() != Some("LoadBalancer") || for_others {
        return None;
    }
    match spec.load_balancer_class.as_deref() {
        None => Some(Family::Clb),
        Some(NLB_CLASS) => Some(Family::Nlb),
        Some(_) => None,
    }
}

/// The annotations of one Service.
pub(crate) struct Annotations<'a> {
    all: &'a BTreeMap<String, String>,
}

static NONE: BTreeMap<String, String> = BTreeMap::new();

impl<'a> Annotations<'a> {
    pub(crate) fn of(service: &'a Service) -> Self {
        Self { all: service.metadata.annotations.as_ref().unwrap_or(&NONE) }
    }

    /// The value of a key by its suffix. The current prefix wins over the old one by being there, even when empty.
    pub(crate) fn get(&self, suffix: &str) -> Option<&'a str> {
        ["alibaba-cloud", "alicloud"]
            .iter()
            .find_map(|prefix| {
                self.all.get(&format!("service.beta.kubernetes.io/{prefix}-loadbalancer-{suffix}"))
            })
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn is(&self, suffix: &str, value: &str) -> bool {
        self.get(suffix) == Some(value)
    }
}

/// What a value may be.
enum Kind {
    OneOf(&'static [&'static str]),
    Number(i64, i64),
    /// `on` or `off`.
    Switch,
    /// A comma-separated list of these.
    List(&'static [&'static str]),
    /// Begins like this.
    Id(&'static str),
    /// `/` first, at most 80 characters.
    Path,
}

use Kind::{Id, List, Number, OneOf, Path, Switch};

/// The switch that turns a feature on.
const ON: &str = "on";

/// CLB: what the OpenAPI says no to.
const CLB: &[(&str, Kind)] = &[
    ("address-type", OneOf(&["internet", "intranet"])),
    ("vswitch-id", Id("vsw-")),
    ("network-type", OneOf(&["classic", "vpc"])),
    (
        "spec",
        OneOf(&[
            "slb.s1.small",
            "slb.s2.small",
            "slb.s2.medium",
            "slb.s3.small",
            "slb.s3.medium",
            "slb.s3.large",
        ]),
    ),
    ("instance-charge-type", OneOf(&["PayBySpec", "PayByCLCU"])),
    ("charge-type", OneOf(&["paybytraffic", "paybybandwidth"])),
    ("bandwidth", Number(1, 5120)),
    ("id", Id("lb-")),
    ("resource-group-id", Id("rg-")),
    ("delete-protection", Switch),
    ("modification-protection", OneOf(&["ConsoleProtection", "NonProtection"])),
    ("ip-version", OneOf(&["ipv4", "ipv6"])),
    ("external-ip-type", OneOf(&["eip"])),
    (
        "tls-cipher-policy",
        OneOf(&[
            "tls_cipher_policy_1_0",
            "tls_cipher_policy_1_1",
            "tls_cipher_policy_1_2",
            "tls_cipher_policy_1_2_strict",
            "tls_cipher_policy_1_2_strict_with_1_3",
        ]),
    ),
    ("http2-enabled", Switch),
    ("scheduler", OneOf(&["rr", "wrr", "sch", "tch", "wlc"])),
    ("persistence-timeout", Number(0, 3600)),
    ("established-timeout", Number(10, 900)),
    ("idle-timeout", Number(1, 60)),
    ("request-timeout", Number(1, 180)),
    ("sticky-session", Switch),
    ("sticky-session-type", OneOf(&["insert", "server"])),
    ("cookie-timeout", Number(1, 86_400)),
    ("acl-status", Switch),
    ("acl-type", OneOf(&["white", "black"])),
    ("connection-drain", Switch),
    ("connection-drain-timeout", Number(10, 900)),
    ("proxy-protocol", Switch),
    ("xforwardedfor-proto", Switch),
    ("xforwardedfor-slbport", Switch),
    ("xforwardedfor-clientsrcport", Switch),
    ("health-check-switch", Switch),
    ("health-check-flag", Switch),
    ("health-check-type", OneOf(&["tcp", "http"])),
    ("health-check-uri", Path),
    ("health-check-connect-port", Number(-520, 65_535)),
    ("healthy-threshold", Number(2, 10)),
    ("unhealthy-threshold", Number(2, 10)),
    ("health-check-interval", Number(1, 50)),
    ("health-check-connect-timeout", Number(1, 300)),
    ("health-check-timeout", Number(1, 300)),
    ("health-check-httpcode", List(&["http_2xx", "http_3xx", "http_4xx", "http_5xx"])),
    ("health-check-method", OneOf(&["head", "get"])),
    ("weight", Number(0, 100)),
    ("default-weight", Number(0, 100)),
];

/// NLB: the switches are not here, since anything that is not `on` means off to it.
const NLB: &[(&str, Kind)] = &[
    ("address-type", OneOf(&["internet", "intranet"])),
    ("ip-version", OneOf(&["ipv4", "DualStack"])),
    ("ipv6-address-type", OneOf(&["internet", "intranet"])),
    ("id", Id("nlb-")),
    ("resource-group-id", Id("rg-")),
    ("bandwidth-package-id", Id("cbwp-")),
    ("alpn-policy", OneOf(&["HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred"])),
    ("cps", Number(0, 1_000_000)),
    ("idle-timeout", Number(10, 900)),
    ("server-group-type", OneOf(&["Instance", "Ip"])),
    ("scheduler", OneOf(&["wrr", "rr", "sch", "tch", "wlc"])),
    ("connection-drain-timeout", Number(0, 900)),
    ("health-check-type", OneOf(&["tcp", "http", "udp"])),
    ("health-check-connect-port", Number(0, 65_535)),
    ("health-check-connect-timeout", Number(1, 300)),
    ("healthy-threshold", Number(2, 10)),
    ("unhealthy-threshold", Number(2, 10)),
    ("health-check-interval", Number(1, 50)),
    ("health-check-uri", Path),
    ("health-check-method", OneOf(&["GET", "HEAD", "get", "head"])),
];

/// What the cloud would say to this Service's annotations; `Ok` when it takes them.
pub(crate) fn check(family: Family, service: &Service) -> Result<(), String> {
    let annotations = Annotations::of(service);
    let table = match family {
        Family::Clb => CLB,
        Family::Nlb => NLB,
    };
    for (suffix, kind) in table {
        if let Some(value) = annotations.get(suffix) {
            check_value(suffix, kind, value)?;
        }
    }
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    match family {
        Family::Clb => check_clb(&annotations, ports),
        Family::Nlb => check_nlb(&annotations, ports),
    }
}

fn check_value(suffix: &str, kind: &Kind, value: &str) -> Result<(), String> {
    let wanted = match kind {
        OneOf(values) if values.contains(&value) => return Ok(()),
        OneOf(values) => values.join(", "),
        Switch if [ON, "off"].contains(&value) => return Ok(()),
        Switch => "on, off".to_owned(),
        Number(least, most) if value.parse().is_ok_and(|number: i64| (*least..=*most).contains(&number)) => {
            return Ok(());
        }
        Number(least, most) => format!("a number from {least} to {most}"),
        List(values) if value.split(',').all(|part| values.contains(&part)) => return Ok(()),
        List(values) => format!("a list of {}", values.join(", ")),
        Id(prefix) if value.starts_with(prefix) && value.len() > prefix.len() => return Ok(()),
        Id(prefix) => format!("an id that begins with {prefix}"),
        Path if value.starts_with('/') && value.len() <= 80 => return Ok(()),
        Path => "a path of at most 80 characters that begins with /".to_owned(),
    };
    Err(format!("InvalidParameter: the value `{value}` of {suffix} is not valid, expected {wanted}"))
}

fn check_clb(annotations: &Annotations<'_>, ports: &[ServicePort]) -> Result<(), String> {
    let protocols = protocol_ports(annotations, ports, &["http", "https", "tcp", "udp"])?;
    let needs = |suffix: &str, because: &str| match annotations.get(suffix) {
        Some(_) => Ok(()),
        None => Err(format!("MissingParameter: {suffix} is needed {because}")),
    };
    if protocols.iter().any(|protocol| *protocol == "https") {
        needs("cert-id", "by a listener of protocol https")?;
    }
    if annotations.is("sticky-session", ON) {
        needs("sticky-session-type", "by sticky-session on")?;
        match annotations.get("sticky-session-type") {
            Some("insert") => needs("cookie-timeout", "by sticky-session-type insert")?,
            _ => needs("cookie", "by sticky-session-type server")?,
        }
    }
    if annotations.is("acl-status", ON) {
        needs("acl-id", "by acl-status on")?;
        needs("acl-type", "by acl-status on")?;
    }
    if annotations.is("connection-drain", ON) {
        needs("connection-drain-timeout", "by connection-drain on")?;
    }
    if let Some(address) = annotations.get("ip") {
        if address.parse::<std::net::Ipv4Addr>().is_err() {
            return Err(format!(
                "InvalidParameter: the value `{address}` of ip is not valid, expected an IPv4 address"
            ));
        }
        if !annotations.is("address-type", "intranet") {
            return Err("InvalidParameter: ip is for load balancers of address-type intranet".to_owned());
        }
        needs("vswitch-id", "by ip")?;
    }
    if annotations.is("instance-charge-type", "PayByCLCU") {
        if annotations.get("spec").is_some() {
            return Err("InvalidParameter: spec does not go with instance-charge-type PayByCLCU".to_owned());
        }
        if annotations.is("charge-type", "paybybandwidth") {
            return Err("InvalidParameter: charge-type paybybandwidth does not go with instance-charge-type PayByCLCU".to_owned());
        }
    }
    Ok(())
}

fn check_nlb(annotations: &Annotations<'_>, ports: &[ServicePort]) -> Result<(), String> {
    let protocols = protocol_ports(annotations, ports, &["tcp", "udp", "tcpssl"])?;
    if protocols.iter().any(|protocol| *protocol == "tcpssl") && annotations.get("cert-id").is_none() {
        return Err("MissingParameter: cert-id is needed by a listener of protocol TCPSSL".to_owned());
    }
    match annotations.get("zone-maps") {
        None if annotations.get("id").is_none() => {
            Err("MissingParameter: zone-maps is needed to create a network load balancer".to_owned())
        }
        Some(maps)
            if maps.split(',').any(|zone| zone.split(':').filter(|part| !part.is_empty()).count() < 2) =>
        {
            Err(format!(
                "InvalidParameter: the value `{maps}` of zone-maps is not valid, expected zone:vswitch,zone:vswitch"
            ))
        }
        _ => Ok(()),
    }
}

/// The protocols that `protocol-port` gives to ports, in small letters.
fn protocol_ports(
    annotations: &Annotations<'_>,
    ports: &[ServicePort],
    known: &[&str],
) -> Result<Vec<String>, String> {
    let Some(value) = annotations.get("protocol-port") else { return Ok(Vec::new()) };
    value
        .split(',')
        .map(|pair| {
            let invalid = |why: String| {
                format!("InvalidParameter: the value `{value}` of protocol-port is not valid: {why}")
            };
            let (protocol, port) =
                pair.split_once(':').ok_or_else(|| invalid(format!("`{pair}` is not PROTOCOL:PORT")))?;
            let protocol = protocol.to_lowercase();
            if !known.contains(&protocol.as_str()) {
                return Err(invalid(format!("`{protocol}` is not one of {}", known.join(", "))));
            }
            let port: i32 = port.parse().map_err(|_| invalid(format!("`{port}` is not a port")))?;
            if !ports.iter().any(|has| has.port == port) {
                return Err(invalid(format!("the Service has no port {port}")));
            }
            Ok(protocol)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(class: Option<&str>, annotations: &[(&str, &str)]) -> Service {
        let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
        serde_json::from_value(json!({
            "metadata": { "name": "a", "annotations": annotations },
            "spec": { "type": "LoadBalancer", "loadBalancerClass": class, "ports": [{ "port": 443 }, { "port": 1935 }] },
        }))
        .unwrap()
    }

    type Pairs = &'static [(&'static str, &'static str)];

    const NEW: &str = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-";
    const OLD: &str = "service.beta.kubernetes.io/alicloud-loadbalancer-";

    #[test]
    fn the_class_decides_who_the_service_is_for() {
        assert_eq!(family(&service(None, &[])), Some(Family::Clb));
        assert_eq!(family(&service(Some(NLB_CLASS), &[])), Some(Family::Nlb));
        assert_eq!(family(&service(Some("example.com/other"), &[])), None);
        assert_eq!(family(&service(None, &[("service.beta.kubernetes.io/class", "other")])), None);
        assert_eq!(family(&service(None, &[("service.beta.kubernetes.io/class", "")])), Some(Family::Clb));
        assert_eq!(
            family(
                &serde_json::from_value(json!({ "metadata": {}, "spec": { "type": "ClusterIP" } })).unwrap()
            ),
            None
        );
    }

    #[test]
    fn the_current_prefix_wins_by_being_there_even_when_empty() {
        let both = service(None, &[(&format!("{NEW}id"), ""), (&format!("{OLD}id"), "lb-a")]);
        assert_eq!(Annotations::of(&both).get("id"), None);
        let old = service(None, &[(&format!("{OLD}id"), "lb-a")]);
        assert_eq!(Annotations::of(&old).get("id"), Some("lb-a"));
    }

    #[test]
    fn clb_values_are_checked_as_the_open_api_does() {
        let cases: &[(Pairs, Option<&str>)] = &[
            (&[], None),
            (&[("no-such-key", "x")], None),
            (&[("address-type", "intranet")], None),
            (&[("address-type", "Internet")], Some("address-type")),
            (&[("bandwidth", "5120")], None),
            (&[("bandwidth", "5121")], Some("bandwidth")),
            (&[("bandwidth", "fast")], Some("bandwidth")),
            (&[("health-check-flag", "true")], Some("health-check-flag")),
            (&[("health-check-httpcode", "http_2xx,http_3xx")], None),
            (&[("health-check-httpcode", "http_2xx,200")], Some("health-check-httpcode")),
            (&[("health-check-uri", "index.html")], Some("health-check-uri")),
            (&[("id", "nlb-a")], Some("lb-")),
            (&[("protocol-port", "https:443")], Some("cert-id")),
            (&[("protocol-port", "https:443"), ("cert-id", "c")], None),
            (&[("protocol-port", "tcp:80")], Some("no port 80")),
            (&[("protocol-port", "443")], Some("PROTOCOL:PORT")),
            (&[("sticky-session", "on")], Some("sticky-session-type")),
            (&[("sticky-session", "on"), ("sticky-session-type", "insert")], Some("cookie-timeout")),
            (&[("acl-status", "on"), ("acl-id", "acl-a")], Some("acl-type")),
            (&[("connection-drain", "on")], Some("connection-drain-timeout")),
            (&[("ip", "10.0.0.1")], Some("intranet")),
            (&[("ip", "10.0.0.1"), ("address-type", "intranet")], Some("vswitch-id")),
            (&[("instance-charge-type", "PayByCLCU"), ("spec", "slb.s1.small")], Some("PayByCLCU")),
        ];
        for (annotations, wrong) in cases {
            let keys: Vec<(String, &str)> =
                annotations.iter().map(|(suffix, value)| (format!("{NEW}{suffix}"), *value)).collect();
            let pairs: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            match (check(Family::Clb, &service(None, &pairs)), wrong) {
                (Ok(()), None) => {}
                (Err(message), Some(part)) => assert!(message.contains(part), "{annotations:?}: {message}"),
                (result, _) => panic!("{annotations:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn an_nlb_needs_its_zones_and_takes_any_switch() {
        let check = |pairs: &[(&str, &str)]| check(Family::Nlb, &service(Some(NLB_CLASS), pairs));
        assert!(check(&[]).unwrap_err().contains("zone-maps"));
        let zones = format!("{NEW}zone-maps");
        assert_eq!(check(&[(&zones, "a:vsw-1,b:vsw-2"), (&format!("{NEW}proxy-protocol"), "yes")]), Ok(()));
        assert!(check(&[(&zones, "a:vsw-1,b")]).unwrap_err().contains("zone-maps"));
        assert_eq!(check(&[(&format!("{NEW}id"), "nlb-a")]), Ok(()));
    }
}
