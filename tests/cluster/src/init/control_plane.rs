//! The programs of the control plane and their flags.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    description::{Description, NODE_ADDRESS, POD_RANGE, SERVICE_RANGE, Tier},
    error::{Result, at},
    paths::ClusterDir,
    programs::KWOK_STAGES,
};

/// Every request is recorded when it arrives and when it is answered. The first record is on disk before the request
/// is worked on, so whoever has an answer finds the request in the log.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Metadata
";

/// Makes the commands of one cluster's programs.
pub(crate) struct ControlPlane<'a> {
    pub(crate) dir: &'a ClusterDir,
    pub(crate) description: &'a Description,
}

impl ControlPlane<'_> {
    fn program(&self, name: &str) -> Command {
        let path = self.description.programs().path(name);
        let mut command = match self.description.tier {
            // The kernel ends them with the first process of their PID namespace.
            Tier::Node => Command::new(path),
            // There is no such namespace: the kernel is asked to end each with its parent.
            Tier::ControlPlane => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]).arg(path);
                command
            }
        };
        // Nothing of the user's own settings is read or written.
        command.env("HOME", self.dir.path()).env_remove("KUBECONFIG");
        command
    }

    fn etcd_urls(&self) -> (String, String) {
        let (client, peer) = match self.description.tier {
            Tier::Node => (2379, 2380),
            Tier::ControlPlane => (self.description.port(1), self.description.port(2)),
        };
        (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"))
    }

    fn pki(&self, file: &str) -> String {
        self.dir.pki().join(file).display().to_string()
    }

    fn kubeconfig(&self, program: &str) -> PathBuf {
        self.dir.conf().join(format!("{program}.kubeconfig"))
    }

    pub(crate) fn etcd(&self) -> Command {
        let (client, peer) = self.etcd_urls();
        let mut command = self.program("etcd");
        command
            .arg(format!("--data-dir={}", self.dir.etcd().display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            // The data does not outlive the cluster.
            .arg("--unsafe-no-fsync=true")
            .arg("--log-level=warn");
        command
    }

    pub(crate) fn api_server(&self) -> Result<Command> {
        let policy = self.dir.conf().join("audit-policy.yaml");
        fs::write(&policy, AUDIT_POLICY).map_err(at("write", &policy))?;
        let listen = match self.description.tier {
            Tier::Node => "0.0.0.0".to_owned(),
            Tier::ControlPlane => "127.0.0.1".to_owned(),
        };
        let mut command = self.program("kube-apiserver");
        command
            .arg(format!("--etcd-servers={}", self.etcd_urls().0))
            .arg(format!("--bind-address={listen}"))
            .arg(format!("--secure-port={}", self.description.api_inside().port()))
            .arg(format!("--advertise-address={NODE_ADDRESS}"))
            .arg(format!("--tls-cert-file={}", self.pki("kube-apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", self.pki("kube-apiserver.key")))
            .arg(format!("--client-ca-file={}", self.pki("ca.crt")))
            .arg(format!("--kubelet-client-certificate={}", self.pki("kube-apiserver.crt")))
            .arg(format!("--kubelet-client-key={}", self.pki("kube-apiserver.key")))
            .arg(format!("--kubelet-certificate-authority={}", self.pki("ca.crt")))
            // Else logs and exec would ask for the node's name in DNS.
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg("--authorization-mode=Node,RBAC")
            .arg("--enable-admission-plugins=NodeRestriction")
            .arg("--allow-privileged=true")
            .arg(format!("--service-cluster-ip-range={SERVICE_RANGE}"))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", self.pki("service-accounts.pub")))
            .arg(format!("--service-account-signing-key-file={}", self.pki("service-accounts.key")))
            .arg(format!("--audit-policy-file={}", policy.display()))
            .arg(format!("--audit-log-path={}", self.dir.audit_log().display()))
            .args(["--audit-log-maxsize=200", "--audit-log-maxbackup=10"]);
        Ok(command)
    }

    fn with_kubeconfig(&self, program: &str) -> Command {
        let mut command = self.program(program);
        let kubeconfig = self.kubeconfig(program);
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{flag}={}", kubeconfig.display()));
        }
        // One of each runs, and nobody asks them for metrics.
        command.args(["--leader-elect=false", "--secure-port=0"]);
        command
    }

    pub(crate) fn controller_manager(&self) -> Command {
        let mut command = self.with_kubeconfig("kube-controller-manager");
        command
            .arg(format!("--service-account-private-key-file={}", self.pki("service-accounts.key")))
            .arg(format!("--root-ca-file={}", self.pki("ca.crt")))
            .arg(format!("--cluster-signing-cert-file={}", self.pki("ca.crt")))
            .arg(format!("--cluster-signing-key-file={}", self.pki("ca.key")))
            .arg("--use-service-account-credentials=true")
            .arg("--allocate-node-cidrs=true")
            .arg(format!("--cluster-cidr={POD_RANGE}"))
            .arg(format!("--service-cluster-ip-range={SERVICE_RANGE}"))
            // Its defaults take a minute over 250 Deployments.
            .args(["--kube-api-qps=1000", "--kube-api-burst=2000"]);
        command
    }

    pub(crate) fn scheduler(&self) -> Command {
        let mut command = self.with_kubeconfig("kube-scheduler");
        command.args(["--kube-api-qps=1000", "--kube-api-burst=2000"]);
        command
    }

    pub(crate) fn kwok(&self) -> Command {
        let mut command = self.program("kwok");
        command
            .arg(format!("--kubeconfig={}", self.kubeconfig("kwok").display()))
            .arg(format!("--cidr={POD_RANGE}"))
            .arg(format!("--config={}", self.description.programs().path(KWOK_STAGES).display()))
            .args(["--manage-all-nodes", "--node-lease-duration-seconds=40"]);
        command
    }
}
