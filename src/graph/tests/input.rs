//! Input of any form: what is wrong becomes an error with its place, nothing panics, nothing gets lost.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{API, RTMP, messages, stack};
use crate::graph::build::{config_map, container, deployment, secret, service};
use crate::graph::{Config, OnChange, Stack};

fn secret_body(fill: impl FnOnce(&mut Stack)) -> Value {
    let mut stack = stack();
    fill(&mut stack);
    stack.finish().unwrap().resources.remove(0).body
}

#[test]
fn string_data_is_sent_as_data_however_it_was_declared() {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "data": {"a": "MQ==", "b": "MQ=="}, "stringData": {"b": "two", "c": ""}});
    let typed: Secret = serde_json::from_value(object.clone()).unwrap();
    for body in [
        secret_body(|stack| drop(stack.object(object.clone()))),
        secret_body(|stack| drop(stack.yaml_text("s.yaml", &object.to_string()))),
        secret_body(|stack| drop(stack.add(typed.clone()))),
        secret_body(|stack| drop(stack.add(secret("s").customize(|secret| *secret = typed.clone())))),
    ] {
        assert_eq!(body.get("stringData"), None);
        assert_eq!(body["data"], json!({"a": "MQ==", "b": "dHdv", "c": ""}));
    }
    // Only Secrets have such a field.
    let other =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "stringData": {"a": "b"}});
    assert_eq!(secret_body(|stack| drop(stack.object(other)))["stringData"], json!({"a": "b"}));
}

#[test]
fn a_late_value_in_a_secret_is_refused() {
    type Way<'a> = &'a dyn Fn(&mut Stack, String);
    let ways: [Way<'_>; 3] = [
        &|stack, text| drop(stack.add(secret("s").value("key", format!("host={text}")))),
        &|stack, text| {
            drop(stack.object(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": text}})));
        },
        &|stack, text| {
            let data = BTreeMap::from([("key".to_owned(), ByteString(text.into_bytes()))]);
            let mut secret = Secret { data: Some(data), ..Secret::default() };
            secret.metadata.name = Some("s".to_owned());
            stack.add(secret);
        },
    ];
    for way in ways {
        let mut stack = stack();
        let front = stack.add(service("front").port(RTMP));
        way(&mut stack, front.address().to_string());
        let errors = stack.finish().unwrap_err();
        let text = messages(&errors);
        assert!(text.contains("Secret s: a late value can't stand in a Secret (key \"key\")"), "{text}");
        assert_eq!(errors.errors[0].location.file, "src/graph/tests/input.rs");
        assert!(errors.errors[0].hint.as_ref().is_some_and(|hint| hint.contains("ConfigMap")));
    }
}

#[test]
fn what_must_be_an_object_is_refused_with_its_place() {
    for (metadata, field) in [
        (json!("foo"), "metadata"),
        (json!({"name": "a", "labels": "x"}), "metadata.labels"),
        (json!({"name": "a", "annotations": []}), "metadata.annotations"),
    ] {
        let mut stack = stack();
        let line = line!() + 1;
        stack.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}));
        let errors = stack.finish().unwrap_err();
        assert_eq!(errors.errors[0].location.line, line);
        let text = messages(&errors);
        assert!(text.contains(&format!("{field} is not an object")), "{text}");
    }
    for template in [json!("x"), json!({"metadata": []}), json!({"metadata": {"annotations": "x"}})] {
        let mut stack = stack();
        stack.object(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": template}}));
        let text = messages(&stack.finish().unwrap_err());
        assert!(text.contains("spec.template") && text.contains("is not an object"), "{text}");
    }
    // Nothing and null are the same to the API.
    let mut empty = stack();
    empty.object(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": null, "labels": null, "annotations": null}}));
    assert_eq!(empty.finish().unwrap().resources[0].id.namespace.as_deref(), Some("live"));
}

#[test]
fn a_namespace_is_text() {
    let mut stack = stack();
    stack.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": 5}}));
    assert!(messages(&stack.finish().unwrap_err()).contains("metadata.namespace is not a string"));
}

#[test]
fn a_resource_after_itself_is_refused() {
    let mut stack = stack();
    let a = stack.add(config_map("a"));
    let line = line!() + 1;
    stack.after(&a, &a);
    let errors = stack.finish().unwrap_err();
    assert_eq!(errors.errors[0].location.line, line);
    assert!(messages(&errors).contains("ConfigMap a can't come after itself"));
}

#[test]
fn handles_of_another_stack_are_refused() {
    let mut other = Stack::new("other", "live");
    other.add(config_map("first"));
    let foreign = other.add(config_map("foreign"));
    let foreign_secret = other.add(secret("foreign").value("k", "v"));
    let ways: [&dyn Fn(&mut Stack); 5] = [
        &|stack| {
            let own = stack.add(config_map("own"));
            stack.after(&own, &foreign);
        },
        &|stack| {
            let own = stack.add(config_map("own"));
            stack.after(&foreign, &own);
        },
        &|stack| stack.policy(&foreign).protect = true,
        &|stack| {
            let pod = container("srs", "srs:4").mount(&foreign, "/conf", OnChange::Roll);
            stack.add(deployment("srs").container(pod));
        },
        &|stack| {
            // There is a resource of that number, but another one.
            (0..3).for_each(|number| drop(stack.add(config_map(format!("own-{number}")))));
            let pod = container("srs", "srs:4").env_secret("K", &foreign_secret, "k");
            stack.add(deployment("srs").container(pod));
        },
    ];
    for way in ways {
        let mut stack = stack();
        way(&mut stack);
        let errors = stack.finish().unwrap_err();
        let text = messages(&errors);
        assert!(text.contains(" foreign is not in this stack"), "{text}");
        assert_eq!(errors.errors[0].hint.as_deref(), Some("a handle belongs to the stack that gave it"));
        assert_eq!(errors.errors[0].location.file, "src/graph/tests/input.rs");
    }
}

#[test]
fn long_names_make_legal_annotations_and_volumes() {
    let build = |end: &str| {
        let mut stack = stack();
        let conf = stack.add(config_map(format!("{}{end}", "long.".repeat(20))).file("a", "b"));
        let pod = container("srs", "srs:4").mount(&conf, "/conf", OnChange::Roll);
        stack.add(deployment("srs").container(pod));
        let mut graph = stack.finish().unwrap();
        graph.annotate_rolls(&|_| String::new());
        let template = &graph.resources[1].body["spec"]["template"];
        let key = template["metadata"]["annotations"].as_object().unwrap().keys().next().unwrap().clone();
        let volume = template["spec"]["volumes"][0]["name"].as_str().unwrap().to_owned();
        assert_eq!(template["spec"]["containers"][0]["volumeMounts"][0]["name"], volume.as_str());
        (key, volume)
    };
    let ((key, volume), (other_key, other_volume)) = (build("a"), build("b"));
    let name = key.strip_prefix("stackctl.dev/").unwrap();
    assert!(name.starts_with("hash-configmap-long.") && name.len() <= 63, "{name}");
    assert!(volume.starts_with("long-long-") && volume.len() <= 63 && !volume.contains('.'), "{volume}");
    assert!(key != other_key && volume != other_volume);
}

#[test]
fn labels_are_cut_between_characters() {
    let label = crate::graph::stack_label(&format!("a{}", "é".repeat(40)), "name");
    assert!(label.starts_with("aéé") && label.len() <= 63, "{label}");
}

#[test]
fn one_workload_with_the_port_name_is_enough() {
    let build = |port: crate::graph::build::Port| {
        let mut stack = stack();
        for name in ["old", "new"] {
            let pod = container("srs", "srs:4").port(if name == "new" { port } else { RTMP });
            stack.add(deployment(name).pod_label("tier", "edge").container(pod));
        }
        stack.object(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "edge"},
            "spec": {"selector": {"tier": "edge"}, "ports": [{"port": 1985, "targetPort": "api"}]}}));
        stack.finish()
    };
    assert!(build(API).is_ok());
    let errors = build(RTMP.named("rtmp")).unwrap_err();
    assert_eq!(errors.errors.len(), 1, "{}", messages(&errors));
    let text = messages(&errors);
    assert!(text.contains("Deployment old") && text.contains("Deployment new"), "{text}");
    assert!(text.ends_with("they have rtmp"), "{text}");
}

