//! Hand-made plans, graphs and reports.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::apply::{Outcome, Report, ResultOf};
use crate::graph::{Config, Graph, Gvk, Location, Need, ObjectId, OnChange, Policy, Resource, Until};
use crate::kinds::{Evidence, Guard, Missing};
use crate::observation::ClusterIdentity;
use crate::plan::{
    Action, Cause, Change, Checked, FieldChange, FieldOp, Note, Plan, Refusal, RefusalCode, Severity,
};

pub(crate) fn cluster() -> ClusterIdentity {
    ClusterIdentity {
        context: "kind-x".to_owned(),
        server: "https://127.0.0.1:6443".to_owned(),
        uid: "0b7a3c1e".to_owned(),
        version: "v1.34.4".to_owned(),
    }
}

pub(crate) fn id(kind: &str, name: &str) -> ObjectId {
    let group = if matches!(kind, "Deployment" | "StatefulSet") { "apps" } else { "" };
    let namespace = (kind != "Namespace").then_some("live");
    ObjectId::new(&Gvk::new(group, "v1", kind), namespace, name)
}

pub(crate) fn location(line: u32) -> Location {
    Location { file: "stacks/src/quick_start.rs".to_owned(), line }
}

pub(crate) fn change(action: Action, id: ObjectId, diff: Vec<FieldChange>) -> Change {
    Change {
        gvk: Gvk::new(id.group.clone(), "v1", id.kind.clone()),
        id,
        action,
        diff,
        location: Some(location(41)),
        uid: None,
        resource_version: None,
        diff_hash: "d1ff".to_owned(),
        checked: Checked::Server,
        reasons: Vec::new(),
        loses: Vec::new(),
        guard: None,
        after: BTreeMap::new(),
        body: json!({"data": {"password": "body-is-never-shown"}}),
        removals: Vec::new(),
        live: None,
        policy: Policy::default(),
        resource: None,
    }
}

pub(crate) fn field(path: &str, before: Option<Value>, after: Option<Value>, cause: Cause) -> FieldChange {
    let op = match (&before, &after) {
        (None, _) => FieldOp::Add,
        (_, None) => FieldOp::Remove,
        _ => FieldOp::Change,
    };
    FieldChange { path: path.to_owned(), op, before, after, cause }
}

pub(crate) fn intent(path: &str, before: Value, after: Value) -> FieldChange {
    let some = |value: Value| (!value.is_null()).then_some(value);
    field(path, some(before), some(after), Cause::Intent)
}

pub(crate) fn plan(changes: Vec<Change>) -> Plan {
    Plan {
        stack: "quick-start".to_owned(),
        namespace: "live".to_owned(),
        cluster: cluster(),
        changes,
        unchanged: (1..=14).map(|number| id("ConfigMap", &format!("other-{number}"))).collect(),
        notes: Vec::new(),
        refusals: Vec::new(),
    }
}

const SRS_CONF: &str = "listen              1935;\nmax_connections     1000;\ndaemon              off;\nsrs_log_tank        console;\nhttp_server {\n    enabled         on;\n    listen          8080;\n}\nhttp_api {\n    enabled         on;\n    listen          1985;\n}\nvhost __defaultVhost__ {\n    http_remux {\n        enabled     on;\n    }\n}\n";

