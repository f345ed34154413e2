//! The certificates of a server's ports, as they are now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;

use super::{Certificate, Error, Https};
use crate::conf::Settings;
use crate::server::Service;

/// Certificates by port.
#[derive(Debug, Default)]
pub struct Certificates {
    current: RwLock<BTreeMap<Service, Certificate>>,
    /// Why the files of now were refused.
    refused: Mutex<Option<String>>,
}

/// What a configuration has of HTTPS.
fn wanted(settings: &Settings) -> impl Iterator<Item = (Service, &Https)> {
    let api = settings.http_api.as_ref().and_then(|api| api.https.as_ref());
    let http = settings.http_server.as_ref().and_then(|http| http.https.as_ref());
    [(Service::ApiTls, api), (Service::HttpTls, http)]
        .into_iter()
        .filter_map(|(service, https)| Some((service, https?)))
}

/// Reads and checks all certificates of a configuration.
pub(crate) fn load(settings: &Settings) -> Result<BTreeMap<Service, Certificate>, Error> {
    wanted(settings).map(|(service, https)| Ok((service, https.load()?))).collect()
}

impl Certificates {
    /// Takes certificates for new connections; false when they are those that are in use.
    pub(crate) fn set(&self, new: BTreeMap<Service, Certificate>) -> bool {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if *current == new {
            return false;
        }
        for service in
            new.keys().filter(|service| current.get(service).is_some_and(|old| *old != new[service]))
        {
            tracing::info!("{service:?}: a new certificate is in use");
        }
        *current = new;
        true
    }

    /// Keeps why the files of now are refused; gives what was kept before.
    pub(crate) fn note_refused(&self, error: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner), error)
    }

    /// What connections of a port are made with.
    pub fn config(&self, service: Service) -> Option<Arc<ServerConfig>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.get(&service).map(|certificate| Arc::clone(&certificate.config))
    }
}
