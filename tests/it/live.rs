//! The live cluster against a real API server: what its mock in the unit tests is taken for is true.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::Tier;
use cluster::testing::{TestCluster, TestNamespace};
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde_json::{Value, json};
use stackctl::cluster::{
    ApplyOptions, Cluster, ClusterError, ConnectOptions, DeleteOptions, Live, STATE_NAMESPACE, Selection,
    Wanted, Watched, observe,
};
use stackctl::graph::{Gvk, ObjectId};
use stackctl::observation::KindInfo;
use stackctl_state::{Expect, Lock, LockError, LockRequest, StackId, Store, contract};

/// A bound for what takes milliseconds, on a machine that does much else.
const SOON: Duration = Duration::from_mins(1);

fn namespace(label: &str) -> (TestCluster, TestNamespace) {
    let cluster = TestCluster::shared(Tier::ControlPlane).unwrap();
    let namespace = cluster.namespace(label).unwrap();
    (cluster, namespace)
}

async fn connect(kubeconfig: &Path) -> Result<Live, ClusterError> {
    Live::connect(&ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), context: None }).await
}

async fn kind(live: &Live, group: &str, kind: &str) -> KindInfo {
    live.discover(&[Gvk::new(group, "v1", kind)]).await.unwrap().remove(0)
}

fn config_map(namespace: &TestNamespace, name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": namespace.name(), "labels": { "stackctl.dev/stack": "live" } },
        "data": data,
    })
}

fn manager(name: &str) -> ApplyOptions {
    ApplyOptions { manager: name.to_owned(), dry_run: false, force: false }
}

#[tokio::test]
async fn applies_patches_and_deletes_on_conditions() {
    let (_cluster, namespace) = namespace("live-apply");
    let live = connect(namespace.kubeconfig()).await.unwrap();
    let kind = kind(&live, "", "ConfigMap").await;
    let ours = manager("stackctl.live");
    let body = config_map(&namespace, "a", &json!({ "k": "v" }));
    let id = ObjectId::of(&body).unwrap();

    let dry_run = ApplyOptions { dry_run: true, ..ours.clone() };
    assert!(live.apply(&kind, &body, &dry_run).await.unwrap().created);
    assert_eq!(live.get(&kind, &id).await.unwrap(), None);
    assert!(live.apply(&kind, &body, &ours).await.unwrap().created);
    assert!(!live.apply(&kind, &body, &ours).await.unwrap().created);
    let object = live.get(&kind, &id).await.unwrap().unwrap();

    let mut unknown = body.clone();
    unknown["daata"] = json!({});
    let error = live.apply(&kind, &unknown, &ours).await.unwrap_err();
    assert!(error.to_string().contains(".daata: field not declared in schema"), "{error}");

    let other = config_map(&namespace, "a", &json!({ "k": "w" }));
    let error = live.apply(&kind, &other, &manager("other")).await.unwrap_err();
    let rejection = error.rejection().unwrap();
    assert_eq!((rejection.code, rejection.causes[0].reason.as_str()), (409, "FieldManagerConflict"));

    let mut stale = body.clone();
    stale["metadata"]["resourceVersion"] = "1".into();
    assert!(live.apply(&kind, &stale, &ours).await.unwrap_err().is_rejected_with(409));

    let version = &object["metadata"]["resourceVersion"];
    let test =
        |version: &Value| json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version });
    let remove = json!({ "op": "remove", "path": "/data/k" });
    let error = live.patch(&kind, &id, &[test(&json!("1")), remove.clone()], "m").await.unwrap_err();
    assert!(error.is_rejected_with(422), "{error:?}");
    let patched = live.patch(&kind, &id, &[test(version), remove], "m").await.unwrap();
    assert_eq!(patched.pointer("/data/k"), None);

    let other = DeleteOptions { uid: Some("another".to_owned()), ..DeleteOptions::default() };
    assert!(live.delete(&kind, &id, &other).await.unwrap_err().is_rejected_with(409));
    let uid = object["metadata"]["uid"].as_str().map(str::to_owned);
    let this = DeleteOptions { uid, ..DeleteOptions::default() };
    assert!(live.delete(&kind, &id, &this).await.unwrap());
    assert!(!live.delete(&kind, &id, &this).await.unwrap());
}

