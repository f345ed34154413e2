use super::super::terminal::plan::plan;
use super::super::{json, terminal};
use super::{coloured, plain, samples, view};

#[test]
fn creates_at_80_columns() {
    insta::assert_snapshot!(plain(&plan(&samples::creates(), &view(80))), @r#"
    quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live

      + Namespace live

      + ConfigMap srs-config  (checked under a probe name)
          data["srs.conf"]:
              │ listen              1935;
              │ max_connections     1000;
              │ daemon              off;
              │ srs_log_tank        console;
              │ http_server {
              │     enabled         on;
              │     listen          8080;
              │ }
              │ … 9 more lines (--full shows them)

      + Deployment srs-deploy  (checked under a probe name)
          metadata.labels.app: srs
          spec:
            replicas: 1
            selector.matchLabels.app: srs
            template:
              metadata.labels.app: srs
              spec:
                containers[name=srs]:
                  image: ossrs/srs:v4.0.5
                  ports:
                    [containerPort=1935,protocol=TCP].name: rtmp
                    [containerPort=1985,protocol=TCP].name: api
                volumes[name=conf].configMap.name: srs-config
          and 3 defaults (--full shows them)

      + Service srs-origin-service  (checked under a probe name)
          metadata:
            annotations["service.beta.kubernetes.io/alibaba-cloud-loadbalancer-spec"]: slb.s1.small
            labels:
              app: srs
              tier: "1"
          spec:
            type: LoadBalancer
            selector.app: srs  (set by the server's admission)
            loadBalancerIP: (known after apply of Service srs-api)

      + Widget w  (not checked by the server)
          not checked: its CustomResourceDefinition comes with this plan
          spec.size: "3"

    Checked under a probe name: the server was asked about these objects in
    namespace default, because their own namespace isn't there yet.

    Plan: 5 to create, 0 to update, 0 to replace, 0 to delete. 0 unchanged.
    "#);
}

#[test]
fn creates_in_full() {
    let full = terminal::View { full: true, environment: Some("shanghai".to_owned()), ..view(100) };
    insta::assert_snapshot!(plain(&plan(&samples::creates(), &full)), @r#"
    quick-start on environment shanghai, cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace
      live

      + Namespace live  stacks/src/quick_start.rs:41

      + ConfigMap srs-config  (checked under a probe name)  stacks/src/quick_start.rs:41
          data["srs.conf"]:
              │ listen              1935;
              │ max_connections     1000;
              │ daemon              off;
              │ srs_log_tank        console;
              │ http_server {
              │     enabled         on;
              │     listen          8080;
              │ }
              │ http_api {
              │     enabled         on;
              │     listen          1985;
              │ }
              │ vhost __defaultVhost__ {
              │     http_remux {
              │         enabled     on;
              │     }
              │ }

      + Deployment srs-deploy  (checked under a probe name)  stacks/src/quick_start.rs:41
          metadata.labels.app: srs
          spec:
            replicas: 1
            revisionHistoryLimit: 10  (default)
            selector.matchLabels.app: srs
            template:
              metadata.labels.app: srs
              spec:
                containers[name=srs]:
                  image: ossrs/srs:v4.0.5
                  imagePullPolicy: IfNotPresent  (default)
                  ports:
                    [containerPort=1935,protocol=TCP].name: rtmp
                    [containerPort=1985,protocol=TCP].name: api
                  terminationMessagePath: /dev/termination-log  (default)
                volumes[name=conf].configMap.name: srs-config

      + Service srs-origin-service  (checked under a probe name)  stacks/src/quick_start.rs:41
          metadata:
            annotations["service.beta.kubernetes.io/alibaba-cloud-loadbalancer-spec"]: slb.s1.small
            labels:
              app: srs
              tier: "1"
          spec:
            type: LoadBalancer
            selector.app: srs  (set by the server's admission)
            loadBalancerIP: (known after apply of Service srs-api)

      + Widget w  (not checked by the server)  stacks/src/quick_start.rs:41
          not checked: its CustomResourceDefinition comes with this plan
          spec.size: "3"

    Checked under a probe name: the server was asked about these objects in namespace default, because
    their own namespace isn't there yet.

    Plan: 5 to create, 0 to update, 0 to replace, 0 to delete. 0 unchanged.
    "#);
}

#[test]
fn updates_at_80_columns() {
    insta::assert_snapshot!(plain(&plan(&samples::updates(), &view(80))), @r#"
    quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live

      ~ ConfigMap srs-config
          ~ data["srs.conf"]
              @@ -1,5 +1,5 @@
                listen              1935;
              - max_connections     1000;
              + max_connections     2000;
                daemon              off;
                srs_log_tank        console;
                http_server {
              @@ -13,5 +13,6 @@
                vhost __defaultVhost__ {
                    http_remux {
                        enabled     on;
              +         mount       [vhost]/[app]/[stream].flv;
                    }
                }
          - data["note"]
              │ by hand
              │ of somebody
              (changed by kubectl-edit 2 days ago; will be taken back)

      ~ Deployment srs-deploy
          ~ spec.replicas                                 3 → 1
              (changed by kubectl-scale 3 minutes ago; will be taken back)
          + spec.minReadySeconds                          5
          - metadata.labels.old                           x
          ~ spec.template.spec.containers[name=srs].image
              - registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v4.0.5
              + registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v5.0.2
          ~ spec.template.spec.containers[name=srs].args  ["-c","a"] → ["-c","b"]
          - spec.template.spec.containers[name=exporter]
              image: ossrs/srs-exporter:1
              name: exporter
              ports[0]:
                containerPort: 9972
                name: metrics
          and 1 default (--full shows them)

      ~ Secret push-key
          ~ data.password  (secret 3f2a9c10) → (secret b7e1d224)

    -/+ PersistentVolumeClaim nas-hls
          because spec.storageClassName can't be changed on a live
            PersistentVolumeClaim
          loses the data of volume d-uf6hq (20Gi)
          guarded: must be confirmed by name, or by --delete volumes
          ~ spec.storageClassName  alicloud-disk-ssd → alicloud-nas

      - Service srs-http-service
          loses the address 127.64.0.2
          guarded: must be confirmed by name, or by --delete load-balancers

    warning: Service srs-origin-service: externalTrafficPolicy Local keeps the
      viewers' addresses, but sends traffic only to nodes that have a pod
    note: 2 resources are waited for without a deadline

    Plan: 0 to create, 3 to update, 1 to replace, 1 to delete. 14 unchanged.
    "#);
}

#[test]
fn updates_at_160_columns() {
    insta::assert_snapshot!(plain(&plan(&samples::updates(), &view(160))), @r#"
    quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live

      ~ ConfigMap srs-config
          ~ data["srs.conf"]
              @@ -1,5 +1,5 @@
                listen              1935;
              - max_connections     1000;
              + max_connections     2000;
                daemon              off;
                srs_log_tank        console;
                http_server {
              @@ -13,5 +13,6 @@
                vhost __defaultVhost__ {
                    http_remux {
                        enabled     on;
              +         mount       [vhost]/[app]/[stream].flv;
                    }
                }
          - data["note"]
              │ by hand
              │ of somebody
              (changed by kubectl-edit 2 days ago; will be taken back)

      ~ Deployment srs-deploy
          ~ spec.replicas                                  3 → 1  (changed by kubectl-scale 3 minutes ago; will be taken back)
          + spec.minReadySeconds                           5
          - metadata.labels.old                            x
          ~ spec.template.spec.containers[name=srs].image  registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v4.0.5 → registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v5.0.2
          ~ spec.template.spec.containers[name=srs].args   ["-c","a"] → ["-c","b"]
          - spec.template.spec.containers[name=exporter]
              image: ossrs/srs-exporter:1
              name: exporter
              ports[0]:
                containerPort: 9972
                name: metrics
          and 1 default (--full shows them)

      ~ Secret push-key
          ~ data.password  (secret 3f2a9c10) → (secret b7e1d224)

    -/+ PersistentVolumeClaim nas-hls
          because spec.storageClassName can't be changed on a live PersistentVolumeClaim
          loses the data of volume d-uf6hq (20Gi)
          guarded: must be confirmed by name, or by --delete volumes
          ~ spec.storageClassName  alicloud-disk-ssd → alicloud-nas

      - Service srs-http-service
          loses the address 127.64.0.2
          guarded: must be confirmed by name, or by --delete load-balancers

    warning: Service srs-origin-service: externalTrafficPolicy Local keeps the viewers' addresses, but sends traffic only to nodes that have a pod
    note: 2 resources are waited for without a deadline

    Plan: 0 to create, 3 to update, 1 to replace, 1 to delete. 14 unchanged.
    "#);
}

#[test]
fn updates_in_colour() {
    insta::assert_snapshot!(coloured(&plan(&samples::updates(), &view(80))), @r#"
    <bold>quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live</>

    <bold><yellow>  ~</> <bold>ConfigMap srs-config</>
          <yellow>~</> data["srs.conf"]
              <dim>@@ -1,5 +1,5 @@</>
              <dim> </> <dim>listen              1935;</>
              <red>-</> <red>max_connections     </><invert><red>1000;</>
              <green>+</> <green>max_connections     </><invert><green>2000;</>
              <dim> </> <dim>daemon              off;</>
              <dim> </> <dim>srs_log_tank        console;</>
              <dim> </> <dim>http_server {</>
              <dim>@@ -13,5 +13,6 @@</>
              <dim> </> <dim>vhost __defaultVhost__ {</>
              <dim> </> <dim>    http_remux {</>
              <dim> </> <dim>        enabled     on;</>
              <green>+</> <green>        mount       [vhost]/[app]/[stream].flv;</>
              <dim> </> <dim>    }</>
              <dim> </> <dim>}</>
          <red>-</> data["note"]
              <dim>│</> by hand
              <dim>│</> of somebody
              <yellow>(changed by kubectl-edit 2 days ago; will be taken back)</>

    <bold><yellow>  ~</> <bold>Deployment srs-deploy</>
          <yellow>~</> spec.replicas                                 <red>3</> → <green>1</>
              <yellow>(changed by kubectl-scale 3 minutes ago; will be taken back)</>
          <green>+</> spec.minReadySeconds                          <green>5</>
          <red>-</> metadata.labels.old                           <red>x</>
          <yellow>~</> spec.template.spec.containers[name=srs].image
              <red>- registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v4.0.5</>
              <green>+ registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v5.0.2</>
          <yellow>~</> spec.template.spec.containers[name=srs].args  <red>["-c","a"]</> → <green>["-c","b"]</>
          <red>-</> spec.template.spec.containers[name=exporter]
              image: ossrs/srs-exporter:1
              name: exporter
              ports[0]:
                containerPort: 9972
                name: metrics
    <dim>      and 1 default (--full shows them)</>

    <bold><yellow>  ~</> <bold>Secret push-key</>
          <yellow>~</> data.password  <red>(secret 3f2a9c10)</> → <green>(secret b7e1d224)</>

    <bold><red>-/+</> <bold>PersistentVolumeClaim nas-hls</>
    <yellow>      because spec.storageClassName can't be changed on a live</>
    <yellow>        PersistentVolumeClaim</>
    <red>      loses the data of volume d-uf6hq (20Gi)</>
    <red>      guarded: must be confirmed by name, or by --delete volumes</>
          <yellow>~</> spec.storageClassName  <red>alicloud-disk-ssd</> → <green>alicloud-nas</>

    <bold><red>  -</> <bold>Service srs-http-service</>
    <red>      loses the address 127.64.0.2</>
    <red>      guarded: must be confirmed by name, or by --delete load-balancers</>

    <yellow>warning:</> Service srs-origin-service: externalTrafficPolicy Local keeps the
      viewers' addresses, but sends traffic only to nodes that have a pod
    <cyan>note:</> 2 resources are waited for without a deadline

    <bold>Plan: 0 to create, 3 to update, 1 to replace, 1 to delete. 14 unchanged.</>
    "#);
}

#[test]
fn refusals() {
    insta::assert_snapshot!(plain(&plan(&samples::refused(), &view(80))), @r#"
    quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live

      ~ Deployment srs-deploy
          ~ spec.replicas  1 → 2

    refused: Deployment srs-deploy (stacks/src/quick_start.rs:41)
      spec.replicas is 4 by the hand of manager horizontal-pod-autoscaler, and never
      was ours
      hint: say .take("spec.replicas") or .yield_to("spec.replicas") in the program

    refused: ResourceQuota pods: 10 allowed, 12 wanted

    Plan: 0 to create, 1 to update, 0 to replace, 0 to delete. 14 unchanged.
    This plan can't be carried out: 2 refusals, named above.
    "#);
}

#[test]
fn nothing_to_do() {
    insta::assert_snapshot!(plain(&plan(&samples::plan(Vec::new()), &view(80))), @"
    quick-start on cluster kind-x (https://127.0.0.1:6443, v1.34.4), namespace live

    No changes. 14 resources are as declared.
    ");
}

#[test]
fn no_line_without_a_long_word_is_wider_than_the_terminal() {
    for sample in [samples::creates(), samples::updates(), samples::refused()] {
        let text = plain(&plan(&sample, &view(80)));
        for line in text.lines().filter(|line| line.split(' ').all(|word| word.len() < 40)) {
            assert!(terminal::text::width(line) <= 80, "{line}");
        }
    }
}

#[test]
fn bodies_are_never_shown() {
    for sample in [samples::creates(), samples::updates()] {
        let full = terminal::View { full: true, ..view(80) };
        let told = plan(&sample, &full) + &json::plan(&sample, None).to_string();
        assert!(!told.contains("body-is-never-shown"));
    }
}

#[test]
fn as_json() {
    let mut sample = samples::updates();
    sample.changes.truncate(2);
    sample.changes.remove(0);
    sample.changes[0].diff.truncate(1);
    sample.unchanged.truncate(1);
    let document = json::plan(&sample, Some("shanghai"));
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap(), @r#"
    {
      "changes": [
        {
          "action": "update",
          "after": {},
          "checked": {
            "by": "server"
          },
          "diff": [
            {
              "after": 1,
              "before": 3,
              "cause": {
                "cause": "drift",
                "manager": "kubectl-scale",
                "time": "2026-11-22T19:57:00Z"
              },
              "op": "change",
              "path": "spec.replicas"
            }
          ],
          "diff_hash": "d1ff",
          "guard": null,
          "gvk": {
            "group": "apps",
            "kind": "Deployment",
            "version": "v1"
          },
          "id": {
            "group": "apps",
            "kind": "Deployment",
            "name": "srs-deploy",
            "namespace": "live"
          },
          "location": {
            "file": "stacks/src/quick_start.rs",
            "line": 41
          },
          "loses": [],
          "reasons": [],
          "resource_version": null,
          "uid": null
        }
      ],
      "cluster": {
        "context": "kind-x",
        "server": "https://127.0.0.1:6443",
        "uid": "0b7a3c1e",
        "version": "v1.34.4"
      },
      "environment": "shanghai",
      "kind": "plan",
      "namespace": "live",
      "notes": [
        {
          "id": {
            "group": "",
            "kind": "Service",
            "name": "srs-origin-service",
            "namespace": "live"
          },
          "message": "externalTrafficPolicy Local keeps the viewers' addresses, but sends traffic only to nodes that have a pod",
          "severity": "warning"
        },
        {
          "id": null,
          "message": "2 resources are waited for without a deadline",
          "severity": "info"
        }
      ],
      "refusals": [],
      "stack": "quick-start",
      "summary": {
        "create": 0,
        "delete": 0,
        "replace": 0,
        "unchanged": 1,
        "update": 1
      },
      "unchanged": [
        {
          "group": "",
          "kind": "ConfigMap",
          "name": "other-1",
          "namespace": "live"
        }
      ],
      "version": 1
    }
    "#);
}
