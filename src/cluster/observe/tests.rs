use serde_json::json;

use super::*;
use crate::cluster::test_server::{Asked, Reply, TestServer, cluster, refusal, reply, text};

const LABEL: &str = "stackctl.dev/stack=s";

/// An API server with these objects, each `KIND NAMESPACE/NAME` and a `*` behind it if it is a member.
fn serving(
    objects: &'static [&'static str],
    forbidden: &'static [&'static str],
) -> impl Fn(&Asked) -> Reply + Send + Sync {
    cluster(move |asked| {
        if asked.path == "/api" || asked.path == "/apis" {
            return discovery(&asked.path);
        }
        if forbidden.contains(&asked.path.as_str()) {
            return refusal(403, "Forbidden", "you may not");
        }
        let parts: Vec<&str> = asked.path.trim_start_matches("/api/v1/").split('/').collect();
        let (namespace, plural, name) = match parts[..] {
            ["namespaces", namespace, plural] => (Some(namespace), plural, None),
            ["namespaces", namespace, plural, name] => (Some(namespace), plural, Some(name)),
            [plural, name] => (Some(""), plural, Some(name)),
            [plural] => (None, plural, None),
            _ => panic!("{}", asked.path),
        };
        let labelled = asked.query.contains("labelSelector=");
        let found: Vec<Value> = objects
            .iter()
            .filter(|object| !labelled || object.ends_with('*'))
            .map(|object| object.trim_end_matches('*').split(' ').collect::<Vec<_>>())
            .filter(|object| plural == format!("{}s", object[0].to_lowercase()))
            .map(|object| (object[0], object[1].split_once('/').unwrap()))
            .filter(|(_, (in_namespace, is))| {
                namespace.is_none_or(|namespace| namespace == *in_namespace)
                    && name.is_none_or(|name| name == *is)
            })
            .map(|(kind, (namespace, name))| {
                let mut object = json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name } });
                if !namespace.is_empty() {
                    object["metadata"]["namespace"] = namespace.into();
                }
                if name == "ending" {
                    object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                }
                object
            })
            .collect();
        match (name, found.first()) {
            (Some(_), Some(object)) => reply(200, object),
            (Some(_), None) => refusal(404, "NotFound", "not found"),
            (None, _) => reply(200, &json!({ "metadata": {}, "items": found })),
        }
    })
}

fn discovery(path: &str) -> Reply {
    let resource = |kind: &str, scope: &str| {
        json!({ "resource": format!("{}s", kind.to_lowercase()), "scope": scope, "verbs": ["get", "list"],
                "responseKind": { "kind": kind } })
    };
    let items = if path == "/api" {
        json!([{ "metadata": {}, "versions": [{ "version": "v1", "resources": [
            resource("ConfigMap", "Namespaced"), resource("Secret", "Namespaced"), resource("Namespace", "Cluster"),
        ] }] }])
    } else {
        json!([])
    };
    text(200, &json!({ "kind": "APIGroupDiscoveryList", "items": items }).to_string())
}

/// `KIND NAMESPACE/NAME`
fn object(text: &str) -> (Gvk, ObjectId) {
    let (kind, name) = text.split_once(' ').unwrap();
    let (namespace, name) = name.split_once('/').unwrap();
    let gvk = Gvk::new("", "v1", kind);
    let id = ObjectId::new(&gvk, Some(namespace).filter(|namespace| !namespace.is_empty()), name);
    (gvk, id)
}

fn wanted(desired: &[&str], known: &[&str]) -> Wanted {
    Wanted {
        desired: desired.iter().map(|text| object(text)).collect(),
        known: known.iter().map(|text| object(text)).collect(),
        label_selector: LABEL.into(),
        namespaces: vec!["default".into()],
    }
}

fn live(observation: &Observation) -> Vec<String> {
    let namespace = |id: &ObjectId| id.namespace.clone().unwrap_or_default();
    observation.live.keys().map(|id| format!("{} {}/{}", id.kind, namespace(id), id.name)).collect()
}

