//! Clients of streams: how they come into the wheels and the statistics, and out again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::conn::Conn;
use super::player::Player;
use super::wheel::Wheel;
use super::{Core, Next, Reason};
use crate::rtmp::session::Connect;
use crate::rtmp::url::Target;
use crate::source::{Policy, Source};
use crate::stat::ClientStat;

impl Core {
    /// Lets a connection play.
    pub(super) fn start_playing(
        &mut self,
        index: usize,
        conn: &mut Conn,
        player: Player,
        source: Arc<Source>,
    ) -> Next {
        let policy = source.policy();
        if policy.nodelay || policy.realtime {
            let _ = conn.transport.socket.set_nodelay(true);
        }
        let key = Arc::as_ptr(&source).addr();
        let entry = if let Some(entry) = self.wheel_of.get(&key) {
            // The wheel holds the source already.
            let entry = *entry;
            self.server.sources.release(&self.server.stat, source);
            entry
        } else {
            let entry = self.wheels.iter().position(Option::is_none).unwrap_or_else(|| {
                self.wheels.push(None);
                self.wheels.len() - 1
            });
            self.wheels[entry] = Some(Wheel::new(source, self.now));
            self.wheel_of.insert(key, entry);
            entry
        };
        let Some(Some(wheel)) = self.wheels.get_mut(entry) else {
            return Next::Close("its stream is gone".into());
        };
        let slot = wheel.add(index, player.relay);
        wheel.source.count_player(true);
        wheel.sync_for_join(self.index, self.now);
        let mut player = player;
        (player.entry, player.slot) = (entry, slot);
        conn.player = Some(Box::new(player));
        conn.deadline = None;
        self.send(conn)
    }

    pub(super) fn stop_playing(&mut self, conn: &mut Conn) {
        let Some(player) = conn.take_player() else { return };
        self.tell(conn, "on_stop", &[]);
        self.forget_client(conn);
        let Some(Some(wheel)) = self.wheels.get_mut(player.entry) else { return };
        wheel.source.count_player(false);
        if let Some(moved) = wheel.remove(player.slot)
            && let Some(Some(other)) = self.conns.get_mut(moved)
            && let Some(other) = &mut other.player
        {
            other.slot = player.slot;
        }
        if wheel.players == 0
            && let Some(mut wheel) = self.wheels[player.entry].take()
        {
            wheel.sync(self.index, self.now);
            self.wheel_of.remove(&Arc::as_ptr(&wheel.source).addr());
            self.server.sources.release(&self.server.stat, wheel.source);
        }
    }

    pub(super) fn add_client(
        &self,
        index: usize,
        conn: &mut Conn,
        source: &Source,
        kind: &'static str,
        connect: Connect,
    ) {
        let stat = Arc::new(ClientStat {
            id: conn.id.clone(),
            stream: Arc::clone(&source.stat),
            ip: conn.peer.ip().to_canonical().to_string(),
            page_url: connect.page_url,
            swf_url: connect.swf_url,
            tc_url: connect.tc_url,
            kind,
            publish: kind.ends_with("-publish"),
            since: self.now,
            traffic: crate::stat::Traffic::default(),
            place: Some((self.index, index)),
        });
        self.server.stat.add_client(&stat);
        conn.stat = Some(stat);
    }

    pub(super) fn forget_client(&self, conn: &mut Conn) {
        if let Some(stat) = conn.stat.take() {
            self.server.stat.remove_client(&stat.id);
            let (sent, received) = conn.left.unwrap_or_default();
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            conn.left = Some((sent + load(&stat.traffic.send), received + load(&stat.traffic.recv)));
        }
    }

    pub(super) fn source_of(&self, target: &Target) -> Result<(Arc<Source>, Policy), Reason> {
        let settings = self.server.settings();
        let vhost = settings
            .vhost(&target.vhost)
            .ok_or_else(|| format!("no vhost {:?} is configured", target.vhost))?;
        let policy = Policy::of(vhost);
        let stat = &self.server.stat;
        Ok((
            self.server.sources.get_or_create(stat, &vhost.name, &target.app, &target.stream, policy),
            policy,
        ))
    }
}
