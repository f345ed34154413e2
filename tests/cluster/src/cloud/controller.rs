//! Watches Services and does to them what CCM does.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, future};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt,
        controller::{Action, Controller as Runtime},
        watcher,
    },
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{
    CLB_FINALIZER, CONFIG_MAP, CloudFaults, HASH_LABEL, ID_LABEL, MANAGER, NAMESPACE, NLB_FINALIZER,
    account::{Account, Ensured, Listeners, Request, fixed},
    annotations::{self, Annotations, Family},
    events::{self, Reason},
};
use crate::{
    error::{Error, Result},
    init::outside::{Forward, Outside, Protocol},
    programs::hex,
    progress::say,
};

/// The first wait after a failure; each further one is twice as long.
const RETRY: Duration = Duration::from_secs(1);
/// The longest one.
const RETRY_MOST: Duration = Duration::from_secs(30);

/// The cloud controller manager's stand-in.
pub(crate) struct Controller {
    client: Client,
    state: Mutex<State>,
}

/// What it remembers.
struct State {
    account: Account,
    /// The machine's network; `None` when nothing runs that could be reached.
    outside: Option<Outside>,
    forwards: BTreeMap<(Ipv4Addr, Protocol, u16), (SocketAddr, Forward)>,
    /// Since when each Service, by uid, has waited for a slow cloud, and with which hash.
    waiting: HashMap<String, (String, Instant)>,
    /// How often each Service failed in a row.
    failures: HashMap<String, u32>,
}

impl Controller {
    /// A controller for an empty account whose load balancers get addresses of `block`.
    pub(crate) fn new(client: Client, outside: Option<Outside>, block: [u8; 2]) -> Self {
        let state = State {
            account: Account::new(block),
            outside,
            forwards: BTreeMap::new(),
            waiting: HashMap::new(),
            failures: HashMap::new(),
        };
        Self { client, state: Mutex::new(state) }
    }

