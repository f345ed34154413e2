use serde_json::json;

use super::super::ResourceStatus;
use super::super::terminal::status::status;
use super::{plain, samples, view};
use crate::kinds::Verdict;

#[test]
fn each_resource_with_its_verdict() {
    let one = |kind: &str, name: &str, verdict: Option<Verdict>| ResourceStatus {
        id: samples::id(kind, name),
        location: samples::location(1),
        verdict,
        live: None,
    };
    let mut service = one("Service", "srs-origin-service", Some(Verdict::Ready { note: None }));
    service.live = Some(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "srs-origin-service", "namespace": "live"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 1935}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "127.64.0.1"}]}},
    }));
    let resources = [
        one("ConfigMap", "srs-config", Some(Verdict::Ready { note: None })),
        one("Deployment", "srs-deploy", Some(Verdict::Failed(samples::missing()))),
        service,
        one("Deployment", "srs-edge", None),
        one("Deployment", "paused", Some(Verdict::Suspended { reason: "spec.paused".to_owned() })),
        one(
            "Pod",
            "old",
            Some(Verdict::Terminating { finalizers: vec!["service.k8s.alibaba/resources".to_owned()] }),
        ),
    ];
    insta::assert_snapshot!(plain(&status("quick-start", "live", &samples::cluster(), &resources, &view(80))), @r#"
    quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live
    cluster uid 0b7a3c1e

    ready    ConfigMap srs-config
    failed   Deployment srs-deploy       0 of 1 replicas available
               Pod srs-deploy-7c9f-x2x4z, container srs, image ossrs/srs:nope:
                 failed to pull: manifest unknown: manifest tagged by "nope" is not
                 found
    ready    Service srs-origin-service  127.64.0.1  1935
    absent   Deployment srs-edge
    paused   Deployment paused           spec.paused
    deleting Pod old                     held by service.k8s.alibaba/resources

    3 of 6 resources ready.
    "#);
}
