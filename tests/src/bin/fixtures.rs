//! A stackctl with stacks that only tests need, beside the real ones.

use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stackctl::graph::{Definition, Stack};

fn main() -> ExitCode {
    let own = [manifests("manifests"), manifests("other"), thousand(), unknown_port(), twice()];
    stackctl::main(stacks::all().into_iter().chain(own))
}

/// Whatever a YAML file says.
fn manifests(name: &str) -> Definition {
    #[derive(Default, Serialize, Deserialize)]
    struct Settings {
        file: String,
        take: bool,
        /// A wait ends after so many seconds without progress; 0: the tool's default.
        no_progress_seconds: u64,
        allow_replace: bool,
    }
    Definition::new(name, "Whatever a YAML file says", |settings: Settings, stack: &mut Stack| {
        let yaml = stack.yaml(&settings.file);
        for handle in yaml.all() {
            let policy = stack.policy(handle);
            policy.allow_replace = settings.allow_replace;
            if settings.no_progress_seconds > 0 {
                policy.no_progress = Some(Duration::from_secs(settings.no_progress_seconds));
            }
            if settings.take {
                policy.on_conflict = stackctl::graph::OnConflict::Take;
            }
        }
    })
}

/// As many objects as asked for, a quarter each of four kinds.
fn thousand() -> Definition {
    #[derive(Serialize, Deserialize)]
    struct Settings {
        objects: usize,
        replicas: i32,
        prefix: String,
    }
    impl Default for Settings {
        fn default() -> Self {
            Self { objects: 1000, replicas: 0, prefix: "x".to_owned() }
        }
    }
    Definition::new(
        "thousand",
        "A thousand objects of four kinds",
        |settings: Settings, stack: &mut Stack| {
            for number in 0..settings.objects / 4 {
                let name = format!("{}-{number:04}", settings.prefix);
                stack.add(object::<ConfigMap>(
                    json!({"metadata": {"name": name}, "data": {"number": number.to_string()}}),
                ));
                stack.add(object::<ServiceAccount>(json!({"metadata": {"name": name}})));
                stack.add(object::<Service>(json!({
                    "metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
                })));
                stack.add(object::<Deployment>(json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {
                "replicas": settings.replicas, "selector": {"matchLabels": {"app": name}}, "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "main", "image": "registry.invalid/main:1", "env": [{"name": "NUMBER", "value": number.to_string()}]}]},
                },
            }})));
            }
        },
    )
}

/// A Service that offers a port which no container has.
fn unknown_port() -> Definition {
    use stackctl::graph::build::{Port, container, deployment, service};
    Definition::new(
        "unknown-port",
        "A mistake: a port that no container has",
        |_: None, stack: &mut Stack| {
            let srs = stack.add(deployment("srs").container(container("srs", "srs:4").port(Port::tcp(1935))));
            stack.add(service("srs").to(&srs).port(Port::tcp(1985).named("api")));
        },
    )
}

/// Two resources with one name.
fn twice() -> Definition {
    use stackctl::graph::build::config_map;
    Definition::new("twice", "A mistake: two resources with one name", |_: None, stack: &mut Stack| {
        stack.add(config_map("same"));
        stack.add(config_map("same"));
    })
}

#[derive(Default, Serialize, Deserialize)]
struct None {}

fn object<K: for<'de> Deserialize<'de>>(value: Value) -> K {
    serde_json::from_value(value).expect("the fixture is an object of this kind")
}
