//! No JSON makes a rule panic, and progress only grows along rollouts.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const KINDS: [(&str, &str); 24] = [
    ("v1", "ConfigMap"),
    ("v1", "Namespace"),
    ("v1", "PersistentVolume"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Pod"),
    ("v1", "ReplicationController"),
    ("v1", "ResourceQuota"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("apiregistration.k8s.io/v1", "APIService"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("gateway.networking.k8s.io/v1", "Gateway"),
    ("gateway.networking.k8s.io/v1", "GatewayClass"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("networking.k8s.io/v1", "Ingress"),
    ("policy/v1", "PodDisruptionBudget"),
    ("example.org/v1", "Widget"),
];

/// The names that rules look for, so that random objects get past their first questions.
const NAMES: [&str; 44] = [
    "metadata",
    "spec",
    "status",
    "kind",
    "type",
    "reason",
    "message",
    "conditions",
    "generation",
    "observedGeneration",
    "replicas",
    "availableReplicas",
    "updatedReplicas",
    "readyReplicas",
    "uid",
    "name",
    "labels",
    "annotations",
    "ownerReferences",
    "managedFields",
    "manager",
    "time",
    "selector",
    "matchLabels",
    "template",
    "containers",
    "containerStatuses",
    "initContainerStatuses",
    "state",
    "waiting",
    "terminated",
    "running",
    "lastState",
    "restartCount",
    "phase",
    "loadBalancer",
    "ingress",
    "ip",
    "updateStrategy",
    "rollingUpdate",
    "partition",
    "involvedObject",
    "count",
    "lastTimestamp",
];
const TEXTS: [&str; 24] = [
    "uid",
    "srs",
    "True",
    "False",
    "Pod",
    "Event",
    "ReplicaSet",
    "StorageClass",
    "LoadBalancer",
    "Ready",
    "Available",
    "PodScheduled",
    "Unschedulable",
    "ImagePullBackOff",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "Bound",
    "Pending",
    "Failed",
    "FailedCreate",
    "2026-01-01T00:00:05Z",
    "10Gi",
    "stackctl.live",
    "OnDelete",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-5_i64..5).prop_map(Value::from),
        prop::sample::select(TEXTS.as_slice()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 96, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(NAMES.as_slice()), inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_json_makes_a_rule_panic(
        (api_version, kind) in prop::sample::select(KINDS.as_slice()),
        over in any_json(),
        before in prop::option::of(any_json()),
        related in prop::collection::vec(any_json(), 0..4),
        seconds in any::<f64>(),
    ) {
        for object in [with(&object(api_version, kind, json!({})), over.clone()), over] {
            assess_changed(&object, before.as_ref(), seconds, &related, &Policy { require_endpoints: Some(1), ..Policy::default() });
            let rules = rules(&Gvk::from_api_version(api_version, kind));
            rules.related(&object);
            rules.replacement_loses(&object);
            rules.guard(&object);
            rules.notes(before.as_ref(), &object);
            rules.replaces(before.as_ref().unwrap_or(&Value::Null), &object);
        }
    }

    #[test]
    fn progress_only_grows_along_a_rolling_update(
        replicas in 1_usize..7,
        max_surge in 0_usize..3,
        max_unavailable in 0_usize..3,
        choices in prop::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        prop_assume!(max_surge + max_unavailable > 0);
        let mut rollout = Rollout { wanted: replicas, max_surge, max_unavailable, earlier: replicas, pods: Vec::new() };
        let mut best: Vec<i64> = Vec::new();
        let mut ready = false;
        for choice in choices {
            let verdict = rollout.verdict();
            if matches!(verdict, Verdict::Ready { .. }) {
                ready = true;
                break;
            }
            let progress = missing(&verdict).progress.clone();
            for (at, (old, new)) in best.iter().zip(&progress).enumerate() {
                prop_assert!(new >= old, "number {at} of {progress:?} falls behind {best:?}");
            }
            prop_assert!(best.is_empty() || progress > best, "{progress:?} is no progress beyond {best:?}");
            best = progress;
            let steps = rollout.steps();
            prop_assert!(!steps.is_empty(), "the simulation is stuck: {rollout:?}");
            rollout.step(steps[choice.index(steps.len())]);
        }
        prop_assert!(ready, "it never ends");
    }
}

/// A Deployment's rolling update, simulated: pods of the earlier revision, and how far each pod of the new one is.
#[derive(Debug)]
struct Rollout {
    wanted: usize,
    max_surge: usize,
    max_unavailable: usize,
    earlier: usize,
    /// 0 created, 1 scheduled, 2 running, 3 ready.
    pods: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    EndEarlier,
    Advance(usize),
}

impl Rollout {
    fn ready(&self) -> usize {
        self.pods.iter().filter(|stage| **stage == 3).count()
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<_> =
            (0..self.pods.len()).filter(|at| self.pods[*at] < 3).map(Step::Advance).collect();
        if self.pods.len() < self.wanted && self.pods.len() + self.earlier < self.wanted + self.max_surge {
            steps.push(Step::Create);
        }
        if self.earlier > 0 && self.earlier + self.ready() + self.max_unavailable > self.wanted {
            steps.push(Step::EndEarlier);
        }
        steps
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Create => self.pods.push(0),
            Step::EndEarlier => self.earlier -= 1,
            Step::Advance(at) => self.pods[at] += 1,
        }
    }

    fn verdict(&self) -> Verdict {
        let template = json!({"spec": {"containers": [{"name": "srs"}]}});
        let available = self.earlier + self.ready();
        let object = object(
            "apps/v1",
            "Deployment",
            json!({
            "spec": {"replicas": self.wanted, "template": template},
            "status": {"observedGeneration": 2, "replicas": self.earlier + self.pods.len(), "updatedReplicas": self.pods.len(),
                "availableReplicas": available, "readyReplicas": available,
                "conditions": [condition("Available", "True", "", "")]}}),
        );
        let set = json!({"kind": "ReplicaSet", "metadata": {"uid": "new", "ownerReferences": [{"uid": "uid"}]},
            "spec": {"template": template}});
        let mut related = vec![set];
        related.extend(self.pods.iter().enumerate().map(|(at, stage)| pod(at, *stage)));
        assess_after(&object, 1.0, &related)
    }
}

fn pod(at: usize, stage: usize) -> Value {
    let truth = |yes: bool| if yes { "True" } else { "False" };
    let doing =
        if stage >= 2 { json!({"running": {}}) } else { json!({"waiting": {"reason": "ContainerCreating"}}) };
    json!({"kind": "Pod", "metadata": {"name": format!("srs-{at}"), "uid": at.to_string(), "ownerReferences": [{"uid": "new"}]},
        "status": {"conditions": [condition("PodScheduled", truth(stage >= 1), "", ""), condition("Ready", truth(stage == 3), "", "")],
            "containerStatuses": [{"name": "srs", "ready": stage == 3, "state": doing}]}})
}