#[tokio::test]
async fn observes_with_reads_alone_and_few_of_them() {
    let (_cluster, namespace) = namespace("live-observe");
    let name = namespace.name();
    let everything: Vec<Value> = (0..600)
        .map(|number| {
            config_map(&namespace, &format!("member-{number}"), &json!({ "n": number.to_string() }))
        })
        .chain([json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "not-a-member", "namespace": name },
        })])
        .collect();
    namespace.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": everything }).to_string()).unwrap();
    let before = namespace.requests().unwrap().len();

    let live = connect(namespace.kubeconfig()).await.unwrap();
    let (config_maps, accounts) = (Gvk::new("", "v1", "ConfigMap"), Gvk::new("", "v1", "ServiceAccount"));
    let gone = Gvk::new("batch", "v1beta1", "CronJob");
    let entry = |gvk: &Gvk, object: &str| (gvk.clone(), ObjectId::new(gvk, Some(name), object));
    let wanted = Wanted {
        desired: (0..600)
            .map(|number| entry(&config_maps, &format!("member-{number}")))
            .chain([entry(&accounts, "not-a-member")])
            .collect(),
        known: vec![entry(&gone, "old")],
        label_selector: "stackctl.dev/stack=live".to_owned(),
        namespaces: vec![name.to_owned()],
    };
    let observation = observe(&live, &wanted).await.unwrap();
    assert_eq!(observation.live.len(), 601);
    assert!(observation.namespaces.contains(name));
    assert!(!observation.kinds.contains_key(&gone), "it is served as batch/v1 alone");
    assert!(observation.kinds.contains_key(&Gvk::new("batch", "v1", "CronJob")));
    let member = &observation.live[&entry(&config_maps, "member-599").1];
    assert_eq!((&member["kind"], &member["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    assert!(member["metadata"]["managedFields"].is_array());

    // Two of the first contact, two of discovery, the list's two pages, two other lists, the namespace, its quotas,
    // and the two objects that no list had.
    let requests = cluster::testing::wait_for("the audit log", SOON, || {
        let requests: Vec<_> = namespace.requests()?.split_off(before);
        Ok(Some(requests).filter(|requests| requests.len() >= 12))
    })
    .unwrap();
    assert_eq!(requests.len(), 12, "{requests:#?}");
    assert!(requests.iter().all(|request| !request.is_write()), "{requests:#?}");
    assert!(requests.iter().all(|request| request.user_agent.starts_with("stackctl/")), "{requests:#?}");
}

async fn next(watch: &mut BoxStream<'_, Result<Watched, ClusterError>>) -> String {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    match tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap().unwrap() {
        Watched::Restarted(objects) => {
            format!("restarted {}", objects.iter().map(name).collect::<Vec<_>>().join(","))
        }
        Watched::Applied(object) => format!("applied {}", name(&object)),
        Watched::Deleted(object) => format!("deleted {}", name(&object)),
    }
}

#[tokio::test]
async fn a_watch_shows_what_happens() {
    let (_cluster, namespace) = namespace("live-watch");
    let live = connect(namespace.kubeconfig()).await.unwrap();
    let kind = kind(&live, "", "ConfigMap").await;
    live.apply(&kind, &config_map(&namespace, "a", &json!({})), &manager("m")).await.unwrap();
    let selection = Selection {
        namespace: Some(namespace.name().to_owned()),
        labels: Some("stackctl.dev/stack=live".to_owned()),
        fields: None,
    };
    let mut watch = live.watch(&kind, &selection);
    assert_eq!(next(&mut watch).await, "restarted a");
    let created = live.apply(&kind, &config_map(&namespace, "b", &json!({})), &manager("m")).await.unwrap();
    assert_eq!(next(&mut watch).await, "applied b");
    let id = ObjectId::of(&created.object).unwrap();
    live.delete(&kind, &id, &DeleteOptions::default()).await.unwrap();
    assert_eq!(next(&mut watch).await, "deleted b");
}

#[tokio::test]
async fn a_new_kind_is_known_once_discovery_was_forgotten() {
    let (_cluster, namespace) = namespace("live-crd");
    let live = connect(namespace.kubeconfig()).await.unwrap();
    // The group is the test's own, so that it meets no other run.
    let group = format!("{}.example.com", namespace.name());
    let gvk = Gvk::new(group.as_str(), "v1", "Thing");
    assert!(live.discover(std::slice::from_ref(&gvk)).await.unwrap().is_empty());
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("things.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": "Thing", "plural": "things" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    });
    let definitions = kind(&live, "apiextensions.k8s.io", "CustomResourceDefinition").await;
    live.apply(&definitions, &definition, &manager("m")).await.unwrap();
    assert!(live.discover(std::slice::from_ref(&gvk)).await.unwrap().is_empty(), "what is known is kept");

    let until = tokio::time::Instant::now() + SOON;
    let found = loop {
        live.forget_discovery();
        if let Some(found) = live.discover(std::slice::from_ref(&gvk)).await.unwrap().pop() {
            break found;
        }
        assert!(tokio::time::Instant::now() < until, "the new kind is not served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((found.gvk, found.plural.as_str()), (gvk, "things"));
    let id = ObjectId::of(&definition).unwrap();
    live.delete(&definitions, &id, &DeleteOptions::default()).await.unwrap();
}

#[tokio::test]
async fn who_may_not_is_told_what() {
    let (cluster, namespace) = namespace("live-forbidden");
    let user = format!("nobody-{}", namespace.name());
    let kubeconfig = cluster.user(&user, None, namespace.name()).unwrap();
    let error = connect(&kubeconfig).await.err().unwrap();
    assert!(error.is_rejected_with(403), "{error:?}");
    assert!(
        error.to_string().contains(&format!("User \"{user}\" cannot get resource \"namespaces\"")),
        "{error}"
    );
}

#[tokio::test]
async fn the_store_keeps_its_contract_and_large_values() {
    let (_cluster, namespace) = namespace("live-store");
    let live = connect(namespace.kubeconfig()).await.unwrap();
    let store = live.store();
    contract::check(&store, namespace.name()).await.unwrap();

    let stack = StackId::new(&live.identity().uid, namespace.name(), "live").unwrap();
    let key = stack.key("inventory");
    let large = |fill: u8| vec![fill; 2_500_000];
    let version = store.put(&key, large(1).into(), Expect::Absent).await.unwrap();
    let version = store.put(&key, large(2).into(), Expect::Version(version)).await.unwrap();
    assert_eq!(live.store().get(&key).await.unwrap().unwrap().bytes, large(2));
    let secrets = ["get", "secrets", "--namespace", STATE_NAMESPACE, "--output", "name"];
    let ours = |secrets: String| {
        let name = format!("inventory.{}.live", namespace.name());
        secrets.lines().filter(|line| line.contains(&name)).count()
    };
    assert_eq!(ours(namespace.kubectl(secrets).unwrap()), 1 + 3);
    store.delete(&key, Expect::Version(version)).await.unwrap();
    assert_eq!(ours(namespace.kubectl(secrets).unwrap()), 0);
}

#[tokio::test]
async fn the_lock_is_a_lease_that_one_alone_has() {
    let (_cluster, namespace) = namespace("live-lock");
    let live = connect(namespace.kubeconfig()).await.unwrap();
    let stack = StackId::new(&live.identity().uid, namespace.name(), "live").unwrap();
    let store: Arc<dyn Store> = Arc::new(live.store());
    let request = |holder: &str| LockRequest { holder: holder.to_owned(), ttl: Duration::from_mins(10) };
    let now = Timestamp::now();

    let attempts = (0..8).map(|number| {
        let mut lock = Lock::new(Arc::clone(&store), &stack);
        let request = request(&format!("run {number}"));
        async move { lock.acquire(&request, now).await }
    });
    let (granted, refused): (Vec<_>, Vec<_>) =
        futures::future::join_all(attempts).await.into_iter().partition(Result::is_ok);
    assert_eq!(granted.len(), 1);
    let grant = granted.into_iter().next().unwrap().unwrap();
    for error in refused {
        let Err(LockError::Locked(locked)) = error else { panic!("{error:?}") };
        assert_eq!(locked.holder, grant.holder);
    }

    let lease = format!("lock.{}.live", namespace.name());
    let holder = [
        "get",
        "lease",
        &lease,
        "--namespace",
        STATE_NAMESPACE,
        "--output",
        "jsonpath={.spec.holderIdentity}",
    ];
    assert_eq!(namespace.kubectl(holder).unwrap(), grant.holder);
    let mut lock = Lock::new(Arc::clone(&store), &stack);
    lock.renew(&grant, now).await.unwrap();
    lock.release(&grant).await.unwrap();
    assert_eq!(lock.acquire(&request("the next"), now).await.unwrap().fencing, grant.fencing + 1);
}