pub(crate) fn creates() -> Plan {
    let add = |path: &str, value: Value| intent(path, Value::Null, value);
    let default = |path: &str, value: Value| field(path, None, Some(value), Cause::Default);
    let container = "spec.template.spec.containers[name=srs]";
    let deployment = vec![
        add("apiVersion", json!("apps/v1")),
        add("kind", json!("Deployment")),
        add("metadata.name", json!("srs-deploy")),
        add("metadata.namespace", json!("live")),
        add("metadata.labels.app", json!("srs")),
        add("spec.replicas", json!(1)),
        default("spec.revisionHistoryLimit", json!(10)),
        add("spec.selector.matchLabels.app", json!("srs")),
        add("spec.template.metadata.labels.app", json!("srs")),
        add(&format!("{container}.image"), json!("ossrs/srs:v4.0.5")),
        default(&format!("{container}.imagePullPolicy"), json!("IfNotPresent")),
        add(&format!("{container}.ports[containerPort=1935,protocol=TCP].name"), json!("rtmp")),
        add(&format!("{container}.ports[containerPort=1985,protocol=TCP].name"), json!("api")),
        default(&format!("{container}.terminationMessagePath"), json!("/dev/termination-log")),
        add(
            "spec.template.spec.volumes[name=conf]",
            json!({"name": "conf", "configMap": {"name": "srs-config"}}),
        ),
    ];
    let service = vec![
        add(
            "metadata.annotations[\"service.beta.kubernetes.io/alibaba-cloud-loadbalancer-spec\"]",
            json!("slb.s1.small"),
        ),
        add("metadata.labels", json!({"app": "srs", "tier": "1"})),
        add("spec.type", json!("LoadBalancer")),
        field("spec.selector.app", None, Some(json!("srs")), Cause::Admission),
        field(
            "spec.loadBalancerIP",
            None,
            Some(json!("${Service/srs-api:ip}")),
            Cause::KnownAfterApply { of: id("Service", "srs-api") },
        ),
    ];
    let mut namespace =
        change(Action::Create, ObjectId::new(&Gvk::new("", "v1", "Namespace"), None, "live"), vec![]);
    namespace.diff = vec![add("metadata.name", json!("live"))];
    let mut changes = vec![
        namespace,
        change(
            Action::Create,
            id("ConfigMap", "srs-config"),
            vec![add("data[\"srs.conf\"]", json!(SRS_CONF))],
        ),
        change(Action::Create, id("Deployment", "srs-deploy"), deployment),
        change(Action::Create, id("Service", "srs-origin-service"), service),
    ];
    for change in &mut changes[1..] {
        change.checked = Checked::Probe { namespace: "default".to_owned() };
    }
    let mut custom = change(Action::Create, id("Widget", "w"), vec![add("spec.size", json!("3"))]);
    custom.checked = Checked::Offline { why: "its CustomResourceDefinition comes with this plan".to_owned() };
    changes.push(custom);
    let mut plan = plan(changes);
    plan.unchanged.clear();
    plan
}

pub(crate) fn updates() -> Plan {
    let by_hand =
        |manager: &str, time: &str| Cause::Drift { manager: manager.to_owned(), time: Some(time.to_owned()) };
    let conf = SRS_CONF.replace("1000;", "2000;").replace(
        "    enabled     on;\n    }",
        "    enabled     on;\n        mount       [vhost]/[app]/[stream].flv;\n    }",
    );
    let secret = field(
        "data.password",
        Some(json!({"fingerprint": "3f2a9c10"})),
        Some(json!({"fingerprint": "b7e1d224"})),
        Cause::Intent,
    );
    let image = "spec.template.spec.containers[name=srs].image";
    let mut job = change(
        Action::Replace,
        id("PersistentVolumeClaim", "nas-hls"),
        vec![intent("spec.storageClassName", json!("alicloud-disk-ssd"), json!("alicloud-nas"))],
    );
    job.reasons = vec!["spec.storageClassName can't be changed on a live PersistentVolumeClaim".to_owned()];
    job.loses = vec!["the data of volume d-uf6hq (20Gi)".to_owned()];
    job.guard = Some(Guard::Volumes);
    let mut service = change(Action::Delete, id("Service", "srs-http-service"), Vec::new());
    service.location = None;
    service.loses = vec!["the address 127.64.0.2".to_owned()];
    service.guard = Some(Guard::LoadBalancers);
    let mut plan = plan(vec![
        change(
            Action::Update,
            id("ConfigMap", "srs-config"),
            vec![
                intent("data[\"srs.conf\"]", json!(SRS_CONF), json!(conf)),
                field(
                    "data[\"note\"]",
                    Some(json!("by hand\nof somebody\n")),
                    None,
                    by_hand("kubectl-edit", "2026-11-20T19:57:00Z"),
                ),
            ],
        ),
        change(
            Action::Update,
            id("Deployment", "srs-deploy"),
            vec![
                field(
                    "spec.replicas",
                    Some(json!(3)),
                    Some(json!(1)),
                    by_hand("kubectl-scale", "2026-11-22T19:57:00Z"),
                ),
                intent("spec.minReadySeconds", Value::Null, json!(5)),
                intent("metadata.labels.old", json!("x"), Value::Null),
                intent(
                    image,
                    json!("registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v4.0.5"),
                    json!("registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v5.0.2"),
                ),
                intent(
                    "spec.template.spec.containers[name=srs].args",
                    json!(["-c", "a"]),
                    json!(["-c", "b"]),
                ),
                intent(
                    "spec.template.spec.containers[name=exporter]",
                    json!({"name": "exporter", "image": "ossrs/srs-exporter:1", "ports": [{"containerPort": 9972, "name": "metrics"}]}),
                    Value::Null,
                ),
                field("spec.template.spec.dnsPolicy", None, Some(json!("ClusterFirst")), Cause::Default),
            ],
        ),
        change(Action::Update, id("Secret", "push-key"), vec![secret]),
        job,
        service,
    ]);
    plan.notes = vec![
        Note {
            severity: Severity::Warning,
            id: Some(id("Service", "srs-origin-service")),
            message: "externalTrafficPolicy Local keeps the viewers' addresses, but sends traffic only to nodes that have a pod".to_owned(),
        },
        Note { severity: Severity::Info, id: None, message: "2 resources are waited for without a deadline".to_owned() },
    ];
    plan
}

