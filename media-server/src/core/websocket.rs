//! What viewers of WebSocket say: pings, goodbyes, and what ends the connection.

use super::conn::{Conn, Role};
use super::{Core, Next};
use crate::websocket::Error;

impl Core {
    pub(super) fn read_websocket(&mut self, conn: &mut Conn, bytes: &[u8]) -> Next {
        let Role::WebSocket(reader) = &mut conn.role else { return Next::Keep };
        let mut answers = Vec::new();
        let result = reader.read(bytes, &mut answers);
        conn.out.bytes.extend_from_slice(&answers);
        match result {
            Ok(()) if conn.out.is_empty() => Next::Keep,
            Ok(()) => self.answer(conn),
            Err(error) => {
                if error != Error::Closed {
                    tracing::warn!(cid = %conn.id, "{}: {error}", conn.peer);
                }
                // The close frame is sent where it does not fall into a message that is written in part.
                let between = conn.player.as_ref().is_none_or(|player| player.between_batches());
                if between && !conn.blocked {
                    let _ = conn.flush();
                }
                Next::Close(error.to_string())
            }
        }
    }
}
