//! The viewers of now, by their ids and by the addresses that they come from.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Refused;
use super::ended::Ended;
use crate::hooks::Watched;
use crate::recorder::Names;
use crate::source::Source;
use crate::stat::ClientStat;

/// The most viewers at a time; those of streams that everybody may play leave half of it to the others.
const MAX_VIEWERS: usize = 65_536;
/// And of one address, behind which many may be.
const MAX_OF_ADDRESS: usize = 8192;

/// A viewer.
#[derive(Debug)]
pub(super) struct Session {
    /// What hooks are told of it; its id is theirs, the log's and the API's.
    pub(super) watched: Watched,
    /// What tells it from others behind its address; none where that is its context.
    pub(super) who: Option<String>,
    /// Its address of now.
    pub(super) ip: IpAddr,
    /// on_play was asked here, and so on_stop is told here.
    pub(super) asked: bool,
    /// Not everybody may play.
    pub(super) guarded: bool,
    /// It has gone when it asks for nothing until then.
    pub(super) until: Instant,
    /// None for whom the API does not tell of.
    pub(super) listed: Option<Listed>,
}

/// What the API tells of a viewer, and the stream that it counts for.
pub(super) type Listed = (Arc<ClientStat>, Arc<Source>);

impl Session {
    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.watched.subject.client_id
    }

    /// What it watches.
    pub(super) fn names(&self) -> Names<'_> {
        let subject = &self.watched.subject;
        Names { vhost: &subject.vhost, app: &subject.app, stream: &subject.stream }
    }

    fn watches(&self, names: &Names<'_>) -> bool {
        let own = self.names();
        (own.vhost, own.app, own.stream) == (names.vhost, names.app, names.stream)
    }
}

/// What became of a viewer that came.
#[derive(Debug)]
pub(super) enum Added {
    /// It is here; somebody must start to sweep.
    First,
    /// It is here.
    New,
    /// It was here already: it asked twice before the first answer. What was made of the second question is given
    /// back.
    Known(Box<Session>),
}

/// The viewers of now.
#[derive(Debug, Default)]
pub struct Viewers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<String, Session>,
    /// The ids of those that come from an address, by vhost.
    at: HashMap<(String, IpAddr), HashSet<String>>,
    /// Whom the API has disconnected.
    kicked: Ended,
    /// Who went by itself, and of whom on_stop was told.
    gone: Ended,
    swept: bool,
}

impl Table {
    fn put(&mut self, id: &str, vhost: &str, ip: IpAddr) {
        self.at.entry((vhost.to_owned(), ip)).or_default().insert(id.to_owned());
    }

    fn take(&mut self, id: &str, vhost: &str, ip: IpAddr) {
        let key = (vhost.to_owned(), ip);
        if let Some(ids) = self.at.get_mut(&key) {
            ids.remove(id);
            if ids.is_empty() {
                self.at.remove(&key);
            }
        }
    }

    fn remove(&mut self, id: &str) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        let vhost = session.watched.subject.vhost.clone();
        self.take(id, &vhost, session.ip);
        Some(session)
    }
}

impl Viewers {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Whether the viewer of this id is here; then it stays for longer, wherever it comes from now.
    pub(super) fn stays(&self, id: &str, names: &Names<'_>, ip: IpAddr, stay: Duration) -> bool {
        let mut table = self.lock();
        let Some(session) = table.sessions.get_mut(id).filter(|session| session.watches(names)) else {
            return false;
        };
        session.until = session.until.max(Instant::now() + stay);
        let before = std::mem::replace(&mut session.ip, ip);
        if before != ip {
            table.take(id, names.vhost, before);
            table.put(id, names.vhost, ip);
        }
        true
    }

    /// The id of the viewer at this address that is known by `who`; then it stays for longer.
    pub(super) fn known(&self, names: &Names<'_>, ip: IpAddr, who: &str, stay: Duration) -> Option<String> {
        let mut table = self.lock();
        let Table { sessions, at, .. } = &mut *table;
        let ids = at.get(&(names.vhost.to_owned(), ip))?;
        let is = |session: &Session| session.who.as_deref() == Some(who) && session.watches(names);
        let id = ids.iter().find(|id| sessions.get(*id).is_some_and(is))?;
        let session = sessions.get_mut(id)?;
        session.until = session.until.max(Instant::now() + stay);
        Some(id.clone())
    }

