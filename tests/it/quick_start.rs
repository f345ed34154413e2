//! The main job on real input: `up`, a real publisher, real players, all from outside the cluster.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use cluster::testing::{TestNamespace, wait_for};
use stackctl_tests::media;
use stackctl_tests::stackctl::Stackctl;

use crate::harness::{FIXTURES, node};

/// The name under which the tests load the media server's image.
pub(crate) const IMAGE: &str = "ossrs/srs:test";

/// The image, made and loaded once for this binary.
pub(crate) fn load_image() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        cluster::packages::ensure(&["busybox-static"]).expect("busybox");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = folder.path().join("image.tar");
        let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let build = Command::new(FIXTURES)
            .args(["image", "build", "--tag", IMAGE, "--output"])
            .arg(&archive)
            .current_dir(workspace)
            .output()
            .expect("stackctl starts");
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        let load = Command::new(FIXTURES)
            .args(["image", "load"])
            .arg(&archive)
            .env("CONTAINERD_ADDRESS", node().dir().containerd_socket())
            .output()
            .expect("stackctl starts");
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    });
}

/// What the media server's API answers; nothing if it doesn't listen yet.
fn get(address: &str, path: &str) -> Option<serde_json::Value> {
    use std::io::{Read as _, Write as _};
    let mut connection = std::net::TcpStream::connect(format!("{address}:1985")).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    // The body may be chunked; the JSON in it is one piece.
    serde_json::from_str(body.get(body.find('{')?..=body.rfind('}')?)?).ok()
}

fn namespace(label: &str) -> (TestNamespace, Stackctl) {
    load_image();
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
