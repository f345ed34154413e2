//! The cluster's first process: makes the inside, starts the programs and keeps them running, hands connections in
//! from outside, and plays the cloud.
//!
//! With a node it is process 1 of a PID namespace: when it ends, however it ends, the kernel ends everything inside,
//! and with the last process go the mounts, links and rules.

mod children;
mod control_plane;
mod namespaces;
mod node;
pub(crate) mod outside;

use std::{
    fs,
    future::Future,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Node as KubernetesNode, ServiceAccount};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::namespaces::route_load_balancers;
use self::{children::Children, control_plane::ControlPlane, node::Node, outside::Outside};
use crate::{
    cgroups, cloud,
    description::{Description, FAKE_NODES, NODE_ADDRESS, Tier},
    error::{Error, Result, at},
    lock, nas,
    paths::ClusterDir,
    progress::say,
};

/// How long one step of the start may take.
const STEP: Duration = Duration::from_secs(90);
/// How often a step is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the cluster until it is told to end or nobody needs it any more.
pub(crate) fn run(dir: &ClusterDir) -> Result<()> {
    let Some(description) = Description::read(dir)? else {
        return Err(Error::NotRunning(dir.path().display().to_string()));
    };
    // Standard input is the machine's network, and mounts and cgroups are made while this is the only thread.
    let outside = match description.tier {
        Tier::ControlPlane => None,
        Tier::Node => {
            let outside = Outside::from_stdin().map_err(at("take", "the machine's network namespace"))?;
            cgroups::create(&description.cgroup())?;
            let clusters = dir.path().parent().unwrap_or(dir.path());
            namespaces::mounts(dir, &[clusters, &description.programs])?;
            namespaces::network()?;
            Some(outside)
        }
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(at("start", "the runtime"))?
        // One thread for everything: the kernel ends the control plane's programs with the thread that started them.
        .block_on(serve(dir, &description, outside))
}

async fn serve(dir: &ClusterDir, description: &Description, outside: Option<Outside>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(at("listen for", "SIGTERM"))?;
    let begin = Instant::now();
    tokio::select! {
        started = start(dir, description, outside) => started?,
        _ = terminate.recv() => return Ok(()),
    }
    fs::write(dir.ready(), "").map_err(at("write", dir.ready()))?;
    say(&format!("everything answers after {:.1} s", begin.elapsed().as_secs_f64()));
    tokio::select! {
        idle = idle(dir, description) => idle,
        _ = terminate.recv() => Ok(()),
    }
}

async fn start(dir: &ClusterDir, description: &Description, outside: Option<Outside>) -> Result<()> {
    let children = Children::new(dir.clone());
    let control_plane = ControlPlane { dir, description };
    children.keep("etcd", control_plane.etcd())?;
    children.keep("kube-apiserver", control_plane.api_server()?)?;
    if let Some(outside) = &outside {
        let (listen, target) = (description.api_outside(), description.api_inside());
        let forward = outside
            .forward(outside::Protocol::Tcp, listen, target)
            .map_err(|source| Error::File { action: "listen on", path: listen.to_string().into(), source })?;
        // For as long as the process lives.
        std::mem::forget(forward);
    }
    let client = client(dir, "init").await?;
    let node = Node { dir, description };
    match description.tier {
        Tier::ControlPlane => api_server_ready(&client).await?,
        Tier::Node => {
            children.keep("containerd", node.containerd()?)?;
            tokio::try_join!(api_server_ready(&client), images(&node, &children))?;
        }
    }
    children.keep("kube-controller-manager", control_plane.controller_manager())?;
    children.keep("kube-scheduler", control_plane.scheduler())?;
    let cloud = cloud::Controller::new(
        self::client(dir, "cloud-controller-manager").await?,
        outside,
        description.load_balancer_block(),
    );
    cloud.prepare().await?;
    tokio::spawn(cloud.run());
    nas::prepare(&client).await?;
    match description.tier {
        Tier::ControlPlane => {
            children.keep("kwok", control_plane.kwok())?;
            for number in 1..=FAKE_NODES {
                fake_node(&client, number).await?;
            }
            until("fake nodes that are Ready", || nodes_ready(&client, FAKE_NODES)).await?;
        }
        Tier::Node => {
            children.keep("kubelet", node.kubelet()?)?;
            children.keep(nas::PROGRAM, node.nas()?)?;
            children.keep("kube-proxy", node.kube_proxy()?)?;
            children.keep("coredns", node.coredns()?)?;
            until("a node that is Ready", || nodes_ready(&client, 1)).await?;
            until("NAS's CSI driver", || nas::is_registered(&client)).await?;
            until("CoreDNS on port 53", || async {
                tokio::net::TcpStream::connect((NODE_ADDRESS, 53)).await.is_ok()
            })
            .await?;
        }
    }
    // Without it the first pods would be refused.
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
    until("the default service account", || async {
        matches!(accounts.get_opt("default").await, Ok(Some(_)))
    })
    .await
}

/// A client that uses one of the kubeconfigs made for inside.
async fn client(dir: &ClusterDir, user: &str) -> Result<Client> {
    let path = dir.conf().join(format!("{user}.kubeconfig"));
    let unreadable = |reason: String| Error::Format { path: path.clone(), reason };
    let kubeconfig = Kubeconfig::read_from(&path).map_err(|error| unreadable(error.to_string()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(Client::try_from(config)?)
}

async fn api_server_ready(client: &Client) -> Result<()> {
    until("an API server that is ready", || async {
        match http::Request::get("/readyz").body(Vec::new()) {
            Ok(request) => client.request_text(request).await.is_ok(),
            Err(_) => false,
        }
    })
    .await
}

/// Puts the pause container's image into containerd once it answers.
async fn images(node: &Node<'_>, children: &Children) -> Result<()> {
    let pause = node.pause_image()?;
    until("containerd's socket", || async {
        tokio::net::UnixStream::connect(node.dir.containerd_socket()).await.is_ok()
    })
    .await?;
    children.run("images", node.import(&pause)).await
}

/// Whether so many nodes are Ready.
async fn nodes_ready(client: &Client, count: u16) -> bool {
    let nodes: Api<KubernetesNode> = Api::all(client.clone());
    let Ok(nodes) = nodes.list(&ListParams::default()).await else { return false };
    let ready = |node: &&KubernetesNode| {
        let conditions =
            node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    nodes.items.iter().filter(ready).count() >= usize::from(count)
}

/// A node that exists in the API only; kwok keeps it ready and its pods running.
async fn fake_node(client: &Client, number: u16) -> Result<()> {
    let room = json!({ "cpu": "32", "memory": "256Gi", "pods": "10000" });
    let node: KubernetesNode = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": format!("kwok-{number}"),
            "labels": { "type": "kwok", "kubernetes.io/hostname": format!("kwok-{number}"), "kubernetes.io/os": "linux" },
        },
        "status": { "allocatable": room, "capacity": room },
    }))
    .map_err(|error| Error::Format { path: "the fake node".into(), reason: error.to_string() })?;
    Api::all(client.clone()).create(&PostParams::default(), &node).await?;
    Ok(())
}

/// Waits until `holds` says so.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) -> Result<()> {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(STEP, wait)
        .await
        .map_err(|_| Error::Timeout { what: what.to_owned(), seconds: STEP.as_secs() })
}

/// Returns once nobody has held the cluster's lock for the time in its description; never when it has none.
async fn idle(dir: &ClusterDir, description: &Description) -> Result<()> {
    let Some(limit) = description.idle() else { return std::future::pending().await };
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1).min(limit / 4)).await;
        if lock::try_exclusive(&dir.holders())?.is_none() {
            since = Instant::now();
        } else if since.elapsed() >= limit {
            // Whoever starts or joins the cluster holds this lock, and gets the holders' lock before leaving it.
            if let Some(_starting) = lock::try_exclusive(&dir.lock())?
                && lock::try_exclusive(&dir.holders())?.is_some()
            {
                say(&format!("nobody has used this cluster for {} s: it ends", limit.as_secs()));
                // Whoever gets the lock next must not take this cluster for a running one.
                return fs::remove_file(dir.ready()).map_err(at("remove", dir.ready()));
            }
        }
    }
}
