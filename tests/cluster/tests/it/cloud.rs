//! The stand-in for the cloud: what the cloud controller manager does to Services.

use std::{collections::BTreeMap, time::Duration};

use cluster::{
    CloudFaults, Tier,
    testing::{TestCluster, TestNamespace, wait_for},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);
const PREFIX: &str = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-";
const HASH: &str = "service.beta.kubernetes.io/hash";
const ID: &str = "service.k8s.alibaba/loadbalancer-id";

fn service(name: &str, annotations: &[(&str, &str)], spec: &Value) -> String {
    let annotations: BTreeMap<String, &str> =
        annotations.iter().map(|(suffix, value)| (format!("{PREFIX}{suffix}"), *value)).collect();
    let mut whole =
        json!({ "type": "LoadBalancer", "selector": { "app": "a" }, "ports": [{ "port": 1935 }] });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "annotations": annotations },
        "spec": whole,
    })
    .to_string()
}

fn get(namespace: &TestNamespace, name: &str) -> Value {
    let text = namespace.kubectl(["get", "service", name, "--output=json", "--show-managed-fields"]).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Waits until the Service is synced: CCM writes the hash of what it saw only then. Returns it.
fn synced(namespace: &TestNamespace, name: &str, but_not: Option<&Value>) -> Value {
    wait_for("a synced Service", SOON, || {
        let service = get(namespace, name);
        let hash = &service["metadata"]["labels"][HASH];
        Ok((hash.is_string() && Some(hash) != but_not).then_some(service))
    })
    .unwrap()
}

fn event(namespace: &TestNamespace, reason: &str, words: &str) {
    wait_for(&format!("an event {reason} with {words}"), SOON, || {
        let filter = format!("--field-selector=reason={reason}");
        let events: Value =
            serde_json::from_str(&namespace.kubectl(["get", "events", &filter, "--output=json"])?).unwrap();
        let has = |event: &Value| event["message"].as_str().unwrap().contains(words);
        Ok(events["items"].as_array().unwrap().iter().any(has).then_some(()))
    })
    .unwrap();
}

fn ingress(service: &Value) -> &Value {
    &service["status"]["loadBalancer"]["ingress"][0]
}

#[test]
fn a_service_gets_what_ccm_gives_and_goes_without_a_trace() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("cloud").unwrap();
    namespace.apply(&service("a", &[("no-such-key", "ignored")], &json!({}))).unwrap();
    let made = synced(&namespace, "a", None);
    assert!(ingress(&made)["ip"].as_str().unwrap().starts_with("127."));
    assert!(made["metadata"]["labels"][ID].as_str().unwrap().starts_with("lb-"));
    assert_eq!(made["metadata"]["finalizers"], json!(["service.k8s.alibaba/resources"]));
    let managers = made["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        managers
            .iter()
            .any(|entry| entry["manager"] == "cloud-controller-manager" && entry["subresource"] == "status")
    );
    event(&namespace, "EnsuredLoadBalancer", made["metadata"]["labels"][ID].as_str().unwrap());
    namespace.kubectl(["delete", "service", "a", "--timeout=60s"]).unwrap();

    let user = "system:serviceaccount:kube-system:cloud-controller-manager";
    let requests = cluster.requests_of(user).unwrap();
    assert!(requests.iter().any(|request| request.is_write() && request.namespace == namespace.name()));
}

#[test]
fn a_bad_value_shows_as_an_event_only_until_it_is_mended() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("bad-value").unwrap();
    namespace.apply(&service("a", &[("address-type", "public")], &json!({}))).unwrap();
    event(&namespace, "SyncLoadBalancerFailed", "address-type");
    let failed = get(&namespace, "a");
    assert!(ingress(&failed).is_null() && failed["metadata"]["labels"][HASH].is_null());
    namespace.apply(&service("a", &[("address-type", "internet")], &json!({}))).unwrap();
    synced(&namespace, "a", None);
}

#[test]
fn what_cannot_be_changed_is_refused_and_the_hash_stays() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("fixed").unwrap();
    namespace.apply(&service("a", &[], &json!({}))).unwrap();
    let before = synced(&namespace, "a", None);
    namespace.apply(&service("a", &[("address-type", "intranet")], &json!({}))).unwrap();
    event(&namespace, "SyncLoadBalancerFailed", "address-type");
    let after = get(&namespace, "a");
    assert_eq!(after["metadata"]["labels"][HASH], before["metadata"]["labels"][HASH]);
    assert_eq!(ingress(&after), ingress(&before));
    // What can be changed is synced, and the hash moves.
    namespace.apply(&service("a", &[("bandwidth", "20")], &json!({}))).unwrap();
    synced(&namespace, "a", Some(&before["metadata"]["labels"][HASH]));
}