    /// Makes the ConfigMap of faults, empty.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let faults = ConfigMap {
            metadata: ObjectMeta { name: Some(CONFIG_MAP.to_owned()), ..ObjectMeta::default() },
            ..ConfigMap::default()
        };
        self.faults().create(&PostParams::default(), &faults).await?;
        Ok(())
    }

    fn faults(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Runs for as long as the cluster.
    pub(crate) async fn run(self) {
        let only = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        let changes = watcher(self.faults(), only)
            .default_backoff()
            .applied_objects()
            .filter_map(|change| future::ready(change.is_ok().then_some(())));
        Runtime::new(Api::<Service>::all(self.client.clone()), watcher::Config::default())
            .reconcile_all_on(changes)
            .run(reconcile, after_error, Arc::new(self))
            .for_each(|_| future::ready(()))
            .await;
    }

    async fn faults_of(&self, namespace: &str) -> Result<CloudFaults> {
        let map = self.faults().get_opt(CONFIG_MAP).await?;
        let data = map.and_then(|map| map.data).unwrap_or_default();
        Ok(data.get(namespace).map(|text| CloudFaults::parse(namespace, text)).unwrap_or_default())
    }

    async fn patch(&self, service: &Service, body: serde_json::Value) -> Result<()> {
        let api: Api<Service> =
            Api::namespaced(self.client.clone(), &service.namespace().unwrap_or_default());
        api.patch(&service.name_any(), &PatchParams::apply(MANAGER), &Patch::Merge(body)).await?;
        Ok(())
    }

    async fn patch_status(&self, service: &Service, body: serde_json::Value) -> Result<()> {
        let api: Api<Service> =
            Api::namespaced(self.client.clone(), &service.namespace().unwrap_or_default());
        api.patch_status(&service.name_any(), &PatchParams::apply(MANAGER), &Patch::Merge(body)).await?;
        Ok(())
    }

    async fn set_finalizers(&self, service: &Service, finalizers: Vec<String>) -> Result<()> {
        // The list is written as a whole, so it must be the one that was read.
        let version = service.resource_version();
        self.patch(service, json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } }))
            .await
    }

    /// The Service is to have its load balancer.
    async fn ensure(&self, service: &Service, family: Family) -> Result<Action> {
        let uid = service.uid().unwrap_or_default();
        let hash = hash(service);
        let in_sync = service.labels().get(HASH_LABEL) == Some(&hash);
        if in_sync && self.state.lock().await.account.has(&uid) {
            return Ok(Action::await_change());
        }
        let finalizer = finalizer(family);
        if !service.finalizers().iter().any(|has| has == finalizer) {
            let finalizers = service.finalizers().iter().cloned().chain([finalizer.to_owned()]).collect();
            self.set_finalizers(service, finalizers).await?;
            // The write comes back as a change.
            return Ok(Action::await_change());
        }
        let faults = self.faults_of(&service.namespace().unwrap_or_default()).await?;
        if let Some(rest) = self.state.lock().await.wait(&uid, &hash, faults.delay()) {
            return Ok(Action::requeue(rest));
        }
        let ensured = match faults.fail {
            Some(words) => Err(words),
            None => match annotations::check(family, service) {
                Ok(()) => self.state.lock().await.ensure(&uid, family, service),
                Err(words) => Err(words),
            },
        };
        match ensured {
            Ok(ensured) => self.ensured(service, family, &hash, &ensured).await,
            Err(words) => {
                let message = format!("Error syncing load balancer: {words}");
                events::send(&self.client, service, Reason::SyncLoadBalancerFailed, &message).await?;
                Ok(Action::requeue(self.state.lock().await.failed(&uid)))
            }
        }
    }

    /// Writes what a successful sync writes: the status first, then the labels that say so.
    async fn ensured(
        &self,
        service: &Service,
        family: Family,
        hash: &str,
        ensured: &Ensured,
    ) -> Result<Action> {
        let ingress = match (Annotations::of(service).get("hostname"), family) {
            (Some(hostname), Family::Clb) => json!({ "hostname": hostname }),
            (_, Family::Clb) => json!({ "ip": ensured.address }),
            (_, Family::Nlb) => json!({ "hostname": hostname(ensured.address) }),
        };
        self.patch_status(service, json!({ "status": { "loadBalancer": { "ingress": [ingress] } } })).await?;
        self.patch(service, json!({ "metadata": { "labels": { HASH_LABEL: hash, ID_LABEL: ensured.id } } }))
            .await?;
        let message = format!("Ensured load balancer [{}]", ensured.id);
        events::send(&self.client, service, Reason::EnsuredLoadBalancer, &message).await?;
        self.state.lock().await.failures.remove(&service.uid().unwrap_or_default());
        Ok(Action::await_change())
    }

    /// The Service is not, or no longer, to have a load balancer.
    async fn clean(&self, service: &Service) -> Result<Action> {
        let uid = service.uid().unwrap_or_default();
        let others: Vec<String> = service
            .finalizers()
            .iter()
            .filter(|finalizer| ![CLB_FINALIZER, NLB_FINALIZER].contains(&finalizer.as_str()))
            .cloned()
            .collect();
        if others.len() == service.finalizers().len() {
            return Ok(Action::await_change());
        }
        let faults = self.faults_of(&service.namespace().unwrap_or_default()).await?;
        if let Some(rest) = self.state.lock().await.wait(&uid, "clean", faults.delay()) {
            return Ok(Action::requeue(rest));
        }
        if let Some(words) = faults.fail {
            let message = format!("Error cleaning load balancer: {words}");
            events::send(&self.client, service, Reason::CleanLoadBalancerFailed, &message).await?;
            return Ok(Action::requeue(self.state.lock().await.failed(&uid)));
        }
        let preserve = Annotations::of(service).get("preserve-lb-on-delete").is_some();
        let preserved = self.state.lock().await.release(&uid, preserve);
        if let Some(id) = preserved {
            let message = format!("The load balancer [{id}] is preserved");
            events::send(&self.client, service, Reason::PreservedOnDelete, &message).await?;
        }
        if service.metadata.deletion_timestamp.is_none() {
            self.patch_status(service, json!({ "status": { "loadBalancer": { "ingress": null } } })).await?;
            self.patch(service, json!({ "metadata": { "labels": { HASH_LABEL: null, ID_LABEL: null } } }))
                .await?;
        }
        // The version moved with the labels; nobody else writes finalizers of a Service in between but us.
        self.patch(service, json!({ "metadata": { "finalizers": others } })).await?;
        Ok(Action::await_change())
    }
}

