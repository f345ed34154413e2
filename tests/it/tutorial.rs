//! The tutorial's manifests, applied by kubectl as they are: with the media server's image under the names that they
//! use, a real nginx and ACK's volumes, streams that are published to any origin play from the edges.

use std::path::Path;
use std::time::Duration;

use cluster::testing::{TestCluster, TestNamespace, wait_for};
use cluster::{Running, Tier};
use serde_json::json;
use stackctl_tests::{http, manifests, media};

use crate::harness::node;
use crate::images::{load_media_server, load_nginx};

/// A bound for what takes seconds, on a machine that does much else.
const SOON: Duration = Duration::from_mins(2);
/// How much of each stream is played.
const SECONDS: u32 = 6;

fn load_images(cluster: &Running) {
    load_media_server(cluster);
    load_nginx(cluster);
}

/// Applies manifests and waits until all that they start has started.
fn up(namespace: &TestNamespace, files: &[String]) {
    for file in files {
        namespace.apply(file).expect("manifests that the API server takes");
    }
    let started = namespace.kubectl(["get", "deployments,statefulsets", "--output=name"]).expect("a list");
    for workload in started.lines() {
        let wait = ["rollout", "status", "--timeout=300s", workload];
        if let Err(error) = namespace.kubectl(wait) {
            let events = namespace.kubectl(["get", "events", "--field-selector=type=Warning"]);
            panic!("{workload}: {error}\n{}", events.unwrap_or_default());
        }
    }
}

fn address(namespace: &TestNamespace, service: &str) -> String {
    namespace.load_balancer(service, SOON).expect("an address")
}

/// The address of a Service of the test's own that leads to one pod's RTMP.
fn publish_address(namespace: &TestNamespace, name: &str, selector: &serde_json::Value) -> String {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "type": "LoadBalancer", "selector": selector, "ports": [{ "port": 1935 }] },
    });
    namespace.apply(&service.to_string()).expect("a Service");
    address(namespace, name)
}

/// Plays a while, and insists on everything that was published.
fn plays(url: &str, folder: &Path) {
    let played = media::play(url, SECONDS, folder);
    assert!(played.seconds >= f64::from(SECONDS) - 1.0, "{url}: {played:?}");
    assert_eq!(played.errors, "", "{url}");
    for codec in ["h264", "aac"] {
        assert!(played.codecs.iter().any(|found| found == codec), "{url}: {played:?}");
    }
}

/// Waits until nginx serves the playlist of a stream with a segment in it.
fn wait_for_hls(nginx: &str, stream: &str) {
    let path = format!("/live/{stream}.m3u8");
    wait_for(&format!("http://{nginx}{path}"), SOON, || {
        Ok(http::text(nginx, 80, &path).filter(|playlist| playlist.contains("#EXTINF")))
    })
    .expect("HLS on the shared volume");
}

/// Plays a stream from the edges in every way that they have, and by HLS from nginx.
fn plays_everywhere(edges: &str, nginx: &str, stream: &str, folder: &Path) {
    plays(&format!("rtmp://{edges}/live/{stream}"), folder);
    plays(&format!("http://{edges}:8080/live/{stream}.flv"), folder);
    wait_for_hls(nginx, stream);
    plays(&format!("http://{nginx}/live/{stream}.m3u8"), folder);
}