#[test]
fn somebody_elses_class_is_left_alone_and_nlb_has_rules_of_its_own() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("classes").unwrap();
    namespace.apply(&service("other", &[], &json!({ "loadBalancerClass": "example.com/other" }))).unwrap();
    let nlb = json!({ "loadBalancerClass": "alibabacloud.com/nlb" });
    namespace.apply(&service("nlb", &[], &nlb)).unwrap();
    event(&namespace, "SyncLoadBalancerFailed", "zone-maps");
    namespace.apply(&service("nlb", &[("zone-maps", "cn-a:vsw-1,cn-b:vsw-2")], &nlb)).unwrap();
    let made = synced(&namespace, "nlb", None);
    assert!(ingress(&made)["hostname"].is_string() && ingress(&made)["ip"].is_null());
    assert_eq!(made["metadata"]["finalizers"], json!(["service.k8s.alibaba/nlb"]));
    // By now the other one would have been seen too.
    let other = get(&namespace, "other");
    assert!(other["metadata"]["finalizers"].is_null() && ingress(&other).is_null());
}

#[test]
fn one_load_balancer_serves_several_services() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("shared").unwrap();
    // An id of this test's own: the account is the whole cluster's.
    let id = format!("lb-{}", namespace.name());
    let annotations = [("id", id.as_str()), ("force-override-listeners", "true")];
    namespace.apply(&service("a", &annotations, &json!({}))).unwrap();
    namespace.apply(&service("b", &annotations, &json!({ "ports": [{ "port": 8080 }] }))).unwrap();
    let (first, second) = (synced(&namespace, "a", None), synced(&namespace, "b", None));
    assert_eq!(ingress(&first)["ip"], ingress(&second)["ip"]);
    assert_eq!(first["metadata"]["labels"][ID], json!(id));
}

#[test]
fn a_service_that_is_no_load_balancer_any_more_is_cleaned() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("retyped").unwrap();
    namespace.apply(&service("a", &[], &json!({}))).unwrap();
    synced(&namespace, "a", None);
    namespace.apply(&service("a", &[], &json!({ "type": "ClusterIP" }))).unwrap();
    wait_for("a cleaned Service", SOON, || {
        let service = get(&namespace, "a");
        let clean = service["metadata"]["finalizers"].is_null() && service["metadata"]["labels"].is_null();
        Ok((clean && ingress(&service).is_null()).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_failing_cloud_fails_one_namespace_and_heals_when_told() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let (sick, well) = (cluster.namespace("sick").unwrap(), cluster.namespace("well").unwrap());
    let faults =
        CloudFaults { fail: Some("Throttling.User: too many requests".into()), ..CloudFaults::default() };
    sick.set_cloud_faults(Some(&faults)).unwrap();
    for namespace in [&sick, &well] {
        namespace.apply(&service("a", &[], &json!({}))).unwrap();
    }
    event(&sick, "SyncLoadBalancerFailed", "Throttling.User");
    synced(&well, "a", None);
    assert!(ingress(&get(&sick, "a")).is_null());
    sick.set_cloud_faults(None).unwrap();
    synced(&sick, "a", None);

    // Deletion fails as well, and the Service stays until the cloud is well.
    sick.set_cloud_faults(Some(&faults)).unwrap();
    sick.kubectl(["delete", "service", "a", "--wait=false"]).unwrap();
    event(&sick, "CleanLoadBalancerFailed", "Throttling.User");
    assert!(get(&sick, "a")["metadata"]["deletionTimestamp"].is_string());
    sick.set_cloud_faults(None).unwrap();
    sick.kubectl(["wait", "--for=delete", "service/a", "--timeout=60s"]).unwrap();
}

#[test]
fn a_slow_cloud_is_waited_for_until_it_is_told_to_be_quick() {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace("slow").unwrap();
    namespace.set_cloud_faults(Some(&CloudFaults { delay_seconds: 3600, fail: None })).unwrap();
    namespace.apply(&service("a", &[], &json!({}))).unwrap();
    let begun = || Ok(get(&namespace, "a")["metadata"]["finalizers"].is_array().then_some(()));
    wait_for("the cloud's first step", SOON, begun).unwrap();
    assert!(ingress(&get(&namespace, "a")).is_null());
    namespace.set_cloud_faults(None).unwrap();
    synced(&namespace, "a", None);
}
