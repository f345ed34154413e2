//! Which cluster, and as whom: the kubeconfig by kubectl's rules, or the pod's own service account.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::ClusterError;
use super::certificate::ClientCertificate;

/// Where to connect to.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// This kubeconfig alone. `None`: the files that `KUBECONFIG` lists, else `~/.kube/config`, else the service account of the pod we run in.
    pub kubeconfig: Option<PathBuf>,
    /// This context. `None`: the kubeconfig's `current-context`.
    pub context: Option<String>,
}

impl ConnectOptions {
    /// The namespace that the context names, `default` if it names none. Asks no server; without a kubeconfig it is `default` too.
    ///
    /// # Errors
    /// [`ClusterError::Config`] for a broken kubeconfig or an unknown context.
    pub fn namespace(&self) -> Result<String, ClusterError> {
        let (paths, _) = paths(self);
        let found: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
        if found.is_empty() {
            return Ok(DEFAULT_NAMESPACE.to_owned());
        }
        let kubeconfig = read(&found)?;
        let name = context(&kubeconfig, self.context.as_deref(), &list(&found))?;
        let chosen = kubeconfig.contexts.iter().find(|context| context.name == name);
        let namespace = chosen.and_then(|context| context.context.as_ref()?.namespace.clone());
        Ok(namespace.filter(|name| !name.is_empty()).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()))
    }
}

/// The files merged, as kubectl does.
fn read(paths: &[&PathBuf]) -> Result<Kubeconfig, ClusterError> {
    let mut kubeconfig = Kubeconfig::default();
    for path in paths {
        kubeconfig = Kubeconfig::read_from(path)
            .and_then(|next| kubeconfig.merge(next))
            .map_err(|error| unusable(&path.display().to_string(), &error))?;
    }
    Ok(kubeconfig)
}

/// What a kubeconfig says about one context.
pub(super) struct Entry {
    /// The context's name; `in-cluster` inside a pod.
    pub(super) context: String,
    /// Address, certificates and credentials.
    pub(super) config: Config,
    /// The user's client certificate, if it has one.
    pub(super) certificate: Option<ClientCertificate>,
}

/// Where objects go when nobody names a namespace.
const DEFAULT_NAMESPACE: &str = "default";
const IN_CLUSTER: &str = "in-cluster";

/// Reads the kubeconfig and picks the context.
pub(super) async fn load(options: &ConnectOptions) -> Result<Entry, ClusterError> {
    let (paths, chosen_by) = paths(options);
    let found: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
    let files = list(&found);
    if found.is_empty() {
        if options.kubeconfig.is_none() && options.context.is_none() && in_pod() {
            return in_cluster();
        }
        return Err(config(
            format!("no kubeconfig: {} does not exist ({chosen_by})", list(&paths)),
            "name one with --kubeconfig or KUBECONFIG; `cargo cluster up` makes a local cluster to try on",
        ));
    }
    let kubeconfig = read(&found)?;
    let context = context(&kubeconfig, options.context.as_deref(), &files)?;
    let certificate = certificate(&kubeconfig, &context);
    let proxy = proxy_of(&kubeconfig, &context);
    let pick = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &pick)
        .await
        .map_err(|error| unusable(&format!("context {context} of {files}"), &error))?;
    config.proxy_url = proxy.or_else(|| proxy_of_environment(&config.cluster_url));
    Ok(Entry { context, config, certificate })
}

