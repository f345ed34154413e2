//! May this client publish or play? `security` and `refer` say at once, other servers (see
//! [`crate::upstream::question`]) and then http_hooks after their answer: until then the connection is not read.

use std::sync::Arc;

use super::conn::{Conn, Role};
use super::http::Viewer;
use super::{Core, Next};
use crate::hooks::{self, Asker, Hooks, Job, Purpose, Subject, Watched};
use crate::rtmp::session::{Connect, PublishKind, Session};
use crate::rtmp::url::Target;
use crate::upstream::question::Verdict;
use crate::upstream::worker::Ask;

/// What a client wants.
#[derive(Debug)]
pub(super) enum Wish {
    /// To publish by RTMP.
    Publish(Target, PublishKind),
    /// To play by RTMP.
    Play(Target),
    /// To play by HTTP.
    Http(Target, Viewer),
}

impl Wish {
    /// What the client said of itself; one of HTTP says less.
    fn connect(&self, session: Option<&Session>) -> Connect {
        let mut connect = session.and_then(Session::connected).cloned().unwrap_or_default();
        if let Wish::Http(_, viewer) = self {
            connect.page_url.clone_from(&viewer.referer);
        }
        connect
    }

    fn target(&self) -> &Target {
        match self {
            Wish::Publish(target, _) | Wish::Play(target) | Wish::Http(target, _) => target,
        }
    }
}

/// A wish that waits for hooks, and what was read behind it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) wish: Wish,
    pub(super) saved: Vec<u8>,
}

impl Core {
    /// Grants a wish, refuses it, or asks the hooks.
    pub(super) fn gate(
        &mut self,
        index: usize,
        conn: &mut Conn,
        session: Option<&mut Session>,
        wish: Wish,
    ) -> Next {
        let settings = self.server.settings();
        let target = wish.target();
        let Some(vhost) = settings.vhost(&target.vhost) else {
            return Next::Close(format!("no vhost {:?} is configured", target.vhost));
        };
        let ip = conn.peer.ip();
        let publish = matches!(wish, Wish::Publish(..));
        if !vhost.security.permits(publish, ip) {
            let what = if publish { "publish" } else { "play" };
            tracing::warn!(cid = %conn.id, "security: {ip} may not {what}");
            return Next::Close(format!("security: {ip} may not {what}"));
        }
        let connect = wish.connect(session.as_deref());
        if !vhost.refer.permits(publish, &connect.page_url) {
            let what = if publish { "publish" } else { "play" };
            tracing::warn!(cid = %conn.id, "refer: {ip} may not {what} from page {:?}", connect.page_url);
            return Next::Close(format!("refer: {ip} may not {what} from this page"));
        }
        let known = session.as_ref().and_then(|session| session.connected());
        if let Some(question) = self.question(vhost, target, known, publish) {
            let asker = Asker { core: self.index, index, id: conn.id.clone() };
            if self.server.asks.try_send(Ask::Client(asker, question)).is_err() {
                return Next::Close("too many clients wait for other servers".into());
            }
            conn.pending = Some(Box::new(Pending { wish, saved: Vec::new() }));
            return Next::Keep;
        }
        self.ask_hooks(index, conn, session, wish)
    }

    /// Grants a wish that nothing else speaks against, unless hooks are to be asked.
    fn ask_hooks(
        &mut self,
        index: usize,
        conn: &mut Conn,
        session: Option<&mut Session>,
        wish: Wish,
    ) -> Next {
        let settings = self.server.settings();
        let target = wish.target();
        let Some(vhost) = settings.vhost(&target.vhost) else {
            return Next::Close(format!("no vhost {:?} is configured", target.vhost));
        };
        if *vhost.hooks == Hooks::default() {
            return self.admit(index, conn, session, wish);
        }
        let ip = conn.peer.ip();
        let publish = matches!(wish, Wish::Publish(..));
        let connect = wish.connect(session.as_deref());
        let subject = Subject {
            client_id: conn.id.clone(),
            ip: ip.to_string(),
            vhost: vhost.name.clone(),
            app: target.app.clone(),
            stream: target.stream.clone(),
            param: target.param.clone(),
            tc_url: connect.tc_url,
            page_url: connect.page_url,
        };
        let server_id = &self.server.stat.server_id;
        let event = if publish { "on_publish" } else { "on_play" };
        let mut calls = Vec::new();
        // A connection may publish again and again, and connects once.
        if session.is_some() && conn.watched.is_none() {
            calls.extend(hooks::calls(&vhost.hooks, "on_connect", &subject.body(server_id, "on_connect")));
        }
        calls.extend(hooks::calls(&vhost.hooks, event, &subject.body(server_id, event)));
        conn.watched = Some(Box::new(Watched { hooks: Arc::clone(&vhost.hooks), subject }));
        if calls.is_empty() {
            return self.admit(index, conn, session, wish);
        }
        let asker = Asker { core: self.index, index, id: conn.id.clone() };
        if self.server.hooks.try_send(Job { calls, purpose: Purpose::Decide(asker) }).is_err() {
            return Next::Close("too many hooks are waiting for their answers".into());
        }
        conn.pending = Some(Box::new(Pending { wish, saved: Vec::new() }));
        Next::Keep
    }

