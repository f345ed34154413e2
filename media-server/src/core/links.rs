//! Links to other servers: what each is for, and how it goes on when its connection ends.
//!
//! A link outlives its connections. It asks its [`Path`] which address is next, a connection tries it
//! (see [`super::outgoing`]), and when that ends the link asks again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Core;
use crate::source::Source;
use crate::upstream::coworkers::Wanted;
use crate::upstream::path::Step;
use crate::upstream::worker::{self, Ask};
use crate::upstream::{Endpoint, Path, Route};

/// A pull ends so long after its last player has left.
const LINGER: Duration = Duration::from_secs(2);
/// A publisher is kept so long while no origin takes its stream.
const LOST: Duration = Duration::from_secs(30);
/// Players of a stream that no origin of the cluster has are kept so long.
const ORPHANED: Duration = Duration::from_secs(10);
/// What is left of an ended stream must be sent by then.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The same failure is not logged more often than this.
const REMINDER: Duration = Duration::from_secs(30);

/// What a link is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `forward`: a copy of a published stream goes to that server.
    Forward(Endpoint),
    /// An edge's publisher, at that place and of that id, whose stream goes to an origin.
    Push(usize, String),
    /// What players ask for comes from its server.
    Pull,
}

/// How a link's connection ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// It worked for a while.
    pub(super) good: bool,
    /// The server said no.
    pub(super) refused: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Until then.
    Waiting(Instant),
    /// Until then; the coworkers are asked next, where there are any.
    Seeking(Instant),
    /// A name is looked up.
    Resolving(Instant),
    /// That connection tries or works.
    Connected(usize),
}

/// A link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) purpose: Purpose,
    pub(super) route: Arc<Route>,
    /// Where media come from or go to.
    pub(super) source: Arc<Source>,
    pub(super) path: Path,
    /// The vhost's name there.
    pub(super) vhost: String,
    /// connect says who this server is.
    pub(super) debug_srs_upnode: bool,
    stage: Stage,
    /// A connection has worked, now or before.
    pub(super) worked: bool,
    /// Since when no connection works.
    lost: Instant,
    /// Its players are kept so long when no origin of the cluster has the stream.
    orphaned: Duration,
    /// Since when nobody plays.
    idle: Option<Instant>,
    /// It goes when its connection has sent what is left.
    ending: bool,
    logged: Option<(String, Instant)>,
}

/// The links of a core.
#[derive(Debug, Default)]
pub(super) struct Links {
    map: HashMap<u64, Box<Link>>,
    last: u64,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Links {
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Link> {
        self.map.get_mut(&id).map(|link| &mut **link)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// When the next one has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((due, _))| *due)
    }

    /// The newest link is given up after that instead of [`ORPHANED`].
    pub(super) fn hurry(&mut self, patience: Duration) {
        if let Some(link) = self.map.get_mut(&self.last) {
            link.orphaned = patience;
        }
    }

    fn wait(&mut self, id: u64, stage: Stage) {
        if let Stage::Waiting(due) | Stage::Seeking(due) | Stage::Resolving(due) = stage {
            self.timers.push(Reverse((due, id)));
        }
        if let Some(link) = self.map.get_mut(&id) {
            link.stage = stage;
        }
    }

    fn of(&self, which: impl Fn(&Link) -> bool) -> Vec<u64> {
        self.map.iter().filter(|(_, link)| which(link)).map(|(id, _)| *id).collect()
    }
}

impl Link {
    /// It pulled a stream that is published here now.
    fn is_replaced(&self) -> bool {
        self.purpose == Purpose::Pull && !self.source.is_pulled()
    }

    /// Logs why a connection did not last, once in a while where it stays the same.
    fn say(&mut self, now: Instant, reason: &str) {
        let told = self.logged.as_ref().is_some_and(|(last, at)| last == reason && now < *at + REMINDER);
        if !told {
            let what = match &self.purpose {
                Purpose::Forward(_) => "forward of",
                Purpose::Push(..) => "publish through this edge of",
                Purpose::Pull => "pull of",
            };
            tracing::warn!("{what} {}: {reason}", self.source.stat.url());
            self.logged = Some((reason.to_owned(), now));
        }
    }
}

impl Core {
    /// Opens a link; its first step is made soon.
    pub(super) fn add_link(
        &mut self,
        purpose: Purpose,
        route: &Arc<Route>,
        source: &Arc<Source>,
        path: Path,
        vhost: String,
        debug_srs_upnode: bool,
    ) {
        self.links.last += 1;
        let id = self.links.last;
        let link = Link {
            purpose,
            route: Arc::clone(route),
            source: Arc::clone(source),
            path,
            vhost,
            debug_srs_upnode,
            stage: Stage::Waiting(self.now),
            worked: false,
            lost: self.now,
            orphaned: ORPHANED,
            idle: None,
            ending: false,
            logged: None,
        };
        self.links.map.insert(id, Box::new(link));
        self.links.wait(id, Stage::Waiting(self.now));
    }