async fn reconcile(service: Arc<Service>, controller: Arc<Controller>) -> Result<Action> {
    match annotations::family(&service) {
        Some(family) if service.metadata.deletion_timestamp.is_none() => {
            controller.ensure(&service, family).await
        }
        _ => controller.clean(&service).await,
    }
}

/// A request failed, most often since somebody else wrote in between.
#[expect(clippy::needless_pass_by_value, reason = "the runtime calls it like this")]
fn after_error(service: Arc<Service>, error: &Error, _: Arc<Controller>) -> Action {
    say(&format!(
        "cloud: Service {}/{}: {error}",
        service.namespace().unwrap_or_default(),
        service.name_any()
    ));
    Action::requeue(RETRY)
}

impl State {
    /// How long a Service still has to wait for a slow cloud.
    fn wait(&mut self, uid: &str, hash: &str, delay: Duration) -> Option<Duration> {
        let begun = match self.waiting.get(uid) {
            Some((waits_with, since)) if waits_with == hash => *since,
            _ => {
                let now = Instant::now();
                self.waiting.insert(uid.to_owned(), (hash.to_owned(), now));
                now
            }
        };
        delay.checked_sub(begun.elapsed()).filter(|rest| !rest.is_zero())
    }

    /// Counts a failure and says when to try again.
    fn failed(&mut self, uid: &str) -> Duration {
        let failures = self.failures.entry(uid.to_owned()).or_default();
        *failures += 1;
        RETRY.saturating_mul(1 << (*failures - 1).min(5)).min(RETRY_MOST)
    }

    fn ensure(&mut self, uid: &str, family: Family, service: &Service) -> Result<Ensured, String> {
        let ensured = self.account.ensure(&request(uid, family, service))?;
        self.listen().map(|()| ensured)
    }

    fn release(&mut self, uid: &str, preserve: bool) -> Option<String> {
        let preserved = self.account.release(uid, preserve);
        self.waiting.remove(uid);
        self.failures.remove(uid);
        // Only closes, which cannot fail.
        let _ = self.listen();
        preserved
    }

    /// Makes the sockets outside agree with the account's listeners.
    fn listen(&mut self) -> Result<(), String> {
        let Some(outside) = self.outside.clone() else { return Ok(()) };
        let wanted: Listeners = self.account.listeners();
        self.forwards.retain(|listener, (target, _)| wanted.get(listener) == Some(target));
        let mut failed = Ok(());
        for (listener, target) in wanted {
            if self.forwards.contains_key(&listener) {
                continue;
            }
            let (address, protocol, port) = listener;
            match outside.forward(protocol, (address, port).into(), target) {
                Ok(forward) => {
                    self.forwards.insert(listener, (target, forward));
                }
                Err(error) => {
                    failed = Err(format!(
                        "this machine cannot listen on {address}:{port}: {error} (a process that listens on port \
                         {port} of all addresses stands in the way)"
                    ));
                }
            }
        }
        failed
    }
}

fn finalizer(family: Family) -> &'static str {
    match family {
        Family::Clb => CLB_FINALIZER,
        Family::Nlb => NLB_FINALIZER,
    }
}

