//! Whatever a cluster says, it is shown, and it doesn't steer the terminal.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::terminal::plan::plan;
use super::super::terminal::{View, report::report};
use super::{plain, samples, view};
use crate::apply::{Outcome, Report, ResultOf};
use crate::plan::{Action, Cause};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.\\[\\]=\"]{0,20}",
        Just("a\u{1b}[31mb\r\n\u{9b}c\u{7f}".to_owned()),
        any::<String>(),
        "(line [0-9]{1,3}\n){0,30}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), text().prop_map(Value::from)];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn harmless(shown: &str) -> bool {
    plain(shown).chars().all(|c| !c.is_control() || c == '\n' || c == '\t')
}

proptest! {
    #[test]
    fn any_plan_can_be_shown(
        path in text(),
        before in prop::option::of(value()),
        after in prop::option::of(value()),
        message in text(),
        action in prop::sample::select(vec![Action::Create, Action::Update, Action::Replace, Action::Delete]),
        width in 0_usize..200,
        full in any::<bool>(),
    ) {
        let cause = Cause::Drift { manager: message.clone(), time: Some(message.clone()) };
        let mut change = samples::change(action, samples::id(&path, &message), vec![
            samples::field(&path, before, after, cause),
        ]);
        change.reasons = vec![message.clone()];
        change.loses = vec![message.clone()];
        let mut sample = samples::refused();
        sample.refusals[0].message.clone_from(&message);
        sample.refusals[0].hint = Some(message);
        sample.changes = vec![change];
        let view = View { full, ..view(width) };
        prop_assert!(harmless(&plan(&sample, &view)));
    }

    #[test]
    fn any_report_can_be_shown(message in text(), log in text(), width in 0_usize..200) {
        let mut missing = samples::missing();
        missing.reason.clone_from(&message);
        missing.evidence[0].message.clone_from(&message);
        let logs = vec![(message.clone(), log)];
        let sample = Report {
            results: vec![
                (samples::id("Pod", &message), Action::Update, ResultOf::NotReady { missing, logs, terminal: true }),
                (samples::id("Pod", "b"), Action::Delete, ResultOf::Skipped { because: message.clone() }),
            ],
            unchanged: vec![(samples::id("Pod", "c"), ResultOf::Error { message: message.clone() })],
            outcome: Outcome::NotReady,
            seconds: f64::NAN,
            writes: 0,
        };
        prop_assert!(harmless(&report(&sample, "live", &view(width))));
    }
}

#[test]
fn a_difference_is_told_whatever_its_form() {
    let pairs = [(json!("a"), json!("b")), (json!("a\nb\n"), json!("a\nc\n")), (json!({"a": 1}), json!([1]))];
    for (before, after) in pairs {
        let field = samples::intent("spec.x", before, after);
        let sample =
            samples::plan(vec![samples::change(Action::Update, samples::id("Pod", "p"), vec![field])]);
        let shown = plain(&plan(&sample, &view(80)));
        assert!(shown.contains("~ spec.x"), "{shown}");
    }
}
