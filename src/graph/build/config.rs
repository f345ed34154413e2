//! ConfigMaps and Secrets.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::graph::{Declare, Declared};

/// A ConfigMap named `name`.
pub fn config_map(name: impl Into<String>) -> ConfigMapBuilder {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.into());
    ConfigMapBuilder { object }
}

/// Makes a ConfigMap.
#[derive(Clone, Debug)]
pub struct ConfigMapBuilder {
    object: ConfigMap,
}

impl ConfigMapBuilder {
    /// Adds a key, which becomes a file where it is mounted.
    pub fn file(mut self, key: impl Into<String>, text: impl Into<String>) -> Self {
        self.object.data.get_or_insert_default().insert(key.into(), text.into());
        self
    }

    /// Changes the object itself.
    pub fn customize(mut self, change: impl FnOnce(&mut ConfigMap)) -> Self {
        change(&mut self.object);
        self
    }
}

impl Declare for ConfigMapBuilder {
    type Object = ConfigMap;

    fn declare(self) -> Declared {
        self.object.declare()
    }
}

/// A Secret named `name`, of type Opaque.
pub fn secret(name: impl Into<String>) -> SecretBuilder {
    let mut object = Secret::default();
    object.metadata.name = Some(name.into());
    SecretBuilder { object }
}

/// Makes a Secret. Values are sent as `data`, never as `stringData`, which the server would not let us compare.
#[derive(Clone)]
pub struct SecretBuilder {
    object: Secret,
}

impl std::fmt::Debug for SecretBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&String> = self.object.data.iter().flatten().map(|(key, _)| key).collect();
        f.debug_struct("SecretBuilder")
            .field("name", &self.object.metadata.name)
            .field("keys", &keys)
            .finish()
    }
}

impl SecretBuilder {
    /// Adds a key.
    pub fn value(mut self, key: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.object.data.get_or_insert_default().insert(key.into(), ByteString(bytes.into()));
        self
    }

    /// Changes the object itself.
    pub fn customize(mut self, change: impl FnOnce(&mut Secret)) -> Self {
        change(&mut self.object);
        self
    }
}

impl Declare for SecretBuilder {
    type Object = Secret;

    fn declare(self) -> Declared {
        self.object.declare()
    }
}
