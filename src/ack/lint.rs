//! Checks the annotations of a Service, whoever wrote them. Nothing else does before CCM meets them.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::annotation::{
    Annotation, BACKEND_TYPE, Family, IGNORED_CLASS, LEGACY_PREFIX, PREFIX, Settings, TABLE, annotations,
    find,
};
use super::relations;
use super::value::Form;

/// Keys that CCM reads under the prefix, but not as settings of a load balancer.
const OTHER_SUFFIXES: [&str; 2] = ["type", "tunnel-type"];
/// Names further apart than this are no slips of the pen.
const NEAREST: f64 = 0.75;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It has no effect, or another one than it seems.
    Warning,
    /// CCM or the cloud refuses it, or it does what nobody can want.
    Error,
}

/// Something that is wrong with an annotation of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The annotation, or a field of the Service.
    pub annotation: String,
    /// What is wrong and why.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    pub(super) fn new(severity: Severity, annotation: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity, annotation: annotation.into(), message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// `service.beta.kubernetes.io/…-spec: must be …; do this`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.annotation, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// Everything that is wrong with the load balancer annotations of a Service, in the order of the keys. Other Services have no findings.
pub fn lint(service: &Value) -> Vec<Finding> {
    let annotations = annotations(service);
    let ours = |key: &str| key.starts_with(PREFIX) || key.starts_with(LEGACY_PREFIX);
    let Some(settings) = Settings::of(service) else {
        return ignored(service).into_iter().filter(|_| annotations.keys().any(|key| ours(key))).collect();
    };
    let mut findings = Vec::new();
    for (key, value) in &annotations {
        let suffix = key.strip_prefix(PREFIX).or_else(|| key.strip_prefix(LEGACY_PREFIX));
        if let Some(suffix) = suffix {
            findings.extend(check(&settings, key, suffix, value));
        } else if *key == BACKEND_TYPE && !matches!(*value, "eni" | "ecs") {
            findings.push(Finding::new(Severity::Error, *key, format!("{value:?} must be eni or ecs")));
        } else if let Some(meant) = misspelt_prefix(key) {
            findings.push(
                Finding::new(Severity::Error, *key, "CCM doesn't read this key")
                    .hint(format!("the key is {meant}")),
            );
        }
        if let Some(suffix) = key.strip_prefix(LEGACY_PREFIX)
            && annotations.contains_key(format!("{PREFIX}{suffix}").as_str())
        {
            findings.push(
                Finding::new(
                    Severity::Error,
                    *key,
                    format!("it stands beside {PREFIX}{suffix}, which hides it, even if empty"),
                )
                .hint("keep the new one only"),
            );
        }
    }
    findings.extend(relations::check(&settings, service));
    findings
}

/// A Service of type LoadBalancer that CCM leaves alone.
fn ignored(service: &Value) -> Option<Finding> {
    let text = |pointer: &str| service.pointer(pointer).and_then(Value::as_str);
    if text("/spec/type") != Some("LoadBalancer") {
        return None;
    }
    let finding = match text("/spec/loadBalancerClass") {
        Some(class) if class != super::annotation::NLB_CLASS => Finding::new(
            Severity::Warning,
            "spec.loadBalancerClass",
            format!("CCM ignores Services of class {class:?}, annotations and all"),
        ),
        _ => Finding::new(
            Severity::Warning,
            IGNORED_CLASS,
            "CCM ignores Services that have it, other annotations and all",
        ),
    };
    Some(finding)
}

/// One annotation by itself: its name, then its value.
fn check(settings: &Settings<'_>, key: &str, suffix: &str, value: &str) -> Option<Finding> {
    let Some(row) = find(settings.family, suffix) else {
        return unknown(settings.family, key, suffix);
    };
    if value.is_empty() {
        // The one value whose emptiness says something: no security group any more.
        let meant = settings.family == Family::Nlb && suffix == "security-group-ids";
        let finding = Finding::new(
            Severity::Error,
            key,
            "an empty value says nothing, but hides the same key with the old prefix",
        );
        return (!meant).then(|| finding.hint("leave the annotation out"));
    }
    let must = row.form.check(value).err()?;
    let lower_case_would_do = row.form.check(&value.to_ascii_lowercase()).is_ok();
    if row.form == Form::OnOff && settings.family == Family::Nlb && lower_case_would_do {
        return None;
    }
    let case = spelled_right(row, value);
    let finding = Finding::new(Severity::Error, key, format!("{value:?} must be {must}"));
    Some(match case {
        Some(right) => finding.hint(format!("case matters: write {right:?}")),
        None => finding,
    })
}

/// The value of an enumeration that `value` is but for its case.
fn spelled_right(row: &Annotation, value: &str) -> Option<String> {
    match row.form {
        Form::Enum(values) => {
            values.iter().find(|right| right.eq_ignore_ascii_case(value)).map(|right| (*right).to_owned())
        }
        Form::OnOff | Form::FlagTrue | Form::Map(_) => {
            let (lower, upper) = (value.to_ascii_lowercase(), value.to_ascii_uppercase());
            [lower, upper].into_iter().find(|right| row.form.check(right).is_ok())
        }
        _ => None,
    }
}

fn unknown(family: Family, key: &str, suffix: &str) -> Option<Finding> {
    if OTHER_SUFFIXES.contains(&suffix) {
        return None;
    }
    if suffix == "slb-network-type" {
        let finding =
            Finding::new(Severity::Error, key, "CCM reads network-type, whatever its documentation says");
        return Some(finding.hint(format!("the key is {PREFIX}network-type")));
    }
    let (this, other) = match family {
        Family::Clb => ("CLB", Family::Nlb),
        Family::Nlb => ("NLB", Family::Clb),
    };
    if find(other, suffix).is_some() {
        return Some(Finding::new(Severity::Warning, key, format!("CCM doesn't read it for a {this}")));
    }
    let names = TABLE.iter().filter(|row| row.family == family);
    if let Some(row) = names.clone().find(|row| row.suffix.eq_ignore_ascii_case(suffix)) {
        let finding = Finding::new(Severity::Error, key, "CCM doesn't know this key: case matters");
        return Some(finding.hint(format!("the key is {}", row.key())));
    }
    let distance = |row: &&Annotation| strsim::normalized_damerau_levenshtein(row.suffix, suffix);
    let nearest =
        names.max_by(|a, b| distance(a).total_cmp(&distance(b))).filter(|row| distance(row) >= NEAREST);
    Some(match nearest {
        Some(row) => Finding::new(Severity::Error, key, "CCM doesn't know this key and ignores it")
            .hint(format!("did you mean {}?", row.key())),
        None => Finding::new(
            Severity::Warning,
            key,
            "CCM doesn't know this key, as far as is known here, and ignores it",
        ),
    })
}

/// A key that is one of CCM's but for a slip in its prefix.
fn misspelt_prefix(key: &str) -> Option<String> {
    let (prefix, suffix) = key.split_once("-loadbalancer-")?;
    let known = TABLE.iter().any(|row| row.suffix == suffix);
    let near =
        strsim::normalized_damerau_levenshtein(prefix, PREFIX.trim_end_matches("-loadbalancer-")) >= NEAREST;
    (known && near).then(|| format!("{PREFIX}{suffix}"))
}
