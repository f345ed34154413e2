//! Up, down and status, as seen from outside.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    certificates::{self, ADMINISTRATORS, Authority},
    cgroups, command,
    description::{Description, Ends, KUBERNETES_SERVICE, NODE_ADDRESS, NODE_NAME, Tier, free_place},
    error::{Error, Result, at},
    lock, packages, paths,
    paths::ClusterDir,
    processes,
    programs::Programs,
};

/// How long a cluster may take to start; warm starts take a few seconds.
const START: Duration = Duration::from_mins(2);
/// How long the kernel may take to end a cluster's processes.
const END: Duration = Duration::from_secs(30);

/// A cluster to start.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) tier: Tier,
    pub(crate) ends: Ends,
}

/// A cluster that runs.
#[derive(Debug, Clone)]
pub struct Running {
    pub(crate) dir: ClusterDir,
    pub(crate) description: Description,
}

impl Running {
    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// How much of Kubernetes runs.
    pub fn tier(&self) -> Tier {
        self.description.tier
    }

    /// The cluster's folder.
    pub fn dir(&self) -> &ClusterDir {
        &self.dir
    }

    /// The API server's address outside.
    pub fn server(&self) -> String {
        format!("https://{}", self.description.api_outside())
    }

    /// `kubectl` for this cluster as its administrator.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(self.description.programs().path("kubectl"));
        kubectl.env("KUBECONFIG", self.dir.kubeconfig());
        // Its own would mix up clusters that had the same port one after the other.
        kubectl.env("KUBECACHEDIR", self.dir.path().join("kubectl"));
        kubectl
    }

    /// Loads images into the node's containerd: an OCI layout (or a Docker archive) as a tar file.
    ///
    /// # Errors
    /// The cluster has no node, or containerd refuses the file.
    pub fn load_image(&self, tar: &Path) -> Result<String> {
        if self.tier() == Tier::ControlPlane {
            return Err(Error::Command {
                command: format!("load {}", tar.display()),
                detail: format!(
                    "cluster `{}` has no node that could hold images (tier control-plane)",
                    self.name()
                ),
            });
        }
        command::run(
            Command::new("ctr")
                .arg("--address")
                .arg(self.dir.containerd_socket())
                .args(["--namespace", "k8s.io", "images", "import", "--all-platforms"])
                .arg(tar),
        )
    }
}

/// What is known of a cluster.
#[derive(Debug)]
pub enum Status {
    /// It is up.
    Running(Running),
    /// Its first process runs, and not everything has answered yet.
    Starting(ClusterDir),
    /// It was started and does not run: its first process has ended or never came up.
    Stopped(ClusterDir),
    /// There is nothing of that name.
    Absent,
}

/// The state of one cluster.
pub fn status(name: &str) -> Result<Status> {
    let dir = ClusterDir::of(name)?;
    if !dir.path().exists() {
        return Ok(Status::Absent);
    }
    Ok(match Description::read(&dir)? {
        _ if !is_alive(&dir) => Status::Stopped(dir),
        Some(description) if dir.ready().exists() => Status::Running(Running { dir, description }),
        _ => Status::Starting(dir),
    })
}

/// The running cluster of that name.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn running(name: &str) -> Result<Running> {
    match status(name)? {
        Status::Running(running) => Ok(running),
        Status::Starting(_) | Status::Stopped(_) | Status::Absent => Err(Error::NotRunning(name.to_owned())),
    }
}

