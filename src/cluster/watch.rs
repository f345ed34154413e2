//! A watch that goes on: list, then follow; after a gap list again.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;

use std::sync::Arc;

use super::connection::{Call, Connection, jitter, rejection_of};
use super::list::{self, described, selected};
use super::{ClusterError, Selection, Watched};
use crate::observation::KindInfo;

/// After this time the server ends a watch by itself, and we open the next one where it ended.
const LIFETIME: Duration = Duration::from_mins(5);
/// A connection that is quiet for longer than that is broken: the server should have ended it.
const QUIET: Duration = Duration::from_secs(LIFETIME.as_secs() + 30);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// When nothing worked for that long, the last error is told.
const GIVE_UP: Duration = Duration::from_mins(5);

/// Follows the selected objects.
pub(super) fn watch(
    connection: Arc<Connection>,
    kind: KindInfo,
    selection: Selection,
) -> BoxStream<'static, Result<Watched, ClusterError>> {
    let watcher = Watcher {
        connection,
        kind,
        selection,
        phase: Phase::List,
        pause: FIRST_PAUSE,
        working: Instant::now(),
    };
    stream::unfold(watcher, |mut watcher| async move {
        let item = watcher.next().await?;
        Some((item, watcher))
    })
    .boxed()
}

struct Watcher {
    connection: Arc<Connection>,
    kind: KindInfo,
    selection: Selection,
    phase: Phase,
    /// Before the next attempt.
    pause: Duration,
    /// When something last worked.
    working: Instant,
}

enum Phase {
    List,
    Open { version: String },
    Follow { version: String, events: Events },
    Ended,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Watched, ClusterError>> {
        loop {
            // What is left behind if one of the awaits below is dropped is a list, never a gap.
            match std::mem::replace(&mut self.phase, Phase::List) {
                Phase::Ended => {
                    self.phase = Phase::Ended;
                    return None;
                }
                Phase::List => match list::list(&self.connection, &self.kind, &self.selection).await {
                    Ok(list) => {
                        self.works();
                        self.phase = Phase::Open { version: list.resource_version };
                        return Some(Ok(Watched::Restarted(list.items)));
                    }
                    Err(error) => {
                        if let Some(error) = self.recover(error, Phase::List).await {
                            return Some(Err(error));
                        }
                    }
                },
                Phase::Open { version } => match self.connection.open(&self.call(&version)).await {
                    Ok(body) => self.phase = Phase::Follow { version, events: Events::new(body) },
                    Err(error) => {
                        let next =
                            if error.is_rejected_with(410) { Phase::List } else { Phase::Open { version } };
                        if let Some(error) = self.recover(error, next).await {
                            return Some(Err(error));
                        }
                    }
                },
                Phase::Follow { version, events } => {
                    if let Some(item) = self.follow(version, events).await {
                        return Some(item);
                    }
                }
            }
        }
    }

    /// Takes the next event; `None` if it is nothing to tell, or the watch has to be opened again.
    async fn follow(
        &mut self,
        mut version: String,
        mut events: Events,
    ) -> Option<Result<Watched, ClusterError>> {
        let event = match tokio::time::timeout(QUIET, events.next()).await {
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) => {
                // The usual end. A server that ends every watch at once is not asked in a tight loop.
                if !events.seen {
                    self.rest().await;
                }
                self.phase = Phase::Open { version };
                return None;
            }
            Ok(Err(message)) => {
                tracing::debug!(kind = %self.kind.gvk, message, "the watch broke");
                self.rest().await;
                self.phase = Phase::Open { version };
                return None;
            }
            Err(_) => {
                tracing::debug!(kind = %self.kind.gvk, "the watch fell silent");
                self.phase = Phase::Open { version };
                return None;
            }
        };
        self.works();
        let new_version = event.object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if let Some(new_version) = new_version {
            new_version.clone_into(&mut version);
        }
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => {
                self.phase = Phase::Follow { version, events };
                Some(Ok(Watched::Applied(event.object)))
            }
            "DELETED" => {
                self.phase = Phase::Follow { version, events };
                Some(Ok(Watched::Deleted(event.object)))
            }
            "ERROR" => {
                let rejection = rejection_of(&event.object);
                let expired = rejection.code == 410;
                let object = described(&self.kind, &self.selection);
                let error = ClusterError::Rejected { verb: "watch", object, rejection };
                // The version is no longer kept: usual after a long gap, and no reason to wait.
                if expired { None } else { self.recover(error, Phase::List).await.map(Err) }
            }
            // A bookmark only moves the version on.
            _ => {
                self.phase = Phase::Follow { version, events };
                None
            }
        }
    }

    /// Waits and goes on with `next`; gives the error back, and ends, if it is one that does not heal.
    async fn recover(&mut self, error: ClusterError, next: Phase) -> Option<ClusterError> {
        let heals = match &error {
            ClusterError::Unreachable { .. } | ClusterError::Malformed { .. } => true,
            ClusterError::Rejected { rejection, .. } => {
                !matches!(rejection.code, 400 | 403 | 404 | 405 | 422)
            }
            ClusterError::Config { .. } | ClusterError::Unauthorized { .. } => false,
        };
        if !heals || self.working.elapsed() > GIVE_UP {
            self.phase = Phase::Ended;
            return Some(error);
        }
        tracing::debug!(kind = %self.kind.gvk, %error, "the watch is opened again");
        self.rest().await;
        self.phase = next;
        None
    }

    async fn rest(&mut self) {
        tokio::time::sleep(jitter(self.pause)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn works(&mut self) {
        self.pause = FIRST_PAUSE;
        self.working = Instant::now();
    }

    fn call(&self, version: &str) -> Call {
        let query = selected(&self.kind, &self.selection)
            .with("watch", "1")
            .with("allowWatchBookmarks", "true")
            .with("resourceVersion", version)
            .with("timeoutSeconds", &LIFETIME.as_secs().to_string());
        Call::get("watch", described(&self.kind, &self.selection), query.finish())
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

/// The body of a watch: one JSON event a line.
struct Events {
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer is known to have no line end.
    searched: usize,
    seen: bool,
}

impl Events {
    fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, seen: false }
    }

    /// The next event; `Ok(None)` at the end.
    async fn next(&mut self) -> Result<Option<Event>, String> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let event = serde_json::from_slice(&self.buffer[..end]);
                self.buffer.advance(end + 1);
                self.searched = 0;
                self.seen = true;
                return event
                    .map(Some)
                    .map_err(|error| format!("an event that is not one, at column {}", error.column()));
            }
            self.searched = self.buffer.len();
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }
}
