//! What the API tells about the process and the machine, from `/proc`. What can't be read is 0.

use std::fs::read_to_string;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::disk::{Disks, Rates};

/// Ticks of the clock that /proc counts CPU time in.
const TICKS: f64 = 100.0;

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// The fields of /proc/self/stat behind the name, from `state` on.
fn self_stat() -> Vec<i64> {
    let text = read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect()
}

/// The numbers of the line `cpu` of /proc/stat.
fn cpu_times() -> Vec<u64> {
    let text = read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect()
}

/// A value of /proc/meminfo in kB.
fn meminfo(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(':'));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Shares of CPU since the last question.
#[derive(Debug, Default)]
pub(super) struct Usage {
    cpu: Mutex<Option<Sample>>,
    disks: Disks,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    /// CPU seconds of the process.
    own: f64,
    /// The machine's times.
    times: Vec<u64>,
    shares: (f64, f64),
}

impl Usage {
    /// How busy the disks of those names were.
    pub(super) fn disks(&self, names: &[String]) -> Rates {
        self.disks.rates(names)
    }

    /// The process's and the machine's CPU share, where 1.0 is one core and all cores.
    pub(super) fn share(&self) -> (f64, f64) {
        let stat = self_stat();
        let used = (stat.get(11).unwrap_or(&0) + stat.get(12).unwrap_or(&0)) as f64 / TICKS;
        let times = cpu_times();
        let mut last = self.cpu.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        if let Some(Sample { at, own, times: times_before, shares }) = &*last {
            let elapsed = now.duration_since(*at);
            if elapsed < Duration::from_secs(1) {
                return *shares;
            }
            let total = |times: &[u64]| times.iter().take(8).sum::<u64>() as f64;
            let idle = |times: &[u64]| times.iter().skip(3).take(2).sum::<u64>() as f64;
            let all = (total(&times) - total(times_before)).max(1.0);
            let busy = 1.0 - (idle(&times) - idle(times_before)) / all;
            let shares = ((used - own) / elapsed.as_secs_f64(), busy.clamp(0.0, 1.0));
            *last = Some(Sample { at: now, own: used, times, shares });
            return shares;
        }
        *last = Some(Sample { at: now, own: used, times, shares: (0.0, 0.0) });
        (0.0, 0.0)
    }
}

/// Counters of a table of sockets: all of them, established, waiting to be forgotten.
fn sockets(path: &str) -> (u64, u64, u64) {
    let text = read_to_string(path).unwrap_or_default();
    let states = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3));
    states.fold((0, 0, 0), |(all, established, waiting), state| {
        (all + 1, established + u64::from(state == "01"), waiting + u64::from(state == "06"))
    })
}

/// Resident memory in kB.
pub(super) fn resident_kb() -> u64 {
    let text = read_to_string("/proc/self/status").unwrap_or_default();
    meminfo(&text, "VmRSS")
}

/// The data of `summaries`.
pub(super) fn summaries(
    version: &str,
    uptime: u64,
    usage: &Usage,
    disks: Rates,
    traffic: (u64, u64),
    clients: usize,
) -> Value {
    let (own, all) = usage.share();
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo(&memory, "MemTotal").max(1);
    let free = meminfo(&memory, "MemFree") + meminfo(&memory, "Buffers") + meminfo(&memory, "Cached");
    let (swap, swap_free) = (meminfo(&memory, "SwapTotal"), meminfo(&memory, "SwapFree"));
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<f64> = load.split_whitespace().take(3).map(|field| field.parse().unwrap_or(0.0)).collect();
    let up = read_to_string("/proc/uptime").unwrap_or_default();
    let up: Vec<f64> = up.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let resident = resident_kb();
    let args: Vec<String> = std::env::args().collect();
    let (tcp, established, waiting) = sockets("/proc/net/tcp");
    let (udp, _, _) = sockets("/proc/net/udp");
    let now = now_ms();
    let (net_recv, net_send) = network();
    json!({
        "ok": true,
        "now_ms": now,
        "self": {
            "version": version,
            "pid": std::process::id(),
            "ppid": rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get()),
            "argv": args.join(" "),
            "cwd": std::env::current_dir().unwrap_or_default(),
            "mem_kbyte": resident,
            "mem_percent": round(resident as f64 / total as f64),
            "cpu_percent": round(own),
            "srs_uptime": uptime,
        },
        "system": {
            "cpu_percent": round(all),
            "disk_read_KBps": disks.read,
            "disk_write_KBps": disks.write,
            "disk_busy_percent": round(disks.busy),
            "mem_ram_kbyte": total,
            "mem_ram_percent": round((total - free.min(total)) as f64 / total as f64),
            "mem_swap_kbyte": swap,
            "mem_swap_percent": round(if swap == 0 { 0.0 } else { (swap - swap_free) as f64 / swap as f64 }),
            "cpus": cpus,
            "cpus_online": cpus,
            "uptime": up.first().copied().unwrap_or(0.0),
            // SRS's spelling.
            "ilde_time": up.get(1).copied().unwrap_or(0.0),
            "load_1m": load.first().copied().unwrap_or(0.0),
            "load_5m": load.get(1).copied().unwrap_or(0.0),
            "load_15m": load.get(2).copied().unwrap_or(0.0),
            "net_sample_time": now,
            "net_recv_bytes": net_recv,
            "net_send_bytes": net_send,
            "net_recvi_bytes": net_recv,
            "net_sendi_bytes": net_send,
            "srs_sample_time": now,
            "srs_recv_bytes": traffic.0,
            "srs_send_bytes": traffic.1,
            "conn_sys": tcp,
            "conn_sys_et": established,
            "conn_sys_tw": waiting,
            "conn_sys_udp": udp,
            "conn_srs": clients,
        },
    })
}

