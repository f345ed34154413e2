//! Whether the changes of a plan together fit into the ResourceQuotas: a dry-run sees each object alone, and no pods.
//!
//! Steady state only: pods that a rolling update has beside the old ones for a while are not counted, since a rollout waits
//! for room.

use std::collections::BTreeMap;

use serde_json::Value;

use super::merge_keys::pod_spec;
use super::quantity::Quantity;

/// One object's part in the use of quotas.
#[derive(Clone, Copy, Debug)]
pub struct QuotaChange<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Lower-case plural of its kind, such as `deployments`.
    pub plural: &'a str,
    /// API group of its kind.
    pub group: &'a str,
    /// As it is; none: it is created.
    pub before: Option<&'a Value>,
    /// As it will be; none: it is deleted.
    pub after: Option<&'a Value>,
}

/// A quota that is too small for the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Namespace of the ResourceQuota.
    pub namespace: String,
    /// Its name.
    pub quota: String,
    /// What is limited, such as `requests.cpu` or `count/deployments.apps`.
    pub resource: String,
    /// The limit.
    pub hard: Quantity,
    /// In use now.
    pub used: Quantity,
    /// What the plan adds.
    pub adds: Quantity,
}

/// The comparison of a plan with the quotas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaReport {
    /// What doesn't fit.
    pub exceeded: Vec<Exceeded>,
    /// What was not compared, for the reader.
    pub notes: Vec<String>,
}

