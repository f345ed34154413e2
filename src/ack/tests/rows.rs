//! What each annotation may be, and with which others.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ack::annotation::BACKEND_TYPE;
use crate::ack::{immutable_change, shared_listeners, undo_removed};

/// Annotations by suffix, and the findings (`E`rror or `W`arning, and the suffix).
type Row = (&'static [(&'static str, &'static str)], &'static [&'static str]);

const CLB_ROWS: &[Row] = &[
    (&[], &[]),
    (&[("address-type", "internet")], &[]),
    (&[("address-type", "Internet")], &["E address-type"]),
    (&[("vswitch-id", "vsw-a")], &["E vswitch-id"]),
    (&[("address-type", "intranet"), ("vswitch-id", "vsw-a")], &[]),
    (&[("address-type", "intranet"), ("vswitch-id", "subnet-a")], &["E vswitch-id"]),
    (&[("address-type", "intranet"), ("ip", "10.0.0.1")], &["E ip"]),
    (&[("address-type", "intranet"), ("ip", "10.0.0.1"), ("vswitch-id", "vsw-a")], &[]),
    (&[("network-type", "classic")], &[]),
    (&[("network-type", "vswitch")], &["E network-type"]),
    (&[("slb-network-type", "classic")], &["E slb-network-type"]),
    (&[("spec", "slb.s2.small")], &[]),
    (&[("spec", "slb.s9.huge")], &["E spec"]),
    (&[("spec", "slb.s1.small"), ("instance-charge-type", "PayByCLCU")], &["E spec"]),
    (&[("instance-charge-type", "PayBySpec")], &[]),
    (&[("instance-charge-type", "paybyspec")], &["E instance-charge-type"]),
    (&[("charge-type", "paybybandwidth")], &["E charge-type"]),
    (&[("charge-type", "paybybandwidth"), ("instance-charge-type", "PayByCLCU")], &["E charge-type"]),
    (&[("charge-type", "paybybandwidth"), ("instance-charge-type", "PayBySpec"), ("bandwidth", "100")], &[]),
    (&[("charge-type", "paybytraffic"), ("address-type", "intranet")], &["W charge-type"]),
    (&[("bandwidth", "100")], &["W bandwidth"]),
    (
        &[("charge-type", "paybybandwidth"), ("instance-charge-type", "PayBySpec"), ("bandwidth", "5121")],
        &["E bandwidth"],
    ),
    (&[("id", "lb-a")], &["E id"]),
    (&[("id", "lb-a"), ("force-override-listeners", "true")], &[]),
    (&[("id", "lb-a"), ("force-override-listeners", "false")], &[]),
    (&[("id", "lb-a"), ("force-override-listeners", "True")], &["E force-override-listeners"]),
    (&[("id", "nlb-a"), ("force-override-listeners", "true")], &["E id"]),
    (&[("force-override-listeners", "true")], &["W force-override-listeners"]),
    (&[("id", "lb-a"), ("force-override-listeners", "true"), ("vswitch-id", "vsw-a")], &["W vswitch-id"]),
    (&[("name", "srs")], &[]),
    (&[("name", "1srs")], &["E name"]),
    (&[("resource-group-id", "rg-a")], &[]),
    (&[("resource-group-id", "group")], &["E resource-group-id"]),
    (&[("additional-resource-tags", "a=b,c=d")], &[]),
    (&[("additional-resource-tags", "a=b=c")], &["E additional-resource-tags"]),
    (&[("additional-resource-tags", "acs:a=b")], &["W additional-resource-tags"]),
    (&[("additional-resource-tags", "a,b,c,d,e,f,g,h,i,j,k")], &["E additional-resource-tags"]),
    (&[("delete-protection", "off")], &[]),
    (&[("delete-protection", "false")], &["E delete-protection"]),
    (&[("modification-protection", "NonProtection")], &[]),
    (&[("modification-protection", "off")], &["E modification-protection"]),
    (&[("master-zoneid", "a")], &["W master-zoneid"]),
    (&[("master-zoneid", "a"), ("slave-zoneid", "b")], &[]),
    (&[("ip-version", "ipv6")], &[]),
    (&[("ip-version", "DualStack")], &["E ip-version"]),
    (&[("external-ip-type", "eip")], &["E external-ip-type"]),
    (&[("external-ip-type", "eip"), ("address-type", "intranet")], &[]),
    (&[("hostname", "live.example.org")], &[]),
    (&[("hostname", "live example")], &["E hostname"]),
    (&[("preserve-lb-on-delete", "true")], &[]),
    (&[("preserve-lb-on-delete", "false")], &["E preserve-lb-on-delete"]),
    (
        &[("id", "lb-a"), ("force-override-listeners", "true"), ("preserve-lb-on-delete", "true")],
        &["W preserve-lb-on-delete"],
    ),
    (&[("protocol-port", "http:8080")], &[]),
    (&[("protocol-port", "HTTP:8080")], &["E protocol-port"]),
    (&[("protocol-port", "http:80")], &["E protocol-port"]),
    (&[("protocol-port", "https:8080")], &["E cert-id"]),
    (&[("protocol-port", "https:8080"), ("cert-id", "c")], &[]),
    (&[("cert-id", "c")], &["W cert-id"]),
    (&[("tls-cipher-policy", "tls_cipher_policy_1_2")], &["W tls-cipher-policy"]),
    (&[("http2-enabled", "off"), ("protocol-port", "https:8080"), ("cert-id", "c")], &[]),
    (&[("domain-extensions", "a.b:c"), ("protocol-port", "https:8080"), ("cert-id", "c")], &[]),
    (&[("forward-port", "1935:8080"), ("protocol-port", "http:1935,https:8080"), ("cert-id", "c")], &[]),
    (
        &[("forward-port", "8080:1935"), ("protocol-port", "http:1935,https:8080"), ("cert-id", "c")],
        &["E forward-port"],
    ),
    (&[("scheduler", "wrr")], &[]),
    (&[("scheduler", "wlc")], &["E scheduler"]),
    (&[("scheduler", "sch"), ("protocol-port", "http:8080")], &["E scheduler"]),
    (&[("persistence-timeout", "3600")], &[]),
    (&[("persistence-timeout", "3601")], &["E persistence-timeout"]),
    (&[("established-timeout", "9")], &["E established-timeout"]),
    (&[("established-timeout", "900"), ("protocol-port", "http:8080,http:1935")], &["W established-timeout"]),
    (&[("idle-timeout", "60"), ("protocol-port", "http:8080")], &[]),
    (&[("idle-timeout", "60")], &["W idle-timeout"]),
    (&[("request-timeout", "181"), ("protocol-port", "http:8080")], &["E request-timeout"]),
    (&[("sticky-session", "on"), ("protocol-port", "http:8080")], &["E sticky-session"]),
    (
        &[("sticky-session", "on"), ("sticky-session-type", "insert"), ("protocol-port", "http:8080")],
        &["E sticky-session-type"],
    ),
    (
        &[("sticky-session", "on"), ("sticky-session-type", "server"), ("protocol-port", "http:8080")],
        &["E sticky-session-type"],
    ),
    (
        &[
            ("sticky-session", "on"),
            ("sticky-session-type", "server"),
            ("cookie", "s"),
            ("protocol-port", "http:8080"),
        ],
        &[],
    ),
    (
        &[
            ("sticky-session", "on"),
            ("sticky-session-type", "insert"),
            ("cookie-timeout", "86401"),
            ("protocol-port", "http:8080"),
        ],
        &["E cookie-timeout"],
    ),
    (&[("acl-status", "on")], &["E acl-status"]),
    (&[("acl-status", "on"), ("acl-id", "acl-a,acl-b"), ("acl-type", "white")], &[]),
    (&[("acl-status", "off")], &[]),
    (&[("connection-drain", "on")], &["E connection-drain"]),
    (&[("connection-drain-timeout", "10")], &["E connection-drain-timeout"]),
    (&[("connection-drain", "on"), ("connection-drain-timeout", "901")], &["E connection-drain-timeout"]),
    (&[("proxy-protocol", "on")], &[]),
    (&[("xforwardedfor-proto", "on"), ("protocol-port", "http:8080")], &[]),
    (&[("xforwardedfor-slbport", "on")], &["W xforwardedfor-slbport"]),
    (
        &[("xforwardedfor-clientsrcport", "yes"), ("protocol-port", "http:8080")],
        &["E xforwardedfor-clientsrcport"],
    ),
    (&[("health-check-switch", "off")], &[]),
    (&[("health-check-flag", "on")], &["W health-check-flag"]),
    (&[("health-check-type", "udp")], &["E health-check-type"]),
    (&[("health-check-uri", "/api")], &["W health-check-uri"]),
    (&[("health-check-type", "http"), ("health-check-uri", "api")], &["E health-check-uri"]),
    (&[("health-check-connect-port", "-520")], &[]),
    (&[("health-check-connect-port", "0")], &["E health-check-connect-port"]),
    (&[("healthy-threshold", "1")], &["E healthy-threshold"]),
    (&[("unhealthy-threshold", "11")], &["E unhealthy-threshold"]),
    (&[("health-check-interval", "51")], &["E health-check-interval"]),
    (
        &[("health-check-interval", "10"), ("health-check-connect-timeout", "5")],
        &["W health-check-connect-timeout"],
    ),
    (&[("health-check-type", "http"), ("health-check-domain", "$SERVER_IP")], &["E health-check-domain"]),
    (&[("health-check-type", "http"), ("health-check-httpcode", "200")], &["E health-check-httpcode"]),
    (&[("health-check-type", "http"), ("health-check-method", "GET")], &["E health-check-method"]),
    (&[("backend-label", "a=b")], &[]),
    (&[("remove-unscheduled-backend", "on")], &[]),
    (&[("vgroup-port", "rsp-a:1935")], &["E vgroup-port"]),
    (&[("weight", "50")], &["E weight"]),
    (
        &[
            ("id", "lb-a"),
            ("force-override-listeners", "true"),
            ("vgroup-port", "rsp-a:1935"),
            ("weight", "101"),
        ],
        &["E weight"],
    ),
    (&[("default-weight", "100")], &[]),
    (&[("ignore-weight-update", "on")], &[]),
    (&[("backend-ip-version", "dualstack")], &["E backend-ip-version"]),
    (&[("specs", "slb.s1.small")], &["E specs"]),
    (&[("Spec", "slb.s1.small")], &["E Spec"]),
    (&[("nothing-like-it", "1")], &["W nothing-like-it"]),
    (&[("zone-maps", "a:vsw-a,b:vsw-b")], &["W zone-maps"]),
    (&[("spec", "")], &["E spec"]),
];

const NLB_ROWS: &[Row] = &[
    (&[], &[]),
    (&[("zone-maps", "")], &["E zone-maps"]),
    (&[("zone-maps", "a:vsw-a")], &["E zone-maps"]),
    (&[("zone-maps", "a:vsw-a,a:vsw-b")], &["E zone-maps"]),
    (&[("zone-maps", "a:vsw-a:10.0.0.1:eip-a,b:vsw-b:10.0.1.1:eip-b")], &[]),
    (&[("address-type", "intranet")], &[]),
    (&[("ip-version", "DualStack"), ("ipv6-address-type", "internet")], &[]),
    (&[("ip-version", "ipv6")], &["E ip-version"]),
    (&[("ipv6-address-type", "internet")], &["W ipv6-address-type"]),
    (&[("security-group-ids", "sg-a,sg-b")], &[]),
    (&[("security-group-ids", "")], &[]),
    (&[("bandwidth-package-id", "cbwp-a")], &[]),
    (&[("bandwidth-package-id", "cbwp-a"), ("address-type", "intranet")], &["E bandwidth-package-id"]),
    (&[("cross-zone-enabled", "OFF")], &[]),
    (&[("cross-zone-enabled", "no")], &["E cross-zone-enabled"]),
    (&[("id", "nlb-a"), ("zone-maps", ""), ("force-override-listeners", "true")], &["E zone-maps"]),
    (&[("id", "nlb-a")], &["E id", "W zone-maps"]),
    (&[("protocol-port", "TCPSSL:8080")], &["E cert-id", "E preserve-client-ip"]),
    (&[("protocol-port", "TCPSSL:8080"), ("cert-id", "c"), ("preserve-client-ip", "off")], &[]),
    (
        &[("protocol-port", "tcpssl:8080"), ("cert-id", "c"), ("preserve-client-ip", "off")],
        &["E protocol-port"],
    ),
    (&[("additional-cert-ids", "a,b")], &["W additional-cert-ids"]),
    (
        &[
            ("cacert", "on"),
            ("protocol-port", "TCPSSL:8080"),
            ("cert-id", "c"),
            ("preserve-client-ip", "off"),
        ],
        &["E cacert"],
    ),
    (
        &[
            ("alpn-policy", "HTTP2Only"),
            ("protocol-port", "TCPSSL:8080"),
            ("cert-id", "c"),
            ("preserve-client-ip", "off"),
        ],
        &["E alpn-policy"],
    ),
    (
        &[
            ("alpn", "on"),
            ("alpn-policy", "h2"),
            ("protocol-port", "TCPSSL:8080"),
            ("cert-id", "c"),
            ("preserve-client-ip", "off"),
        ],
        &["E alpn-policy"],
    ),
    (&[("proxy-protocol", "on"), ("ppv2-pvl-ep-id-enabled", "on")], &[]),
    (&[("ppv2-pvl-vpc-id-enabled", "on")], &["E ppv2-pvl-vpc-id-enabled"]),
    (&[("cps", "1000001")], &["E cps"]),
    (&[("idle-timeout", "901")], &["E idle-timeout"]),
    (&[("listener-port-range", "200-100:80")], &["E listener-port-range"]),
    (&[("server-group-type", "ip")], &["E server-group-type"]),
    (&[("scheduler", "wlc")], &[]),
    (&[("connection-drain", "on"), ("connection-drain-timeout", "0")], &["E connection-drain-timeout"]),
    (&[("health-check-flag", "true")], &["E health-check-flag"]),
    (&[("health-check-interval", "10")], &["E health-check-interval"]),
    (&[("health-check-flag", "on"), ("health-check-interval", "10")], &[]),
    (&[("unhealthy-threshold", "3")], &["E unhealthy-threshold"]),
    (
        &[("health-check-flag", "on"), ("health-check-method", "get"), ("health-check-type", "http")],
        &["E health-check-method"],
    ),
    (&[("health-check-flag", "on"), ("health-check-uri", "/")], &["W health-check-uri"]),
    (&[("spec", "slb.s1.small")], &["W spec"]),
    (&[("bandwidth", "100")], &["W bandwidth"]),
    (&[("weight", "1")], &["E weight"]),
];

#[test]
fn clb_rows() {
    for (annotations, expected) in CLB_ROWS {
        let findings = found(&clb(annotations));
        assert_eq!(findings, *expected, "{annotations:?}: {:#?}", lint(&clb(annotations)));
    }
}

#[test]
fn nlb_rows() {
    for (annotations, expected) in NLB_ROWS {
        let findings = found(&nlb(annotations));
        assert_eq!(findings, *expected, "{annotations:?}: {:#?}", lint(&nlb(annotations)));
    }
    // UDP servers are checked by TCP, where nothing answers.
    let udp = |annotations: &[(&str, &str)]| {
        with(&nlb(annotations), json!({"spec": {"ports": [{"port": 8000, "protocol": "UDP"}]}}))
    };
    assert_eq!(found(&udp(&[])), ["E health-check-type"]);
    for fine in
        [("health-check-flag", "off"), ("health-check-type", "udp"), ("health-check-connect-port", "1985")]
    {
        let flag = if fine.0 == "health-check-flag" { fine } else { ("health-check-flag", "on") };
        assert_eq!(found(&udp(&[flag, fine])), Vec::<String>::new(), "{fine:?}");
    }
}

#[test]
fn keys_and_services() {
    let both = json!({"metadata": {"annotations": {format!("{PREFIX}spec"): "slb.s1.small", format!("{LEGACY_PREFIX}spec"): "slb.s1.small"}}});
    assert_eq!(found(&with(&clb(&[]), both)), ["E spec"]);
    let legacy = json!({"metadata": {"annotations": {format!("{LEGACY_PREFIX}address-type"): "intranet",
        format!("{LEGACY_PREFIX}force-override-listeners"): "true", format!("{LEGACY_PREFIX}id"): "lb-2zetmjpao868s9yzvr5ld"}}});
    assert_eq!(found(&with(&clb(&[]), legacy)), Vec::<String>::new());
    let prefix = "service.beta.kubernetes.io/alibabacloud-loadbalancer-spec";
    let misspelt = with(&clb(&[]), json!({"metadata": {"annotations": {prefix: "slb.s1.small"}}}));
    assert_eq!(found(&misspelt), [format!("E {prefix}")]);
    let backend = |value: &str| with(&clb(&[]), json!({"metadata": {"annotations": {BACKEND_TYPE: value}}}));
    assert_eq!(found(&backend("eni")), Vec::<String>::new());
    assert_eq!(found(&backend("pod")), [format!("E {BACKEND_TYPE}")]);
    let other = with(&clb(&[("spec", "nonsense")]), json!({"spec": {"loadBalancerClass": "metallb"}}));
    assert_eq!(found(&other), ["W spec.loadBalancerClass"]);
    let local = with(&clb(&[]), json!({"spec": {"externalTrafficPolicy": "Local"}}));
    assert_eq!(found(&local), ["W scheduler"]);
    assert_eq!(
        found(&with(&clb(&[("spec", "nonsense")]), json!({"spec": {"type": "ClusterIP"}}))),
        Vec::<String>::new()
    );
}

#[test]
fn findings_say_what_to_write() {
    for (annotations, words) in [
        (("specs", "x"), "did you mean service.beta.kubernetes.io/alibaba-cloud-loadbalancer-spec?"),
        (
            ("address-type", "Intranet"),
            "\"Intranet\" must be internet or intranet; case matters: write \"intranet\"",
        ),
        (("delete-protection", "ON"), "case matters: write \"on\""),
        (("protocol-port", "HTTP:8080"), "case matters: write \"http:8080\""),
        (
            ("slb-network-type", "vpc"),
            "the key is service.beta.kubernetes.io/alibaba-cloud-loadbalancer-network-type",
        ),
    ] {
        let text = lint(&clb(&[annotations]))[0].to_string();
        assert!(text.contains(words), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_annotation_makes_the_lint_panic(
        suffix in "[a-z-]{0,20}|spec|id|protocol-port|zone-maps|forward-port|additional-resource-tags",
        value in ".{0,20}",
        other in ".{0,20}",
    ) {
        for service in [clb(&[(&suffix, &value), ("protocol-port", &other)]), nlb(&[(&suffix, &value), ("protocol-port", &other)])] {
            lint(&service);
            shared_listeners([&service, &service]);
            immutable_change(&living(&service), &clb(&[]));
            undo_removed(&living(&service), &nlb(&[]));
        }
    }
}
