//! Clusters for tests: one that many test binaries share, or one of a test's own.
//!
//! ```no_run
//! use cluster::{Tier, testing::TestCluster};
//!
//! let cluster = TestCluster::shared(Tier::Node)?;
//! let namespace = cluster.namespace("greets")?;
//! namespace.kubectl(["create", "configmap", "a"])?;
//! assert!(namespace.requests()?.iter().any(|request| request.is_write()));
//! # Ok::<(), cluster::Error>(())
//! ```
//!
//! All functions block and none needs an async runtime; they may be called within one.

use std::{
    ffi::OsStr,
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use crate::{
    audit,
    certificates::{self, ADMINISTRATORS, Authority},
    cloud, command,
    description::{Ends, Tier},
    error::{Error, Result, at},
    lifecycle::{self, Running, Wanted},
    lock,
    programs::{self, hex},
};

/// How long a cluster that a test started stays when nobody uses it.
const IDLE: Duration = Duration::from_mins(3);

/// A cluster that a test uses. It stays for as long as somebody holds one of these, and some minutes longer; one of a
/// test's own ends with it.
#[derive(Debug)]
pub struct TestCluster {
    running: Running,
    /// Held so that the cluster does not end itself.
    _holder: fs::File,
    own: bool,
}

impl TestCluster {
    /// The cluster of this tier that all tests of this version of the source share; started when it does not run.
    ///
    /// # Errors
    /// It cannot be started; for [`Tier::Node`] only root may.
    pub fn shared(tier: Tier) -> Result<Self> {
        Self::start(format!("test-{tier}-{}", fingerprint()?), tier, IDLE, false)
    }

    /// A cluster that nobody else uses; ends when this is dropped.
    ///
    /// # Errors
    /// It cannot be started; for [`Tier::Node`] only root may.
    pub fn own(tier: Tier) -> Result<Self> {
        Self::own_with_idle(tier, IDLE)
    }

    /// As [`TestCluster::own`]; when the test is killed, the cluster ends itself after `idle` (whole seconds).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn own_with_idle(tier: Tier, idle: Duration) -> Result<Self> {
        Self::start(format!("own-{}", unique()), tier, idle, true)
    }

    fn start(name: String, tier: Tier, idle: Duration, own: bool) -> Result<Self> {
        let wanted = Wanted { name, tier, ends: Ends::WhenIdle(idle.as_secs()) };
        let hold = |running: &Running| lock::shared(&running.dir.holders());
        let (running, holder) = lifecycle::up(&wanted, &build_command, hold)?;
        Ok(Self { running, _holder: holder, own })
    }

    /// Gives the cluster up without ending it; it ends itself once nobody holds it. Returns its name.
    pub fn leave(mut self) -> String {
        self.own = false;
        self.running.name().to_owned()
    }

    /// A fresh Kubernetes namespace with a user of its own. `label` begins its name.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn namespace(&self, label: &str) -> Result<TestNamespace> {
        let name = format!("{label}-{}", unique());
        let user = format!("test:{name}");
        let kubeconfig = self.user(&user, Some(ADMINISTRATORS), &name)?;
        command::run(self.running.kubectl().args(["create", "namespace", &name]))?;
        Ok(TestNamespace { name, user, kubeconfig, running: self.running.clone() })
    }

    /// A kubeconfig for a user of this name in one group or in none; without a group, the user has the rights that a
    /// test binds to the name. `namespace` is the context's.
    ///
    /// # Errors
    /// The cluster's authority cannot be read.
    pub fn user(&self, name: &str, group: Option<&str>, namespace: &str) -> Result<PathBuf> {
        self.running.user(name, group, namespace)
    }
}

impl TestCluster {
    /// A kubeconfig for a user whose client certificate ran out long ago.
    ///
    /// # Errors
    /// The cluster's authority cannot be read.
    pub fn expired_user(&self, name: &str) -> Result<PathBuf> {
        let authority = Authority::read(&self.running.dir.pki())?;
        let identity = authority.issue_expired(name)?;
        let text = authority.kubeconfig(self.name(), self.running.description.api_outside(), &identity);
        let path = self.running.dir.users().join(format!("{}.kubeconfig", name.replace([':', '/'], "-")));
        certificates::write_private(&path, &text)?;
        Ok(path)
    }
}

impl Deref for TestCluster {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if self.own
            && let Err(error) = lifecycle::down(self.running.name())
        {
            crate::progress::say(&format!("a test's cluster stays behind: {error}"));
        }
    }
}

impl Running {
    fn user(&self, name: &str, group: Option<&str>, namespace: &str) -> Result<PathBuf> {
        let authority = Authority::read(&self.dir.pki())?;
        let identity = authority.issue(name, group.as_slice(), &[])?;
        let text = authority.kubeconfig(self.name(), self.description.api_outside(), &identity);
        // The context's namespace, so that commands without one mean the test's.
        let text = text.replace(
            &format!("    user: {}\n", self.name()),
            &format!("    user: {}\n    namespace: {namespace}\n", self.name()),
        );
        let path = self.dir.users().join(format!("{}.kubeconfig", name.replace([':', '/'], "-")));
        certificates::write_private(&path, &text)?;
        Ok(path)
    }

