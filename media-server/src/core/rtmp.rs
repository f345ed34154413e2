//! What a core does with RTMP's events.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::accept::TOO_MANY;
use super::admit::Wish;
use super::conn::{Conn, MAX_PENDING, Publisher, Role};
use super::player::{Container, Format, Player};
use super::{Core, Next, PATIENCE};
use crate::children;
use crate::children::exec::Variables;
use crate::codec;
use crate::conf::settings::TimeJitter;
use crate::flv::{self, Role as TagRole, TagKind, Video, VideoCodec};
use crate::recorder::{self, Order, Start};
use crate::rtmp::session::{Event, Identity, MAX_MEDIA, PublishKind, Session};
use crate::rtmp::url::Target;
use crate::source::{MAX_HEADER, Policy, Reader, Remux, Source, kind_bit};
use crate::upstream::Route;

impl Core {
    pub(super) fn read_rtmp(&mut self, index: usize, conn: &mut Conn, bytes: &[u8]) -> Next {
        let Role::Rtmp(session) = std::mem::replace(&mut conn.role, Role::HttpPlay) else {
            return Next::Keep;
        };
        let mut session = session;
        let mut input = bytes;
        let mut next = Next::Keep;
        loop {
            // A player may have been told another one within this very loop.
            session.told_chunk_size(conn.chunk_size);
            let event = session.read(&mut input, &mut conn.out.bytes);
            if let Some(ip) = session.proxied_ip.take()
                && !self.believe_prefix(conn, ip.into())
            {
                next = Next::Close(TOO_MANY.into());
                break;
            }
            match event {
                Ok(None) => break,
                Ok(Some(Event::Media(kind, timestamp, payload))) => {
                    self.media(conn, kind, timestamp, &payload);
                }
                Ok(Some(event)) => {
                    next = self.rtmp_event(index, conn, &mut session, event);
                    if let Some(pending) = &mut conn.pending {
                        pending.saved = input.to_vec();
                    }
                    if !matches!(next, Next::Keep) || conn.pending.is_some() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(cid = %conn.id, "{}: {error}", conn.peer);
                    next = Next::Close(error.to_string());
                    break;
                }
            }
        }
        conn.role = Role::Rtmp(session);
        self.flush_publisher(conn);
        match next {
            Next::Keep if !conn.out.is_empty() => self.answer(conn),
            next => {
                // A refusal should reach the client.
                let _ = conn.flush();
                next
            }
        }
    }

    /// SRS's proxy prefix has named the client; false when that has too many connections.
    fn believe_prefix(&self, conn: &mut Conn, ip: std::net::IpAddr) -> bool {
        if self.server.settings().real_ip.trusts_prefix(conn.peer.ip()) {
            return self.know_client(conn, ip);
        }
        tracing::warn!(cid = %conn.id, "{} says that it speaks for {ip}, and real_ip does not trust it", conn.peer);
        true
    }

    /// Players of realtime streams get what was read at once.
    pub(super) fn flush_publisher(&self, conn: &Conn) {
        if let Some(publisher) = &conn.publisher
            && publisher.realtime
        {
            publisher.source.flush();
            if publisher.source.players() > 0 {
                self.server.wake_all();
            }
        }
    }

    /// Sends answers; who floods with questions and reads nothing is closed.
    pub(super) fn answer(&mut self, conn: &mut Conn) -> Next {
        if !conn.blocked {
            return self.send(conn);
        }
        // A player's own copy of a large frame may wait there too.
        let limit = MAX_PENDING + if conn.player.is_some() { MAX_MEDIA } else { 0 };
        match conn.out.len() > limit {
            true => Next::Close("the client does not read its answers".into()),
            false => Next::Keep,
        }
    }