/// Compares what the changes add with what the quotas leave.
pub fn exceeded(quotas: &[Value], changes: &[QuotaChange<'_>]) -> QuotaReport {
    let mut report = QuotaReport::default();
    for quota in quotas {
        let text = |pointer: &str| quota.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let mut ours = changes.iter().filter(|change| change.namespace == namespace).peekable();
        if ours.peek().is_none() {
            continue;
        }
        let has = |pointer: &str| {
            quota.pointer(pointer).is_some_and(|value| {
                value.as_array().is_some_and(|list| !list.is_empty())
                    || value.as_object().is_some_and(|map| !map.is_empty())
            })
        };
        if has("/spec/scopes") || has("/spec/scopeSelector") {
            report.notes.push(format!(
                "ResourceQuota {name} counts only some pods (it has scopes); whether the plan fits into it is not computed"
            ));
            continue;
        }
        let mut adds = Usage::default();
        for change in ours {
            for (object, sign) in [(change.before, -1), (change.after, 1)] {
                if let Some(object) = object {
                    adds.add_object(object, change.plural, change.group, sign);
                }
            }
        }
        if adds.daemon_sets && limits_pods(quota) {
            report.notes.push(format!(
                "a DaemonSet's pods, one on each node, are not counted against ResourceQuota {name}"
            ));
        }
        let hard = quota.pointer("/status/hard").or_else(|| quota.pointer("/spec/hard"));
        for (resource, hard) in hard.and_then(Value::as_object).into_iter().flatten() {
            let Some(hard) = Quantity::of(hard) else { continue };
            let used = quota
                .pointer("/status/used")
                .and_then(|used| Quantity::of(used.get(resource)?))
                .unwrap_or_default();
            let adds = adds.amounts.get(resource).copied().unwrap_or_default();
            if adds > Quantity::default() && used.plus(adds) > hard {
                report.exceeded.push(Exceeded {
                    namespace: namespace.to_owned(),
                    quota: name.to_owned(),
                    resource: resource.clone(),
                    hard,
                    used,
                    adds,
                });
            }
        }
    }
    report
}

fn limits_pods(quota: &Value) -> bool {
    let hard = quota.pointer("/spec/hard").and_then(Value::as_object);
    hard.into_iter().flatten().any(|(resource, _)| {
        resource == "pods"
            || resource == "cpu"
            || resource == "memory"
            || resource.starts_with("limits.")
            || (resource.starts_with("requests.") && resource != "requests.storage")
    })
}

/// What objects use, by the quota's names for it.
#[derive(Default)]
struct Usage {
    amounts: BTreeMap<String, Quantity>,
    daemon_sets: bool,
}

impl Usage {
    fn add(&mut self, resource: &str, amount: Quantity) {
        let sum = self.amounts.entry(resource.to_owned()).or_default();
        *sum = sum.plus(amount);
    }

    fn add_object(&mut self, object: &Value, plural: &str, group: &str, sign: i64) {
        let one = Quantity::whole(sign);
        if group.is_empty() {
            self.add(&format!("count/{plural}"), one);
            // Core kinds have quotas of their own name, too.
            self.add(plural, one);
        } else {
            self.add(&format!("count/{plural}.{group}"), one);
        }
        let spec = object.get("spec").unwrap_or(&Value::Null);
        match object.get("kind").and_then(Value::as_str).unwrap_or_default() {
            "Service" => self.add_service(spec, sign),
            "PersistentVolumeClaim" => self.add_claim(spec, sign, false),
            "Pod" => self.add_pods(spec, sign, false),
            "DaemonSet" => self.daemon_sets = true,
            kind @ ("Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController") => {
                let replicas = spec.get("replicas").and_then(Value::as_i64).unwrap_or(1).saturating_mul(sign);
                self.add_template(object, kind, replicas);
                if kind == "Deployment" {
                    self.add("count/replicasets.apps", one);
                }
                if kind == "StatefulSet" {
                    let claims = spec.get("volumeClaimTemplates").and_then(Value::as_array);
                    for claim in claims.into_iter().flatten() {
                        self.add_claim(claim.get("spec").unwrap_or(&Value::Null), replicas, true);
                    }
                }
            }
            "Job" if spec.get("suspend").and_then(Value::as_bool) != Some(true) => {
                let number = |name: &str| spec.get(name).and_then(Value::as_i64);
                let parallel = number("parallelism").unwrap_or(1);
                let pods = number("completions").map_or(parallel, |all| all.min(parallel));
                self.add_template(object, "Job", pods.saturating_mul(sign));
            }
            _ => {}
        }
    }

    fn add_template(&mut self, object: &Value, kind: &str, pods: i64) {
        let pointer = pod_spec(kind).map(|path| format!("/{}", path.replace('.', "/")));
        if let Some(spec) = pointer.and_then(|pointer| object.pointer(&pointer)) {
            self.add_pods(spec, pods, true);
        }
    }

    fn add_pods(&mut self, spec: &Value, pods: i64, counted: bool) {
        if counted {
            self.add("pods", Quantity::whole(pods));
            self.add("count/pods", Quantity::whole(pods));
        }
        for (resource, amount) in pod_resources(spec, Bound::Requests) {
            let amount = amount.times(pods);
            self.add(&format!("requests.{resource}"), amount);
            if matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                self.add(&resource, amount);
            }
        }
        for (resource, amount) in pod_resources(spec, Bound::Limits) {
            self.add(&format!("limits.{resource}"), amount.times(pods));
        }
    }

    fn add_service(&mut self, spec: &Value, sign: i64) {
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or("ClusterIP");
        let ports = spec.get("ports").and_then(Value::as_array).map_or(0, Vec::len);
        let ports = i64::try_from(ports).unwrap_or(i64::MAX).saturating_mul(sign);
        let allocates = spec.get("allocateLoadBalancerNodePorts").and_then(Value::as_bool).unwrap_or(true);
        match kind {
            "LoadBalancer" => {
                self.add("services.loadbalancers", Quantity::whole(sign));
                if allocates {
                    self.add("services.nodeports", Quantity::whole(ports));
                }
            }
            "NodePort" => self.add("services.nodeports", Quantity::whole(ports)),
            _ => {}
        }
    }

    fn add_claim(&mut self, spec: &Value, claims: i64, counted: bool) {
        let number = Quantity::whole(claims);
        if counted {
            self.add("persistentvolumeclaims", number);
            self.add("count/persistentvolumeclaims", number);
        }
        let storage = spec
            .pointer("/resources/requests/storage")
            .and_then(Quantity::of)
            .unwrap_or_default()
            .times(claims);
        self.add("requests.storage", storage);
        if let Some(class) = spec.get("storageClassName").and_then(Value::as_str) {
            self.add(&format!("{class}.storageclass.storage.k8s.io/requests.storage"), storage);
            self.add(&format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), number);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Requests,
    Limits,
}

/// What a pod asks for: its containers and sidecars together, or its largest init container beside the sidecars started
/// before it, whichever is more; and its overhead (Kubernetes' `PodRequests` and `PodLimits`).
fn pod_resources(spec: &Value, bound: Bound) -> BTreeMap<String, Quantity> {
    type Amounts = BTreeMap<String, Quantity>;
    fn plus(sum: &mut Amounts, more: &Amounts) {
        for (resource, amount) in more {
            let sum = sum.entry(resource.clone()).or_default();
            *sum = sum.plus(*amount);
        }
    }
    let list = |name: &str| spec.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut total = Amounts::new();
    for container in list("containers") {
        plus(&mut total, &container_resources(container, bound));
    }
    let (mut sidecars, mut largest) = (Amounts::new(), Amounts::new());
    for container in list("initContainers") {
        let own = container_resources(container, bound);
        let mut beside = sidecars.clone();
        plus(&mut beside, &own);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            plus(&mut total, &own);
            sidecars = beside.clone();
        }
        for (resource, amount) in beside {
            let most = largest.entry(resource).or_default();
            *most = amount.max(*most);
        }
    }
    for (resource, amount) in largest {
        let most = total.entry(resource).or_default();
        *most = amount.max(*most);
    }
    // What the pod as a whole asks for goes before what its containers ask for.
    total.extend(container_resources(spec, bound));
    for (resource, amount) in spec.get("overhead").and_then(Value::as_object).into_iter().flatten() {
        let sum = total.get_mut(resource.as_str());
        match (sum, Quantity::of(amount)) {
            (Some(sum), Some(amount)) => *sum = sum.plus(amount),
            (None, Some(amount)) if bound == Bound::Requests => {
                total.insert(resource.clone(), amount);
            }
            _ => {}
        }
    }
    total
}