/// The files to read, and why those.
fn paths(options: &ConnectOptions) -> (Vec<PathBuf>, &'static str) {
    if let Some(path) = &options.kubeconfig {
        return (vec![path.clone()], "as asked for");
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> =
        std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if !listed.is_empty() {
        return (listed, "from KUBECONFIG");
    }
    let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/"));
    (vec![home.join(".kube/config")], "the default; KUBECONFIG is not set")
}

/// A pod is told where its API server is (Kubernetes docs, "Accessing the Kubernetes API from a Pod").
fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn in_cluster() -> Result<Entry, ClusterError> {
    let config = Config::incluster().map_err(|error| {
        self::config(
            format!("this looks like a pod, but its service account cannot be used: {error}"),
            "mount the service account's token (automountServiceAccountToken), or name a kubeconfig",
        )
    })?;
    Ok(Entry { context: IN_CLUSTER.to_owned(), config, certificate: None })
}

/// The context to use, after a check that all it names is there.
fn context(kubeconfig: &Kubeconfig, wanted: Option<&str>, files: &str) -> Result<String, ClusterError> {
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    let (name, origin) = match (wanted, &kubeconfig.current_context) {
        (Some(name), _) => (name, ""),
        (None, Some(name)) if !name.is_empty() => (name.as_str(), "current-context "),
        _ => {
            let message = format!("{files} has no current-context");
            let hint = if known.is_empty() {
                "the file has no contexts at all: is it the right one?".to_owned()
            } else {
                format!("choose one with --context: {}", known.join(", "))
            };
            return Err(config(message, hint));
        }
    };
    let Some(context) = kubeconfig.contexts.iter().find(|context| context.name == name) else {
        return Err(config(format!("{origin}{name} is not a context of {files}"), nearest(name, &known)));
    };
    let cluster = context.context.as_ref().map_or("", |context| context.cluster.as_str());
    if !kubeconfig.clusters.iter().any(|entry| entry.name == cluster && entry.cluster.is_some()) {
        let known: Vec<&str> = kubeconfig.clusters.iter().map(|entry| entry.name.as_str()).collect();
        let message = format!("context {name} of {files} names a cluster that is not there: {cluster:?}");
        return Err(config(message, nearest(cluster, &known)));
    }
    Ok(name.to_owned())
}

/// Names the entry that was probably meant, and the others.
fn nearest(wanted: &str, known: &[&str]) -> String {
    let all = if known.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    };
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .filter(|(distance, name)| *distance <= wanted.len().max(name.len()) / 2)
        .min();
    match near {
        Some((_, name)) if known.len() > 1 => format!("did you mean {name}? {all}"),
        Some((_, name)) => format!("did you mean {name}?"),
        None => all,
    }
}

/// The user's client certificate. What cannot be read is left to the TLS library, which says why.
fn certificate(kubeconfig: &Kubeconfig, context: &str) -> Option<ClientCertificate> {
    let context = kubeconfig.contexts.iter().find(|entry| entry.name == context)?.context.as_ref()?;
    let name = context.user.as_ref()?;
    let user = kubeconfig.auth_infos.iter().find(|entry| &entry.name == name)?.auth_info.as_ref()?;
    match user {
        AuthInfo { client_certificate_data: Some(data), .. } if !data.is_empty() => {
            let pem = STANDARD.decode(data.trim()).ok()?;
            ClientCertificate::parse(format!("the kubeconfig's user {name}"), &pem)
        }
        AuthInfo { client_certificate: Some(path), .. } => {
            ClientCertificate::parse(path.clone(), &std::fs::read(path).ok()?)
        }
        _ => None,
    }
}

fn proxy_of(kubeconfig: &Kubeconfig, context: &str) -> Option<http::Uri> {
    let context = kubeconfig.contexts.iter().find(|entry| entry.name == context)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|entry| entry.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.as_ref().filter(|url| !url.is_empty())?.parse().ok()
}

/// `HTTPS_PROXY`, `NO_PROXY` and their kin, as Go's `net/http` has it: never for this machine itself.
/// (kube's own reading matches `NO_PROXY` against the proxy, not against the server.)
fn proxy_of_environment(server: &http::Uri) -> Option<http::Uri> {
    let host = server.host()?.trim_matches(['[', ']']);
    let loopback =
        host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if loopback { None } else { Some(Matcher::from_env().intercept(server)?.uri().clone()) }
}

/// The parser's own text shows lines of the file, which may be credentials: only the place is told.
fn unusable(what: &str, error: &KubeconfigError) -> ClusterError {
    let message = match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => {
                format!("{what} is not a kubeconfig: wrong at line {}, column {}", at.line(), at.column())
            }
            None => format!("{what} is not a kubeconfig"),
        },
        KubeconfigError::ReadConfig(error, _) => format!("{what} cannot be read: {error}"),
        error => format!("{what} cannot be used: {error}"),
    };
    config(message, "check the file with `kubectl config view`")
}

fn list(paths: &[impl AsRef<Path>]) -> String {
    paths.iter().map(|path| path.as_ref().display().to_string()).collect::<Vec<_>>().join(", ")
}

fn config(message: String, hint: impl Into<String>) -> ClusterError {
    ClusterError::Config { message, hint: Some(hint.into()) }
}
