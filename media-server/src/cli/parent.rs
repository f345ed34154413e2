//! `asprocess`: the server ends with the process that started it.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The process that started this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent(Pid);

impl Parent {
    /// Has the system send SIGUSR2 when it ends. None where no parent can be seen, as from a container's first process.
    pub(super) fn watch() -> std::io::Result<Option<Self>> {
        let Some(parent) = getppid() else { return Ok(None) };
        set_parent_process_death_signal(Some(Signal::USR2))?;
        Ok(Some(Parent(parent)))
    }

    /// Whether it has ended. The signal comes for a thread that ended, too, when that had started this process.
    pub(super) fn is_gone(self) -> bool {
        getppid() != Some(self.0)
    }
}
