use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use serde_json::json;

use super::*;
use crate::cluster::test_server::{
    Asked, Authority, Reply, TestServer, cluster, connect, kubeconfig, refusal, reply, text,
};
use crate::graph::Scope;

fn config_maps() -> KindInfo {
    KindInfo {
        gvk: Gvk::new("", "v1", "ConfigMap"),
        plural: "configmaps".into(),
        scope: Scope::Namespaced,
        verbs: Vec::new(),
    }
}

fn config_map(name: &str) -> ObjectId {
    ObjectId::new(&config_maps().gvk, Some("default"), name)
}

fn nothing(_: &Asked) -> Reply {
    text(404, "404 page not found\n")
}

async fn fails(kubeconfig: std::path::PathBuf) -> ClusterError {
    connect(kubeconfig).await.err().expect("an error")
}

#[tokio::test]
async fn speaks_http_2_over_tls_and_asks_who_the_cluster_is() {
    let authority = Authority::new();
    let server = TestServer::https(&authority.sign(2999), cluster(nothing)).await;
    let live = connect(server.kubeconfig(Some(&authority), &json!({ "token": "t" }))).await.unwrap();
    assert_eq!(
        *live.identity(),
        ClusterIdentity {
            context: "test".into(),
            server: server.address.clone(),
            uid: "u-1".into(),
            version: "v1.34.4".into(),
        }
    );
    assert_eq!(live.get(&config_maps(), &config_map("a")).await.unwrap(), None);
    let asked = server.asked();
    assert!(asked[0].http2);
    assert_eq!(asked[0].headers["authorization"], "Bearer t");
    assert_eq!(asked[0].headers["user-agent"], format!("stackctl/{}", env!("CARGO_PKG_VERSION")).as_str());
}

#[tokio::test]
async fn an_expired_server_certificate_is_named_with_its_date() {
    let authority = Authority::new();
    let server = TestServer::https(&authority.sign(2024), cluster(nothing)).await;
    let error = fails(server.kubeconfig(Some(&authority), &json!({}))).await;
    assert!(matches!(error, ClusterError::Unauthorized { .. }), "{error:?}");
    let start = format!(
        "cannot log in to the cluster at {}: the server's certificate expired on 2024-12-31T00:00:00Z (it is ",
        server.address
    );
    assert!(error.to_string().starts_with(&start), "{error}");
}

#[tokio::test]
async fn an_unknown_authority_is_told_from_an_expired_certificate() {
    let server = TestServer::https(&Authority::new().sign(2999), cluster(nothing)).await;
    let error = fails(server.kubeconfig(Some(&Authority::new()), &json!({}))).await;
    assert!(matches!(error, ClusterError::Unauthorized { .. }), "{error:?}");
    assert!(
        error.to_string().contains("signed by an authority that the kubeconfig does not know"),
        "{error}"
    );
}