#[test]
fn a_cluster_scoped_object_has_no_namespace() {
    let mut stack = stack();
    stack.object(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk", "namespace": "live"}}));
    let graph = stack.finish().unwrap();
    assert_eq!(graph.resources[0].id.namespace, None);
    assert_eq!(graph.resources[0].body["metadata"].get("namespace"), None);
}

#[test]
fn a_typed_object_without_a_name_is_refused() {
    let mut stack = stack();
    let line = line!() + 1;
    stack.add(ConfigMap::default());
    let errors = stack.finish().unwrap_err();
    assert_eq!(errors.errors[0].location.line, line);
    assert!(messages(&errors).contains("this ConfigMap has no metadata.name"));
}

/// JSON that is often nearly an object of Kubernetes.
fn json_value() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec![
        "",
        "a",
        "live",
        "TCP",
        "http",
        "v1",
        "Secret",
        "é\u{e000}{}\u{e001}",
        "LoadBalancer",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "labels",
        "annotations",
        "name",
        "namespace",
        "spec",
        "template",
        "jobTemplate",
        "containers",
        "ports",
        "selector",
        "data",
        "stringData",
        "volumes",
        "configMap",
        "secret",
        "items",
        "service",
        "names",
        "group",
        "scope",
        "type",
    ]);
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn kind() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("v1", "Service"),
        ("v1", "Pod"),
        ("v1", "Namespace"),
        ("apps/v1", "Deployment"),
        ("batch/v1", "CronJob"),
        ("networking.k8s.io/v1", "Ingress"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("example.com/v1", "Thing"),
    ])
}

proptest! {
    #[test]
    fn no_json_panics(any in json_value(), nearly in prop::collection::vec((kind(), json_value(), json_value(), json_value()), 1..4)) {
        let mut stack = stack();
        stack.object(any);
        prop_assert!(stack.finish().is_err());

        let mut stack = super::stack();
        for (number, ((api_version, kind), metadata, spec, data)) in nearly.into_iter().enumerate() {
            let mut body = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "data": data.clone(), "stringData": data});
            if let Some(metadata) = body["metadata"].as_object_mut() {
                metadata.insert("name".to_owned(), json!(format!("n{number}")));
            }
            let handle = stack.object(body);
            stack.policy(&handle).protect = true;
        }
        let _ = stack.finish();
    }

    #[test]
    fn no_pod_template_panics(template in json_value(), kind in kind()) {
        let mut stack = stack();
        stack.add(config_map("a"));
        stack.add(deployment("b").container(container("c", "d")));
        let mut graph = stack.finish().unwrap();
        let resource = &mut graph.resources[1];
        resource.body["spec"]["template"] = template;
        resource.configs = vec![Config { on: 0, on_change: OnChange::Roll }];
        resource.gvk.kind = if kind.1 == "CronJob" { kind.1.to_owned() } else { "Deployment".to_owned() };
        graph.annotate_rolls(&|_| String::new());
    }
}