pub(crate) fn refused() -> Plan {
    let mut plan = plan(vec![change(
        Action::Update,
        id("Deployment", "srs-deploy"),
        vec![intent("spec.replicas", json!(1), json!(2))],
    )]);
    plan.refusals = vec![
        Refusal {
            code: RefusalCode::Conflict,
            id: Some(id("Deployment", "srs-deploy")),
            location: Some(location(41)),
            message:
                "spec.replicas is 4 by the hand of manager horizontal-pod-autoscaler, and never was ours"
                    .to_owned(),
            hint: Some(
                "say .take(\"spec.replicas\") or .yield_to(\"spec.replicas\") in the program".to_owned(),
            ),
        },
        Refusal {
            code: RefusalCode::Quota,
            id: None,
            location: None,
            message: "ResourceQuota pods: 10 allowed, 12 wanted".to_owned(),
            hint: None,
        },
    ];
    plan
}

pub(crate) fn graph() -> Graph {
    let resource = |id: ObjectId, needs: Vec<Need>, configs: Vec<Config>, body: Value| Resource {
        gvk: Gvk::new(id.group.clone(), "v1", id.kind.clone()),
        scope: None,
        body,
        location: location(41),
        policy: Policy::default(),
        needs,
        configs,
        id,
    };
    let need = |on: usize, until: Until, why: &str| Need { on, until, why: why.to_owned() };
    let namespace = ObjectId::new(&Gvk::new("", "v1", "Namespace"), None, "live");
    Graph {
        stack: "quick-start".to_owned(),
        namespace: "live".to_owned(),
        resources: vec![
            resource(
                namespace,
                vec![],
                vec![],
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "live"}}),
            ),
            resource(
                id("ConfigMap", "srs-config"),
                vec![need(0, Until::Applied, "its namespace")],
                vec![],
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "srs-config", "namespace": "live"}, "data": {"srs.conf": SRS_CONF}}),
            ),
            resource(
                id("Deployment", "srs-deploy"),
                vec![need(0, Until::Applied, "its namespace"), need(1, Until::Ready, "mounts it")],
                vec![Config { on: 1, on_change: OnChange::Roll }],
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "srs-deploy", "namespace": "live"}, "spec": {"replicas": 1}}),
            ),
            resource(
                id("Service", "srs-origin-service"),
                vec![need(2, Until::Ready, "sends traffic to it"), need(0, Until::Applied, "its namespace")],
                vec![],
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "srs-origin-service", "namespace": "live"}, "spec": {"type": "LoadBalancer"}}),
            ),
        ],
    }
}

pub(crate) fn missing() -> Missing {
    Missing {
        code: "ImagePullBackOff".to_owned(),
        reason: "0 of 1 replicas available".to_owned(),
        progress: vec![0],
        evidence: vec![Evidence {
            object: "Pod srs-deploy-7c9f-x2x4z".to_owned(),
            container: Some("srs".to_owned()),
            image: Some("ossrs/srs:nope".to_owned()),
            message: "failed to pull: manifest unknown: manifest tagged by \"nope\" is not found".to_owned(),
            wants_logs: false,
        }],
        look_again_at: None,
    }
}

pub(crate) fn failed() -> Report {
    let crash = Missing {
        code: "CrashLoopBackOff".to_owned(),
        reason: "1 of 3 replicas available".to_owned(),
        evidence: vec![Evidence {
            object: "Pod srs-edge-6d5-aaaaa".to_owned(),
            container: Some("srs".to_owned()),
            image: None,
            message: "exited with 255, 4 restarts".to_owned(),
            wants_logs: true,
        }],
        ..Missing::default()
    };
    let logs = vec![(
        "srs-edge-6d5-aaaaa/srs".to_owned(),
        "parse srs.conf\n\u{1b}[31mline 3: illegal directive\n".to_owned(),
    )];
    Report {
        results: vec![
            (id("ConfigMap", "srs-config"), Action::Create, ResultOf::Done),
            (
                id("Deployment", "srs-deploy"),
                Action::Create,
                ResultOf::NotReady { missing: missing(), logs: Vec::new(), terminal: true },
            ),
            (
                id("Deployment", "srs-edge"),
                Action::Update,
                ResultOf::NotReady { missing: crash, logs, terminal: false },
            ),
            (
                id("Service", "srs-origin-service"),
                Action::Create,
                ResultOf::Skipped { because: "it needs Deployment srs-deploy".to_owned() },
            ),
        ],
        unchanged: Vec::new(),
        outcome: Outcome::NotReady,
        seconds: 12.6,
        writes: 3,
    }
}
