//! Kinds that work as soon as the API server has them: configuration, accounts, rights, classes, policies.

use serde_json::Value;

use super::common::noise;
use super::json::{entry, text};
use super::{Context, KindRules, Missing, Verdict};

/// The rules of a kind that is ready at the API server's «yes».
pub(super) struct Accepted {
    immutable: &'static [&'static str],
    noise: &'static [&'static str],
    name_is_spec: bool,
}

impl Accepted {
    /// Nothing about it is special.
    pub(super) const PLAIN: Self = Self { immutable: &[], noise: noise![], name_is_spec: false };
    /// Data are fixed only once `immutable: true` stands in it; the server refuses the change then.
    pub(super) const CONFIG_MAP: Self =
        Self { immutable: &["data", "binaryData", "immutable"], ..Self::PLAIN };
    /// The controller adds the account's tokens.
    pub(super) const SERVICE_ACCOUNT: Self = Self { noise: noise!["secrets"], ..Self::PLAIN };
    /// A binding is to one role for ever.
    pub(super) const ROLE_BINDING: Self = Self { immutable: &["roleRef"], ..Self::PLAIN };
    pub(super) const STORAGE_CLASS: Self = Self {
        immutable: &["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"],
        ..Self::PLAIN
    };
    pub(super) const PRIORITY_CLASS: Self = Self { immutable: &["value", "preemptionPolicy"], ..Self::PLAIN };
    pub(super) const RUNTIME_CLASS: Self = Self { immutable: &["handler"], ..Self::PLAIN };
    pub(super) const INGRESS_CLASS: Self = Self { immutable: &["spec.controller"], ..Self::PLAIN };
    /// The name is the driver's own.
    pub(super) const CSI_DRIVER: Self = Self {
        immutable: &["spec.attachRequired", "spec.volumeLifecycleModes"],
        name_is_spec: true,
        ..Self::PLAIN
    };
    /// The name is that of its Service.
    pub(super) const ENDPOINTS: Self = Self { name_is_spec: true, ..Self::PLAIN };
    pub(super) const ENDPOINT_SLICE: Self = Self { immutable: &["addressType"], ..Self::PLAIN };
    /// cert-manager and others write the bundle into it.
    pub(super) const WEBHOOKS: Self = Self { noise: noise!["webhooks.clientConfig.caBundle"], ..Self::PLAIN };
}

impl KindRules for Accepted {
    fn judge(&self, _object: &Value, _context: &Context<'_>) -> Verdict {
        Verdict::ready()
    }

    fn immutable(&self) -> &'static [&'static str] {
        self.immutable
    }

    fn noise(&self) -> &'static [&'static str] {
        self.noise
    }

    fn name_is_spec(&self) -> bool {
        self.name_is_spec
    }
}

/// The rules of `v1 Secret`.
pub(super) struct Secret;

impl KindRules for Secret {
    fn judge(&self, object: &Value, _context: &Context<'_>) -> Verdict {
        let wants_token = text(object, "/type") == "kubernetes.io/service-account-token";
        if wants_token && entry(object, "/data", "token").is_empty() {
            let reason = "the controller has not written the account's token yet";
            return Verdict::Progressing(Missing::new("NoToken", reason).progress(vec![0]));
        }
        Verdict::ready()
    }

    /// Data are fixed only once `immutable: true` stands in it; the type always is.
    fn immutable(&self) -> &'static [&'static str] {
        &["type", "data", "stringData", "immutable"]
    }

    fn noise(&self) -> &'static [&'static str] {
        noise!["metadata.annotations.kubernetes.io/service-account.uid"]
    }
}
