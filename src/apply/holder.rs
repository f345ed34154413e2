//! Who holds a stack's lock: a name for people, and marks by which a later run on the same machine sees that the holder is dead.
//!
//! A process is named by four marks: the machine's boot, the namespace that its number belongs to, the number, and when it began. All
//! four together come once only. Whoever shares the first two asks the kernel whether the process still lives; for everybody else the
//! lock has to run out.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

/// The name of this run: user, machine and process, and the marks in square brackets.
pub(crate) fn name() -> String {
    let variable = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "somebody".to_owned());
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = if machine.trim().is_empty() { "unknown" } else { machine.trim() };
    let process = getpid().as_raw_pid();
    let began = began(getpid()).map_or_else(|| "-".to_owned(), |began| began.to_string());
    let here = Here::look();
    let (boot, namespace) =
        here.as_ref().map_or(("-", "-"), |here| (here.boot.as_str(), here.namespace.as_str()));
    // The time makes the name this run's alone: a process can have several, one after the other.
    let time = Timestamp::now().as_nanosecond();
    format!("{user}@{machine} (process {process}) [{boot} {namespace} {process} {began} {time}]")
}

/// The name without the marks.
pub(crate) fn shown(holder: &str) -> &str {
    holder.split_once(" [").map_or(holder, |(name, _)| name)
}

/// Whether the holder surely is a process of this machine that has ended. `false` also if nobody can tell.
pub(crate) fn is_dead(holder: &str) -> bool {
    let Some(here) = Here::look() else { return false };
    let marks = holder.rsplit_once('[').and_then(|(_, marks)| marks.strip_suffix(']')).unwrap_or_default();
    let marks: Vec<&str> = marks.split(' ').collect();
    let [boot, namespace, process, recorded, _] = marks.as_slice() else { return false };
    if *boot != here.boot || *namespace != here.namespace {
        return false;
    }
    let Some(process) = process.parse().ok().filter(|process| *process > 0).and_then(Pid::from_raw) else {
        return false;
    };
    match test_kill_process(process) {
        Err(Errno::SRCH) => true,
        // Process numbers come again; who may not be asked lives.
        _ => match (began(process), recorded.parse::<u64>()) {
            (Some(began), Ok(recorded)) => began != recorded,
            _ => false,
        },
    }
}

/// The marks that every process here shares.
struct Here {
    boot: String,
    namespace: String,
}

impl Here {
    fn look() -> Option<Self> {
        // A /proc of another process namespace speaks of other processes.
        let own = fs::read_link("/proc/self").ok()?;
        if own != Path::new(&getpid().as_raw_pid().to_string()) {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?.to_str()?.to_owned();
        let namespace = namespace.trim_start_matches("pid:[").trim_end_matches(']').to_owned();
        (!boot.is_empty() && !namespace.is_empty()).then_some(Self { boot, namespace })
    }
}

/// When the process began, in ticks since the boot: field 22 of proc(5)'s `stat`.
fn began(process: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid())).ok()?;
    // The second field is the program's name, which may hold spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_name_is_this_runs_alone() {
        let name = name();
        assert!(!is_dead(&name), "{name}");
        assert_ne!(name, super::name());
        assert!(shown(&name).ends_with(&format!("(process {})", std::process::id())), "{name}");
    }

    #[test]
    fn a_process_that_has_ended_is_dead_and_one_elsewhere_may_live() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let here = Here::look().unwrap();
        let began = began(Pid::from_child(&child)).unwrap();
        let holder = |boot: &str, namespace: &str, began: u64| {
            format!("a@b (process {0}) [{boot} {namespace} {0} {began} 1]", child.id())
        };
        let ours = holder(&here.boot, &here.namespace, began);
        let number_came_again = holder(&here.boot, &here.namespace, began - 1);
        let elsewhere = [holder("another", &here.namespace, began), holder(&here.boot, "1", began)];
        assert!(!is_dead(&ours));
        assert!(is_dead(&number_came_again));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_dead(&ours));
        assert!(elsewhere.iter().all(|holder| !is_dead(holder)));
    }

    #[test]
    fn names_of_other_forms_may_live() {
        let Here { boot, namespace } = Here::look().unwrap();
        for holder in ["", "ci", "a@b (process 1, 5)", "[", "[]", "[a b c d e]", "x [1 2 3]"] {
            assert!(!is_dead(holder), "{holder}");
        }
        for process in ["0", "-1", "x", "99999999999999999999", ""] {
            assert!(!is_dead(&format!("a@b [{boot} {namespace} {process} 1 1]")), "{process}");
        }
    }
}
