//! The main job on real input: `up`, a real publisher, real players, all from outside the cluster.

use std::time::Duration;

use cluster::testing::{TestNamespace, wait_for};
use stackctl_tests::stackctl::Stackctl;
use stackctl_tests::{http, media};

use crate::harness::{FIXTURES, node};
use crate::images::{SRS as IMAGE, load_media_server};

/// What the media server's API answers; nothing if it doesn't listen yet.
fn get(address: &str, path: &str) -> Option<serde_json::Value> {
    serde_json::from_str(&http::text(address, 1985, path)?).ok()
}

fn namespace(label: &str) -> (TestNamespace, Stackctl) {
    load_media_server(node());
    let namespace = node().namespace(label).expect("a namespace");
    let stackctl = Stackctl::new(FIXTURES, &namespace);
    (namespace, stackctl)
}

#[test]
fn quick_start_carries_a_real_stream_to_real_players() {
    let (_namespace, stackctl) = namespace("quick-start");
    let image = format!("image={IMAGE}");
    let said = stackctl.ok(&["up", "quick-start", "--yes", "--set", &image]);
    // The printed address is the one that plays.
    let address = said
        .stdout
        .split_whitespace()
        .find_map(|word| {
            word.strip_prefix("rtmp://")
                .unwrap_or(word)
                .split([':', '/'])
                .next()
                .filter(|w| w.starts_with("127."))
        })
        .unwrap_or_else(|| panic!("no address in {}", said.stdout))
        .to_owned();

    let folder = stackctl.folder();
    let file = media::file(folder);
    let url = format!("rtmp://{address}/live/livestream");
    let within = Duration::from_mins(1);
    let versions = wait_for("the API", within, || Ok(get(&address, "/api/v1/versions"))).unwrap();
    assert_eq!(versions["data"]["major"], 4, "{versions}");
    let _publisher = media::publish(&file, &url);
    wait_for("the stream", within, || {
        let streams = get(&address, "/api/v1/streams/");
        Ok(streams.filter(|answer| answer["streams"].as_array().is_some_and(|list| !list.is_empty())))
    })
    .unwrap();
    for url in [url.as_str(), &format!("http://{address}:8080/live/livestream.flv")] {
        let played = media::play(url, 11, folder);
        assert!(played.seconds >= 10.0, "{url}: {played:?}");
        assert_eq!(played.errors, "", "{url}");
        for codec in ["h264", "aac"] {
            assert!(played.codecs.iter().any(|found| found == codec), "{url}: {played:?}");
        }
    }
    let status = stackctl.json(0, &["status", "quick-start", "--set", &image]).to_string();
    assert_eq!(status.matches("\"verdict\":\"ready\"").count(), 2, "{status}");
}

#[test]
fn an_image_that_does_not_exist_is_named_with_pod_and_reason() {
    let (namespace, stackctl) = namespace("no-image");
    let said = stackctl.run(&["up", "quick-start", "--yes", "--set", "image=registry.invalid/no/such:1"]);
    assert_eq!(said.code, 6, "{}\n{}", said.stdout, said.stderr);
    for part in ["registry.invalid/no/such:1", "srs-deploy-", "registry.invalid"] {
        assert!(said.stderr.contains(part), "{part} is not in\n{}", said.stderr);
    }
    assert!(
        said.stderr.contains("failed to") || said.stderr.contains("lookup"),
        "the registry's words: {}",
        said.stderr
    );
    drop(namespace);
}
