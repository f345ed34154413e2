//! The thread that asks for the cores: names, and what other servers say of a client.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Endpoint;
use super::coworkers::Wanted;
use super::question::{self, Question, Verdict};
use crate::hooks::Asker;
use crate::resolve::Names;
use crate::server::{Command, Server};

/// A name must be found by then.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that wait for the thread.
const MAX_WAITING: usize = 4096;
/// Clients that are asked about at a time; more are refused, as what they wait for is slow already.
const MAX_QUESTIONS: usize = 1024;

/// What a core asks.
#[derive(Debug)]
pub enum Ask {
    /// A link's server.
    Lookup {
        /// The core.
        core: usize,
        /// Its link.
        link: u64,
        /// Whose addresses.
        server: Endpoint,
        /// What is remembered has failed.
        fresh: bool,
    },
    /// Which coworker has the stream of a link.
    Locate {
        /// The core.
        core: usize,
        /// Its link.
        link: u64,
        /// Who is asked.
        coworkers: Vec<Endpoint>,
        /// For what.
        wanted: Wanted,
    },
    /// About a client.
    Client(Asker, Question),
}

/// The queue to the thread.
pub fn queue() -> (Sender<Ask>, Receiver<Ask>) {
    mpsc::channel(MAX_WAITING)
}

/// Answers until all senders are gone. Blocks its thread.
pub fn run(server: &Arc<Server>, mut queue: Receiver<Ask>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let names = Arc::new(Names::default());
        let permits = Arc::new(tokio::sync::Semaphore::new(MAX_QUESTIONS));
        while let Some(ask) = queue.recv().await {
            let (server, names) = (Arc::clone(server), Arc::clone(&names));
            match ask {
                Ask::Lookup { core, link, server: wanted, fresh } => {
                    tokio::spawn(async move {
                        let found = names.lookup(&wanted.host, wanted.port, fresh, PATIENCE).await;
                        if let Err(error) = &found {
                            tracing::warn!("{error}");
                        }
                        tell(&server, core, Command::Resolved(link, found.unwrap_or_default()));
                    });
                }
                Ask::Locate { core, link, coworkers, wanted } => {
                    tokio::spawn(async move {
                        let own_id = &server.stat.server_id;
                        let asking = server.coworkers.find(
                            &names,
                            own_id,
                            &coworkers,
                            &wanted,
                            false,
                            question::LOOKUP,
                        );
                        let found = asking.await.map(|owner| owner.rtmp);
                        tell(&server, core, Command::Located(link, found));
                    });
                }
                Ask::Client(asker, question) => {
                    let permit = Arc::clone(&permits).try_acquire_owned();
                    tokio::spawn(async move {
                        let verdict = match permit {
                            Ok(_permit) => question.ask(&server, &names).await,
                            Err(_) => Verdict::Refused("too many clients wait for other servers".into()),
                        };
                        tell(&server, asker.core, Command::Answered(asker.index, asker.id, verdict));
                    });
                }
            }
        }
    });
    Ok(())
}

fn tell(server: &Server, core: usize, command: Command) {
    if let Some(core) = server.cores.get(core) {
        core.send(command);
    }
}