    fn rtmp_event(&mut self, index: usize, conn: &mut Conn, session: &mut Session, event: Event<'_>) -> Next {
        match event {
            Event::Connect(connect) => {
                let settings = self.server.settings();
                let Some(vhost) = settings.vhost(&connect.target.vhost) else {
                    return Next::Close(format!("no vhost {:?} is configured", connect.target.vhost));
                };
                session.set_sizes(vhost.sizes);
                conn.chunk_size = vhost.sizes.chunk;
                let server_ip = conn
                    .transport
                    .socket
                    .local_addr()
                    .map(|address| address.ip().to_string())
                    .unwrap_or_default();
                let identity = Identity {
                    signature: self.server.signature.clone(),
                    version: self.server.version.text.clone(),
                    server_ip,
                    pid: std::process::id(),
                    id: conn.id.clone(),
                    server_id: self.server.stat.server_id.clone(),
                };
                session.accept_connect(&mut conn.out.bytes, &identity);
                tracing::info!(cid = %conn.id, "RTMP client {} connects, tcUrl={}", conn.peer, connect.tc_url);
                Next::Keep
            }
            Event::Publish(target, kind) => {
                self.gate(index, conn, Some(session), Wish::Publish(target, kind))
            }
            Event::Play(target) => self.gate(index, conn, Some(session), Wish::Play(target)),
            Event::Unpublish => {
                self.stop_publishing(conn);
                conn.deadline = Some(self.now + PATIENCE * 6);
                Next::Keep
            }
            Event::Stop => {
                self.stop_playing(conn);
                conn.deadline = Some(self.now + PATIENCE * 6);
                Next::Keep
            }
            Event::Pause(paused) => {
                if let Some(player) = &mut conn.player {
                    player.paused = paused;
                    if !paused {
                        player.rejoin();
                    }
                }
                Next::Keep
            }
            Event::Media(..) => Next::Keep,
        }
    }

    pub(super) fn play(&mut self, index: usize, conn: &mut Conn, session: &Session, target: &Target) -> Next {
        let (source, policy) = match self.source_of(target) {
            Ok(found) => found,
            Err(reason) => return Next::Close(reason),
        };
        tracing::info!(cid = %conn.id, "start to play stream {} by {}", source.stat.url(), conn.peer);
        self.add_client(index, conn, &source, "rtmp-play", session.connected().cloned().unwrap_or_default());
        let player = Player::new(0, Format::RTMP, policy.jitter == TimeJitter::Off, None);
        let pulled = Arc::clone(&source);
        let next = self.start_playing(index, conn, player, source);
        self.pull_for(conn, &pulled, target, session.connected());
        next
    }

    pub(super) fn publish(
        &mut self,
        index: usize,
        conn: &mut Conn,
        session: &mut Session,
        target: &Target,
        kind: PublishKind,
    ) -> Next {
        let (source, policy) = match self.source_of(target) {
            Ok(found) => found,
            Err(reason) => return Next::Close(reason),
        };
        let settings = self.server.settings();
        if let Some(edge) = settings.vhost(&target.vhost).and_then(|vhost| vhost.cluster.edge.as_ref()) {
            return self.publish_through(index, conn, session, (target, kind), source, edge);
        }
        if !source.publish() {
            return self.busy(conn, session, source);
        }
        session.accept_publish(&mut conn.out.bytes);
        tracing::info!(cid = %conn.id, "start to publish stream {} by {} ({})", source.stat.url(), conn.peer, kind.name());
        let (first, normal) = settings
            .vhost(&target.vhost)
            .map_or((PATIENCE, PATIENCE), |vhost| (vhost.firstpkt_timeout, vhost.normal_timeout));
        self.add_client(index, conn, &source, kind.name(), session.connected().cloned().unwrap_or_default());
        source.stat.active.store(true, Ordering::Relaxed);
        source.stat.media().publisher.clone_from(&conn.id);
        conn.deadline = Some(self.now + first);
        let vhost = settings.vhost(&target.vhost);
        for plan in vhost.map_or_else(Vec::new, |vhost| recorder::plans(vhost, &source.stat)) {
            // The reader holds the source until everything is written.
            let reader = Reader::new(Arc::clone(&source));
            let (publisher, watched) = (conn.id.clone(), conn.watched.clone());
            let start = Box::new(Start { reader, plan, publisher, watched });
            let _ = self.server.recorder.send(Order::Start(start));
        }
        let id = source.stat.id.clone();
        let variables = Box::new(Variables::new(&source.stat, target, session.connected()));
        self.server.children.send(children::Order::Published { id, variables });
        let realtime = policy.realtime;
        let route = Arc::new(Route::new(target, session.connected(), &source.stat.vhost.name));
        self.server.coworkers.unclaim(&route.key());
        self.sync_forwards(&source, &route);
        conn.publisher = Some(Publisher {
            source,
            started: false,
            realtime,
            timeout: normal,
            route: Some(route),
            described: 0,
            public: None,
        });
        // Players that were here first look around.
        self.server.wake_all();
        Next::Keep
    }

    /// Publishers go on as their vhosts want it now.
    pub(super) fn reload_publishers(&mut self) {
        let settings = self.server.settings();
        for conn in self.conns.iter_mut().flatten() {
            let Some(publisher) = &mut conn.publisher else { continue };
            let Some(vhost) = settings.vhost(&publisher.source.stat.vhost.name) else { continue };
            if publisher.public.is_some() {
                // The ring of its own is not among the streams.
                publisher.source.set_policy(Policy { gop_cache: true, ..Policy::of(vhost) });
            }
            publisher.realtime = publisher.source.policy().realtime;
            if !matches!(conn.role, Role::Outgoing(_)) {
                publisher.timeout = vhost.normal_timeout;
            }
        }
    }