#[test]
fn origin_cluster_on_nas() {
    // PersistentVolumes have no namespace, and the manifest names its own: so the cluster is the test's own, too.
    let cluster = TestCluster::own(Tier::Node).expect("a cluster with a node");
    load_images(&cluster);
    let namespace = cluster.namespace("origin-cluster").expect("a namespace");
    up(&namespace, &manifests::of("origin-cluster"));
    let nginx = address(&namespace, "srs-http-service");
    let edges = address(&namespace, "srs-edge-service");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = media::file(folder.path());

    // The sidecar has put the pages onto the shared volume, and nginx shows them.
    let page = wait_for("the page", SOON, || Ok(http::text(&nginx, 80, "/index.html"))).expect("a page");
    assert!(page.contains("<title>"), "{page}");

    let publishers: Vec<media::Publisher> = (0..3)
        .map(|number| {
            let pod = json!({ "statefulset.kubernetes.io/pod-name": format!("srs-origin-{number}") });
            let origin = publish_address(&namespace, &format!("to-origin-{number}"), &pod);
            media::publish(&file, &format!("rtmp://{origin}/live/stream-{number}"))
        })
        .collect();
    for number in 0..publishers.len() {
        plays_everywhere(&edges, &nginx, &format!("stream-{number}"), folder.path());
    }
    // The files are where ACK would have them: on the file system behind the mount target.
    let servers: Vec<_> = std::fs::read_dir(cluster.dir().nas()).expect("NAS").flatten().collect();
    assert_eq!(servers.len(), 1, "{servers:?}");
}

#[test]
fn edge_cluster() {
    load_images(node());
    let namespace = node().namespace("edge-cluster").expect("a namespace");
    up(&namespace, &manifests::of("edge-cluster"));
    let origin = publish_address(&namespace, "to-origin", &json!({ "app": "srs-origin" }));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _publisher = media::publish(&media::file(folder.path()), &format!("rtmp://{origin}/live/livestream"));
    let (edges, nginx) = (address(&namespace, "srs-edge-service"), address(&namespace, "srs-http-service"));
    plays_everywhere(&edges, &nginx, "livestream", folder.path());
}

#[test]
fn edge_cluster_of_the_article() {
    load_images(node());
    let namespace = node().namespace("edge-article").expect("a namespace");
    // The article has the other system's origin before it.
    let origin = manifests::of("edge-cluster").swap_remove(0);
    let files: Vec<String> = [origin].into_iter().chain(manifests::of("edge-cluster-article")).collect();
    up(&namespace, &files);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (edges, nginx) = (address(&namespace, "srs-edge-service"), address(&namespace, "srs-http-service"));
    // Published through an edge, which hands it on to the origin.
    let _publisher = media::publish(&media::file(folder.path()), &format!("rtmp://{edges}/live/livestream"));
    plays_everywhere(&edges, &nginx, "livestream", folder.path());
}

/// What a media server's API says inside its pod.
fn api(namespace: &TestNamespace, pod: &str, path: &str) -> cluster::Result<serde_json::Value> {
    let url = format!("http://127.0.0.1:1985{path}");
    let said = namespace.kubectl(["exec", pod, "--container=srs", "--", "wget", "-q", "-O-", &url])?;
    Ok(serde_json::from_str(&said).unwrap_or_default())
}

/// The names of the pods of one kind.
fn pods(namespace: &TestNamespace, app: &str) -> Vec<String> {
    let names = "--output=jsonpath={.items[*].metadata.name}";
    let said = namespace.kubectl(["get", "pods", &format!("--selector=app={app}"), names]).expect("a list");
    said.split_whitespace().map(str::to_owned).collect()
}

/// How many clients of a pod publish, and how many play.
fn clients(namespace: &TestNamespace, pod: &str) -> (usize, usize) {
    let answer = api(namespace, pod, "/api/v1/clients/?count=1000").expect("the API");
    let clients = answer["clients"].as_array().cloned().unwrap_or_default();
    let publish = clients.iter().filter(|client| client["publish"] == true).count();
    (publish, clients.len() - publish)
}

/// The one pod that somebody publishes to.
fn published_to(namespace: &TestNamespace, app: &str) -> String {
    wait_for(&format!("a publisher of {app}"), SOON, || {
        Ok(pods(namespace, app).into_iter().find(|pod| clients(namespace, pod).0 > 0))
    })
    .expect("a publisher")
}

/// As `kill -9` of all that is in it.
fn kill(namespace: &TestNamespace, pod: &str) {
    namespace.kubectl(["delete", "pod", pod, "--grace-period=0", "--force"]).expect("a pod is deleted");
}

