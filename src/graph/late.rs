//! Values that are known only after another resource was applied, such as a load balancer's address.
//!
//! In a body a late value is a marked piece of a string. It may be the whole string or stand inside a longer one (a line of
//! a srs.conf). The planner fills in what the live cluster already knows and a sample for the rest; the run fills in the truth.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ObjectId;

// Two private-use characters: nothing a configuration says means them.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// Where a late value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LateRef {
    /// The object whose field it is.
    pub id: ObjectId,
    /// JSON pointer (RFC 6901) into the live object, such as `/status/loadBalancer/ingress/0/ip`.
    pub pointer: String,
    /// A value of the right form, for dry-runs before the real one is known.
    pub sample: String,
}

/// A value of type `T` that is known only after apply. Write it into any text of another resource with `to_string()` or `format!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late<T> {
    reference: LateRef,
    marker: PhantomData<fn() -> T>,
}

impl<T> Late<T> {
    /// The value at `pointer` of the live object `id`.
    pub fn new(id: ObjectId, pointer: impl Into<String>, sample: impl Into<String>) -> Self {
        Self {
            reference: LateRef { id, pointer: pointer.into(), sample: sample.into() },
            marker: PhantomData,
        }
    }

    /// The same value, from its reference.
    pub fn from_reference(reference: LateRef) -> Self {
        Self { reference, marker: PhantomData }
    }

    /// Where it comes from.
    pub fn reference(&self) -> &LateRef {
        &self.reference
    }
}

impl<T> fmt::Display for Late<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(&self.reference).map_err(|_| fmt::Error)?;
        write!(f, "{OPEN}{json}{CLOSE}")
    }
}

impl<T> From<Late<T>> for String {
    fn from(late: Late<T>) -> Self {
        late.to_string()
    }
}

/// Every late value in a body, each once, in order.
pub fn unresolved(body: &Value) -> Vec<LateRef> {
    let mut found = Vec::new();
    walk(body, &mut |text| found.extend(parts(text).filter_map(|part| part.reference())));
    found.sort();
    found.dedup();
    found
}

/// Puts values in the place of late ones. A string that is nothing but one late value becomes the value as it is (a number stays a
/// number); inside a longer string its text is put in.
///
/// # Errors
/// The first late value that `lookup` doesn't know; the body is then left half filled and must not be used.
#[expect(clippy::result_large_err, reason = "the caller takes the reference apart; this is no hot path")]
pub fn fill(body: &mut Value, lookup: &dyn Fn(&LateRef) -> Option<Value>) -> Result<(), LateRef> {
    match body {
        Value::String(text) if text.contains(OPEN) => {
            let pieces: Vec<Part<'_>> = parts(text).collect();
            if let [only] = pieces.as_slice()
                && let Some(reference) = only.reference()
            {
                *body = lookup(&reference).ok_or(reference)?;
                return Ok(());
            }
            let mut filled = String::with_capacity(text.len());
            for piece in pieces {
                match (piece.reference(), piece) {
                    (Some(reference), _) => match lookup(&reference).ok_or(reference)? {
                        Value::String(value) => filled.push_str(&value),
                        value => filled.push_str(&value.to_string()),
                    },
                    (None, Part::Text(plain) | Part::Marked(plain)) => filled.push_str(plain),
                }
            }
            *body = Value::String(filled);
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, lookup)),
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill(field, lookup)),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Text(&'a str),
    Marked(&'a str),
}

impl Part<'_> {
    fn reference(&self) -> Option<LateRef> {
        match self {
            Part::Marked(json) => serde_json::from_str(json).ok(),
            Part::Text(_) => None,
        }
    }
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    text.split_inclusive(CLOSE).flat_map(|run| {
        let marked = run.strip_suffix(CLOSE).and_then(|run| run.split_once(OPEN));
        match marked {
            Some((before, json)) => [Part::Text(before), Part::Marked(json)],
            None => [Part::Text(run), Part::Text("")],
        }
        .into_iter()
        .filter(|part| !matches!(part, Part::Text("")))
    })
}

fn walk(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) if text.contains(OPEN) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::graph::Gvk;

    fn address() -> Late<String> {
        let id = ObjectId::new(&Gvk::new("", "v1", "Service"), Some("live"), "srs");
        Late::new(id, "/status/loadBalancer/ingress/0/ip", "192.0.2.1")
    }

    #[test]
    fn a_late_value_is_found_and_filled_wherever_it_stands() {
        let mut body = json!({"whole": address().to_string(), "inside": [format!("candidate {};", address())], "plain": "x"});
        assert_eq!(unresolved(&body), [address().reference().clone()]);
        fill(&mut body, &|late| Some(json!(format!("ip of {}", late.id.name)))).unwrap();
        assert_eq!(body, json!({"whole": "ip of srs", "inside": ["candidate ip of srs;"], "plain": "x"}));
        assert!(unresolved(&body).is_empty());
    }

    #[test]
    fn a_whole_string_takes_the_values_type() {
        let mut body = json!({"port": address().to_string(), "text": format!(":{}", address())});
        fill(&mut body, &|_| Some(json!(30935))).unwrap();
        assert_eq!(body, json!({"port": 30935, "text": ":30935"}));
    }

    #[test]
    fn an_unknown_value_is_named() {
        let mut body = json!({"a": address().to_string()});
        assert_eq!(fill(&mut body, &|_| None).unwrap_err(), *address().reference());
    }

    #[test]
    fn stray_marks_are_left_as_text() {
        let text = format!("a{CLOSE}b{OPEN}c");
        let mut body = json!([text]);
        assert!(unresolved(&body).is_empty());
        fill(&mut body, &|_| None).unwrap();
        assert_eq!(body, json!([text]));
    }
}