/// The names of this user's clusters.
pub fn names() -> Result<Vec<String>> {
    let base = paths::clusters()?;
    let mut names: Vec<String> = fs::read_dir(&base)
        .map_err(at("read", &base))?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| ClusterDir::of(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

fn is_alive(dir: &ClusterDir) -> bool {
    !processes::with_role(processes::INIT, dir.path()).is_empty()
}

/// Starts the cluster unless it runs. `exe` is the program `cluster`, which becomes the cluster's first process.
/// What a dead cluster of that name left is removed first. `meanwhile` is called under the cluster's lock, once it runs.
pub(crate) fn up<T>(
    wanted: &Wanted,
    exe: &dyn Fn() -> Result<PathBuf>,
    meanwhile: impl FnOnce(&Running) -> Result<T>,
) -> Result<(Running, T)> {
    let dir = ClusterDir::of(&wanted.name)?;
    if wanted.tier == Tier::Node {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NeedsRoot("a cluster with a real node"));
        }
        packages::ensure(packages::NODE)?;
    }
    let programs = Programs::ensure()?;
    let _lock = lock::exclusive(&dir.lock())?;
    let running = match status(&wanted.name)? {
        Status::Running(running) => running,
        // Whoever was starting it is gone, since this holds the lock.
        Status::Starting(_) | Status::Stopped(_) => {
            remove(&dir)?;
            start(&dir, wanted, &programs, &exe()?)?
        }
        Status::Absent => start(&dir, wanted, &programs, &exe()?)?,
    };
    if running.tier() != wanted.tier {
        return Err(Error::OtherTier { name: wanted.name.clone(), is: running.tier(), wanted: wanted.tier });
    }
    let result = meanwhile(&running)?;
    Ok((running, result))
}

/// Ends the cluster and removes all that it left; true when there was something.
pub fn down(name: &str) -> Result<bool> {
    let dir = ClusterDir::of(name)?;
    // Processes may be there even when somebody removed the folder.
    if !dir.path().exists() && !is_alive(&dir) {
        return Ok(false);
    }
    let _lock = lock::exclusive(&dir.lock())?;
    remove(&dir)?;
    Ok(true)
}

/// Removes whatever there is of the cluster; the caller holds its lock. Whatever died before, this ends with nothing
/// left or with an error that names what is.
pub(crate) fn remove(dir: &ClusterDir) -> Result<()> {
    let name = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let cgroups: BTreeSet<String> = processes::with_role(processes::INIT, dir.path())
        .into_iter()
        .filter_map(processes::cgroup)
        .chain(Description::read(dir).ok().flatten().map(|description| description.cgroup()))
        .collect();
    // The guardian first: it would clean up as well once its init is gone.
    for role in [processes::GUARDIAN, processes::INIT] {
        processes::end(&name, role, END, || processes::with_role(role, dir.path()))?;
    }
    remove_remains(&name, dir, &cgroups)
}

/// What is left once init is gone: processes outside a PID namespace, cgroups and files.
pub(crate) fn remove_remains(name: &str, dir: &ClusterDir, cgroups: &BTreeSet<String>) -> Result<()> {
    for cgroup in cgroups {
        cgroups::remove(name, cgroup, END)?;
    }
    let programs = paths::programs()?;
    processes::end(name, "a program", END, || processes::running_in(dir.path(), &programs))?;
    match fs::remove_dir_all(dir.path()) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at("remove", dir.path())(error)),
        _ => {
            // Holders of the lock compare the file they locked with the one of that name.
            let _ = fs::remove_file(dir.lock());
            Ok(())
        }
    }
}

fn start(dir: &ClusterDir, wanted: &Wanted, programs: &Programs, exe: &Path) -> Result<Running> {
    let description = make(dir, wanted, programs)?;
    let log = dir.log(processes::GUARDIAN);
    let log_file = fs::File::create(&log).map_err(at("create", &log))?;
    let mut child = Command::new(exe)
        .arg(processes::GUARDIAN)
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log_file)
        .spawn()
        .map_err(|source| Error::Command {
            command: exe.display().to_string(),
            detail: source.to_string(),
        })?;
    if let Err(error) = wait_ready(dir, &wanted.name, &mut child) {
        // A test's cluster is nobody's to look into afterwards; the error carries the logs' last lines.
        if matches!(wanted.ends, Ends::WhenIdle(_)) {
            remove(dir)?;
        }
        return Err(error);
    }
    // The guardian outlives this process most of the time; when it does not, it must not stay as a zombie.
    std::thread::spawn(move || child.wait());
    Ok(Running { dir: dir.clone(), description })
}