/// A network load balancer has a name only. This one is a DNS label that every resolver of the C library reads as the
/// address in hexadecimal (inet_aton), so that it can be used as it is printed.
fn hostname(address: Ipv4Addr) -> String {
    format!("0x{}", hex(&address.octets()))
}

fn request(uid: &str, family: Family, service: &Service) -> Request {
    let annotations = Annotations::of(service);
    let spec = service.spec.clone().unwrap_or_default();
    let target = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
    let listeners = spec
        .ports
        .unwrap_or_default()
        .iter()
        .filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("TCP") | None => Protocol::Tcp,
                Some(_) => return None,
            };
            let number = u16::try_from(port.port).ok()?;
            Some((protocol, number, SocketAddr::new(target?, number)))
        })
        .collect();
    Request {
        service: uid.to_owned(),
        family,
        id: annotations.get("id").map(str::to_owned),
        force_override_listeners: annotations.get("force-override-listeners") == Some("true"),
        fixed: fixed(family)
            .iter()
            .filter_map(|(setting, _)| Some((*setting, annotations.get(setting)?.to_owned())))
            .collect(),
        listeners,
    }
}

/// The digest of what CCM looks at, for the label.
fn hash(service: &Service) -> String {
    let spec = service.spec.clone().unwrap_or_default();
    let looked_at = json!([
        spec.ports,
        spec.type_,
        spec.external_traffic_policy,
        spec.load_balancer_class,
        service.annotations(),
        service.metadata.deletion_timestamp,
        spec.load_balancer_source_ranges,
    ]);
    hex(&Sha256::digest(looked_at.to_string())[..28])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(value: serde_json::Value) -> Service {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_hash_moves_with_what_ccm_looks_at_and_with_nothing_else() {
        let base = json!({ "metadata": { "name": "a" }, "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] } });
        let changed = |path: &str, value: serde_json::Value| {
            let mut base = base.clone();
            *base.pointer_mut(path).unwrap() = value;
            hash(&service(base))
        };
        let before = hash(&service(base.clone()));
        assert!(before.len() <= 63, "it is a label's value");
        assert_eq!(changed("/metadata/name", json!("b")), before);
        assert_ne!(changed("/spec/ports", json!([{ "port": 81 }])), before);
        assert_ne!(changed("/metadata", json!({ "name": "a", "annotations": { "x": "y" } })), before);
    }

    #[test]
    fn the_name_of_a_network_load_balancer_resolves_to_its_address() {
        use std::net::ToSocketAddrs;
        let name = hostname(Ipv4Addr::new(127, 64, 0, 101));
        let mut addresses = (name.as_str(), 80).to_socket_addrs().unwrap();
        assert_eq!(addresses.next().unwrap().ip(), IpAddr::from([127, 64, 0, 101]));
    }

    #[test]
    fn every_port_becomes_a_listener_to_the_cluster_ip() {
        let service = service(json!({
            "metadata": { "name": "a", "annotations": {
                "service.beta.kubernetes.io/alicloud-loadbalancer-id": "lb-mine",
                "service.beta.kubernetes.io/alicloud-loadbalancer-force-override-listeners": "true",
                "service.beta.kubernetes.io/alicloud-loadbalancer-address-type": "intranet",
            } },
            "spec": { "clusterIP": "198.19.0.9", "ports": [{ "port": 1935 }, { "port": 8000, "protocol": "UDP" }] },
        }));
        let request = request("uid", Family::Clb, &service);
        assert_eq!(request.listeners[0], (Protocol::Tcp, 1935, "198.19.0.9:1935".parse().unwrap()));
        assert_eq!(request.listeners[1], (Protocol::Udp, 8000, "198.19.0.9:8000".parse().unwrap()));
        assert_eq!(request.id.as_deref(), Some("lb-mine"));
        assert!(request.force_override_listeners);
        assert_eq!(request.fixed.get("address-type").map(String::as_str), Some("intranet"));
    }
}
