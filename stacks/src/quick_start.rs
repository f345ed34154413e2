//! The tutorial's Quick Start: one SRS behind one load balancer that carries RTMP, the HTTP API and HTTP-FLV.

use serde::{Deserialize, Serialize};
use stackctl::ack::Clb;
use stackctl::graph::build::{container, deployment, service};
use stackctl::graph::{Definition, Stack};

use crate::srs::{HTTP, HTTP_API, IMAGE, RTMP};

/// What can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The media server's image.
    image: String,
    /// How many media servers run. Each has its own streams: with more than one, publisher and player may meet different ones.
    replicas: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { image: IMAGE.to_owned(), replicas: 1 }
    }
}

/// The stack `quick-start`.
pub(crate) fn quick_start() -> Definition {
    Definition::new("quick-start", "One SRS behind one load balancer (the tutorial's Quick Start)", build)
}

fn build(settings: Settings, stack: &mut Stack) {
    let srs =
        stack.add(deployment("srs-deploy").labels([("app", "srs")]).replicas(settings.replicas).container(
            container("srs", settings.image).pull_if_not_present().port(RTMP).port(HTTP_API).port(HTTP),
        ));
    stack.add(
        service("srs-origin-service")
            .to(&srs)
            .port_named(RTMP, "srs-origin-service-1935-1935")
            .port_named(HTTP_API, "srs-origin-service-1985-1985")
            .port_named(HTTP, "srs-origin-service-8080-8080")
            .load_balancer(Clb::internet()),
    );
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The tutorial's manifests, section Quick Start, in effect.
    fn tutorial() -> Vec<Value> {
        vec![
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "srs-origin-service"},
                "spec": {"type": "LoadBalancer", "selector": {"app": "srs"}, "ports": [
                    {"name": "srs-origin-service-1935-1935", "port": 1935, "protocol": "TCP", "targetPort": 1935},
                    {"name": "srs-origin-service-1985-1985", "port": 1985, "protocol": "TCP", "targetPort": 1985},
                    {"name": "srs-origin-service-8080-8080", "port": 8080, "protocol": "TCP", "targetPort": 8080},
                ]},
            }),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "srs-deploy", "labels": {"app": "srs"}},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "srs"}}, "template": {
                    "metadata": {"labels": {"app": "srs"}},
                    "spec": {"containers": [{
                        "name": "srs", "image": "ossrs/srs:3", "imagePullPolicy": "IfNotPresent",
                        "ports": [{"containerPort": 1935}, {"containerPort": 1985}, {"containerPort": 8080}],
                    }]},
                }},
            }),
        ]
    }

    #[test]
    fn it_is_the_tutorials_quick_start() {
        let definition = quick_start();
        let mut settings = definition.defaults.clone();
        settings["image"] = json!("ossrs/srs:3");
        let graph = (definition.build)(&settings, "default").unwrap();
        let bodies: Vec<Value> = graph
            .resources
            .into_iter()
            .map(|mut resource| {
                let metadata = resource.body["metadata"].as_object_mut().unwrap();
                assert_eq!(metadata.remove("namespace"), Some(json!("default")));
                // What makes the load balancer a public CLB, and our own label, are said beside the tutorial's words.
                metadata.remove("annotations");
                let labels = metadata["labels"].as_object_mut().unwrap();
                labels.remove(stackctl::graph::STACK_LABEL);
                if labels.is_empty() {
                    metadata.remove("labels");
                }
                resource.body
            })
            .collect();
        assert_eq!(bodies, tutorial());
    }
}