/// Writes the cluster's folder: description, certificates, kubeconfigs.
fn make(dir: &ClusterDir, wanted: &Wanted, programs: &Programs) -> Result<Description> {
    // Two clusters that start at the same time must not choose the same place.
    let base = paths::clusters()?;
    let place_lock = lock::exclusive(&base.join("places.lock"))?;
    let mut taken = Vec::new();
    for name in names()? {
        if let Ok(Some(other)) = Description::read(&ClusterDir::of(&name)?) {
            taken.push(other.place);
        }
    }
    let description = Description {
        name: wanted.name.clone(),
        tier: wanted.tier,
        place: free_place(&taken)?,
        ends: wanted.ends,
        programs: programs.dir().to_owned(),
    };
    for folder in
        [dir.path().to_owned(), dir.logs(), dir.pki(), dir.conf(), dir.users(), dir.etcd(), dir.cni()]
    {
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
    }
    description.write(dir)?;
    drop(place_lock);

    let pki = dir.pki();
    let authority = Authority::create(&pki)?;
    certificates::write_service_account_keys(&pki)?;
    let addresses: Vec<IpAddr> =
        vec![description.api_outside().ip(), NODE_ADDRESS.into(), KUBERNETES_SERVICE.into()];
    let server =
        authority.issue("kube-apiserver", &[ADMINISTRATORS], &certificates::api_server_hosts(&addresses))?;
    certificates::write_identity(&pki, "kube-apiserver", &server)?;
    let node = authority.issue(
        &format!("system:node:{NODE_NAME}"),
        &["system:nodes"],
        &[NODE_NAME.to_owned(), NODE_ADDRESS.to_string()],
    )?;
    certificates::write_identity(&pki, "kubelet", &node)?;

    let context = &description.name;
    let admin = authority.issue("admin", &[ADMINISTRATORS], &[])?;
    let outside = authority.kubeconfig(context, description.api_outside(), &admin);
    certificates::write_private(&dir.kubeconfig(), &outside)?;
    let inside = [
        ("kube-controller-manager", "system:kube-controller-manager", None),
        ("kube-scheduler", "system:kube-scheduler", None),
        ("kube-proxy", "system:kube-proxy", None),
        ("coredns", "coredns", Some(ADMINISTRATORS)),
        ("kwok", "kwok", Some(ADMINISTRATORS)),
        ("init", "init", Some(ADMINISTRATORS)),
        // On ACK this service account's token; to the API server it is the user's name that counts.
        ("cloud-controller-manager", crate::cloud::USER, Some(ADMINISTRATORS)),
    ];
    for (program, user, group) in inside {
        let identity = authority.issue(user, group.as_slice(), &[])?;
        let text = authority.kubeconfig(context, description.api_inside(), &identity);
        certificates::write_private(&dir.conf().join(format!("{program}.kubeconfig")), &text)?;
    }
    let text = authority.kubeconfig(context, description.api_inside(), &node);
    certificates::write_private(&dir.conf().join("kubelet.kubeconfig"), &text)?;
    Ok(description)
}

/// Waits until init says that everything answers.
fn wait_ready(dir: &ClusterDir, name: &str, guardian: &mut Child) -> Result<()> {
    let until = Instant::now() + START;
    loop {
        if dir.ready().exists() {
            return Ok(());
        }
        let ended = guardian.try_wait().map_err(|source| Error::Command {
            command: processes::GUARDIAN.to_owned(),
            detail: source.to_string(),
        })?;
        let late = Instant::now() >= until;
        if ended.is_some() || late {
            let reason = match ended {
                Some(status) => format!("its first process ended ({status})"),
                None => format!("not everything answered within {} s", START.as_secs()),
            };
            return Err(Error::Start { name: name.to_owned(), reason, log: start_log(dir) });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the cluster's own processes said last.
fn start_log(dir: &ClusterDir) -> String {
    [processes::GUARDIAN, processes::INIT]
        .iter()
        .filter_map(|program| fs::read_to_string(dir.log(program)).ok())
        .map(|text| command::last_lines(&text, 15))
        .filter(|text| !text.is_empty())
        .chain([format!("(logs: {})", dir.logs().display())])
        .collect::<Vec<_>>()
        .join("\n")
}
