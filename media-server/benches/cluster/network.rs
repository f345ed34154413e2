//! Hosts on one machine: network namespaces around a router, whose rules can make packets of a host vanish.
//!
//! A namespace belongs to a thread and to what that thread starts; it has no name, and is gone with them however the
//! program ends.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};

use crate::Failure;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own.
#[derive(Debug)]
struct Room {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    namespace: File,
}

impl Room {
    fn new() -> Result<Self, Failure> {
        let (jobs, inbox) = channel::<Job>();
        let (answer, namespace) = channel();
        let thread = std::thread::spawn(move || {
            let entered = unshare(CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from);
            let _ = answer.send(entered.and_then(|()| File::open("/proc/thread-self/ns/net")));
            for job in inbox {
                job();
            }
        });
        let namespace = namespace.recv()?.map_err(|error| format!("no network namespace: {error}"))?;
        Ok(Room { jobs: Some(jobs), thread: Some(thread), namespace })
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let (sender, answer) = channel();
        let job: Job = Box::new(move || {
            let _ = sender.send(job());
        });
        let jobs = self.jobs.as_ref().ok_or("the namespace is gone")?;
        jobs.send(job).map_err(|_| "the namespace is gone")?;
        Ok(answer.recv()?)
    }

    fn ip(&self, arguments: &str) -> Result<(), Failure> {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output = Command::new("ip").args(arguments.split_whitespace()).output()?;
            if output.status.success() {
                return Ok(());
            }
            Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr)).into())
        })?
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The router and its hosts.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Room>,
    router: Room,
}

/// A host, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host(usize);

impl Host {
    /// Its address.
    pub fn ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, u8::try_from(self.0).unwrap_or(u8::MAX), 2)
    }

    /// A port of it.
    pub fn port(self, port: u16) -> SocketAddr {
        SocketAddr::from((self.ip(), port))
    }
}

impl Network {
    /// A router without hosts. Needs root; what it runs is installed where it is missing.
    pub fn new() -> Result<Self, Failure> {
        debian_packages::ensure(&["iproute2"])?;
        let router = Room::new()?;
        router.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        Ok(Network { hosts: Vec::new(), router })
    }

    /// One more host, which reaches all others.
    pub fn host(&mut self) -> Result<Host, Failure> {
        let (room, number) = (Room::new()?, self.hosts.len());
        let namespace = format!("/proc/{}/fd/{}", std::process::id(), room.namespace.as_raw_fd());
        self.router.ip(&format!("link add h{number} type veth peer name eth0 netns {namespace}"))?;
        self.router.ip(&format!("addr add 10.9.{number}.1/24 dev h{number}"))?;
        self.router.ip(&format!("link set h{number} up"))?;
        room.ip("link set lo up")?;
        room.ip(&format!("addr add 10.9.{number}.2/24 dev eth0"))?;
        room.ip("link set eth0 up")?;
        room.ip(&format!("route add default via 10.9.{number}.1"))?;
        self.hosts.push(room);
        Ok(Host(number))
    }

    /// From now on no packet from or to this host arrives, and nobody is told.
    pub fn black_hole(&self, host: Host) -> Result<(), Failure> {
        self.rules("add", host)
    }

    /// Packets arrive again.
    pub fn mend(&self, host: Host) -> Result<(), Failure> {
        self.rules("del", host)
    }

    fn rules(&self, verb: &str, host: Host) -> Result<(), Failure> {
        for direction in ["from", "to"] {
            self.router.ip(&format!("rule {verb} {direction} {} blackhole", host.ip()))?;
        }
        Ok(())
    }

    /// Does something on a host; what is started there stays there, and ends with the host at the latest.
    pub fn on<T: Send + 'static>(
        &self,
        host: Host,
        job: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.hosts.get(host.0).ok_or("there is no such host")?.run(job)?
    }
}
