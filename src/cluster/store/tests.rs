use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use stackctl_state::{Lock, LockError, LockRequest, StackId, contract};

use super::*;
use crate::cluster::test_server::{Asked, Reply, TestServer, cluster, refusal, reply};

/// As much of an API server as a store needs: objects by path, with resourceVersions and their conflicts.
#[derive(Clone, Default)]
struct ApiServer {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    /// Refuses to write heads as if somebody else had been faster.
    heads_conflict: Arc<AtomicBool>,
}

impl ApiServer {
    async fn start(&self) -> TestServer {
        let server = self.clone();
        TestServer::http(cluster(move |asked| server.answer(asked))).await
    }

    fn names(&self) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        objects.keys().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let mut objects = self.objects.lock().unwrap();
        let namespace = format!("/api/v1/namespaces/{STATE_NAMESPACE}");
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let path = match body.pointer("/metadata/name") {
            Some(name) if asked.method == "POST" => format!("{}/{}", asked.path, name.as_str().unwrap()),
            _ => asked.path.clone(),
        };
        let found = objects.get(&path).cloned();
        let conflict = || refusal(409, "Conflict", "the object has been modified");
        let versions = |wanted: Option<&Value>| {
            let is = found.as_ref().and_then(|found| found.pointer("/metadata/resourceVersion").cloned());
            wanted.is_none() || is.as_ref() == wanted
        };
        if self.heads_conflict.load(Ordering::Relaxed) && body.pointer("/data/head").is_some() {
            return conflict();
        }
        match asked.method.as_str() {
            "GET" if asked.path.ends_with("/secrets") || asked.path.ends_with("/leases") => {
                let selector = asked.query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="));
                let selector = selector.unwrap().replace("%2F", "/").replace("%3D", "=");
                let (label, value) = selector.split_once('=').unwrap();
                let items: Vec<Value> = objects
                    .iter()
                    .filter(|(path, _)| path.starts_with(&format!("{}/", asked.path)))
                    .map(|(_, object)| json!({ "metadata": object["metadata"] }))
                    .filter(|object| object["metadata"]["labels"][label] == value)
                    .collect();
                reply(200, &json!({ "metadata": {}, "items": items }))
            }
            "GET" => found.map_or_else(|| refusal(404, "NotFound", "not found"), |found| reply(200, &found)),
            "POST" | "PUT" => {
                if asked.method == "POST"
                    && !path.starts_with("/api/v1/namespaces/stackctl-system/")
                    && !path.starts_with("/apis/")
                    && path != namespace
                {
                    return refusal(400, "BadRequest", "outside the state's namespace");
                }
                match (asked.method.as_str(), &found) {
                    ("POST", Some(_)) => return refusal(409, "AlreadyExists", "already exists"),
                    ("POST", None) if path != namespace && !objects.contains_key(&namespace) => {
                        return refusal(404, "NotFound", "namespaces \"stackctl-system\" not found");
                    }
                    ("PUT", None) => return refusal(404, "NotFound", "not found"),
                    ("PUT", _) if !versions(body.pointer("/metadata/resourceVersion")) => return conflict(),
                    _ => {}
                }
                let newest = objects
                    .values()
                    .filter_map(|object| object["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok());
                let mut object = body;
                object["metadata"]["resourceVersion"] = (newest.max().unwrap_or(0) + 1).to_string().into();
                objects.insert(path, object.clone());
                reply(201, &object)
            }
            "DELETE" => {
                if found.is_none() {
                    return refusal(404, "NotFound", "not found");
                }
                if !versions(body.pointer("/preconditions/resourceVersion")) {
                    return conflict();
                }
                objects.remove(&path);
                // Deleting moves the counter on, as in etcd: what is made again gets another version.
                let bump = objects.get_mut(&namespace).unwrap();
                let version: u64 = bump["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                bump["metadata"]["resourceVersion"] = (version + 1000).to_string().into();
                reply(200, &json!({ "kind": "Status", "status": "Success" }))
            }
            other => panic!("{other}"),
        }
    }
}

fn stack() -> StackId {
    StackId::new("u-1", "default", "quick-start").unwrap()
}

#[tokio::test]
async fn keeps_the_contract() {
    let server = ApiServer::default().start().await;
    contract::check(&server.connect().await.unwrap().store(), "t").await.unwrap();
}

#[tokio::test]
async fn the_namespace_comes_with_the_first_write() {
    let api = ApiServer::default();
    let server = api.start().await;
    let store = server.connect().await.unwrap().store();
    let key = stack().key("inventory");
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert!(store.list("").await.unwrap().is_empty());
    assert!(api.names().is_empty());

    store.put(&key, Bytes::from_static(b"v"), Expect::Absent).await.unwrap();
    assert_eq!(api.names(), ["stackctl-system", "inventory.default.quick-start"]);
    assert_eq!(store.list("stacks/u-1/").await.unwrap(), [key]);
}

fn large(fill: u8) -> Bytes {
    vec![fill; 2 * PART + 17].into()
}

#[tokio::test]
async fn a_large_value_is_read_back_whole_and_leaves_no_parts_behind() {
    let api = ApiServer::default();
    let server = api.start().await;
    let live = server.connect().await.unwrap();
    let store = live.store();
    let key = stack().key("inventory");
    let first = store.put(&key, large(1), Expect::Absent).await.unwrap();
    assert_eq!(api.names().len(), 1 + 1 + 3);
    assert_eq!(store.list("").await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(store.get(&key).await.unwrap().unwrap().bytes, large(1));

    // Another process, which has not read what it replaces.
    let second = live.store().put(&key, large(2), Expect::Version(first)).await.unwrap();
    assert_eq!(api.names().len(), 1 + 1 + 3);
    assert_eq!(store.get(&key).await.unwrap().unwrap().bytes, large(2));

    let third = store.put(&key, Bytes::from_static(b"small"), Expect::Version(second)).await.unwrap();
    assert_eq!(api.names().len(), 1 + 1);
    let fourth = store.put(&key, large(4), Expect::Version(third)).await.unwrap();
    store.delete(&key, Expect::Version(fourth)).await.unwrap();
    assert_eq!(api.names(), ["stackctl-system"]);
}

#[tokio::test]
async fn a_large_value_that_is_refused_changes_nothing() {
    let api = ApiServer::default();
    let server = api.start().await;
    let store = server.connect().await.unwrap().store();
    let key = stack().key("inventory");
    let first = store.put(&key, large(1), Expect::Absent).await.unwrap();
    api.heads_conflict.store(true, Ordering::Relaxed);
    let refused = store.put(&key, large(2), Expect::Version(first)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(api.names().len(), 1 + 1 + 3);
    assert_eq!(store.get(&key).await.unwrap().unwrap().bytes, large(1));
}

#[tokio::test]
async fn a_missing_part_is_told() {
    let api = ApiServer::default();
    let server = api.start().await;
    let store = server.connect().await.unwrap().store();
    let key = stack().key("inventory");
    store.put(&key, large(1), Expect::Absent).await.unwrap();
    let part = api.objects.lock().unwrap().keys().find(|path| path.ends_with("-1")).unwrap().clone();
    api.objects.lock().unwrap().remove(&part);
    let error = store.get(&key).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("a part of it is missing"), "{source}");
}

#[tokio::test]
async fn the_lock_is_a_lease() {
    let api = ApiServer::default();
    let server = api.start().await;
    let store: Arc<dyn Store> = Arc::new(server.connect().await.unwrap().store());
    let request =
        |holder: &str| LockRequest { holder: holder.to_owned(), ttl: std::time::Duration::from_secs(30) };
    let now = Timestamp::now();
    let mut ours = Lock::new(Arc::clone(&store), &stack());
    let mut theirs = Lock::new(store, &stack());
    let grant = ours.acquire(&request("us"), now).await.unwrap();
    assert_eq!(grant.fencing, 1);
    let lease =
        format!("/apis/coordination.k8s.io/v1/namespaces/{STATE_NAMESPACE}/leases/lock.default.quick-start");
    assert_eq!(api.objects.lock().unwrap()[&lease]["spec"]["holderIdentity"], "us");

    let Err(LockError::Locked(locked)) = theirs.acquire(&request("them"), now).await else {
        panic!("two have the lock")
    };
    assert_eq!(locked.holder, "us");
    ours.renew(&grant, now).await.unwrap();
    ours.release(&grant).await.unwrap();
    assert!(api.objects.lock().unwrap()[&lease]["spec"].get("holderIdentity").is_none());
    assert_eq!(theirs.acquire(&request("them"), now).await.unwrap().fencing, 2);
}

#[tokio::test]
async fn a_refusal_keeps_the_servers_words() {
    let server =
        TestServer::http(cluster(|_| refusal(403, "Forbidden", "secrets is forbidden: User \"u\" cannot")))
            .await;
    let store = server.connect().await.unwrap().store();
    let error = store.put("a/b", Bytes::from_static(b"v"), Expect::Absent).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot write a/b in namespace stackctl-system of the cluster at {}", server.address)
    );
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.ends_with("secrets is forbidden: User \"u\" cannot"), "{source}");
}
