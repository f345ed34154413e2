//! Deployments, StatefulSets and DaemonSets: what they share, and what only one of them has.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, StatefulSet, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec, Service, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::ContainerBuilder;
use crate::graph::{Declare, Declared, GraphError, Handle, Location, Mounted};

/// A kind that runs pods from a template.
pub trait Workload: k8s_openapi::Resource + Sized {
    /// Puts the parts together.
    fn assemble(parts: Parts) -> Self;
}

/// What every workload is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    metadata: ObjectMeta,
    replicas: Option<i32>,
    selector: LabelSelector,
    template: PodTemplateSpec,
    service_name: Option<String>,
}

impl Workload for Deployment {
    fn assemble(parts: Parts) -> Self {
        let Parts { metadata, replicas, selector, template, service_name: _ } = parts;
        let spec = DeploymentSpec { replicas, selector, template, ..DeploymentSpec::default() };
        Self { metadata, spec: Some(spec), status: None }
    }
}

impl Workload for StatefulSet {
    fn assemble(parts: Parts) -> Self {
        let Parts { metadata, replicas, selector, template, service_name } = parts;
        let spec =
            StatefulSetSpec { replicas, selector, template, service_name, ..StatefulSetSpec::default() };
        Self { metadata, spec: Some(spec), status: None }
    }
}

impl Workload for DaemonSet {
    fn assemble(parts: Parts) -> Self {
        let Parts { metadata, replicas: _, selector, template, service_name: _ } = parts;
        Self {
            metadata,
            spec: Some(DaemonSetSpec { selector, template, ..DaemonSetSpec::default() }),
            status: None,
        }
    }
}

/// A Deployment named `name`.
#[track_caller]
pub fn deployment(name: impl Into<String>) -> WorkloadBuilder<Deployment> {
    WorkloadBuilder::new(name.into())
}

/// A StatefulSet named `name`.
#[track_caller]
pub fn stateful_set(name: impl Into<String>) -> WorkloadBuilder<StatefulSet> {
    WorkloadBuilder::new(name.into())
}

/// A DaemonSet named `name`.
#[track_caller]
pub fn daemon_set(name: impl Into<String>) -> WorkloadBuilder<DaemonSet> {
    WorkloadBuilder::new(name.into())
}

/// A last change to the object itself.
type Customize<K> = Box<dyn FnOnce(&mut K)>;

/// Makes a workload.
pub struct WorkloadBuilder<K> {
    name: String,
    location: Location,
    labels: BTreeMap<String, String>,
    pod_labels: BTreeMap<String, String>,
    replicas: Option<i32>,
    service_name: Option<String>,
    pod: PodSpec,
    configs: Vec<Mounted>,
    errors: Vec<GraphError>,
    customize: Vec<Customize<K>>,
}

impl<K: Workload> WorkloadBuilder<K> {
    #[track_caller]
    fn new(name: String) -> Self {
        Self {
            labels: BTreeMap::from([("app".to_owned(), name.clone())]),
            name,
            location: Location::caller(),
            pod_labels: BTreeMap::new(),
            replicas: None,
            service_name: None,
            pod: PodSpec::default(),
            configs: Vec::new(),
            errors: Vec::new(),
            customize: Vec::new(),
        }
    }

    /// The labels that tell its pods from all others: on the object, in the selector and on the pods. The default is `app: NAME`.
    pub fn labels(
        mut self,
        labels: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        self.labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self
    }

    /// One more label on the pods only.
    pub fn pod_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.pod_labels.insert(key.into(), value.into());
        self
    }

    /// Adds a container.
    #[track_caller]
    pub fn container(mut self, container: ContainerBuilder) -> Self {
        let ContainerBuilder { object, volumes, configs } = container;
        if self.pod.containers.iter().any(|other| other.name == object.name) {
            self.errors.push(GraphError {
                location: Location::caller(),
                message: format!("{} {} has two containers named {:?}", K::KIND, self.name, object.name),
                hint: None,
            });
        }
        for volume in volumes {
            self.add_volume(volume, Location::caller());
        }
        self.configs.extend(configs);
        self.pod.containers.push(object);
        self
    }

    /// How long pods may take to stop, in seconds, before they are killed.
    pub fn termination_grace(mut self, seconds: i64) -> Self {
        self.pod.termination_grace_period_seconds = Some(seconds);
        self
    }

    /// Changes the object itself, last.
    pub fn customize(mut self, change: impl FnOnce(&mut K) + 'static) -> Self {
        self.customize.push(Box::new(change));
        self
    }

    fn add_volume(&mut self, volume: Volume, location: Location) {
        let volumes = self.pod.volumes.get_or_insert_default();
        match volumes.iter().find(|other| other.name == volume.name) {
            None => volumes.push(volume),
            Some(same) if *same == volume => {}
            Some(_) => self.errors.push(GraphError {
                location,
                message: format!(
                    "{} {} has two volumes that would be named {:?}",
                    K::KIND,
                    self.name,
                    volume.name
                ),
                hint: Some("give one of the mounted objects another name".to_owned()),
            }),
        }
    }
}

impl WorkloadBuilder<Deployment> {
    /// How many pods run.
    pub fn replicas(mut self, replicas: i32) -> Self {
        self.replicas = Some(replicas);
        self
    }
}

impl WorkloadBuilder<StatefulSet> {
    /// How many pods run.
    pub fn replicas(mut self, replicas: i32) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// The headless Service that gives each pod its name in DNS.
    pub fn headless(mut self, service: &Handle<Service>) -> Self {
        self.service_name = Some(service.name().to_owned());
        self
    }
}

impl<K> Declare for WorkloadBuilder<K>
where
    K: Workload + Declare<Object = K>,
{
    type Object = K;

    fn declare(self) -> Declared {
        let Self {
            name,
            location,
            labels,
            pod_labels,
            replicas,
            service_name,
            pod,
            configs,
            mut errors,
            customize,
        } = self;
        if pod.containers.is_empty() {
            errors.push(GraphError {
                location,
                message: format!("{} {name} has no container", K::KIND),
                hint: Some("add one with .container(…)".to_owned()),
            });
        }
        let template_labels = labels.clone().into_iter().chain(pod_labels).collect();
        let mut object = K::assemble(Parts {
            metadata: ObjectMeta { name: Some(name), labels: Some(labels.clone()), ..ObjectMeta::default() },
            replicas,
            selector: LabelSelector { match_labels: Some(labels), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(template_labels), ..ObjectMeta::default() }),
                spec: Some(pod),
            },
            service_name,
        });
        for change in customize {
            change(&mut object);
        }
        let mut declared = object.declare();
        declared.configs = configs;
        declared.errors.extend(errors);
        declared
    }
}
