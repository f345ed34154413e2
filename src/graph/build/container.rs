//! Containers, with the volumes that their mounts need.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, PersistentVolumeClaim,
    PersistentVolumeClaimVolumeSource, Probe, ResourceRequirements, Secret, SecretKeySelector,
    SecretVolumeSource, TCPSocketAction, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Port;
use crate::graph::{Handle, Mounted, OnChange, shortened};

/// A container named `name` of `image`.
pub fn container(name: impl Into<String>, image: impl Into<String>) -> ContainerBuilder {
    let object = Container { name: name.into(), image: Some(image.into()), ..Container::default() };
    ContainerBuilder { object, volumes: Vec::new(), configs: Vec::new() }
}

/// Makes a container.
#[derive(Clone, Debug)]
pub struct ContainerBuilder {
    pub(super) object: Container,
    pub(super) volumes: Vec<Volume>,
    pub(super) configs: Vec<Mounted>,
}

/// What can be mounted as files and rolls, reloads or does nothing when it changes: a ConfigMap or a Secret.
pub trait ConfigSource {
    /// The volume, without its name.
    fn volume(name: &str) -> Volume;
}

impl ConfigSource for ConfigMap {
    fn volume(name: &str) -> Volume {
        let source = ConfigMapVolumeSource { name: name.to_owned(), ..ConfigMapVolumeSource::default() };
        Volume { config_map: Some(source), ..Volume::default() }
    }
}

impl ConfigSource for Secret {
    fn volume(name: &str) -> Volume {
        let source =
            SecretVolumeSource { secret_name: Some(name.to_owned()), ..SecretVolumeSource::default() };
        Volume { secret: Some(source), ..Volume::default() }
    }
}

impl ContainerBuilder {
    /// Listens on `port`.
    pub fn port(mut self, port: Port) -> Self {
        self.object.ports.get_or_insert_default().push(ContainerPort {
            container_port: i32::from(port.number),
            name: port.name.map(str::to_owned),
            // TCP is the server's default; leaving it out keeps the object equal to what people write by hand.
            protocol: (port.protocol != "TCP").then(|| port.protocol.to_owned()),
            ..ContainerPort::default()
        });
        self
    }

    /// `imagePullPolicy: IfNotPresent`.
    pub fn pull_if_not_present(mut self) -> Self {
        self.object.image_pull_policy = Some("IfNotPresent".to_owned());
        self
    }

    /// Replaces the image's entrypoint.
    pub fn command(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.object.command = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// Replaces the image's arguments.
    pub fn args(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.object.args = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// Sets an environment variable. The value may be a [`crate::graph::Late`] one.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let variable = EnvVar { name: name.into(), value: Some(value.into()), ..EnvVar::default() };
        self.object.env.get_or_insert_default().push(variable);
        self
    }

    /// Sets an environment variable from a key of a Secret.
    pub fn env_secret(
        mut self,
        name: impl Into<String>,
        secret: &Handle<Secret>,
        key: impl Into<String>,
    ) -> Self {
        let selector = SecretKeySelector { name: secret.name().to_owned(), key: key.into(), optional: None };
        let from = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
        let variable = EnvVar { name: name.into(), value_from: Some(from), ..EnvVar::default() };
        self.object.env.get_or_insert_default().push(variable);
        self.configs.push(secret.mounted(OnChange::Roll));
        self
    }

    /// Mounts a ConfigMap or Secret as files under `path`, and says what a change of it does.
    pub fn mount<K: ConfigSource>(
        mut self,
        config: &Handle<K>,
        path: impl Into<String>,
        on_change: OnChange,
    ) -> Self {
        self.mount_volume(K::volume(config.name()), config.name(), path.into());
        self.configs.push(config.mounted(on_change));
        self
    }

    /// Mounts a claim's volume under `path`.
    pub fn volume(mut self, claim: &Handle<PersistentVolumeClaim>, path: impl Into<String>) -> Self {
        let source =
            PersistentVolumeClaimVolumeSource { claim_name: claim.name().to_owned(), read_only: None };
        let volume = Volume { persistent_volume_claim: Some(source), ..Volume::default() };
        self.mount_volume(volume, claim.name(), path.into());
        self
    }

    /// Mounts an empty directory under `path`; containers of one pod that give the same `name` share it.
    pub fn empty_dir(mut self, name: &str, path: impl Into<String>) -> Self {
        let volume = Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
        self.mount_volume(volume, name, path.into());
        self
    }

    /// Resource limits, in Kubernetes' quantities such as `200m` and `2Gi`.
    pub fn limits(mut self, cpu: &str, memory: &str) -> Self {
        self.resources().limits = Some(quantities(cpu, memory));
        self
    }

    /// Resource requests, in Kubernetes' quantities such as `200m` and `2Gi`.
    pub fn requests(mut self, cpu: &str, memory: &str) -> Self {
        self.resources().requests = Some(quantities(cpu, memory));
        self
    }

    /// Ready while the TCP port accepts connections.
    pub fn ready_when_listening(mut self, port: Port) -> Self {
        let tcp_socket = Some(TCPSocketAction { port: target(port), ..TCPSocketAction::default() });
        self.object.readiness_probe = Some(Probe { tcp_socket, period_seconds: Some(2), ..Probe::default() });
        self
    }

    /// Ready while GET `path` on the port answers 2xx or 3xx.
    pub fn ready_when_ok(mut self, port: Port, path: &str) -> Self {
        let get =
            HTTPGetAction { path: Some(path.to_owned()), port: target(port), ..HTTPGetAction::default() };
        self.object.readiness_probe =
            Some(Probe { http_get: Some(get), period_seconds: Some(2), ..Probe::default() });
        self
    }

    /// Runs a command in the container before it is stopped.
    pub fn pre_stop(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let exec = ExecAction { command: Some(words.into_iter().map(Into::into).collect()) };
        let handler = LifecycleHandler { exec: Some(exec), ..LifecycleHandler::default() };
        self.object.lifecycle = Some(Lifecycle { pre_stop: Some(handler), ..Lifecycle::default() });
        self
    }

    /// Changes the object itself.
    pub fn customize(mut self, change: impl FnOnce(&mut Container)) -> Self {
        change(&mut self.object);
        self
    }

    fn resources(&mut self) -> &mut ResourceRequirements {
        self.object.resources.get_or_insert_default()
    }

    fn mount_volume(&mut self, volume: Volume, name: &str, path: String) {
        // A volume's name is a DNS label; an object's name may be longer and have dots.
        let name = shortened(name).replace('.', "-");
        self.volumes.push(Volume { name: name.clone(), ..volume });
        let mount = VolumeMount { name, mount_path: path, ..VolumeMount::default() };
        self.object.volume_mounts.get_or_insert_default().push(mount);
    }
}

pub(super) fn target(port: Port) -> IntOrString {
    port.name.map_or(IntOrString::Int(i32::from(port.number)), |name| IntOrString::String(name.to_owned()))
}

fn quantities(cpu: &str, memory: &str) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpu.to_owned())),
        ("memory".to_owned(), Quantity(memory.to_owned())),
    ])
}
