//! An edge's clients: what they play is pulled from an origin, what they publish is pushed to one.

use std::sync::Arc;

use super::conn::{Conn, Publisher};
use super::links::Purpose;
use super::{Core, Next};
use crate::conf::cluster::Edge;
use crate::conf::settings::Vhost;
use crate::rtmp::session::{Connect, PublishKind, Session};
use crate::rtmp::url::Target;
use crate::source::{Policy, Source};
use crate::upstream::question::Question;
use crate::upstream::{Path, Route};

impl Core {
    /// What other servers must be asked before this client is let in.
    pub(super) fn question(vhost: &Vhost, target: &Target, connect: Option<&Connect>) -> Option<Question> {
        let edge = vhost.cluster.edge.as_ref()?;
        edge.token_traverse.then(|| {
            let relay = Route::new(target, connect, &vhost.name).check();
            Question::Token(edge.origins.clone(), Box::new(relay))
        })
    }

    /// Somebody plays: on an edge the stream comes from an origin, unless it does already.
    pub(super) fn pull_for(&mut self, source: &Arc<Source>, target: &Target, connect: Option<&Connect>) {
        let settings = self.server.settings();
        let Some(vhost) = settings.vhost(&target.vhost) else { return };
        let Some(edge) = &vhost.cluster.edge else { return };
        if source.begin_pull() {
            let route = Arc::new(Route::new(target, connect, &vhost.name));
            let path = Path::new(edge.origins.clone());
            self.add_link(Purpose::Pull, &route, source, path, edge.vhost.clone(), edge.debug_srs_upnode);
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
