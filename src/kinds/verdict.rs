//! The answer to «does it work?».

use serde::Serialize;

/// Whether an object works.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It works.
    Ready {
        /// Something worth telling all the same.
        note: Option<String>,
    },
    /// On its way.
    Progressing(Missing),
    /// Not getting further by itself, but something else may still help (an autoscaler, a human).
    Stuck(Missing),
    /// It will not heal: the wait ends here.
    Failed(Missing),
    /// Paused by intent; counted as done, with a remark.
    Suspended {
        /// Why.
        reason: String,
    },
    /// Being deleted.
    Terminating {
        /// Finalizers that still hold it.
        finalizers: Vec<String>,
    },
}

/// What is missing, and the evidence for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Missing {
    /// Machine-readable, CamelCase, such as `ImagePullBackOff`.
    pub code: String,
    /// For the reader, such as `1 of 3 replicas available`.
    pub reason: String,
    /// Numbers that only grow while things get better (updated, ready, available…). A wait's deadline starts again when this vector changes upwards.
    pub progress: Vec<i64>,
    /// Where to look: pods, events, conditions.
    pub evidence: Vec<Evidence>,
    /// Seconds since the epoch at which the verdict may be another one without any event; `None`: only an event changes it.
    pub look_again_at: Option<f64>,
}

/// One observed fact, and the object that it was observed on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Such as `Pod srs-deploy-7c9f-x2x4z`.
    pub object: String,
    /// The container, if it is about one.
    pub container: Option<String>,
    /// The image, if it is about one.
    pub image: Option<String>,
    /// The fact in the words of whoever reported it (kubelet, scheduler, registry).
    pub message: String,
    /// The container's last log lines are worth showing (it crashed).
    pub wants_logs: bool,
}

/// Other objects that a verdict wants to see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Related {
    /// Pods of the object's namespace that match this label selector (`a=b,c=d`).
    Pods {
        /// In the form that the API's `labelSelector` takes.
        selector: String,
    },
    /// ReplicaSets of the object's namespace that match this label selector.
    ReplicaSets {
        /// In the form that the API's `labelSelector` takes.
        selector: String,
    },
    /// EndpointSlices of the Service of this name.
    EndpointSlices {
        /// The Service's name.
        service: String,
    },
    /// Events about the object itself, its ReplicaSets and its Pods.
    Events,
    /// The StorageClass of this name (none: the cluster's default).
    StorageClass {
        /// `storageClassName`.
        name: Option<String>,
    },
}

impl Verdict {
    /// It works, and there is nothing to tell.
    pub(crate) fn ready() -> Self {
        Self::Ready { note: None }
    }

    /// It works, with a remark.
    pub(crate) fn ready_with(note: impl Into<String>) -> Self {
        Self::Ready { note: Some(note.into()) }
    }
}

impl Missing {
    /// What is missing, as a code and in words.
    pub(crate) fn new(code: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { code: code.into(), reason: reason.into(), ..Self::default() }
    }

    /// With numbers that only grow.
    pub(crate) fn progress(self, progress: Vec<i64>) -> Self {
        Self { progress, ..self }
    }

    /// With an observed fact.
    pub(crate) fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence.push(evidence);
        self
    }

    /// With a time at which the verdict may be another one without any event.
    pub(crate) fn look_again_at(mut self, time: f64) -> Self {
        self.look_again_at = Some(self.look_again_at.map_or(time, |other| other.min(time)));
        self
    }
}

impl Evidence {
    /// A fact, observed on `object`.
    pub(crate) fn new(object: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            container: None,
            image: None,
            message: message.into(),
            wants_logs: false,
        }
    }
}
