//! All sources, by vhost, app and stream. One without publisher and players is forgotten, so that ever-new names
//! leave nothing behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Policy, Source};
use crate::stat::Stat;

type Key = (String, String, String);

/// The sources of a server.
#[derive(Debug)]
pub struct Sources {
    map: Mutex<HashMap<Key, Arc<Source>>>,
    cores: usize,
}

impl Sources {
    /// None yet; `cores` is how many cores may have players.
    pub fn new(cores: usize) -> Self {
        Sources { map: Mutex::default(), cores }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Source>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source of that name, made when it is new. The caller holds it as long as it publishes or plays.
    pub fn get_or_create(
        &self,
        stat: &Stat,
        vhost: &str,
        app: &str,
        stream: &str,
        policy: Policy,
    ) -> Arc<Source> {
        let key = (vhost.to_owned(), app.to_owned(), stream.to_owned());
        let mut map = self.lock();
        let source = map
            .entry(key)
            .or_insert_with(|| Arc::new(Source::new(stat.stream(vhost, app, stream), policy, self.cores)));
        source.set_policy(policy);
        Arc::clone(source)
    }

    /// Looks at the source of that name, where there is one.
    pub fn look<T>(
        &self,
        vhost: &str,
        app: &str,
        stream: &str,
        look: impl FnOnce(&Source) -> T,
    ) -> Option<T> {
        let key = (vhost.to_owned(), app.to_owned(), stream.to_owned());
        self.lock().get(&key).map(|source| look(source))
    }

    /// Gives back what [`Sources::get_or_create`] gave.
    pub fn release(&self, stat: &Stat, source: Arc<Source>) {
        let mut map = self.lock();
        let id = source.stat.id.clone();
        let key = (source.stat.vhost.name.clone(), source.stat.app.clone(), source.stat.name.clone());
        drop(source);
        // Only the map holds it: nobody publishes, plays or is about to.
        if map.get(&key).is_some_and(|source| Arc::strong_count(source) == 1) {
            map.remove(&key);
            stat.forget_stream(&id);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// How many are published now.
    pub fn live(&self) -> usize {
        self.lock().values().filter(|source| source.is_live()).count()
    }

    /// All of them, each to be given back with [`Sources::release`]: a source that its last user leaves while
    /// somebody else has it stays.
    pub fn all(&self) -> Vec<Arc<Source>> {
        self.lock().values().cloned().collect()
    }
}