    /// Makes the forwards of a published stream those of the configuration.
    pub(super) fn sync_forwards(&mut self, source: &Arc<Source>, route: &Arc<Route>) {
        let settings = self.server.settings();
        let Some(vhost) = settings.vhosts.iter().find(|vhost| vhost.name == route.vhost) else { return };
        let present: Vec<(u64, Endpoint)> = self
            .links
            .map
            .iter()
            .filter(|(_, link)| Arc::ptr_eq(&link.source, source) && !link.ending)
            .filter_map(|(id, link)| match &link.purpose {
                Purpose::Forward(to) => Some((*id, to.clone())),
                _ => None,
            })
            .collect();
        for (id, to) in &present {
            if !vhost.forward.contains(to) {
                tracing::info!("forward of {} to {to} ends", source.stat.url());
                self.end_link(*id);
            }
        }
        for to in &vhost.forward {
            if present.iter().all(|(_, other)| other != to) {
                let path = Path::new(vec![to.clone()]);
                let vhost = "[vhost]".to_owned();
                self.add_link(Purpose::Forward(to.clone()), route, source, path, vhost, true);
            }
        }
    }

    /// A stream is not published any more: links that send it end when all is sent.
    pub(super) fn end_sending(&mut self, source: &Arc<Source>) {
        for id in self.links.of(|link| Arc::ptr_eq(&link.source, source) && link.purpose != Purpose::Pull) {
            self.end_link(id);
        }
    }

    /// Ends a link, after what is left was sent.
    fn end_link(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.ending = true;
        let Stage::Connected(index) = link.stage else { return self.drop_link(id) };
        // While one of its messages is handled the connection is not in its place, and the link is seen then.
        let Some(conn) = self.conns.get_mut(index).and_then(Option::as_mut) else { return };
        conn.deadline = Some(self.now + LAST_WORDS);
        if conn.player.is_none() || link.source.is_live() {
            self.end(index, "not wanted any more");
        }
    }

    fn drop_link(&mut self, id: u64) {
        let Some(link) = self.links.map.remove(&id) else { return };
        let server = Arc::clone(&self.server);
        server.sources.release(&server.stat, link.source);
    }

    /// The link's connection has ended.
    pub(super) fn link_lost(&mut self, id: u64, end: End, reason: &str) {
        if self.quit {
            return self.drop_link(id);
        }
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        if link.ending {
            return self.drop_link(id);
        }
        link.say(now, reason);
        if end.good {
            link.path.went_well();
            link.lost = now;
        }
        if link.is_replaced() {
            return self.drop_link(id);
        }
        // Another origin would take the stream, and there would be two of it.
        if end.refused
            && !link.worked
            && let Purpose::Push(index, publisher) = &link.purpose
        {
            let (index, publisher) = (*index, publisher.clone());
            self.end_publisher(index, &publisher);
            // Its connection is gone already, so nothing else would do it.
            return self.drop_link(id);
        }
        self.step_link(id);
    }

    /// A link goes when its connection has sent what is left.
    pub(super) fn is_ending(&mut self, link: u64) -> bool {
        self.links.get_mut(link).is_some_and(|link| link.ending)
    }

    /// Does what the link's path says.
    fn step_link(&mut self, id: u64) {
        // The stream may have come here meanwhile.
        if self.links.get_mut(id).is_some_and(|link| link.is_replaced()) {
            return self.drop_link(id);
        }
        // Each turn uses up an address: what can't even be tried ends in a wait.
        while let Some(link) = self.links.get_mut(id) {
            match link.path.next_step() {
                Step::Connect(address, server) => match self.open(id, address, &server) {
                    Ok(index) => return self.links.wait(id, Stage::Connected(index)),
                    Err(error) => {
                        let now = self.now;
                        if let Some(link) = self.links.get_mut(id) {
                            link.say(now, &format!("{address}: {error}"));
                        }
                    }
                },
                Step::Resolve(server, fresh) => {
                    let lookup = Ask::Lookup { core: self.index, link: id, server, fresh };
                    if self.server.asks.try_send(lookup).is_ok() {
                        let until = self.now + worker::PATIENCE * 2;
                        return self.links.wait(id, Stage::Resolving(until));
                    }
                }
                // Even when the answer comes at once: it may name a server that refuses, again and again.
                Step::Wait(time) if link.purpose == Purpose::Pull => {
                    return self.links.wait(id, Stage::Seeking(self.now + time));
                }
                Step::Wait(time) => {
                    let lost = self.now.duration_since(link.lost) >= LOST;
                    if let Purpose::Push(index, publisher) = &link.purpose
                        && (lost || !link.worked)
                    {
                        let (index, publisher) = (*index, publisher.clone());
                        self.links.wait(id, Stage::Waiting(self.now + time));
                        return self.end_publisher(index, &publisher);
                    }
                    return self.links.wait(id, Stage::Waiting(self.now + time));
                }
            }
        }
    }

