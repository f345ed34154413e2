//! The thread that looks names up for the cores' links.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Endpoint;
use crate::resolve::Names;
use crate::server::{Command, Server};

/// A name must be found by then.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that wait for the thread.
const MAX_WAITING: usize = 4096;

/// A link's question.
#[derive(Debug)]
pub struct Lookup {
    /// The core that asks.
    pub core: usize,
    /// Its link.
    pub link: u64,
    /// Whose addresses.
    pub server: Endpoint,
    /// What is remembered has failed.
    pub fresh: bool,
}

/// The queue to the thread.
pub fn queue() -> (Sender<Lookup>, Receiver<Lookup>) {
    mpsc::channel(MAX_WAITING)
}

/// Answers until all senders are gone. Blocks its thread.
pub fn run(server: &Arc<Server>, mut lookups: Receiver<Lookup>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let names = Arc::new(Names::default());
        while let Some(Lookup { core, link, server: asked, fresh }) = lookups.recv().await {
            let (server, names) = (Arc::clone(server), Arc::clone(&names));
            tokio::spawn(async move {
                let found = names.lookup(&asked.host, asked.port, fresh, PATIENCE).await;
                if let Err(error) = &found {
                    tracing::warn!("{error}");
                }
                if let Some(core) = server.cores.get(core) {
                    core.send(Command::Resolved(link, found.unwrap_or_default()));
                }
            });
        }
    });
    Ok(())
}
