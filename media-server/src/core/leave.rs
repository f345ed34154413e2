//! How clients are moved to other servers before this one goes: each in the way that makes its kind come back
//! without an error and without losing more than what it can't be given.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::conn::{Conn, Role};
use super::player::Framing;
use super::{Core, Next};
use crate::drain::Leave;
use crate::server::Service;

/// A client that was told the end should have closed by then.
const LINGER: Duration = Duration::from_secs(5);

impl Core {
    /// Makes the client at that place leave, if it still has that id.
    pub(super) fn leave(&mut self, index: usize, id: &str, how: Leave) {
        let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { return };
        let next = if conn.id == id && !conn.closing { self.move_on(&mut conn, how) } else { Next::Keep };
        self.settle(index, conn, next);
    }

    fn move_on(&mut self, conn: &mut Conn, how: Leave) -> Next {
        if how == Leave::Asked
            && let Role::Rtmp(session) = &conn.role
            && session.reconnects()
        {
            session.request_reconnect(&mut conn.out.bytes);
            tracing::info!(cid = %conn.id, "{} is asked to connect again", conn.peer);
            return self.send(conn);
        }
        if let Some(player) = &mut conn.player {
            player.leave(how == Leave::Now);
            return self.send(conn);
        }
        Next::Close("it goes on at another server".into())
    }

    /// A player has got all that it gets here: it is told that this is the end. The connection stays until the client
    /// has read that and closes, or the kernel would throw away what is still on its way.
    pub(super) fn part(&mut self, conn: &mut Conn) -> Next {
        let Some(player) = &conn.player else { return Next::Keep };
        match (&conn.role, player.format.framing) {
            (Role::Rtmp(session), _) => session.end_play(&mut conn.out.bytes),
            // An answer that has not begun would never end.
            (_, framing) if player.next.is_some() || framing == Framing::WebSocket => {
                framing.end(&mut conn.out.bytes, true);
            }
            _ => return Next::Close("it goes on at another server".into()),
        }
        tracing::info!(cid = %conn.id, "{} goes on at another server", conn.peer);
        let stat = conn.stat.clone();
        self.stop_playing(conn);
        if let Some(stat) = stat
            && conn.service == Service::Rtmp
        {
            let (sent, received) =
                (stat.traffic.send.load(Ordering::Relaxed), stat.traffic.recv.load(Ordering::Relaxed));
            self.tell(conn, "on_close", &[("send_bytes", sent), ("recv_bytes", received)]);
        }
        conn.closing = true;
        conn.deadline = Some(self.now + LINGER);
        self.send(conn)
    }

    /// Everything is written: nothing more will come.
    pub(super) fn shut(conn: &mut Conn) -> Next {
        conn.transport.close();
        match conn.transport.socket.shutdown(Shutdown::Write) {
            Ok(()) => Next::Keep,
            Err(error) => Next::Close(error.to_string()),
        }
    }
}
