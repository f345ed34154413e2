//! The programs of the real node and their configuration.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use serde_json::json;

use crate::{
    cni,
    description::{Description, NODE_ADDRESS, NODE_NAME, POD_RANGE},
    error::{Error, Result, at},
    image,
    init::namespaces,
    nas,
    paths::ClusterDir,
};

/// Where Debian puts the network plug-ins.
const CNI_PLUGINS: &str = "/usr/lib/cni";
/// The pods of the one node.
const POD_SUBNET: &str = "198.18.128.0/24";
/// The pause container's image.
const PAUSE: &str = "stackctl.dev/pause:1";

/// Makes the commands of one cluster's node.
pub(crate) struct Node<'a> {
    pub(crate) dir: &'a ClusterDir,
    pub(crate) description: &'a Description,
}

impl Node<'_> {
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.description.programs().path(name));
        command.env("HOME", self.dir.path()).env_remove("KUBECONFIG");
        command
    }

    fn conf(&self, name: &str, content: &str) -> Result<String> {
        let path = self.dir.conf().join(name);
        fs::write(&path, content).map_err(at("write", &path))?;
        Ok(path.display().to_string())
    }

    fn conf_json(&self, name: &str, content: &serde_json::Value) -> Result<String> {
        self.conf(name, &content.to_string())
    }

    fn kubeconfig(&self, program: &str) -> String {
        self.dir.conf().join(format!("{program}.kubeconfig")).display().to_string()
    }

    pub(crate) fn containerd(&self) -> Result<Command> {
        self.network_plugins()?;
        let root = self.dir.containerd();
        let snapshotter = if namespaces::is_overlay(self.dir.path())? { "native" } else { "overlayfs" };
        let content = format!(
            r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Without CAP_SYS_RESOURCE nobody may lower a score, and runc would die of it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{networks}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
            root = root.display(),
            socket = self.dir.containerd_socket().display(),
            plugins = self.dir.cni().display(),
            networks = self.dir.conf().join("cni").display(),
        );
        let config = self.conf("containerd.toml", &content)?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(config);
        Ok(command)
    }

    /// Debian's plug-ins and our own in one folder, and the pods' network.
    fn network_plugins(&self) -> Result<()> {
        let folder = self.dir.cni();
        for entry in fs::read_dir(CNI_PLUGINS).map_err(at("read", CNI_PLUGINS))?.flatten() {
            let link = folder.join(entry.file_name());
            symlink(entry.path(), &link).map_err(at("create", link))?;
        }
        // A copy, since the program may be rebuilt while the cluster runs.
        let own = folder.join(cni::NAME);
        fs::copy("/proc/self/exe", &own).map_err(at("write", &own))?;
        let networks = self.dir.conf().join("cni");
        fs::create_dir_all(&networks).map_err(at("create", &networks))?;
        // `ptp` gives each pod a link of its own to the node, so that all traffic passes the node's routing and
        // kube-proxy's rules, whether or not the kernel filters on bridges.
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipam": {
                        "type": "host-local",
                        "dataDir": "/run/cni-addresses",
                        "ranges": [[{ "subnet": POD_SUBNET }]],
                        "routes": [{ "dst": "0.0.0.0/0" }],
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
                { "type": cni::NAME },
            ],
        });
        self.conf_json("cni/10-pods.conflist", &network).map(drop)
    }

    /// The image of the pause container, as a file to load.
    pub(crate) fn pause_image(&self) -> Result<std::path::PathBuf> {
        let path = self.dir.conf().join("pause.tar");
        let pause = self.description.programs().path("pause");
        let binary = fs::read(&pause).map_err(at("read", pause))?;
        image::Image::new(PAUSE).file("pause", 0o755, binary).entrypoint(&["/pause"]).write(&path)?;
        Ok(path)
    }

    pub(crate) fn import(&self, tar: &Path) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.dir.containerd_socket())
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(tar);
        command
    }

    pub(crate) fn kubelet(&self) -> Result<Command> {
        let pki = |file: &str| self.dir.pki().join(file).display().to_string();
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": pki("ca.crt") },
            },
            "authorization": { "mode": "Webhook" },
            "tlsCertFile": pki("kubelet.crt"),
            "tlsPrivateKeyFile": pki("kubelet.key"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.description.cgroup()),
            "failCgroupV1": false,
            "failSwapOn": false,
            "containerRuntimeEndpoint": format!("unix://{}", self.dir.containerd_socket().display()),
            "clusterDomain": "cluster.local",
            "clusterDNS": [NODE_ADDRESS],
            "resolvConf": self.dir.conf().join("resolv.conf"),
            "maxPods": 240,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": { "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
            // Containers start as fast as the machine can, and a change of a ConfigMap is seen at once.
            "serializeImagePulls": false,
            "configMapAndSecretChangeDetectionStrategy": "Watch",
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "5s",
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
        });
        let config = self.conf_json("kubelet.json", &config)?;
        let mut command = self.program("kubelet");
        command
            .arg(format!("--config={config}"))
            .arg(format!("--kubeconfig={}", self.kubeconfig("kubelet")))
            .arg(format!("--hostname-override={NODE_NAME}"))
            .arg(format!("--node-ip={NODE_ADDRESS}"));
        Ok(command)
    }

    /// NAS's CSI driver: this program in another part.
    pub(crate) fn nas(&self) -> Result<Command> {
        // The copy that the network plug-ins have, under the driver's name: the program may be rebuilt meanwhile.
        let program = self.dir.path().join(nas::PROGRAM);
        let copy = self.dir.cni().join(cni::NAME);
        fs::hard_link(copy, &program).map_err(at("create", &program))?;
        let mut command = Command::new(program);
        command.arg("nas").arg(self.dir.path());
        Ok(command)
    }

    pub(crate) fn kube_proxy(&self) -> Result<Command> {
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": { "kubeconfig": self.kubeconfig("kube-proxy") },
            "hostnameOverride": NODE_NAME,
            "mode": "iptables",
            "clusterCIDR": POD_RANGE,
            // The connection table's size is the whole machine's.
            "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
            "iptables": { "minSyncPeriod": "100ms" },
        });
        let config = self.conf_json("kube-proxy.json", &config)?;
        let mut command = self.program("kube-proxy");
        command.arg(format!("--config={config}"));
        Ok(command)
    }

    pub(crate) fn coredns(&self) -> Result<Command> {
        let kubeconfig = self.kubeconfig("coredns");
        if kubeconfig.contains(char::is_whitespace) {
            return Err(Error::Format {
                path: kubeconfig.into(),
                reason: "a Corefile takes no path with a space: set XDG_CACHE_HOME to a folder without one"
                    .to_owned(),
            });
        }
        let content = format!(
            "cluster.local:53 in-addr.arpa:53 {{
    bind {NODE_ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig} {context}
        pods insecure
        ttl 1
    }}
}}
# There is no world outside: every other name does not exist.
.:53 {{
    bind {NODE_ADDRESS}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
",
            context = self.description.name,
        );
        let corefile = self.conf("Corefile", &content)?;
        let mut command = self.program("coredns");
        command.arg("-conf").arg(corefile);
        Ok(command)
    }
}
