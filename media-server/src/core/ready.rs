//! Sockets that can be read or written.

use super::conn::{self, Conn, ReadResult, Role};
use super::player::{self, Container, Pumped};
use super::{Core, Next};

/// Reads of one connection before the others get their turn.
const READS: usize = 4;
/// Steps of TLS handshakes before players get their turn: each takes up to a millisecond of signing.
const HANDSHAKES: usize = 4;

impl Core {
    pub(super) fn writable(&mut self, index: usize) {
        let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { return };
        if !conn.blocked {
            self.conns[index] = Some(conn);
            return;
        }
        conn.blocked = false;
        let next = self.send(&mut conn);
        self.settle(index, conn, next);
    }

    /// Sends what waits: answers, then media.
    pub(super) fn send(&mut self, conn: &mut Conn) -> Next {
        if conn.player.is_none() {
            if !conn.flush() {
                return Next::Close("the connection broke".into());
            }
            if conn.out.len() > conn::MAX_PENDING {
                return Next::Close("the client does not read its answers".into());
            }
            if conn.closing && conn.out.is_empty() && !conn.transport.is_pending() {
                return Self::shut(conn);
            }
            return Next::Keep;
        }
        let Some(entry) = conn.player.as_ref().map(|player| player.entry) else { return Next::Keep };
        let Some(Some(wheel)) = self.wheels.get_mut(entry) else { return Next::Keep };
        let before = conn.taken;
        let interval = wheel.policy.send_min_interval;
        if let Some(player) = &mut conn.player {
            let paced = player.format.container == Container::Rtmp && !player.relay;
            player.single = paced && !interval.is_zero();
            player.sent = false;
            let early = player.single && player.due.is_some_and(|due| self.now < due);
            if early && player.between_batches() {
                wheel.note_needed(player.next);
                return match conn.flush() {
                    true => Next::Keep,
                    false => Next::Close("the connection broke".into()),
                };
            }
        }
        let result = player::pump(conn, &wheel.source, &wheel.view, &mut self.scratch);
        let live = wheel.view.live;
        if let Some(player) = conn.player.as_mut().filter(|player| player.single && player.sent) {
            let due = self.now + interval;
            player.due = Some(due);
            let (slot, place) = player.slot;
            self.pace.add(due, wheel.slots[slot][place]);
        }
        let Some(player) = &conn.player else { return Next::Keep };
        wheel.note_needed(player.next);
        match result {
            Pumped::Closed => Next::Close("the connection broke".into()),
            Pumped::Blocked => {
                let timeout = self.server.settings().limits.send_timeout;
                // Who is slow but takes something stays.
                let kept = conn.deadline.filter(|_| conn.taken == before);
                conn.deadline = Some(kept.unwrap_or(self.now + timeout));
                Next::Keep
            }
            Pumped::Left => self.part(conn),
            Pumped::Single => {
                conn.deadline = None;
                Next::Keep
            }
            Pumped::Done => {
                // Somebody may publish the same name again before the last words are out: that is another link's.
                if player.relay && (!live || self.is_last(conn)) {
                    return Self::say_goodbye(conn);
                }
                conn.deadline = None;
                if !live && player.format.container != Container::Rtmp && player.next.is_some() {
                    player.format.framing.end(&mut conn.out.bytes, self.server.drain.has_begun());
                    let _ = conn.flush();
                    return Next::Close("the stream ended".into());
                }
                Next::Keep
            }
        }
    }

    /// Reads; `ended` says that the peer has closed, which makes no other event behind what it sent last.
    pub(super) fn readable(&mut self, index: usize, ended: bool) {
        let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { return };
        if conn.pending.is_some() {
            self.conns[index] = Some(conn);
            return;
        }
        if conn.transport.is_handshaking() {
            if self.handshakes == HANDSHAKES {
                self.conns[index] = Some(conn);
                self.unread.push_back(index);
                return;
            }
            self.handshakes += 1;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut next =
            if conn.awaits_proxy { self.read_proxy_header(&mut conn, &mut buffer) } else { Next::Keep };
        for round in 0.. {
            if conn.awaits_proxy || !matches!(next, Next::Keep) {
                break;
            }
            if round == READS {
                self.unread.push_back(index);
                break;
            }
            match conn.read(&mut buffer) {
                ReadResult::Blocked => break,
                ReadResult::Closed => {
                    let who = if matches!(conn.role, Role::Outgoing(_)) { "server" } else { "client" };
                    next = Next::Close(format!("the {who} closed"));
                    break;
                }
                ReadResult::Broken(reason) => {
                    next = Next::Close(reason);
                    break;
                }
                ReadResult::Bytes { count, more } => {
                    conn.heard = true;
                    if let Some(stat) = &conn.stat {
                        stat.traffic.add_recv(count);
                        if stat.publish {
                            stat.stream.traffic.add_recv(count);
                            stat.stream.vhost.traffic.add_recv(count);
                            self.server.stat.traffic.add_recv(count);
                        }
                    }
                    next = match &conn.role {
                        // It was told the end.
                        Role::Rtmp(_) if conn.closing => Next::Keep,
                        Role::Rtmp(_) => self.read_rtmp(index, &mut conn, &buffer[..count]),
                        Role::HttpHead(_) => self.read_http(index, &mut conn, &buffer[..count]),
                        Role::Outgoing(_) => self.read_outgoing(index, &mut conn, &buffer[..count]),
                        Role::HttpPlay => Next::Keep,
                        Role::WebSocket(_) => self.read_websocket(&mut conn, &buffer[..count]),
                    };
                    if !more && !ended || conn.pending.is_some() {
                        break;
                    }
                }
            }
        }
        self.buffer = buffer;
        self.settle(index, conn, next);
    }
}
