//! The process outside that starts the cluster's first process, waits for its end, and cleans up after a cluster that
//! ends by itself. Nothing depends on it: killed, it leaves its work to the next `up` or `down`.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Error as IoError,
    process::{Child, Command, Stdio},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::setsid,
};

use crate::{
    description::{Description, Tier},
    error::{Error, Result, at, system},
    lifecycle, lock,
    paths::ClusterDir,
    processes,
};

/// Runs until the cluster's init ends.
pub(crate) fn run(dir: &ClusterDir) -> Result<()> {
    // A Ctrl-C on the terminal of whoever started this is not meant for the cluster.
    setsid().map_err(system("leave the terminal's session"))?;
    let Some(description) = Description::read(dir)? else {
        return Err(Error::NotRunning(dir.path().display().to_string()));
    };
    let mut init = spawn_init(dir, description.tier)?;
    let status = init.wait().map_err(|source| Error::Command {
        command: processes::INIT.to_owned(),
        detail: source.to_string(),
    })?;
    crate::progress::say(&format!("init ended: {status}"));
    if description.idle().is_none() {
        return Ok(());
    }
    // Whoever holds the lock is starting or removing the cluster, and cleans up.
    if let Some(_lock) = lock::try_exclusive(&dir.lock())? {
        lifecycle::remove_remains(&description.name, dir, &BTreeSet::from([description.cgroup()]))?;
    }
    Ok(())
}

fn spawn_init(dir: &ClusterDir, tier: Tier) -> Result<Child> {
    let log = dir.log(processes::INIT);
    let log_file = File::create(&log).map_err(at("create", &log))?;
    let failed =
        |source: IoError| Error::Command { command: processes::INIT.to_owned(), detail: source.to_string() };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .arg(processes::INIT)
        .arg(dir.path())
        .current_dir(dir.path())
        .stdout(log_file.try_clone().map_err(at("open", &log))?)
        .stderr(log_file);
    match tier {
        Tier::ControlPlane => command.stdin(Stdio::null()).spawn().map_err(failed),
        Tier::Node => {
            let namespace = "/proc/self/ns/net";
            // Init gets the machine's network namespace as its standard input: with it, it can listen outside.
            command.stdin(File::open(namespace).map_err(at("open", namespace))?);
            // Only this thread leaves the machine's namespaces, and only for its child to be born in new ones.
            std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        unshare(
                            CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET,
                        )
                        .map_err(system("make namespaces for the cluster"))?;
                        command.spawn().map_err(failed)
                    })
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        }
    }
}
