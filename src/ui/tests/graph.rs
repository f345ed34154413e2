use super::super::{dot, terminal};
use super::{plain, samples};

#[test]
fn as_a_tree() {
    insta::assert_snapshot!(plain(&terminal::graph::graph(&samples::graph())), @"
    quick-start: 4 resources in namespace live
    Service srs-origin-service
    └── Deployment srs-deploy  (sends traffic to it, once it is ready)
        └── ConfigMap srs-config  (mounts it, once it is ready)
            └── Namespace live  (its namespace)
    ");
}

#[test]
fn as_dot() {
    insta::assert_snapshot!(dot::graph(&samples::graph()), @r#"
    digraph "quick-start" {
      rankdir=LR;
      node [shape=box];
      r0 [label="Namespace\nlive"];
      r1 [label="ConfigMap\nsrs-config"];
      r2 [label="Deployment\nsrs-deploy"];
      r3 [label="Service\nsrs-origin-service"];
      r1 -> r0 [label="its namespace", style=dashed];
      r2 -> r0 [label="its namespace", style=dashed];
      r2 -> r1 [label="mounts it"];
      r3 -> r2 [label="sends traffic to it"];
      r3 -> r0 [label="its namespace", style=dashed];
    }
    "#);
}
