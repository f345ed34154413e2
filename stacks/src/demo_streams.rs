//! The tutorial's demo streams: an encoder that publishes a file to an origin, over and over.

use serde::{Deserialize, Serialize};
use stackctl::graph::build::{container, deployment};
use stackctl::graph::{Definition, Stack};

use crate::srs::IMAGE;

/// What can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The media server's image: it has the demo file and publishes it.
    image: String,
    /// Where the stream goes.
    url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { image: IMAGE.to_owned(), url: "rtmp://srs-origin-service/live/livestream".to_owned() }
    }
}

/// The stack `demo-streams`.
pub(crate) fn demo_streams() -> Definition {
    Definition::new("demo-streams", "An encoder that publishes the demo file over and over", build)
}

fn build(settings: Settings, stack: &mut Stack) {
    // The encoder ends when the origin does; the kubelet starts it again.
    let encoder = container("encoder", settings.image)
        .pull_if_not_present()
        .command(["./objs/srs", "publish", "--loop", "./doc/source.flv"])
        .args([settings.url]);
    stack.add(deployment("srs-demo-deploy").labels([("app", "srs-demo")]).replicas(1).container(encoder));
}
