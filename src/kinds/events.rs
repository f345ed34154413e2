//! Events, in the shape of `v1` or of `events.k8s.io/v1`.

use serde_json::Value;

use super::json::{name, number, of_kind, text, time};

/// One event (or a series of equal ones), read out of its JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    object: &'a Value,
    pub(crate) reason: &'a str,
    /// In the words of the reporter.
    pub(crate) message: &'a str,
    /// How many equal ones there were.
    pub(crate) count: i64,
    /// Seconds since the epoch.
    pub(crate) first: Option<f64>,
    /// Seconds since the epoch.
    pub(crate) last: Option<f64>,
}

impl<'a> Event<'a> {
    fn read(event: &'a Value) -> Self {
        let object = event.get("involvedObject").or_else(|| event.get("regarding")).unwrap_or(&Value::Null);
        let created = || time(event, "/metadata/creationTimestamp");
        let single = time(event, "/eventTime");
        let first = [time(event, "/firstTimestamp"), time(event, "/deprecatedFirstTimestamp"), single];
        let last = [
            time(event, "/series/lastObservedTime"),
            time(event, "/lastTimestamp"),
            time(event, "/deprecatedLastTimestamp"),
            single,
        ];
        let message = match text(event, "/message") {
            "" => text(event, "/note"),
            message => message,
        };
        let counts =
            [number(event, "/series/count"), number(event, "/count"), number(event, "/deprecatedCount")];
        Self {
            object,
            reason: text(event, "/reason"),
            message,
            count: counts.into_iter().flatten().next().unwrap_or(1).max(1),
            first: first.into_iter().flatten().next().or_else(created),
            last: last.into_iter().flatten().next().or_else(created),
        }
    }

    /// The events among `objects`, the latest first.
    pub(crate) fn all(objects: &'a [Value]) -> Vec<Self> {
        let mut events: Vec<_> = of_kind(objects, "Event").map(Self::read).collect();
        events.sort_by(|a, b| b.last.unwrap_or_default().total_cmp(&a.last.unwrap_or_default()));
        events
    }

    /// Whether it is about this object: the same uid, or the same name if one of the two has no uid.
    pub(crate) fn is_about(&self, object: &Value) -> bool {
        match (text(self.object, "/uid"), text(object, "/metadata/uid")) {
            ("", _) | (_, "") => !name(object).is_empty() && text(self.object, "/name") == name(object),
            (ours, theirs) => ours == theirs,
        }
    }

    /// Whether it is about this container of its pod; events that name no container are.
    pub(crate) fn is_about_container(&self, container: &str) -> bool {
        let path = text(self.object, "/fieldPath");
        path.split_once('{').is_none_or(|(_, rest)| rest.trim_end_matches('}') == container)
    }

    /// Whether it last happened at `time` or later.
    pub(crate) fn happened_since(&self, time: f64) -> bool {
        self.last.is_some_and(|last| last >= time)
    }
}
