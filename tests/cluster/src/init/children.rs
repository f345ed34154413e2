//! Starting programs, reaping whatever ends, and starting again what should run.

use std::{
    collections::HashMap,
    fs::File,
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    unistd::Pid,
};
use tokio::sync::oneshot;

use crate::{
    command::line,
    error::{Error, Result, at},
    paths::ClusterDir,
    progress::say,
};

/// Time between a program's end and its next start.
const RESTART: Duration = Duration::from_millis(500);

type Waiting = HashMap<Pid, oneshot::Sender<WaitStatus>>;

/// The children of this process, its own and those that the kernel gave to it as the first process of a namespace.
#[derive(Clone)]
pub(crate) struct Children {
    dir: ClusterDir,
    waiting: Arc<Mutex<Waiting>>,
}

impl Children {
    /// Begins to reap. From now on nothing else in this process may wait for a child.
    pub(crate) fn new(dir: ClusterDir) -> Self {
        let children = Self { dir, waiting: Arc::default() };
        let waiting = Arc::clone(&children.waiting);
        std::thread::spawn(move || reap(&waiting));
        children
    }

    /// Starts a command; what is returned tells how it ended.
    fn start(&self, command: &mut Command) -> Result<oneshot::Receiver<WaitStatus>> {
        // The lock keeps the reaper from seeing the child's end before the child is known.
        let mut waiting = lock(&self.waiting);
        let child = command
            .spawn()
            .map_err(|source| Error::Command { command: line(command), detail: source.to_string() })?;
        let (sender, receiver) = oneshot::channel();
        waiting.insert(Pid::from_raw(child.id().cast_signed()), sender);
        Ok(receiver)
    }

    fn logged<'a>(&self, name: &str, command: &'a mut Command) -> Result<&'a mut Command> {
        let path = self.dir.log(name);
        let log = File::options().create(true).append(true).open(&path).map_err(at("open", &path))?;
        let both = log.as_fd().try_clone_to_owned().map_err(at("open", &path))?;
        Ok(command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(log).stderr(both))
    }

    /// Runs a command to its end; its words go to the log `name`.
    pub(crate) async fn run(&self, name: &str, mut command: Command) -> Result<()> {
        let end = self.start(self.logged(name, &mut command)?)?;
        match end.await {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            end => Err(Error::Command {
                command: line(&command),
                detail: format!("{end:?}, see {}", self.dir.log(name).display()),
            }),
        }
    }

    /// Keeps a program running from now on: when it ends, it is started again. An error means that it could not be
    /// started the first time.
    pub(crate) fn keep(&self, name: &'static str, mut command: Command) -> Result<()> {
        let mut end = self.start(self.logged(name, &mut command)?)?;
        let children = self.clone();
        tokio::spawn(async move {
            loop {
                let status = end.await;
                say(&format!("{name} ended ({status:?}); it is started again"));
                loop {
                    tokio::time::sleep(RESTART).await;
                    match children.start(&mut command) {
                        Ok(receiver) => {
                            end = receiver;
                            break;
                        }
                        Err(error) => say(&format!("{name}: {error}")),
                    }
                }
            }
        });
        Ok(())
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reap(waiting: &Mutex<Waiting>) {
    loop {
        // Looks without reaping, so that the lock is only taken once there is something to reap.
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(status) => {
                let mut waiting = lock(waiting);
                let Some(pid) = status.pid() else { continue };
                if let Ok(status) = waitpid(pid, Some(WaitPidFlag::WNOHANG))
                    && let Some(sender) = waiting.remove(&pid)
                {
                    // Nobody needs to want to know.
                    let _ = sender.send(status);
                }
            }
            Err(Errno::EINTR) => {}
            // No child at the moment.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