    fn admit(&mut self, index: usize, conn: &mut Conn, session: Option<&mut Session>, wish: Wish) -> Next {
        match (wish, session) {
            (Wish::Publish(target, kind), Some(session)) => self.publish(index, conn, session, &target, kind),
            (Wish::Play(target), Some(session)) => self.play(index, conn, session, &target),
            (Wish::Http(target, viewer), _) => self.play_http(index, conn, &target, viewer),
            (Wish::Publish(..) | Wish::Play(_), None) => Next::Close("its session is gone".into()),
        }
    }

    /// The hooks have answered.
    pub(super) fn decided(&mut self, index: usize, id: &str, refused: Option<String>) {
        self.go_on(index, id, |core, conn, session, wish| match refused {
            Some(reason) => Next::Close(reason),
            None => core.admit(index, conn, session, wish),
        });
    }

    /// Other servers have answered.
    pub(super) fn answered(&mut self, index: usize, id: &str, verdict: Verdict) {
        self.go_on(index, id, |core, conn, session, wish| match verdict {
            Verdict::Refused(reason) => {
                tracing::warn!(cid = %conn.id, "{} refused: {reason}", conn.peer);
                Next::Close(reason)
            }
            Verdict::Granted => core.ask_hooks(index, conn, session, wish),
            Verdict::Busy(owner) => {
                tracing::warn!(cid = %conn.id, "{}: stream busy: it is published to {}", conn.peer, owner.rtmp);
                if let Some(session) = session {
                    let description = "the stream is published to another origin already";
                    session.refuse_publish(&mut conn.out.bytes, "NetStream.Publish.BadName", description);
                    let _ = conn.flush();
                }
                Next::Close("stream busy".into())
            }
            Verdict::Elsewhere(owner) => {
                let mut session = session;
                let target = wish.target().clone();
                match core.send_elsewhere(conn, session.as_deref_mut(), &target, &owner) {
                    true => Next::Keep,
                    false => core.ask_hooks(index, conn, session, wish),
                }
            }
        });
    }

    /// Takes the next step of a client that waited, and then reads what came meanwhile.
    fn go_on(
        &mut self,
        index: usize,
        id: &str,
        step: impl FnOnce(&mut Core, &mut Conn, Option<&mut Session>, Wish) -> Next,
    ) {
        let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { return };
        let pending = if conn.id == id { conn.pending.take() } else { None };
        let Some(pending) = pending else {
            self.conns[index] = Some(conn);
            return;
        };
        let Pending { wish, saved } = *pending;
        let mut next = match std::mem::replace(&mut conn.role, Role::HttpPlay) {
            Role::Rtmp(mut session) => {
                let next = step(self, &mut conn, Some(&mut session), wish);
                conn.role = Role::Rtmp(session);
                next
            }
            other => {
                conn.role = other;
                step(self, &mut conn, None, wish)
            }
        };
        if let Some(again) = &mut conn.pending {
            again.saved = saved;
            return self.settle(index, conn, next);
        }
        if matches!(next, Next::Keep) && conn.service == crate::server::Service::Rtmp {
            // With nothing saved this sends the answer.
            next = self.read_rtmp(index, &mut conn, &saved);
        }
        self.settle(index, conn, next);
        // What came meanwhile made its event already.
        self.unread.push_back(index);
    }

    /// Tells the hooks what has happened; nobody waits for them.
    pub(super) fn tell(&self, conn: &Conn, event: &str, more: &[(&str, u64)]) {
        let Some(watched) = &conn.watched else { return };
        let mut body = watched.subject.body(&self.server.stat.server_id, event);
        for (name, value) in more {
            body[*name] = (*value).into();
        }
        let calls = hooks::calls(&watched.hooks, event, &body);
        if !calls.is_empty() && self.server.hooks.try_send(Job { calls, purpose: Purpose::Tell }).is_err() {
            tracing::warn!(cid = %conn.id, "{event} is not told: too many hooks are waiting");
        }
    }
}