    /// Refuses a publisher whose stream is published already.
    pub(super) fn busy(&self, conn: &mut Conn, session: &mut Session, source: Arc<Source>) -> Next {
        let url = source.stat.url();
        let description = format!("stream {url} is published already");
        tracing::warn!(cid = %conn.id, "{}: stream busy: {url}", conn.peer);
        session.refuse_publish(&mut conn.out.bytes, "NetStream.Publish.BadName", &description);
        self.server.sources.release(&self.server.stat, source);
        // The hooks have granted it before (SRS).
        self.tell(conn, "on_unpublish", &[]);
        Next::Close("stream busy".into())
    }

    pub(super) fn media(&self, conn: &mut Conn, kind: TagKind, timestamp: u32, payload: &[u8]) {
        let Some(publisher) = &mut conn.publisher else { return };
        let source = &publisher.source;
        let metadata = match kind {
            TagKind::Script if payload.len() <= MAX_HEADER => {
                flv::relayed_metadata(payload, &self.server.signature, &self.server.version.text)
            }
            TagKind::Script => {
                source.refuse_header(kind, payload.len());
                None
            }
            TagKind::Audio | TagKind::Video => None,
        };
        if kind == TagKind::Script && metadata.is_none() && publisher.is_pull() {
            // Servers also say what is not of the stream, whether they have it or not.
            return;
        }
        publisher.started = true;
        conn.deadline = Some(self.now + publisher.timeout);
        match kind {
            TagKind::Script => {
                if let Some(metadata) = metadata {
                    source.push(kind, timestamp, &metadata, self.now);
                }
                return;
            }
            TagKind::Video => {
                source.stat.frames.fetch_add(1, Ordering::Relaxed);
            }
            TagKind::Audio => {}
        }
        // Not every codec has a sequence header: then the first frame tells what it is.
        if flv::role(kind, payload) == TagRole::SequenceHeader || publisher.described & kind_bit(kind) == 0 {
            publisher.described |= kind_bit(kind);
            self.describe(source, kind, payload);
        }
        source.push(kind, timestamp, payload, self.now);
    }

    /// Tells the API, and who reads the log, what a publisher sends.
    fn describe(&self, source: &Source, kind: TagKind, payload: &[u8]) {
        if kind == TagKind::Audio {
            source.stat.media().audio = codec::audio_info(payload);
            return;
        }
        let before = std::mem::replace(&mut source.stat.media().video, codec::video_info(payload));
        let Some(video) = Video::read(payload).filter(|_| before.is_none()) else { return };
        let settings = self.server.settings();
        let Some(vhost) = settings.vhost(&source.stat.vhost.name) else { return };
        let mount = vhost.http_remux.as_deref().and_then(Container::of_mount);
        let ts = mount == Some(Container::Remuxed(Remux::Ts));
        if !matches!(video.codec, VideoCodec::Avc | VideoCodec::Hevc) && (vhost.hls.is_some() || ts) {
            let (url, codec) = (source.stat.url(), video.codec.name());
            tracing::warn!(
                "{url}: HLS and HTTP-TS leave its video out: {codec} is relayed by RTMP and FLV alone"
            );
        }
    }

    pub(super) fn stop_publishing(&mut self, conn: &mut Conn) {
        let Some(publisher) = conn.publisher.take() else { return };
        self.tell(conn, "on_unpublish", &[]);
        self.forget_client(conn);
        let stat = &publisher.source.stat;
        publisher.source.unpublish();
        self.end_sending(&publisher.source);
        if let Some(public) = publisher.public {
            tracing::info!(cid = %conn.id, "cleanup when unpublish {} through this edge", stat.url());
            public.end_push();
            self.server.sources.release(&self.server.stat, public);
            self.server.wake_all();
            return;
        }
        stat.active.store(false, Ordering::Relaxed);
        *stat.media() = crate::stat::Media::default();
        // The recorder knows whether it has such a stream; a reload may have changed that.
        let order = Order::Stop { id: stat.id.clone(), what: None, at: publisher.source.head() };
        let _ = self.server.recorder.send(order);
        self.server.children.send(children::Order::Unpublished { id: stat.id.clone() });
        tracing::info!(cid = %conn.id, "cleanup when unpublish {}", stat.url());
        if let Some(route) = &publisher.route {
            self.follow_move(&publisher.source, route);
        }
        self.server.sources.release(&self.server.stat, publisher.source);
        self.server.wake_all();
    }
}
