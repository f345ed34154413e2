//! How connections end: by themselves, by a deadline, by a command.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::conn::{Conn, Role};
use super::{Core, Next};
use crate::server::Service;

impl Core {
    pub(super) fn forget(&mut self, index: usize) {
        self.closed.push(index);
        self.server.connections.fetch_sub(1, Ordering::Relaxed);
        self.server.cores[self.index].connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends a connection that is in its place.
    pub(super) fn end(&mut self, index: usize, reason: &str) {
        if let Some(conn) = self.conns[index].take() {
            self.close(index, conn, reason);
        }
    }

    pub(super) fn close(&mut self, index: usize, mut conn: Box<Conn>, reason: &str) {
        conn.role = match std::mem::replace(&mut conn.role, Role::HttpPlay) {
            Role::Outgoing(outgoing) => return self.outgoing_closed(index, &mut conn, &outgoing, reason),
            other => other,
        };
        self.stop_playing(&mut conn);
        self.stop_publishing(&mut conn);
        // Who was refused has not been there; who said good-bye to the stream first has.
        if conn.service == Service::Rtmp
            && let Some((sent, received)) = conn.left
        {
            self.tell(&conn, "on_close", &[("send_bytes", sent), ("recv_bytes", received)]);
        }
        if !conn.heard {
            self.server.probes.fetch_add(1, Ordering::Relaxed);
            tracing::trace!(cid = %conn.id, "{} came and went without a word", conn.peer);
        } else if let Role::Rtmp(session) = &conn.role
            && let Some(connect) = session.connected()
        {
            tracing::info!(cid = %conn.id, "{} {} disconnected: {reason}", conn.peer, connect.target.app);
        } else if conn.service != Service::Rtmp || !reason.is_empty() {
            tracing::debug!(cid = %conn.id, "{} closed: {reason}", conn.peer);
        }
        conn.transport.close();
        let _ = self.poll.registry().deregister(&mut conn.transport.socket);
        self.forget(index);
    }

    /// Puts a connection back or ends it.
    pub(super) fn settle(&mut self, index: usize, conn: Box<Conn>, next: Next) {
        match next {
            Next::Keep => self.conns[index] = Some(conn),
            Next::Close(reason) => self.close(index, conn, &reason),
            Next::Gone => self.forget(index),
        }
    }

    pub(super) fn check_deadlines(&mut self) {
        if self.now < self.checked + Duration::from_secs(1) {
            return;
        }
        self.checked = self.now;
        self.check_links();
        self.check_listeners();
        for index in 0..self.conns.len() {
            let Some(conn) = &self.conns[index] else { continue };
            if conn.deadline.is_some_and(|deadline| deadline <= self.now) {
                if conn.player.is_some() && conn.blocked {
                    // The system tells of room only when there is much of it: a slow player may have taken some since.
                    self.writable(index);
                    let is_late = |conn: &Conn| conn.deadline.is_some_and(|deadline| deadline <= self.now);
                    if !self.conns[index].as_ref().is_some_and(|conn| is_late(conn)) {
                        continue;
                    }
                }
                let Some(conn) = &self.conns[index] else { continue };
                let reason = match (&conn.publisher, &conn.player) {
                    (Some(_), _) => "the publisher sent nothing in time",
                    (_, Some(_)) => "the player took nothing in time",
                    _ => "nothing was asked for in time",
                };
                self.end(index, reason);
            }
        }
    }
}
