//! The real node: pods, names, Services, load balancers.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs, UdpSocket},
    time::Duration,
};

use cluster::{
    Running, Tier,
    image::Image,
    testing::{TestCluster, TestNamespace, wait_for},
};
use serde_json::json;

use crate::inside::Inside;

const SOON: Duration = Duration::from_mins(1);
/// The image that they run.
pub(crate) const IMAGE: &str = "example.com/busybox:1";

/// Loads the image that the tests' pods run.
pub(crate) fn busybox(cluster: &Running) {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("busybox.tar");
    Image::busybox(IMAGE).unwrap().write(&tar).unwrap();
    cluster.load_image(&tar).unwrap();
}

/// Makes a pod and waits until it runs.
pub(crate) fn pod_running(namespace: &TestNamespace, name: &str, words: &[&str]) {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": name, "image": IMAGE, "command": words }],
        },
    });
    // Right after a restart of the control plane a request may still be refused.
    let apply = || Ok(namespace.apply(&pod.to_string()).ok());
    wait_for("a pod that is taken", SOON, apply).unwrap();
    let ready = "--for=condition=Ready";
    namespace.kubectl(["wait", ready, "--timeout=60s", &format!("pod/{name}")]).unwrap();
}

fn service(namespace: &TestNamespace, name: &str, class: Option<&str>, ports: &serde_json::Value) {
    let zones = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-zone-maps";
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "annotations": { zones: "cn-a:vsw-1,cn-b:vsw-2" } },
        "spec": { "type": "LoadBalancer", "loadBalancerClass": class, "selector": { "app": "server" }, "ports": ports },
    });
    namespace.apply(&service.to_string()).unwrap();
}

/// Sends `words` and reads to the end.
fn ask(address: impl ToSocketAddrs, words: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(words.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

const GET: &str = "GET / HTTP/1.0\r\n\r\n";

/// A pod that answers over TCP.
fn server(namespace: &TestNamespace) {
    let script =
        "mkdir /www; echo it-is-me > /www/index.html; udpsvd 0 9000 cat & exec httpd -f -p 8080 -h /www";
    pod_running(namespace, "server", &["sh", "-c", script]);
}

#[test]
fn a_service_is_reached_by_name_by_address_and_from_outside() {
    let cluster = TestCluster::shared(Tier::Node).unwrap();
    busybox(&cluster);
    let namespace = cluster.namespace("serves").unwrap();
    server(&namespace);
    service(&namespace, "web", None, &json!([{ "port": 80, "targetPort": 8080 }]));
    let address = namespace.load_balancer("web", SOON).unwrap();

    // Outside, by the address as it is printed.
    let answer = wait_for("an answer outside", SOON, || {
        Ok(ask((address.as_str(), 80), GET).ok().filter(|answer| answer.contains("it-is-me")))
    });
    answer.unwrap();

    // Inside: by name through CoreDNS, and by the very same address.
    pod_running(&namespace, "client", &["sleep", "10000"]);
    let full = format!("web.{}.svc.cluster.local", namespace.name());
    for host in ["web", full.as_str(), address.as_str()] {
        let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} 80");
        let answer = namespace.kubectl(["exec", "client", "--", "sh", "-c", &script]).unwrap();
        assert!(answer.contains("it-is-me"), "{host}: {answer}");
    }
    // And the pod's own loopback is still its own.
    let own = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 127.0.0.1 8080";
    assert!(namespace.kubectl(["exec", "server", "--", "sh", "-c", own]).unwrap().contains("it-is-me"));

    // With the Service the address goes.
    namespace.kubectl(["delete", "service", "web"]).unwrap();
    assert!(TcpStream::connect((address.as_str(), 80)).is_err());
}

/// A DNS question (RFC 1035, 4.1) for the address of a name.
fn question(name: &str) -> Vec<u8> {
    // Id 7, recursion desired, one question.
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    // The root, type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

#[test]
fn datagrams_go_through_a_load_balancer_both_ways() {
    let cluster = TestCluster::shared(Tier::Node).unwrap();
    let namespace = cluster.namespace("datagrams").unwrap();
    // The node's own DNS stands behind the Service.
    let endpoints = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "dns", "labels": { "kubernetes.io/service-name": "dns" } },
        "addressType": "IPv4",
        "ports": [{ "port": 53, "protocol": "UDP" }],
        "endpoints": [{ "addresses": ["198.18.0.1"] }],
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "dns" },
        "spec": { "type": "LoadBalancer", "ports": [{ "port": 5353, "targetPort": 53, "protocol": "UDP" }] },
    });
    namespace.apply(&endpoints.to_string()).unwrap();
    namespace.apply(&service.to_string()).unwrap();
    let address = namespace.load_balancer("dns", SOON).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.connect((address.as_str(), 5353)).unwrap();
    let answer = wait_for("an answer", SOON, || {
        let mut answer = [0; 512];
        let asked = socket.send(&question("kubernetes.default.svc.cluster.local"));
        Ok(asked.and_then(|_| socket.recv(&mut answer)).ok().map(|length| answer[..length].to_vec()))
    });
    assert!(answer.unwrap().ends_with(&[198, 19, 0, 1]), "the Service kubernetes");
}