    /// Makes the cloud slow or failing towards the Services of one namespace; `None` makes it well again.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn set_cloud_faults(&self, namespace: &str, faults: Option<&cloud::CloudFaults>) -> Result<()> {
        let value = faults.map(|faults| serde_json::to_string(faults).unwrap_or_default());
        let patch = serde_json::json!({ "data": { namespace: value } }).to_string();
        command::run(
            self.kubectl()
                .args(["--namespace", cloud::NAMESPACE, "patch", "configmap", cloud::CONFIG_MAP])
                .args(["--type=merge", "--patch", &patch]),
        )
        .map(drop)
    }

    /// All requests of a user up to now, from the audit log.
    ///
    /// # Errors
    /// See [`audit::requests`].
    pub fn requests_of(&self, user: &str) -> Result<Vec<audit::Request>> {
        audit::requests(&self.dir, user)
    }
}

/// A Kubernetes namespace of one test and the user who works in it. Deleted when dropped.
#[derive(Debug)]
pub struct TestNamespace {
    name: String,
    user: String,
    kubeconfig: PathBuf,
    running: Running,
}

impl TestNamespace {
    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's name, as it stands in the audit log.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user's kubeconfig: may do everything; its context is named like the cluster and has this namespace.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl as this user and in this namespace.
    pub fn kubectl_command(&self) -> Command {
        let mut kubectl = self.running.kubectl();
        kubectl.env("KUBECONFIG", &self.kubeconfig);
        kubectl
    }

    /// Runs kubectl as this user and in this namespace; returns what it printed.
    ///
    /// # Errors
    /// kubectl failed; the error carries its words.
    pub fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        command::run(self.kubectl_command().args(arguments))
    }

    /// Applies a manifest (YAML or JSON, one or many).
    ///
    /// # Errors
    /// kubectl failed; the error carries its words.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let path = self.kubeconfig.with_extension("yaml");
        fs::write(&path, manifest).map_err(at("write", &path))?;
        let applied = self.kubectl([OsStr::new("apply"), OsStr::new("--filename"), path.as_os_str()]);
        let _ = fs::remove_file(&path);
        applied
    }

    /// All requests of this user up to now, from the audit log.
    ///
    /// # Errors
    /// See [`audit::requests`].
    pub fn requests(&self) -> Result<Vec<audit::Request>> {
        self.running.requests_of(&self.user)
    }

    /// Makes the cloud slow or failing towards this namespace's Services; `None` makes it well again.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn set_cloud_faults(&self, faults: Option<&cloud::CloudFaults>) -> Result<()> {
        self.running.set_cloud_faults(&self.name, faults)
    }

    /// The first load balancer address of a Service of this namespace, once it has one.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `within`.
    pub fn load_balancer(&self, service: &str, within: Duration) -> Result<String> {
        let path = "jsonpath={.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}";
        wait_for(&format!("an address for Service {service}"), within, || {
            let address = self.kubectl(["get", "service", service, "--output", path])?;
            Ok(Some(address).filter(|address| !address.is_empty()))
        })
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        // What is left goes with the cluster.
        let delete = ["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"];
        let _ = command::run(self.running.kubectl().args(delete));
        let _ = self.set_cloud_faults(None);
        let _ = fs::remove_file(&self.kubeconfig);
    }
}

/// Asks every 50 ms until there is an answer.
///
/// # Errors
/// `ask` failed, or [`Error::Timeout`].
pub fn wait_for<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + within;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= until {
            return Err(Error::Timeout { what: what.to_owned(), seconds: within.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Something that no other process and no earlier call has.
fn unique() -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    hex(&Sha256::digest(format!("{}/{call}/{now}", std::process::id()))[..4])
}

/// A digest of this crate's source and of the programs: tests of different checkouts share a cluster only when it
/// would be the same one.
fn fingerprint() -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(programs::key());
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    for file in files {
        digest.update(fs::read(&file).map_err(at("read", file))?);
    }
    Ok(hex(&digest.finalize()[..4]))
}

/// The program `cluster`, built beside the test that runs.
///
/// Cargo builds a package's programs for that package's own tests only, so tests of other packages ask for it here.
fn build_command() -> Result<PathBuf> {
    let test = std::env::current_exe().map_err(at("find", "this program"))?;
    // …/target/PROFILE/deps/test-… or …/target/PROFILE/program
    let profile = test
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps") && !folder.ends_with("examples"))
        .unwrap_or(&test);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--package", "cluster", "--bin", "cluster"])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    if let Some(target) = profile.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    forget_this_test(&mut cargo);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    command::run(&mut cargo)?;
    Ok(profile.join("cluster"))
}

/// Takes out of a command's environment what cargo tells the test that runs: a cargo that the command starts would take
/// it for a change of what build scripts look at, and build everything again.
pub fn forget_this_test(command: &mut Command) {
    let about_this_test = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if about_this_test.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
}
