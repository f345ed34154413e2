//! Making the stand-in slow or failing, per namespace and while it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the ConfigMap lies.
pub(crate) const NAMESPACE: &str = "kube-system";
/// The ConfigMap: a key per namespace, each value a [`CloudFaults`] as JSON.
pub(crate) const CONFIG_MAP: &str = "cloud-controller-faults";

/// How the cloud misbehaves towards the Services of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudFaults {
    /// Seconds from a Service's change until the cloud begins with it.
    pub delay_seconds: u64,
    /// Every call fails with these words of the cloud's OpenAPI.
    pub fail: Option<String>,
}

impl CloudFaults {
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_secs(self.delay_seconds)
    }

    /// Reads the value of a key; what cannot be read counts as no fault and is told.
    pub(crate) fn parse(namespace: &str, text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| {
            crate::progress::say(&format!("ConfigMap {CONFIG_MAP}, key {namespace}: {error}"));
            Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_survive_the_config_map_and_nonsense_is_no_fault() {
        let faults = CloudFaults { delay_seconds: 3, fail: Some("Throttling.User".into()) };
        assert_eq!(CloudFaults::parse("a", &serde_json::to_string(&faults).unwrap()), faults);
        assert_eq!(CloudFaults::parse("a", "{}"), CloudFaults::default());
        assert_eq!(CloudFaults::parse("a", "?"), CloudFaults::default());
    }
}