/// The number of the last segment of a playlist.
fn last_segment(playlist: &str) -> Option<u64> {
    let first: u64 =
        playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"))?.trim().parse().ok()?;
    (first + playlist.matches("#EXTINF").count() as u64).checked_sub(1)
}

/// Waits until each of them has got a good deal more.
fn go_on(viewers: &[media::Viewer], what: &str) {
    let before: Vec<u64> = viewers.iter().map(media::Viewer::bytes).collect();
    wait_for(what, SOON, || {
        let more = viewers.iter().zip(&before).all(|(viewer, before)| viewer.bytes() > before + 200_000);
        Ok(more.then_some(()))
    })
    .unwrap_or_else(|error| {
        let now: Vec<u64> = viewers.iter().map(media::Viewer::bytes).collect();
        panic!("{error}: {before:?} and then {now:?}")
    });
}

/// Waits for two more segments, and insists that no playlist on the way ends before the one that was seen before it.
fn hls_goes_on(nginx: &str, last: &mut u64) {
    let until = *last + 2;
    wait_for(&format!("segment {until}"), SOON, || {
        let Some(now) = http::text(nginx, 80, "/live/livestream.m3u8").as_deref().and_then(last_segment)
        else {
            return Ok(None);
        };
        assert!(now >= *last, "HLS goes back from segment {last} to {now}");
        *last = now;
        Ok((now >= until).then_some(()))
    })
    .expect("HLS goes on");
}

#[test]
fn what_plays_goes_on_when_an_origin_and_an_edge_are_killed() {
    let cluster = TestCluster::own(Tier::Node).expect("a cluster with a node");
    load_images(&cluster);
    let namespace = cluster.namespace("failover").expect("a namespace");
    up(&namespace, &manifests::of("origin-cluster"));
    let (nginx, balancer) =
        (address(&namespace, "srs-http-service"), address(&namespace, "srs-edge-service"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _publisher =
        media::publish(&media::file(folder.path()), &format!("rtmp://{balancer}/live/livestream"));
    let origin = published_to(&namespace, "srs-origin");
    let publishers_edge = published_to(&namespace, "srs-edge");
    let mut viewers: Vec<media::Viewer> = (0..6)
        .map(|number| {
            let url = if number % 2 == 0 {
                format!("rtmp://{balancer}/live/livestream")
            } else {
                format!("http://{balancer}:8080/live/livestream.flv")
            };
            media::Viewer::start(&url, folder.path().join(format!("viewer-{number}.flv")))
        })
        .collect();
    go_on(&viewers, "the viewers' start");
    wait_for_hls(&nginx, "livestream");
    let mut last = 0;
    hls_goes_on(&nginx, &mut last);

    // The origin that has the stream: the edge publishes to another, the other edges pull from there.
    kill(&namespace, &origin);
    go_on(&viewers, "what plays after an origin was killed");
    hls_goes_on(&nginx, &mut last);
    assert!(viewers.iter_mut().all(media::Viewer::is_playing), "no viewer notices");

    // An edge with viewers: they come again to another; nobody else notices.
    let (killed, ended) = pods(&namespace, "srs-edge")
        .into_iter()
        .filter(|pod| *pod != publishers_edge)
        .map(|pod| (clients(&namespace, &pod).1, pod))
        .max()
        .map(|(players, pod)| (pod, players))
        .expect("another edge");
    kill(&namespace, &killed);
    wait_for("the end of the lost viewers", SOON, || {
        viewers.retain_mut(media::Viewer::is_playing);
        Ok((viewers.len() == 6 - ended).then_some(()))
    })
    .expect("those of the killed edge, and only they, end");
    plays(&format!("rtmp://{balancer}/live/livestream"), folder.path());
    go_on(&viewers, "what plays after an edge was killed");
    hls_goes_on(&nginx, &mut last);
}
