//! Typed load balancers.

use proptest::prelude::*;

use super::*;
use crate::ack::*;
use crate::graph::build::{LoadBalancer, Port};

const RTMP: Port = Port::tcp(1935);
const HTTP: Port = Port::tcp(8080);

#[test]
fn what_typed_values_write() {
    let key = |suffix: &str| format!("{PREFIX}{suffix}");
    let clb = Clb::internet()
        .spec(Spec::S2Small)
        .health_check(HealthCheck::tcp().port(1935).interval(5))
        .connection_drain(300);
    let expected = [
        ("address-type", "internet"),
        ("connection-drain", "on"),
        ("connection-drain-timeout", "300"),
        ("health-check-connect-port", "1935"),
        ("health-check-interval", "5"),
        ("health-check-type", "tcp"),
        ("instance-charge-type", "PayBySpec"),
        ("spec", "slb.s2.small"),
    ];
    assert_eq!(clb.annotations(), expected.map(|(suffix, value)| (key(suffix), value.to_owned())).into());
    assert_eq!((clb.class(), clb.problems(&[RTMP])), (None, vec![]));

    let reused = Clb::reuse("lb-a", Listeners::Managed).address_type(AddressType::Intranet);
    let expected = [("address-type", "intranet"), ("force-override-listeners", "true"), ("id", "lb-a")];
    assert_eq!(reused.annotations(), expected.map(|(suffix, value)| (key(suffix), value.to_owned())).into());

    let zones =
        (Zone::new("a", "vsw-a"), Zone::new("b", "vsw-b").address_and_eip([10, 0, 0, 1].into(), "eip-b"));
    let nlb = Nlb::internet(zones.0, zones.1).tls(Tls::on(8080, "c")).health_check(HealthCheck::off());
    let expected = [
        ("address-type", "internet"),
        ("cert-id", "c"),
        ("health-check-flag", "off"),
        ("preserve-client-ip", "off"),
        ("protocol-port", "TCPSSL:8080"),
        ("zone-maps", "a:vsw-a,b:vsw-b:10.0.0.1:eip-b"),
    ];
    assert_eq!(nlb.annotations(), expected.map(|(suffix, value)| (key(suffix), value.to_owned())).into());
    assert_eq!((nlb.class(), nlb.problems(&[RTMP, HTTP])), (Some(NLB_CLASS.to_owned()), vec![]));
}

#[test]
fn what_typed_values_can_not_rule_out_is_a_problem() {
    let zone = |name: &str| Zone::new(name, "vsw-a");
    let udp = Port::udp(8000);
    for (problems, words) in [
        (Clb::internet().bandwidth(5121).problems(&[RTMP]), "from 1 to 5120"),
        (Clb::internet().bandwidth(100).pay_by_lcu().problems(&[RTMP]), "payment by bandwidth"),
        (Clb::internet().spec(Spec::S1Small).pay_by_lcu().problems(&[RTMP]), "has no specification"),
        (Clb::internet().name("").problems(&[RTMP]), "an empty value"),
        (Clb::internet().connection_drain(5).problems(&[RTMP]), "from 10 to 900"),
        (Clb::internet().http(Http::plain(80)).problems(&[RTMP]), "has no port 80"),
        (Clb::internet().http(Http::plain(8080)).connection_drain(10).problems(&[HTTP]), "there are none"),
        (
            Clb::internet().http(Http::plain(8080)).scheduler(Scheduler::Sch).problems(&[HTTP]),
            "consistent hashing",
        ),
        (Clb::internet().scheduler(Scheduler::Wlc).problems(&[RTMP]), "must be rr, wrr, sch or tch"),
        (Clb::internet().health_check(HealthCheck::udp()).problems(&[udp]), "must be tcp or http"),
        (Clb::reuse("a", Listeners::Managed).problems(&[RTMP]), "begins with lb-"),
        (Nlb::internet(zone("a"), zone("a")).problems(&[RTMP]), "two different zones"),
        (Nlb::intranet(zone("a"), zone("b")).problems(&[udp]), "where nothing listens"),
    ] {
        assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
    }
}

fn any_check() -> impl Strategy<Value = HealthCheck> {
    let http = ("/[a-z]{0,20}", any::<bool>(), any::<bool>()).prop_map(|(path, head, host)| {
        let check = if head { HttpCheck::head(path) } else { HttpCheck::get(path) };
        let check = if host { check.host("live.example.org") } else { check.host_is_server() };
        HealthCheck::http(check.codes([HttpCode::Success, HttpCode::Redirect]))
    });
    let kind = prop_oneof![Just(HealthCheck::off()), Just(HealthCheck::tcp()), http];
    (kind, 1_u16.., 1_u16..=50, 50_u16..=300, 2_u16..=10, 2_u16..=10).prop_map(
        |(check, port, interval, timeout, healthy, unhealthy)| {
            check
                .port(port)
                .interval(interval)
                .timeout(timeout)
                .healthy_threshold(healthy)
                .unhealthy_threshold(unhealthy)
        },
    )
}