    /// Asks the coworkers who has a pulled stream, or goes on without where there are none.
    fn seek(&mut self, id: u64) {
        match self.locate(id) {
            true => self.links.wait(id, Stage::Resolving(self.now + worker::PATIENCE)),
            false => self.step_link(id),
        }
    }

    /// Asks the coworkers who has a pulled stream now, where there are any.
    fn locate(&mut self, id: u64) -> bool {
        let settings = self.server.settings();
        let Some(link) = self.links.get_mut(id) else { return false };
        let route = &link.route;
        let vhost = settings.vhosts.iter().find(|vhost| vhost.name == route.vhost);
        let Some(coworkers) = vhost.and_then(|vhost| vhost.cluster.coworkers.clone()) else { return false };
        let wanted = Wanted {
            vhost: route.vhost.clone(),
            app: route.app.clone(),
            stream: route.stream.clone(),
            host: route.host.clone(),
        };
        let ask = Ask::Locate { core: self.index, link: id, coworkers, wanted };
        self.server.asks.try_send(ask).is_ok()
    }

    /// The coworkers have said who has a pulled stream. When nobody has it for a while its players are closed: they
    /// would wait here for a publisher that may come to another origin.
    pub(super) fn located(&mut self, id: u64, owner: Option<Endpoint>) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        if !matches!(link.stage, Stage::Resolving(_)) {
            return;
        }
        if let Some(owner) = owner {
            link.path.change(vec![owner]);
            return self.step_link(id);
        }
        if link.is_replaced() {
            return self.drop_link(id);
        }
        link.say(now, "no origin of the cluster has it");
        if now < link.lost + link.orphaned {
            return self.links.wait(id, Stage::Seeking(now + Duration::from_secs(1)));
        }
        link.source.end_pull(true);
        let stream = link.source.stat.id.clone();
        for client in self.server.stat.clients().iter().filter(|client| client.stream.id == stream) {
            self.server.kick(&client.id);
        }
        self.drop_link(id);
    }

    fn end_publisher(&mut self, index: usize, id: &str) {
        if self.conns.get(index).and_then(Option::as_ref).is_some_and(|conn| conn.id == id) {
            self.end(index, "no origin takes its stream");
        }
    }

    /// A name was looked up.
    pub(super) fn resolved(&mut self, id: u64, addresses: Vec<SocketAddr>) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        if !matches!(link.stage, Stage::Resolving(_)) {
            return;
        }
        if addresses.is_empty() {
            link.say(now, "its server's name has no address");
        }
        link.path.resolved(addresses);
        self.step_link(id);
    }

    /// Steps of links whose time has come.
    pub(super) fn step_links(&mut self) {
        while let Some(Reverse((due, id))) = self.links.timers.peek().copied()
            && due <= self.now
        {
            self.links.timers.pop();
            let Some(link) = self.links.get_mut(id) else { continue };
            match link.stage {
                Stage::Waiting(until) if until <= due => self.step_link(id),
                Stage::Seeking(until) if until <= due => self.seek(id),
                Stage::Resolving(until) if until <= due => self.resolved(id, Vec::new()),
                _ => {}
            }
        }
    }

    /// Ends pulls that nobody plays.
    pub(super) fn check_links(&mut self) {
        let now = self.now;
        let mut idle = Vec::new();
        for (id, link) in &mut self.links.map {
            if link.purpose != Purpose::Pull {
                continue;
            }
            if link.is_replaced() {
                idle.push(*id);
            } else if link.source.players() > 0 {
                link.idle = None;
            } else if now >= *link.idle.get_or_insert(now) + LINGER && link.source.end_pull(false) {
                idle.push(*id);
            }
        }
        for id in idle {
            self.end_link(id);
        }
    }

    /// The configuration has changed.
    pub(super) fn reload_links(&mut self) {
        let publishers: Vec<(Arc<Source>, Arc<Route>)> = self
            .conns
            .iter()
            .flatten()
            .filter_map(|conn| conn.publisher.as_ref())
            .filter_map(|publisher| {
                Some((Arc::clone(&publisher.source), Arc::clone(publisher.route.as_ref()?)))
            })
            .collect();
        for (source, route) in publishers {
            self.sync_forwards(&source, &route);
        }
        // Connections that work stay; the next ones go to the new origins.
        let settings = self.server.settings();
        for link in self.links.map.values_mut() {
            let vhost = settings.vhosts.iter().find(|vhost| vhost.name == link.route.vhost);
            let Some(edge) = vhost.and_then(|vhost| vhost.cluster.edge.as_ref()) else { continue };
            match link.purpose {
                Purpose::Pull | Purpose::Push(..) => link.path.change(edge.origins.clone()),
                Purpose::Forward(_) => {}
            }
        }
    }
}
