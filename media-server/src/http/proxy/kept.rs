//! What came for files of other servers: a place for each file, in which one request is in flight and whose content is
//! kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;

use super::{Lack, is_playlist};
use crate::upstream::Endpoint;

/// A playlist, and that there is none, are believed so long.
pub(super) const PLAYLIST: Duration = Duration::from_millis(500);
/// A segment is kept so long.
const SEGMENT: Duration = Duration::from_mins(1);
/// All files that are kept.
const MAX_KEPT: usize = 64 << 20;
/// The most files that are kept or fetched.
const MAX_FILES: usize = 4096;

/// What came for a file.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) at: Instant,
    /// Its bytes, or why there are none.
    pub(super) body: Result<Bytes, Lack>,
    /// The query that was asked with, and may be why it was refused.
    pub(super) query: String,
    /// The query with the context that its server gave this one as a viewer.
    pub(super) context: Option<(Endpoint, String)>,
}

impl Fetched {
    /// Whether this is the answer for somebody who asks with this query now.
    pub(super) fn holds(&self, path: &str, query: &str, now: Instant) -> bool {
        let valid = match &self.body {
            Ok(_) if !is_playlist(path) => SEGMENT,
            // Another's query may be better.
            Err(Lack::Refused(_)) if self.query != query => return false,
            _ => PLAYLIST,
        };
        now.saturating_duration_since(self.at) < valid
    }
}

/// The place of a file. Who waits for it gets what the one before has fetched.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Fetched>>>;

/// What tells files apart: vhost, path, and a query where it is one client's question.
type Key = (String, String, String);

/// The places of files.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<HashMap<Key, Slot>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a file, where it has one.
    pub(super) fn find(&self, vhost: &str, path: &str) -> Option<Slot> {
        self.lock().get(&(vhost.to_owned(), path.to_owned(), String::new())).cloned()
    }

    /// The place of a file; none when too many are wanted at once.
    pub(super) fn slot(&self, vhost: &str, path: &str, query: &str) -> Option<Slot> {
        let mut files = self.lock();
        let key = (vhost.to_owned(), path.to_owned(), query.to_owned());
        if let Some(slot) = files.get(&key) {
            return Some(Arc::clone(slot));
        }
        let now = Instant::now();
        let mut kept = 0;
        // What is being fetched is locked, and stays.
        files.retain(|(_, path, _), slot| {
            let Ok(fetched) = slot.try_lock() else { return true };
            let Some(fetched) = &*fetched else { return Arc::strong_count(slot) > 1 };
            let valid = match &fetched.body {
                Err(_) => PLAYLIST,
                Ok(_) if is_playlist(path) => PLAYLIST * 20,
                Ok(_) => SEGMENT,
            };
            kept += fetched.body.as_ref().map_or(0, Bytes::len);
            kept <= MAX_KEPT && now.saturating_duration_since(fetched.at) < valid
        });
        if files.len() >= MAX_FILES {
            let at = |slot: &Slot| slot.try_lock().ok()?.as_ref().map(|fetched| fetched.at);
            let oldest = files.iter().filter_map(|(key, slot)| Some((at(slot)?, key))).min()?;
            let oldest = oldest.1.clone();
            files.remove(&oldest);
        }
        let slot = Slot::default();
        files.insert(key, Arc::clone(&slot));
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(at: Instant, body: Result<&'static [u8], Lack>) -> Fetched {
        Fetched { at, body: body.map(Bytes::from_static), query: String::new(), context: None }
    }

    #[test]
    fn invented_names_leave_room_for_real_ones() {
        let kept = Kept::default();
        let now = Instant::now();
        let put = |path: &str, body, age: Duration| {
            let slot = kept.slot("v", path, "").unwrap();
            *slot.try_lock().unwrap() = Some(fetched(now.checked_sub(age).unwrap(), body));
        };
        put("/live/real-0.ts", Ok(b"ts"), Duration::from_secs(30));
        for number in 0..9 {
            put(&format!("/live/no-{number}.ts"), Err(Lack::Missing), PLAYLIST);
        }
        assert_eq!(kept.lock().len(), 2, "that there is none is not believed for long");
        let slot: Slot = Arc::new(tokio::sync::Mutex::new(Some(fetched(now, Ok(b"")))));
        let key = |path: &str| ("v".to_owned(), path.to_owned(), String::new());
        let more = |number| (key(&format!("/live/yes-{number}.ts")), Arc::clone(&slot));
        kept.lock().extend((1..MAX_FILES).map(more));
        put("/live/new-0.ts", Ok(b"ts"), Duration::ZERO);
        assert_eq!(kept.lock().len(), MAX_FILES);
        assert!(!kept.lock().contains_key(&key("/live/real-0.ts")), "the oldest goes");
    }

    #[test]
    fn a_refusal_is_the_query_s() {
        let now = Instant::now();
        let refused = Fetched { query: "token=a".into(), ..fetched(now, Err(Lack::Refused(401))) };
        assert!(refused.holds("/live/s.m3u8", "token=a", now) && !refused.holds("/live/s.m3u8", "", now));
        for (path, body, after) in [
            ("/live/s.m3u8", Err(Lack::Missing), PLAYLIST),
            ("/live/s.m3u8", Ok(&b"#EXTM3U"[..]), PLAYLIST),
            ("/live/s-0.ts", Err(Lack::Missing), PLAYLIST),
            ("/live/s-0.ts", Ok(b"ts"), SEGMENT),
        ] {
            let came = fetched(now, body);
            assert!(came.holds(path, "any", now) && !came.holds(path, "any", now + after), "{path}");
        }
    }
}