fn round(share: f64) -> f64 {
    (share * 100.0).round() / 100.0
}

/// Bytes received and sent by all interfaces but the loopback.
fn network() -> (u64, u64) {
    let text = read_to_string("/proc/net/dev").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    lines.fold((0, 0), |(recv, send), (_, fields)| {
        let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        (recv + fields.first().unwrap_or(&0), send + fields.get(8).unwrap_or(&0))
    })
}

/// The data of `meminfos`.
pub(super) fn meminfos() -> Value {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let get = |name| meminfo(&text, name);
    let (total, free, buffers, cached) =
        (get("MemTotal").max(1), get("MemFree"), get("Buffers"), get("Cached"));
    let not_in_use = free + buffers + cached;
    let used = total - not_in_use.min(total);
    let (swap, swap_free) = (get("SwapTotal"), get("SwapFree"));
    json!({
        "ok": true,
        "sample_time": now_ms(),
        "percent_ram": round(used as f64 / total as f64),
        "percent_swap": round(if swap == 0 { 0.0 } else { (swap - swap_free) as f64 / swap as f64 }),
        "MemActive": get("Active"),
        "RealInUse": used,
        "NotInUse": not_in_use,
        "MemTotal": total,
        "MemFree": free,
        "Buffers": buffers,
        "Cached": cached,
        "SwapTotal": swap,
        "SwapFree": swap_free,
    })
}

/// The data of `rusages`; the counters that Linux does not keep are 0 in SRS too.
pub(super) fn rusages() -> Value {
    let stat = self_stat();
    let at = |index: usize| stat.get(index).copied().unwrap_or(0);
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    json!({
        "ok": true,
        "sample_time": now_ms(),
        "ru_utime": at(11) / 100,
        "ru_stime": at(12) / 100,
        "ru_maxrss": meminfo(&status, "VmHWM"),
        "ru_ixrss": 0,
        "ru_idrss": 0,
        "ru_isrss": 0,
        "ru_minflt": at(7),
        "ru_majflt": at(9),
        "ru_nswap": 0,
        "ru_inblock": 0,
        "ru_oublock": 0,
        "ru_msgsnd": 0,
        "ru_msgrcv": 0,
        "ru_nsignals": 0,
        "ru_nvcsw": meminfo(&status, "voluntary_ctxt_switches"),
        "ru_nivcsw": meminfo(&status, "nonvoluntary_ctxt_switches"),
    })
}

/// The data of `self_proc_stats`.
pub(super) fn self_proc_stats(usage: &Usage) -> Value {
    const NAMES: [&str; 42] = [
        "ppid",
        "pgrp",
        "session",
        "tty_nr",
        "tpgid",
        "flags",
        "minflt",
        "cminflt",
        "majflt",
        "cmajflt",
        "utime",
        "stime",
        "cutime",
        "cstime",
        "priority",
        "nice",
        "num_threads",
        "itrealvalue",
        "starttime",
        "vsize",
        "rss",
        "rsslim",
        "startcode",
        "endcode",
        "startstack",
        "kstkesp",
        "kstkeip",
        "signal",
        "blocked",
        "sigignore",
        "sigcatch",
        "wchan",
        "nswap",
        "cnswap",
        "exit_signal",
        "processor",
        "rt_priority",
        "policy",
        "delayacct_blkio_ticks",
        "guest_time",
        "cguest_time",
        "",
    ];
    let stat = self_stat();
    let mut data = json!({
        "ok": true,
        "sample_time": now_ms(),
        "percent": round(usage.share().0),
        "pid": std::process::id(),
        "comm": "(srs)",
        "state": "R",
    });
    for (index, name) in NAMES.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        data[*name] = json!(stat.get(index + 1).copied().unwrap_or(0));
    }
    data
}

/// The data of `system_proc_stats`.
pub(super) fn system_proc_stats(usage: &Usage) -> Value {
    let times = cpu_times();
    let mut data = json!({ "ok": true, "sample_time": now_ms(), "percent": round(usage.share().1) });
    let names = ["user", "nice", "sys", "idle", "iowait", "irq", "softirq", "steal", "guest"];
    for (index, name) in names.into_iter().enumerate() {
        data[name] = json!(times.get(index).copied().unwrap_or(0));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let text = "MemTotal:   24684092 kB\nMemFree:  5 kB\nActive(anon): 7 kB\nActive: 9 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), 24_684_092);
        assert_eq!(meminfo(text, "Active"), 9);
        assert_eq!(meminfo(text, "Nothing"), 0);
    }
}