#[test]
fn a_network_load_balancer_is_reached_by_its_name() {
    let cluster = TestCluster::shared(Tier::Node).unwrap();
    busybox(&cluster);
    let namespace = cluster.namespace("nlb").unwrap();
    server(&namespace);
    service(&namespace, "web", Some("alibabacloud.com/nlb"), &json!([{ "port": 80, "targetPort": 8080 }]));
    let hostname = namespace.load_balancer("web", SOON).unwrap();
    assert!(hostname.parse::<std::net::IpAddr>().is_err(), "{hostname} is a name");
    let answer = wait_for("an answer outside", SOON, || {
        Ok(ask((hostname.as_str(), 80), GET).ok().filter(|answer| answer.contains("it-is-me")))
    });
    answer.unwrap();
}

#[test]
fn a_port_that_the_machine_uses_is_named_in_the_event() {
    let cluster = TestCluster::shared(Tier::Node).unwrap();
    let namespace = cluster.namespace("taken").unwrap();
    let other = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = other.local_addr().unwrap().port();
    service(&namespace, "web", None, &json!([{ "port": port }]));
    let events = || {
        let events =
            namespace.kubectl(["get", "events", "--field-selector=reason=SyncLoadBalancerFailed"])?;
        Ok(events.contains(&format!(":{port}")).then_some(()))
    };
    wait_for("an event that names the port", SOON, events).unwrap();
    drop(other);
    namespace.load_balancer("web", SOON).unwrap();
}

#[test]
fn no_link_leads_out_of_the_cluster() {
    let cluster = TestCluster::shared(Tier::Node).unwrap();
    let inside = Inside::of(&cluster);
    let links = inside.in_network(&["ip", "-json", "-details", "link"]);
    let links: serde_json::Value = serde_json::from_str(&links).unwrap();
    for link in links.as_array().unwrap() {
        let kind = link["linkinfo"]["info_kind"].as_str().unwrap_or("none");
        let name = link["ifname"].as_str().unwrap();
        // A veth's other end is in a pod; nothing of the machine is a veth of this namespace (its links are compared
        // before and after in the tests of `down`).
        let inside = name == "lo" || (name == "node" && kind == "bridge") || kind == "veth";
        // Devices that the kernel puts into every namespace, down and without use.
        let unused = link["flags"].as_array().unwrap().iter().all(|flag| flag != "UP");
        assert!(inside || unused, "{link}");
    }
}

#[test]
fn an_image_that_does_not_exist_fails_at_once_with_the_resolver_s_words() {
    let cluster = TestCluster::shared(Tier::Node).unwrap();
    let namespace = cluster.namespace("no-image").unwrap();
    namespace.kubectl(["run", "lost", "--image=registry.example.com/lost:1"]).unwrap();
    let words = wait_for("the kubelet's words", SOON, || {
        let events = namespace.kubectl(["get", "events", "--field-selector=reason=Failed"])?;
        Ok(events.contains("no such host").then_some(events))
    });
    assert!(words.unwrap().contains("registry.example.com"));
}
