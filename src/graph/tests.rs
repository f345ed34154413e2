//! What a program may and may not declare.

mod input;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use super::build::{Port, config_map, container, deployment, secret, service, stateful_set};
use super::{Graph, GraphErrors, OnChange, STACK_LABEL, Stack, Until, stack_label};

const RTMP: Port = Port::tcp(1935);
const API: Port = Port::tcp(1985).named("api");

fn stack() -> Stack {
    Stack::new("media", "live")
}

fn names(graph: &Graph) -> Vec<String> {
    graph.resources.iter().map(|resource| resource.id.to_string()).collect()
}

fn messages(errors: &GraphErrors) -> String {
    errors.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_derived_is_written_once() {
    let mut stack = stack();
    let conf = stack.add(config_map("srs-config").file("srs.conf", "listen 1935;"));
    let srs =
        stack.add(deployment("srs-deploy").labels([("app", "srs")]).replicas(2).container(
            container("srs", "srs:4").port(RTMP).port(API).mount(&conf, "/conf", OnChange::Reload),
        ));
    stack.add(service("srs").to(&srs).port(RTMP).port(API));
    let graph = stack.finish().unwrap();
    assert_eq!(names(&graph), ["ConfigMap srs-config", "Service srs", "Deployment srs-deploy"]);
    let service = &graph.resources[1].body;
    assert_eq!(service["spec"]["selector"], json!({"app": "srs"}));
    assert_eq!(service["spec"]["ports"][1]["targetPort"], "api");
    assert_eq!(service["metadata"]["namespace"], "live");
    assert_eq!(service["metadata"]["labels"][STACK_LABEL], "live.media");
    let deployment = &graph.resources[2];
    assert_eq!(deployment.body["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"], "srs-config");
    assert_eq!(deployment.needs.len(), 1);
    assert_eq!((deployment.needs[0].on, deployment.needs[0].until), (0, Until::Applied));
    assert_eq!(deployment.configs[0].on, 0);
}

#[test]
fn a_port_that_no_container_has_is_refused_with_its_line() {
    let mut stack = stack();
    let srs = stack.add(deployment("srs").container(container("srs", "srs:4").port(RTMP)));
    let line = line!() + 1;
    stack.add(service("srs").to(&srs).port(API));
    let errors = stack.finish().unwrap_err();
    assert_eq!(errors.errors[0].location.line, line);
    assert!(
        messages(&errors).contains(
            "offers port 1985/TCP (api), which no container of Deployment srs has; it has 1935/TCP"
        )
    );
}

#[test]
fn a_port_name_in_yaml_that_no_container_has_is_refused() {
    let mut stack = stack();
    stack.yaml_text(
        "edge.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: edge}\nspec:\n  selector: {app: edge}\n  ports: [{port: 80, targetPort: web}]\n\
         ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: edge}\nspec:\n  selector: {matchLabels: {app: edge}}\n  template:\n    metadata: {labels: {app: edge}}\n    spec: {containers: [{name: a, image: b, ports: [{containerPort: 80, name: http}]}]}\n",
    );
    let errors = stack.finish().unwrap_err();
    assert!(
        messages(&errors).starts_with("edge.yaml:1: Service edge sends to the port named \"web\""),
        "{}",
        messages(&errors)
    );
}

#[test]
fn two_resources_with_one_name_are_refused_with_both_places() {
    let mut stack = stack();
    stack.add(config_map("a"));
    stack.add(config_map("a"));
    let text = messages(&stack.finish().unwrap_err());
    assert!(text.contains("ConfigMap a is declared twice, first at src/graph/tests.rs:"), "{text}");
}

#[test]
fn a_missing_key_is_refused() {
    let mut stack = stack();
    let password = stack.add(secret("password").value("one", "1"));
    stack.add(deployment("srs").container(container("srs", "srs:4").env_secret("P", &password, "two")));
    let text = messages(&stack.finish().unwrap_err());
    assert!(text.contains("reads the key \"two\" of Secret password"), "{text}");
    assert!(text.ends_with("it has one"), "{text}");
}

#[test]
fn a_circle_is_named() {
    let mut stack = stack();
    let a = stack.add(config_map("a"));
    let b = stack.add(config_map("b"));
    stack.after(&a, &b);
    stack.after(&b, &a);
    let text = messages(&stack.finish().unwrap_err());
    assert!(text.contains("need each other in a circle"), "{text}");
    assert!(text.contains("ConfigMap a") && text.contains("ConfigMap b"), "{text}");
}

#[test]
fn a_late_value_makes_an_edge_and_only_within_its_stack() {
    let mut stack = stack();
    let srs = stack.add(deployment("srs").container(container("srs", "srs:4").port(RTMP)));
    let front = stack.add(service("front").to(&srs).port(RTMP));
    let conf = stack.add(config_map("conf").file("srs.conf", format!("candidate {};", front.address())));
    let graph = stack.finish().unwrap();
    assert_eq!(names(&graph), ["Service front", "ConfigMap conf", "Deployment srs"]);
    assert_eq!((graph.resources[1].needs[0].on, graph.resources[1].needs[0].until), (0, Until::Ready));

    let mut other = Stack::new("other", "live");
    other.add(config_map("copy").file("x", conf.late::<String>("/data/x", "x")));
    assert!(
        messages(&other.finish().unwrap_err())
            .contains("waits for a value of ConfigMap conf, which is not in this stack")
    );
}

#[test]
fn yaml_can_be_referred_to() {
    let mut stack = stack();
    let yaml = stack.yaml_text(
        "srs.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: srs}\nspec:\n  selector: {matchLabels: {app: srs}}\n  template:\n    metadata: {labels: {app: srs}}\n    spec: {containers: [{name: srs, image: 'srs:4', ports: [{containerPort: 1935}]}]}\n",
    );
    let srs = yaml.get::<Deployment>("srs").unwrap();
    assert!(yaml.get::<Deployment>("edge").is_none());
    stack.add(service("srs").to(&srs).port(RTMP));
    let graph = stack.finish().unwrap();
    assert_eq!(graph.resources[0].body["spec"]["selector"], json!({"app": "srs"}));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mut stack = stack();
    stack.yaml("no/such.yaml");
    assert!(messages(&stack.finish().unwrap_err()).contains("no/such.yaml can't be read"));
}

#[test]
fn custom_objects_take_their_scope_from_the_crd_beside_them() {
    let mut stack = stack();
    stack.object(
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": "x"}}),
    );
    stack.object(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"kind": "Thing", "plural": "things"}},
    }));
    let graph = stack.finish().unwrap();
    assert_eq!(names(&graph), ["CustomResourceDefinition things.example.com", "Thing t"]);
    assert_eq!(graph.resources[1].id.namespace, None);
    assert_eq!(graph.resources[1].needs[0].until, Until::Ready);
}