fn paths(server: &TestServer) -> Vec<String> {
    let mut paths: Vec<String> = server
        .asked()
        .into_iter()
        .filter(|asked| !matches!(asked.path.as_str(), "/api" | "/apis"))
        .map(|asked| asked.path.replace("/api/v1/", ""))
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn members_come_from_lists_and_the_rest_one_by_one() {
    let server = TestServer::http(serving(
        &[
            "Namespace /default",
            "ConfigMap default/a*",
            "ConfigMap default/member-that-nobody-names*",
            "ConfigMap default/b",
            "ConfigMap default/foreign",
            "Secret default/s*",
            "ResourceQuota default/q",
        ],
        &[],
    ))
    .await;
    let cluster = server.connect().await.unwrap();
    let wanted =
        wanted(&["ConfigMap default/a", "ConfigMap default/b", "Secret default/s"], &["Secret default/gone"]);
    let observation = observe(&cluster, &wanted).await.unwrap();
    assert_eq!(
        live(&observation),
        [
            "ConfigMap default/a",
            "ConfigMap default/b",
            "ConfigMap default/member-that-nobody-names",
            "Secret default/s",
        ]
    );
    assert_eq!(observation.namespaces, BTreeSet::from(["default".to_owned()]));
    assert_eq!(observation.quotas.len(), 1);
    assert_eq!(observation.kinds.len(), 2);
    assert_eq!(
        paths(&server),
        [
            "namespaces/default",
            "namespaces/default/configmaps",
            "namespaces/default/configmaps/b",
            "namespaces/default/resourcequotas",
            "namespaces/default/secrets",
            "namespaces/default/secrets/gone",
        ]
    );
}

#[tokio::test]
async fn in_a_namespace_that_is_not_there_nothing_is_looked_for() {
    let server = TestServer::http(serving(&["Namespace /ending"], &[])).await;
    let cluster = server.connect().await.unwrap();
    let mut wanted = wanted(&["Namespace /new", "ConfigMap new/a", "ConfigMap ending/b"], &[]);
    wanted.namespaces = vec!["ending".into()];
    let observation = observe(&cluster, &wanted).await.unwrap();
    assert!(observation.live.is_empty());
    assert!(observation.namespaces.is_empty());
    assert_eq!(observation.terminating_namespaces, BTreeSet::from(["ending".to_owned()]));
    let paths = paths(&server);
    assert!(!paths.contains(&"namespaces/new/configmaps/a".to_owned()), "{paths:?}");
    assert!(paths.contains(&"namespaces/ending/configmaps/b".to_owned()), "{paths:?}");
    assert_eq!(paths.iter().filter(|path| *path == "namespaces/new").count(), 1, "{paths:?}");
}

#[tokio::test]
async fn a_desired_namespace_is_read_once() {
    let server = TestServer::http(serving(&["Namespace /default"], &[])).await;
    let cluster = server.connect().await.unwrap();
    let observation = observe(&cluster, &wanted(&["Namespace /default"], &[])).await.unwrap();
    assert_eq!(live(&observation), ["Namespace /default"]);
    assert_eq!(paths(&server), ["namespaces", "namespaces/default", "namespaces/default/resourcequotas"]);
}

#[tokio::test]
async fn many_namespaces_are_listed_at_once_unless_that_is_forbidden() {
    const OBJECTS: &[&str] = &[
        "Namespace /a",
        "Namespace /b",
        "Namespace /c",
        "Namespace /default",
        "ConfigMap c/x*",
        "ConfigMap other/y*",
    ];
    let wanted = wanted(&["ConfigMap a/x", "ConfigMap b/x", "ConfigMap c/x"], &[]);

    let server = TestServer::http(serving(OBJECTS, &[])).await;
    let observation = observe(&server.connect().await.unwrap(), &wanted).await.unwrap();
    assert_eq!(live(&observation), ["ConfigMap c/x", "ConfigMap other/y"]);
    let lists = paths(&server).into_iter().filter(|path| path.ends_with("configmaps")).count();
    assert_eq!(lists, 1);

    let server = TestServer::http(serving(OBJECTS, &["/api/v1/configmaps"])).await;
    let observation = observe(&server.connect().await.unwrap(), &wanted).await.unwrap();
    assert_eq!(live(&observation), ["ConfigMap c/x"]);
    let lists = paths(&server).into_iter().filter(|path| path.ends_with("configmaps")).count();
    assert_eq!(lists, 5);
}

#[tokio::test]
async fn where_listing_is_forbidden_what_is_named_is_read() {
    let server = TestServer::http(serving(
        &["ConfigMap default/a*", "ConfigMap default/unnamed*"],
        &[
            "/api/v1/namespaces/default",
            "/api/v1/namespaces/default/configmaps",
            "/api/v1/namespaces/default/resourcequotas",
        ],
    ))
    .await;
    let cluster = server.connect().await.unwrap();
    let observation = observe(&cluster, &wanted(&["ConfigMap default/a"], &[])).await.unwrap();
    assert_eq!(live(&observation), ["ConfigMap default/a"]);
    assert_eq!(observation.namespaces, BTreeSet::from(["default".to_owned()]));

    let server = TestServer::http(serving(
        &["Namespace /default"],
        &["/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/configmaps/a"],
    ))
    .await;
    let cluster = server.connect().await.unwrap();
    let error = observe(&cluster, &wanted(&["ConfigMap default/a"], &[])).await.unwrap_err();
    assert_eq!(error.to_string(), "get ConfigMap a: you may not");
}

#[tokio::test]
async fn a_kind_that_is_not_served_is_left_out() {
    let server = TestServer::http(serving(&["Namespace /default"], &[])).await;
    let cluster = server.connect().await.unwrap();
    let gvk = Gvk::new("example.com", "v1", "Thing");
    let mut wanted = wanted(&["ConfigMap default/a"], &[]);
    wanted.desired.push((gvk.clone(), ObjectId::new(&gvk, Some("default"), "t")));
    let observation = observe(&cluster, &wanted).await.unwrap();
    assert_eq!(observation.kinds.keys().map(|gvk| gvk.kind.as_str()).collect::<Vec<_>>(), ["ConfigMap"]);
}