/// A request that isn't given is the limit.
fn container_resources(container: &Value, bound: Bound) -> BTreeMap<String, Quantity> {
    let of = |name: &str| {
        let amounts = container.pointer("/resources").and_then(|all| all.get(name)?.as_object());
        amounts.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), Quantity::of(value)?)))
    };
    match bound {
        Bound::Limits => of("limits").collect(),
        Bound::Requests => of("limits").chain(of("requests")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(hard: &Value, used: &Value) -> Value {
        json!({"metadata": {"name": "q", "namespace": "n"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }

    fn deployment(replicas: i64, cpu: &str) -> Value {
        json!({"kind": "Deployment", "spec": {"replicas": replicas, "template": {"spec": {
            "containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}, "limits": {"memory": "1Gi"}}}]}}}})
    }

    fn change<'a>(
        plural: &'a str,
        group: &'a str,
        before: Option<&'a Value>,
        after: Option<&'a Value>,
    ) -> QuotaChange<'a> {
        QuotaChange { namespace: "n", plural, group, before, after }
    }

    fn found(hard: &Value, used: &Value, changes: &[QuotaChange<'_>]) -> Vec<String> {
        let report = exceeded(&[quota(hard, used)], changes);
        let line = |e: &Exceeded| format!("{}: {} + {} > {}", e.resource, e.used, e.adds, e.hard);
        report.exceeded.iter().map(line).collect()
    }

    #[test]
    fn counts_what_changes_add_together() {
        let (two, five) = (deployment(2, "500m"), deployment(5, "500m"));
        let hard = json!({"pods": "4", "requests.cpu": "2", "requests.memory": "4Gi", "limits.memory": "4Gi", "count/deployments.apps": "9"});
        let used = json!({"pods": "1", "requests.cpu": "500m", "limits.memory": "1Gi"});
        let create = change("deployments", "apps", None, Some(&two));
        assert_eq!(found(&hard, &used, &[create]), Vec::<String>::new());
        assert_eq!(
            found(&hard, &used, &[create, create]),
            ["limits.memory: 1Gi + 4Gi > 4Gi", "pods: 1 + 4 > 4", "requests.cpu: 500m + 2 > 2"]
        );
        // An update adds the difference only, and a shrinking one nothing even where the quota is overdrawn.
        assert_eq!(
            found(&hard, &used, &[change("deployments", "apps", Some(&two), Some(&five))]),
            Vec::<String>::new()
        );
        let full = json!({"pods": "9"});
        assert_eq!(
            found(&hard, &full, &[change("deployments", "apps", Some(&five), Some(&two))]),
            Vec::<String>::new()
        );
        // What is deleted makes room.
        let delete = change("deployments", "apps", Some(&two), None);
        assert_eq!(found(&hard, &used, &[create, create, delete]), Vec::<String>::new());
    }

    #[test]
    fn services_claims_and_counts() {
        let service = json!({"kind": "Service", "spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
        let claim = json!({"kind": "PersistentVolumeClaim", "spec": {"storageClassName": "nas", "resources": {"requests": {"storage": "20Gi"}}}});
        let set = json!({"kind": "StatefulSet", "spec": {"replicas": 3, "volumeClaimTemplates": [claim]}});
        let hard = json!({"services.loadbalancers": "0", "services.nodeports": "1", "services": "0", "count/services": "0",
            "requests.storage": "70Gi", "persistentvolumeclaims": "3", "nas.storageclass.storage.k8s.io/requests.storage": "50Gi"});
        let changes = [
            change("services", "", None, Some(&service)),
            change("persistentvolumeclaims", "", None, Some(&claim)),
            change("statefulsets", "apps", None, Some(&set)),
        ];
        assert_eq!(
            found(&hard, &json!({}), &changes),
            [
                "count/services: 0 + 1 > 0",
                "nas.storageclass.storage.k8s.io/requests.storage: 0 + 80Gi > 50Gi",
                "persistentvolumeclaims: 0 + 4 > 3",
                "requests.storage: 0 + 80Gi > 70Gi",
                "services: 0 + 1 > 0",
                "services.loadbalancers: 0 + 1 > 0",
                "services.nodeports: 0 + 2 > 1",
            ]
        );
    }

    #[test]
    fn a_pod_asks_for_the_larger_of_its_phases() {
        let cpu = |amount: &str| json!({"resources": {"requests": {"cpu": amount}}});
        let mut sidecar = cpu("100m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({"containers": [cpu("200m"), cpu("200m")], "initContainers": [sidecar, cpu("1")], "overhead": {"cpu": "50m"}});
        assert_eq!(pod_resources(&spec, Bound::Requests)["cpu"], Quantity::parse("1150m").unwrap());
        assert!(pod_resources(&spec, Bound::Limits).is_empty());
    }

    #[test]
    fn says_what_it_does_not_compute() {
        let mut scoped = quota(&json!({"pods": "0"}), &json!({}));
        scoped["spec"]["scopes"] = json!(["BestEffort"]);
        let pod = json!({"kind": "Pod"});
        let report = exceeded(&[scoped], &[change("pods", "", None, Some(&pod))]);
        assert_eq!((report.exceeded.len(), report.notes.len()), (0, 1));
        let set = json!({"kind": "DaemonSet"});
        let report = exceeded(
            &[quota(&json!({"pods": "1"}), &json!({}))],
            &[change("daemonsets", "apps", None, Some(&set))],
        );
        assert_eq!((report.exceeded.len(), report.notes.len()), (0, 1));
        assert_eq!(exceeded(&[json!(7)], &[change("pods", "", None, Some(&pod))]), QuotaReport::default());
    }
}
