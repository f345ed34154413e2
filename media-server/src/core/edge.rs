//! Clients whose streams are elsewhere: what is played at an edge is pulled from an origin, what is published is pushed
//! to one; an origin of a cluster sends players to a stream's owner, or pulls from it.

use std::sync::Arc;
use std::time::Duration;

use super::conn::{Conn, Publisher};
use super::links::Purpose;
use super::{Core, Next};
use crate::conf::cluster::Edge;
use crate::conf::settings::Vhost;
use crate::rtmp::session::{Connect, Follows, PublishKind, Session};
use crate::rtmp::url::Target;
use crate::source::{Policy, Source};
use crate::upstream::coworkers::{Owner, Wanted};
use crate::upstream::question::Question;
use crate::upstream::{Path, Route};

/// A client that was sent elsewhere goes by itself until then (SRS).
const REDIRECTED: Duration = Duration::from_secs(3);
/// Players of a stream that has ended wait so long for it to come back at another origin.
const MOVED: Duration = Duration::from_secs(4);

impl Core {
    /// What other servers must be asked before this client is let in.
    pub(super) fn question(
        &self,
        vhost: &Vhost,
        target: &Target,
        connect: Option<&Connect>,
        publish: bool,
    ) -> Option<Question> {
        if let Some(edge) = &vhost.cluster.edge {
            return edge.token_traverse.then(|| {
                let relay = Route::new(target, connect, &vhost.name).check();
                Question::Token(edge.origins.clone(), Box::new(relay))
            });
        }
        let coworkers = vhost.cluster.coworkers.clone()?;
        let (vhost, app, stream) = (vhost.name.clone(), target.app.clone(), target.stream.clone());
        let look = |source: &Source| (source.is_published(), source.is_live());
        let here = self.server.sources.look(&vhost, &app, &stream, look);
        let (published, live) = here.unwrap_or_default();
        let wanted = Wanted { vhost, app, stream, host: target.host.clone() };
        match publish {
            // Who is busy here is told so without asking.
            true if published => None,
            true => Some(Question::Claim(coworkers, wanted)),
            false if live => None,
            false => Some(Question::Owner(coworkers, wanted)),
        }
    }

    /// The stream that a client wants to play is at another origin: it goes there if it can, else the stream comes
    /// here. True when it goes.
    pub(super) fn send_elsewhere(
        &self,
        conn: &mut Conn,
        session: Option<&mut Session>,
        target: &Target,
        owner: &Owner,
    ) -> bool {
        if let Some(session) = session
            && let Some(connect) = session.connected()
        {
            let route = Route::new(
                target,
                Some(connect),
                self.server.settings().vhost(&target.vhost).map_or("", |vhost| &vhost.name),
            );
            let relay = route.relay(&owner.rtmp, "[vhost]", None);
            let follows = connect.follows;
            let tc_url = format!("rtmp://{}/{}", owner.rtmp, target.app);
            match follows {
                Follows::Redirect => {
                    let url = format!("{tc_url}/{}", relay.stream);
                    session.redirect(&mut conn.out.bytes, &tc_url, &url);
                }
                Follows::Reconnect => session.reconnect(&mut conn.out.bytes, &relay.tc_url),
                Follows::Nothing => {}
            }
            if follows != Follows::Nothing {
                tracing::info!(cid = %conn.id, "{} is sent to {tc_url}", conn.peer);
                conn.deadline = Some(self.now + REDIRECTED);
                return true;
            }
        }
        conn.owner = Some(owner.rtmp.clone());
        false
    }

    /// Somebody plays: on an edge the stream comes from an origin, in an origin cluster from its owner, unless it does
    /// already.
    pub(super) fn pull_for(
        &mut self,
        conn: &mut Conn,
        source: &Arc<Source>,
        target: &Target,
        connect: Option<&Connect>,
    ) {
        let settings = self.server.settings();
        let Some(vhost) = settings.vhost(&target.vhost) else { return };
        let owner = conn.owner.take();
        let (servers, name, upnode) = match (&vhost.cluster.edge, owner) {
            (Some(edge), _) => (edge.origins.clone(), edge.vhost.clone(), edge.debug_srs_upnode),
            (None, Some(owner)) => (vec![owner], "[vhost]".to_owned(), true),
            (None, None) => return,
        };
        if source.begin_pull() {
            let route = Arc::new(Route::new(target, connect, &vhost.name));
            self.add_link(Purpose::Pull, &route, source, Path::new(servers), name, upnode);
        }
    }

    /// A stream of an origin cluster has ended here while it is played: its publisher may have gone to another origin,
    /// and then the players go on from there. They are kept for a moment; a publisher that comes back here goes first.
    pub(super) fn follow_move(&mut self, source: &Arc<Source>, route: &Arc<Route>) {
        let settings = self.server.settings();
        let vhost = settings.vhosts.iter().find(|vhost| vhost.name == route.vhost);
        if vhost.is_none_or(|vhost| vhost.cluster.coworkers.is_none()) || self.quit {
            return;
        }
        if source.players() > 0 && source.begin_pull() {
            let nowhere = Path::new(Vec::new());
            self.add_link(Purpose::Pull, route, source, nowhere, "[vhost]".to_owned(), true);
            self.links.hurry(MOVED);
        }
    }

    /// Somebody publishes to an edge: the media go to an origin through a ring of their own, and who plays here gets
    /// what the origin sends.
    pub(super) fn publish_through(
        &mut self,
        index: usize,
        conn: &mut Conn,
        session: &mut Session,
        wish: (&Target, PublishKind),
        public: Arc<Source>,
        edge: &Edge,
    ) -> Next {
        let (target, kind) = wish;
        if !public.begin_push() {
            return self.busy(conn, session, public);
        }
        // After a loss the next origin gets the GOP that is going on.
        let policy = Policy { gop_cache: true, ..public.policy() };
        let source = Arc::new(Source::new(Arc::clone(&public.stat), policy, self.server.cores.len()));
        source.publish();
        session.accept_publish(&mut conn.out.bytes);
        tracing::info!(cid = %conn.id, "start to publish stream {} by {} ({}) through this edge", public.stat.url(), conn.peer, kind.name());
        let connect = session.connected().cloned().unwrap_or_default();
        let route = Arc::new(Route::new(target, Some(&connect), &public.stat.vhost.name));
        self.add_client(index, conn, &public, kind.name(), connect);
        let path = Path::by_rendezvous(edge.origins.clone(), &route.key());
        let purpose = Purpose::Push(index, conn.id.clone());
        self.add_link(purpose, &route, &source, path, edge.vhost.clone(), edge.debug_srs_upnode);
        let settings = self.server.settings();
        let timeouts =
            settings.vhost(&target.vhost).map(|vhost| (vhost.firstpkt_timeout, vhost.normal_timeout));
        let (first, timeout) = timeouts.unwrap_or((super::PATIENCE, super::PATIENCE));
        conn.deadline = Some(self.now + first);
        conn.publisher = Some(Publisher {
            source,
            started: false,
            realtime: policy.realtime,
            timeout,
            route: None,
            described: 0,
            public: Some(public),
        });
        Next::Keep
    }
}