#[test]
fn a_rolling_config_marks_the_pods_and_a_secret_is_fingerprinted() {
    let build = |password: &str| {
        let mut stack = stack();
        let conf = stack.add(config_map("conf").file("a", "b"));
        let key = stack.add(secret("key").value("k", password));
        let pod = container("srs", "srs:4").mount(&conf, "/conf", OnChange::Roll).mount(
            &key,
            "/key",
            OnChange::Roll,
        );
        stack.add(stateful_set("srs").container(pod));
        let mut graph = stack.finish().unwrap();
        graph.annotate_rolls(&|bytes| format!("keyed-{}", bytes.len()));
        graph.resources[2].body["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let annotations = build("x");
    assert_eq!(annotations["stackctl.dev/hash-configmap-conf"].as_str().unwrap().len(), 16);
    assert!(annotations["stackctl.dev/hash-secret-key"].as_str().unwrap().starts_with("keyed-"));
    assert_ne!(annotations, build("longer than a quantum of base64"));
}

#[test]
fn long_stack_labels_stay_legal_and_apart() {
    let label = stack_label(&"n".repeat(63), "name-a");
    assert!(label.len() <= 63);
    assert_ne!(label, stack_label(&"n".repeat(63), "name-b"));
}

const SLB: &str = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-";

fn balancer(name: &str, annotations: &[(&str, &str)]) -> serde_json::Value {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(suffix, value)| (format!("{SLB}{suffix}"), json!(value))).collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 1935, "protocol": "TCP"}]}})
}

#[test]
fn annotations_that_ccm_would_refuse_are_errors_however_they_were_written() {
    let mut untyped = stack();
    let line = line!() + 1;
    untyped.object(balancer("srs", &[("address-type", "Intranet")]));
    let errors = untyped.finish().unwrap_err();
    assert_eq!(errors.errors.len(), 1, "{}", messages(&errors));
    assert_eq!(errors.errors[0].location.line, line);
    assert!(
        errors.errors[0].message.starts_with("Service srs: ")
            && errors.errors[0].message.contains("address-type")
    );
    assert!(errors.errors[0].hint.as_ref().is_some_and(|hint| hint.contains("\"intranet\"")));

    let mut yaml = stack();
    yaml.yaml_text("edge.yaml", &balancer("srs", &[("specs", "slb.s1.small")]).to_string());
    let errors = yaml.finish().unwrap_err();
    assert_eq!(errors.errors[0].location.file, "edge.yaml");
    assert!(errors.errors[0].hint.as_ref().is_some_and(|hint| hint.contains("-spec?")));

    let mut typed = stack();
    typed.add::<k8s_openapi::api::core::v1::Service>(
        serde_json::from_value(balancer("srs", &[("delete-protection", "ON")])).unwrap(),
    );
    assert!(messages(&typed.finish().unwrap_err()).contains("delete-protection"));

    // What is only doubtful is for the plan to say.
    let mut doubtful = stack();
    doubtful.object(balancer("srs", &[("something-quite-else", "1")]));
    assert!(doubtful.finish().is_ok());
}

#[test]
fn services_that_take_a_listener_from_each_other_are_refused_at_the_second() {
    let reusing = [("id", "lb-a"), ("force-override-listeners", "true")];
    let mut stack = stack();
    stack.object(balancer("a", &reusing));
    let line = line!() + 1;
    stack.object(balancer("b", &reusing));
    let errors = stack.finish().unwrap_err();
    assert_eq!(errors.errors.len(), 1, "{}", messages(&errors));
    assert_eq!(errors.errors[0].location.line, line);
    assert!(errors.errors[0].message.contains("live/a and live/b"));
    assert_eq!(errors.errors[0].hint.as_deref(), Some("give each a port of its own"));
}