#[tokio::test]
async fn an_expired_client_certificate_is_named_when_the_server_answers_401() {
    let authority = Authority::new();
    let answer = |_: &Asked| refusal(401, "Unauthorized", "Unauthorized");
    let server = TestServer::https(&authority.sign(2999), answer).await;
    let user = |last_year| {
        let identity = authority.sign(last_year);
        json!({
            "client-certificate-data": STANDARD.encode(identity.certificate.pem()),
            "client-key-data": STANDARD.encode(identity.key.serialize_pem()),
        })
    };
    let error = fails(server.kubeconfig(Some(&authority), &user(2024))).await;
    assert_eq!(
        error.to_string(),
        format!(
            "cannot log in to the cluster at {}: the server answered 401 Unauthorized: the client certificate \
             in the kubeconfig's user u expired on 2024-12-31T00:00:00Z (it was valid from 2020-01-01T00:00:00Z)",
            server.address
        )
    );
    let error = fails(server.kubeconfig(Some(&authority), &user(2999))).await;
    assert!(error.to_string().ends_with("the server answered 401 Unauthorized"), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_closed_port_a_wrong_name_and_plain_http_are_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let server = TestServer::http(cluster(nothing)).await;
    let plain = server.address.replace("http://", "https://");
    for (address, words) in [
        (format!("https://{closed}"), "connection refused: nothing listens there"),
        ("https://no-such-host.invalid".to_owned(), "its name cannot be resolved"),
        (plain, "the TLS handshake failed"),
    ] {
        let authority = STANDARD.encode(Authority::new().pem());
        let entry = json!({ "server": address, "certificate-authority-data": authority });
        std::fs::write(&path, kubeconfig(&entry, &json!({})).to_string()).unwrap();
        let error = fails(path.clone()).await;
        assert!(
            matches!(&error, ClusterError::Unreachable { server, .. } if *server == address),
            "{error:?}"
        );
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_server_that_is_no_api_server_is_said_to_be_none() {
    let server = TestServer::http(|_: &Asked| text(200, "<html>hello</html>")).await;
    let error = server.connect().await.err().unwrap();
    assert!(matches!(error, ClusterError::Malformed { .. }), "{error:?}");
    assert!(error.to_string().contains("not JSON at line 1, column 1"), "{error}");

    let server = TestServer::http(|_: &Asked| text(502, "<html>Bad Gateway</html>")).await;
    let error = server.connect().await.err().unwrap();
    assert!(
        error.to_string().contains("HTTP 502 Bad Gateway, and not from a Kubernetes API server"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refusal_keeps_all_that_the_server_says() {
    let server = TestServer::http(cluster(|_| {
        reply(
            422,
            &json!({
                "kind": "Status", "code": 422, "reason": "Invalid", "message": "Service \"a\" is invalid",
                "details": { "causes": [
                    { "field": "spec.clusterIPs[0]", "reason": "FieldValueInvalid", "message": "field is immutable" },
                ] },
            }),
        )
    }))
    .await;
    let live = server.connect().await.unwrap();
    let body = json!({ "metadata": { "name": "a", "namespace": "default" } });
    let options = ApplyOptions { manager: "stackctl.s".into(), dry_run: true, force: true };
    let error = live.apply(&config_maps(), &body, &options).await.unwrap_err();
    assert_eq!(error.to_string(), "apply ConfigMap a: Service \"a\" is invalid");
    let rejection = error.rejection().unwrap();
    assert_eq!((rejection.code, rejection.reason.as_str()), (422, "Invalid"));
    assert_eq!(rejection.causes[0].field, "spec.clusterIPs[0]");
}

#[tokio::test]
async fn an_apply_says_whose_it_is_and_whether_it_created() {
    let server = TestServer::http(cluster(|asked| {
        let mut reply = reply(201, &json!({ "metadata": { "name": "a" } }));
        let warning = format!("299 - \"{} is \\\"deprecated\\\"\"", asked.path);
        reply.headers_mut().insert("warning", warning.parse().unwrap());
        reply
    }))
    .await;
    let live = server.connect().await.unwrap();
    let body = json!({ "apiVersion": "v1", "metadata": { "name": "a", "namespace": "default" } });
    let options = ApplyOptions { manager: "stackctl.s".into(), dry_run: false, force: false };
    assert!(live.apply(&config_maps(), &body, &options).await.unwrap().created);
    let asked = &server.asked()[0];
    assert_eq!(asked.method, Method::PATCH);
    assert_eq!(asked.path, "/api/v1/namespaces/default/configmaps/a");
    assert_eq!(asked.query, "fieldManager=stackctl.s&fieldValidation=Strict");
    assert_eq!(asked.headers["content-type"], "application/apply-patch+yaml");
    assert_eq!(serde_json::from_slice::<Value>(&asked.body).unwrap(), body);
    assert_eq!(live.take_warnings(), ["/api/v1/namespaces/default/configmaps/a is \"deprecated\""]);
    assert!(live.take_warnings().is_empty());

    let options = ApplyOptions { manager: "m".into(), dry_run: true, force: true };
    live.apply(&config_maps(), &body, &options).await.unwrap();
    assert_eq!(server.asked()[1].query, "fieldManager=m&fieldValidation=Strict&force=true&dryRun=All");
}

/// A busy server that would take it the second time.
async fn busy(status: u16, retry_after: bool) -> TestServer {
    let asked = AtomicU32::new(0);
    TestServer::http(cluster(move |_| {
        if asked.fetch_add(1, Ordering::Relaxed) > 0 {
            return reply(200, &json!({ "metadata": { "name": "a" } }));
        }
        let mut reply = refusal(status, "TooManyRequests", "come back later");
        if retry_after {
            reply.headers_mut().insert("retry-after", "0".parse().unwrap());
        }
        reply
    }))
    .await
}

#[tokio::test]
async fn a_request_is_repeated_only_where_the_second_answer_can_be_trusted() {
    let body = |version: Option<&str>| {
        let mut body = json!({ "metadata": { "name": "a", "namespace": "default" } });
        if let Some(version) = version {
            body["metadata"]["resourceVersion"] = version.into();
        }
        body
    };
    let apply = |dry_run| ApplyOptions { manager: "m".into(), dry_run, force: false };
    for (status, retry_after, version, dry_run, repeated) in [
        (429, true, None, false, true),
        (429, false, None, false, true),
        (503, true, None, false, false),
        (503, true, None, true, true),
        (503, false, Some("7"), false, true),
        (500, false, None, true, false),
        (500, true, None, true, true),
        (409, true, None, true, false),
    ] {
        let server = busy(status, retry_after).await;
        let live = server.connect().await.unwrap();
        let result = live.apply(&config_maps(), &body(version), &apply(dry_run)).await;
        assert_eq!(result.is_ok(), repeated, "{status} {retry_after} {version:?} {dry_run}");
        assert_eq!(server.asked().len(), if repeated { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_server_that_stays_busy_is_not_asked_for_ever() {
    let server = TestServer::http(cluster(|_| refusal(429, "TooManyRequests", "come back later"))).await;
    let live = server.connect().await.unwrap();
    let error = live.get(&config_maps(), &config_map("a")).await.unwrap_err();
    assert!(error.is_rejected_with(429));
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn deletes_with_preconditions_and_takes_what_is_gone_for_gone() {
    let server = TestServer::http(cluster(|asked| match asked.path.rsplit('/').next() {
        Some("gone") => refusal(404, "NotFound", "configmaps \"gone\" not found"),
        Some("other") => {
            refusal(409, "Conflict", "Precondition failed: UID in precondition: 1, UID in object meta: 2")
        }
        _ => reply(200, &json!({ "kind": "Status", "status": "Success" })),
    }))
    .await;
    let live = server.connect().await.unwrap();
    let options = DeleteOptions { uid: Some("1".into()), foreground: true, ..DeleteOptions::default() };
    assert!(live.delete(&config_maps(), &config_map("a"), &options).await.unwrap());
    assert_eq!(
        serde_json::from_slice::<Value>(&server.asked()[0].body).unwrap(),
        json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground",
            "preconditions": { "uid": "1" },
        })
    );
    assert!(!live.delete(&config_maps(), &config_map("gone"), &options).await.unwrap());
    let error = live.delete(&config_maps(), &config_map("other"), &options).await.unwrap_err();
    assert_eq!(error.rejection().unwrap().reason, "Conflict");
}

#[tokio::test]
async fn a_list_reads_every_page_and_begins_again_once_when_it_expired() {
    let expired = AtomicU32::new(0);
    let server = TestServer::http(cluster(move |asked| {
        let item = |name: &str| json!({ "metadata": { "name": name, "namespace": "default" } });
        if !asked.query.contains("limit=") {
            return reply(200, &json!({ "metadata": { "resourceVersion": "9" }, "items": [item("a"), item("b"), item("c")] }));
        }
        if !asked.query.contains("continue=") {
            return reply(200, &json!({ "metadata": { "continue": "t/1" }, "items": [item("a"), item("b")] }));
        }
        if expired.fetch_add(1, Ordering::Relaxed) > 0 {
            return refusal(410, "Expired", "The provided continue parameter is too old");
        }
        reply(200, &json!({ "metadata": {}, "items": [item("c")] }))
    }))
    .await;
    let live = server.connect().await.unwrap();
    let selection =
        Selection { namespace: Some("default".into()), labels: Some("a/b=c".into()), fields: None };
    for _ in 0..2 {
        let items = live.list(&config_maps(), &selection).await.unwrap();
        let ids: Vec<ObjectId> = items.iter().filter_map(ObjectId::of).collect();
        assert_eq!(ids, [config_map("a"), config_map("b"), config_map("c")]);
    }
    let queries: Vec<String> = server.asked().into_iter().map(|asked| asked.query).collect();
    assert_eq!(
        queries,
        [
            "labelSelector=a%2Fb%3Dc&limit=500",
            "labelSelector=a%2Fb%3Dc&limit=500&continue=t%2F1",
            "labelSelector=a%2Fb%3Dc&limit=500",
            "labelSelector=a%2Fb%3Dc&limit=500&continue=t%2F1",
            "labelSelector=a%2Fb%3Dc",
        ]
    );
}

#[tokio::test]
async fn discovers_from_either_format_and_names_other_versions() {
    let aggregated = |asked: &Asked| {
        let resource = |plural: &str, kind: &str| {
            json!({ "resource": plural, "responseKind": { "group": "", "version": "", "kind": kind },
                    "scope": "Namespaced", "verbs": ["list"] })
        };
        match asked.path.as_str() {
            "/api" => reply(
                200,
                &json!({ "kind": "APIGroupDiscoveryList", "items": [
                { "metadata": {}, "versions": [{ "version": "v1", "resources": [resource("configmaps", "ConfigMap")] }] },
            ] }),
            ),
            "/apis" => reply(
                200,
                &json!({ "kind": "APIGroupDiscoveryList", "items": [
                { "metadata": { "name": "batch" },
                  "versions": [{ "version": "v1", "resources": [resource("cronjobs", "CronJob")] }] },
            ] }),
            ),
            _ => nothing(asked),
        }
    };
    let legacy = |asked: &Asked| match asked.path.as_str() {
        "/api" => reply(200, &json!({ "kind": "APIVersions", "versions": ["v1"] })),
        "/apis" => reply(200, &json!({ "kind": "APIGroupList", "groups": [] })),
        "/api/v1" => reply(
            200,
            &json!({ "resources": [
            { "name": "configmaps", "namespaced": true, "kind": "ConfigMap", "verbs": ["list"] },
        ] }),
        ),
        "/apis/batch" => reply(
            200,
            &json!({
                "versions": [{ "version": "v1" }], "preferredVersion": { "version": "v1" },
            }),
        ),
        "/apis/batch/v1" => reply(
            200,
            &json!({ "resources": [
            { "name": "cronjobs", "namespaced": true, "kind": "CronJob", "verbs": ["list"] },
            { "name": "cronjobs/status", "namespaced": true, "kind": "CronJob", "verbs": ["get"] },
        ] }),
        ),
        _ => nothing(asked),
    };
    let wanted = [
        Gvk::new("", "v1", "ConfigMap"),
        Gvk::new("batch", "v1beta1", "CronJob"),
        Gvk::new("nowhere.example", "v1", "Thing"),
    ];
    let cron_job = KindInfo {
        gvk: Gvk::new("batch", "v1", "CronJob"),
        plural: "cronjobs".into(),
        scope: Scope::Namespaced,
        verbs: vec!["list".into()],
    };
    let expected = [KindInfo { verbs: vec!["list".into()], ..config_maps() }, cron_job];
    for (server, requests) in
        [(TestServer::http(cluster(aggregated)).await, 2), (TestServer::http(cluster(legacy)).await, 6)]
    {
        let live = server.connect().await.unwrap();
        for _ in 0..2 {
            assert_eq!(live.discover(&wanted).await.unwrap(), expected);
            assert_eq!(server.asked().len(), requests, "the second time nothing is asked");
        }
        live.forget_discovery();
        assert_eq!(live.discover(&wanted[..1]).await.unwrap(), expected[..1]);
        assert!(server.asked().len() > requests);
    }
}

#[tokio::test]
async fn a_watch_lists_follows_and_lists_again_after_a_gap() {
    let opened = AtomicU32::new(0);
    let server = TestServer::http(cluster(move |asked| {
        let object = |name: &str, version: &str| {
            json!({ "kind": "ConfigMap", "apiVersion": "v1",
                    "metadata": { "name": name, "namespace": "default", "resourceVersion": version } })
        };
        if !asked.query.contains("watch=1") {
            let first = opened.load(Ordering::Relaxed) == 0;
            let (name, version) = if first { ("a", "1") } else { ("z", "100") };
            return reply(
                200,
                &json!({ "metadata": { "resourceVersion": version }, "items": [object(name, version)] }),
            );
        }
        let event = |kind: &str, object: Value| json!({ "type": kind, "object": object }).to_string() + "\n";
        match opened.fetch_add(1, Ordering::Relaxed) {
            0 => {
                assert!(asked.query.contains("resourceVersion=1&"), "{}", asked.query);
                let bookmark = json!({ "kind": "ConfigMap", "metadata": { "resourceVersion": "5" } });
                text(
                    200,
                    &[
                        event("ADDED", object("b", "2")),
                        event("DELETED", object("b", "3")),
                        event("BOOKMARK", bookmark),
                    ]
                    .concat(),
                )
            }
            1 => {
                assert!(asked.query.contains("resourceVersion=5&"), "{}", asked.query);
                text(200, &event("ERROR", json!({ "kind": "Status", "code": 410, "message": "too old" })))
            }
            _ => refusal(403, "Forbidden", "no longer"),
        }
    }))
    .await;
    let live = server.connect().await.unwrap();
    let selection = Selection { namespace: Some("default".into()), ..Selection::default() };
    let steps: Vec<String> = live
        .watch(&config_maps(), &selection)
        .map(|step| {
            let names = |objects: &[Value]| {
                objects.iter().filter_map(ObjectId::of).map(|id| id.name).collect::<Vec<_>>().join(",")
            };
            match step {
                Ok(Watched::Restarted(objects)) => format!("restarted {}", names(&objects)),
                Ok(Watched::Applied(object)) => format!("applied {}", names(&[object])),
                Ok(Watched::Deleted(object)) => format!("deleted {}", names(&[object])),
                Err(error) => error.to_string(),
            }
        })
        .collect()
        .await;
    assert_eq!(
        steps,
        [
            "restarted a",
            "applied b",
            "deleted b",
            "restarted z",
            "watch configmaps in namespace default: no longer"
        ]
    );
}

#[tokio::test]
async fn reads_the_last_lines_of_a_container() {
    let server = TestServer::http(cluster(|_| text(200, "line 1\nline 2\n"))).await;
    let live = server.connect().await.unwrap();
    assert_eq!(live.logs("default", "p", "c", true, 20).await.unwrap(), "line 1\nline 2\n");
    let asked = &server.asked()[0];
    assert_eq!(asked.path, "/api/v1/namespaces/default/pods/p/log");
    assert_eq!(asked.query, "container=c&tailLines=20&limitBytes=65536&previous=true");
}