    /// Whether an address has a viewer of the vhost that fits.
    pub(super) fn any_at(&self, vhost: &str, ip: IpAddr, fits: impl Fn(&Names<'_>) -> bool) -> bool {
        let table = self.lock();
        let Some(ids) = table.at.get(&(vhost.to_owned(), ip)) else { return false };
        ids.iter().any(|id| table.sessions.get(id).is_some_and(|session| fits(&session.names())))
    }

    /// Looks at the viewer of that id, where there is one.
    pub(super) fn look<T>(&self, id: &str, look: impl FnOnce(&Session) -> T) -> Option<T> {
        self.lock().sessions.get(id).map(look)
    }

    /// Whether the API has disconnected the viewer of that id, or of a context that is not this server's.
    pub(super) fn was_kicked(&self, id: &str) -> bool {
        self.lock().kicked.has(id)
    }

    /// Whether on_stop was told of the viewer of that id.
    pub(super) fn has_gone(&self, id: &str) -> bool {
        self.lock().gone.has(id)
    }

    /// Takes a viewer in.
    pub(super) fn add(&self, session: Session) -> Result<Added, (Refused, Box<Session>)> {
        let mut table = self.lock();
        let Table { sessions, at, .. } = &mut *table;
        let names = session.names();
        let ids = at.get(&(names.vhost.to_owned(), session.ip));
        let same = match &session.who {
            None => sessions.contains_key(session.id()).then(|| session.id().to_owned()),
            Some(who) => {
                let is = |id: &&String| {
                    let known = sessions.get(*id);
                    known.is_some_and(|known| known.who.as_ref() == Some(who) && known.watches(&names))
                };
                ids.and_then(|ids| ids.iter().find(is).cloned())
            }
        };
        if let Some(same) = same.and_then(|id| sessions.get_mut(&id)) {
            same.until = same.until.max(session.until);
            return Ok(Added::Known(Box::new(session)));
        }
        let most = if session.guarded { MAX_VIEWERS } else { MAX_VIEWERS / 2 };
        if sessions.len() >= most || ids.is_some_and(|ids| ids.len() >= MAX_OF_ADDRESS) {
            return Err((Refused::Full, Box::new(session)));
        }
        let (id, vhost) = (session.id().to_owned(), names.vhost.to_owned());
        table.gone.remove(&id);
        table.put(&id, &vhost, session.ip);
        table.sessions.insert(id, session);
        Ok(if std::mem::replace(&mut table.swept, true) { Added::New } else { Added::First })
    }

    /// Ends a viewer whom the API disconnects; none when there is none of that id that the API tells of.
    pub(super) fn kick(&self, id: &str, now: Instant) -> Option<Session> {
        let mut table = self.lock();
        table.sessions.get(id)?.listed.as_ref()?;
        let session = table.remove(id)?;
        table.kicked.add(id, now);
        // Its context is another server's, or made up.
        if let Some(who) = &session.who {
            table.kicked.add(who, now);
        }
        Some(session)
    }

    /// The API tells of a viewer from now on; gives that back where the viewer has gone.
    pub(super) fn list(&self, id: &str, client: Arc<ClientStat>, source: Arc<Source>) -> Option<Listed> {
        match self.lock().sessions.get_mut(id) {
            Some(session) => session.listed.replace((client, source)),
            None => Some((client, source)),
        }
    }

    /// Takes out who has gone; false when nobody is left to sweep for.
    pub(super) fn sweep(&self, now: Instant) -> (Vec<Session>, bool) {
        let mut table = self.lock();
        let ids: Vec<String> = table
            .sessions
            .iter()
            .filter(|(_, session)| session.until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        let gone: Vec<Session> = ids.iter().filter_map(|id| table.remove(id)).collect();
        for session in gone.iter().filter(|session| session.asked && session.who.is_none()) {
            table.gone.add(session.id(), now);
        }
        table.swept = !table.sessions.is_empty();
        (gone, table.swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Subject;

    const NAMES: Names<'static> = Names { vhost: "v", app: "live", stream: "s" };
    const STAY: Duration = Duration::from_secs(30);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([1, 2, 3, last])
    }

    /// One that its context tells, and of whom on_play was asked.
    fn session(id: &str, ip: IpAddr, until: Instant) -> Session {
        let subject = Subject {
            client_id: id.into(),
            vhost: NAMES.vhost.into(),
            app: NAMES.app.into(),
            stream: NAMES.stream.into(),
            ..Subject::default()
        };
        let watched = Watched { hooks: Arc::default(), subject };
        Session { watched, who: None, ip, asked: true, guarded: true, until, listed: None }
    }

    fn named(id: &str, who: &str, ip: IpAddr, until: Instant) -> Session {
        Session { who: Some(who.into()), ..session(id, ip, until) }
    }

    #[test]
    fn viewers_stay_while_they_ask() {
        let viewers = Viewers::default();
        let now = Instant::now();
        assert!(matches!(viewers.add(session("a", address(4), now)), Ok(Added::First)));
        assert!(matches!(viewers.add(named("b", "token", address(4), now)), Ok(Added::New)));
        assert!(matches!(viewers.add(session("c", address(4), now)), Ok(Added::New)));
        assert!(viewers.stays("a", &NAMES, address(4), STAY));
        assert_eq!(viewers.known(&NAMES, address(4), "token", STAY).as_deref(), Some("b"));
        assert!(!viewers.stays("a", &Names { stream: "t", ..NAMES }, address(4), STAY));
        assert_eq!(viewers.known(&NAMES, address(5), "token", STAY), None);
        let (gone, more) = viewers.sweep(now + Duration::from_secs(1));
        assert_eq!((gone.len(), more, viewers.count()), (1, true, 2));
        assert!(viewers.has_gone("c") && !viewers.was_kicked("c"));
        let (gone, more) = viewers.sweep(now + STAY * 2);
        assert_eq!((gone.len(), more, viewers.count()), (2, false, 0));
        assert!(viewers.lock().at.is_empty());
        // It comes again.
        assert!(matches!(viewers.add(session("c", address(4), now)), Ok(Added::First)));
        assert!(!viewers.has_gone("c"));
    }

    #[test]
    fn a_viewer_is_where_it_came_from_last() {
        let viewers = Viewers::default();
        viewers.add(session("a", address(4), Instant::now() + STAY)).unwrap();
        assert!(viewers.any_at("v", address(4), |names| names.stream == "s"));
        assert!(viewers.stays("a", &NAMES, address(5), STAY));
        assert!(viewers.any_at("v", address(5), |names| names.stream == "s"));
        assert!(!viewers.any_at("v", address(4), |_| true) && !viewers.any_at("w", address(5), |_| true));
        assert_eq!(viewers.lock().at.len(), 1);
    }

    #[test]
    fn who_asks_twice_is_one() {
        let viewers = Viewers::default();
        let until = Instant::now() + STAY;
        viewers.add(named("a", "token", address(4), until)).unwrap();
        let Ok(Added::Known(second)) = viewers.add(named("b", "token", address(4), until)) else {
            panic!("it is another");
        };
        assert_eq!((second.id(), viewers.count()), ("b", 1));
        assert!(matches!(viewers.add(session("a", address(9), until)), Ok(Added::Known(_))));
    }

    #[test]
    fn one_address_does_not_take_all_places() {
        let viewers = Viewers::default();
        let until = Instant::now() + STAY;
        for index in 0..MAX_OF_ADDRESS {
            assert!(viewers.add(session(&index.to_string(), address(4), until)).is_ok());
        }
        let refused = viewers.add(session("one more", address(4), until)).unwrap_err();
        assert_eq!(refused.0, Refused::Full);
        // Who is there already is not one more, and others are not hit.
        assert!(matches!(viewers.add(session("7", address(4), until)), Ok(Added::Known(_))));
        assert!(viewers.add(session("another", address(5), until)).is_ok());
        assert_eq!(viewers.count(), MAX_OF_ADDRESS + 1);
    }

    #[test]
    fn streams_for_everybody_leave_room_for_the_others() {
        let viewers = Viewers::default();
        let until = Instant::now() + STAY;
        let open = |index: usize| {
            let ip = IpAddr::from([10, 0, (index >> 8) as u8, index as u8]);
            Session { guarded: false, ..session(&index.to_string(), ip, until) }
        };
        for index in 0..MAX_VIEWERS / 2 {
            assert!(viewers.add(open(index)).is_ok());
        }
        assert!(viewers.add(open(MAX_VIEWERS / 2)).is_err());
        assert!(viewers.add(session("guarded", address(4), until)).is_ok());
    }

    #[test]
    fn only_who_is_listed_is_kicked() {
        let viewers = Viewers::default();
        viewers.add(session("a", address(4), Instant::now() + STAY)).unwrap();
        assert!(viewers.kick("a", Instant::now()).is_none() && viewers.kick("b", Instant::now()).is_none());
        assert_eq!(viewers.count(), 1);
        assert!(!viewers.was_kicked("a") && !viewers.was_kicked("b"));
    }
}