fn any_http() -> impl Strategy<Value = Http> {
    (any::<bool>(), 1_u16..=60, 1_u16..=180, 1_u32..=86_400, any::<bool>()).prop_map(
        |(tls, idle, request, cookie, insert)| {
            let http = if tls {
                Http::https(8080, "cert").cipher_policy(CipherPolicy::Tls12Strict).without_http2()
            } else {
                Http::plain(8080)
            };
            let sticky = if insert {
                Sticky::Insert { timeout: cookie }
            } else {
                Sticky::Server { cookie: "srs_id".to_owned() }
            };
            http.idle_timeout(idle)
                .request_timeout(request)
                .sticky(sticky)
                .forwarded_proto()
                .forwarded_port()
                .forwarded_client_port()
        },
    )
}

/// Whether a built Service with these annotations is clean, and the typed value says the same.
fn is_clean(balancer: &impl LoadBalancer, ports: &[Port]) -> Result<(), TestCaseError> {
    prop_assert_eq!(balancer.problems(ports), Vec::<String>::new());
    let ports: Vec<_> =
        ports.iter().map(|port| json!({"port": port.number(), "protocol": port.protocol()})).collect();
    let service = json!({"metadata": {"annotations": balancer.annotations()},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": balancer.class(), "ports": ports}});
    prop_assert_eq!(lint(&service), vec![]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn typed_clbs_within_their_ranges_are_clean(
        check in prop::option::of(any_check()),
        http in prop::option::of(any_http()),
        name in "[a-zA-Z][a-zA-Z0-9._-]{0,79}",
        (drain, established, persistence, bandwidth) in (10_u16..=900, 10_u16..=900, 0_u16..=3600, 1_u16..=5120),
        (source, allow) in (0..4, any::<bool>()),
    ) {
        let ids = vec!["acl-a".to_owned(), "acl-b".to_owned()];
        let acl = if allow { Acl::Allow(ids) } else { Acl::Deny(ids) };
        macro_rules! dressed {
            ($clb:expr) => {{
                let mut clb = $clb.name(&name).tags([("team", "live"), ("cost", "")]).hostname("live.example.org").scheduler(Scheduler::Wrr)
                    .connection_drain(drain).established_timeout(established).persistence_timeout(persistence).proxy_protocol()
                    .acl(acl).backend_type(BackendType::Ecs).backend_labels([("edge", "true")]).remove_unscheduled_backends();
                if let Some(check) = check { clb = clb.health_check(check); }
                if let Some(http) = http { clb = clb.http(http); }
                is_clean(&clb, &[RTMP, HTTP])?;
            }};
        }
        match source {
            0 => dressed!(Clb::internet().spec(Spec::S3Large).bandwidth(bandwidth).zones("a", "b").preserve_on_delete()),
            1 => dressed!(Clb::internet().pay_by_lcu().resource_group("rg-a").without_delete_protection()),
            2 => dressed!(Clb::intranet().address("vsw-a", [10, 0, 0, 1].into()).external_ip_is_eip().without_modification_protection()),
            _ => dressed!(Clb::reuse("lb-a", Listeners::Managed).address_type(AddressType::Internet).server_groups([("rsp-a", 1935)]).weight(50)),
        }
    }

    #[test]
    fn typed_nlbs_within_their_ranges_are_clean(
        check in prop::option::of(any_check()),
        name in "[a-zA-Z][a-zA-Z0-9._-]{0,79}",
        (drain, idle, cps) in (10_u16..=900, 10_u16..=900, 0_u32..=1_000_000),
        (source, tls) in (0..3, any::<bool>()),
    ) {
        let zone = |name: &str| Zone::new(name, format!("vsw-{name}")).address([10, 0, 0, 1].into());
        macro_rules! dressed {
            ($nlb:expr) => {{
                let mut nlb = $nlb.name(&name).tags([("team", "live")]).scheduler(Scheduler::Wlc).connection_drain(drain).idle_timeout(idle)
                    .connections_per_second(cps).proxy_protocol().without_client_ip().server_group_type(ServerGroupType::Ip);
                if let Some(check) = check { nlb = nlb.health_check(check); }
                if tls {
                    nlb = nlb.tls(Tls::on(8080, "cert").additional_certificates(["a", "b"]).client_ca("ca").alpn(Alpn::Http2Optional)
                        .cipher_policy(CipherPolicy::Tls12StrictWith13));
                }
                is_clean(&nlb, &[RTMP, HTTP])?;
            }};
        }
        match source {
            0 => dressed!(Nlb::internet(zone("a"), zone("b")).zone(zone("c")).bandwidth_package("cbwp-a").preserve_on_delete()),
            1 => dressed!(Nlb::intranet(zone("a"), zone("b")).dual_stack(AddressType::Intranet).security_groups(["sg-a"]).without_cross_zone().resource_group("rg-a")),
            _ => dressed!(Nlb::reuse("nlb-a", Listeners::Unmanaged)),
        }
    }

}
