//! A stand-in for Alibaba Cloud's NAS: the CSI driver `nasplugin.csi.alibabacloud.com` of ACK's nodes.
//!
//! It is a CSI driver like any other: a CSIDriver object, a plug-in that the kubelet finds by its registration socket,
//! the gRPC services Identity and Node. So ACK's static PV and PVC, and a pod's volume of type `csi`, work unchanged.
//! What an NFS mount is on ACK is a bind mount here: one folder stands for the whole file system behind a mount target
//! (`volumeAttributes.server`), and a volume is the folder at its `path` in there, the same for all pods that name it.
//!
//! Parameters are taken and refused as the driver does it (read in its source, kubernetes-sigs/alibaba-cloud-csi-driver,
//! `pkg/nas/nodeserver.go` and `utils.go`), with its words and gRPC codes, which the kubelet puts into a `FailedMount`
//! event of the pod. Mount targets exist when their name ends in `.nas.aliyuncs.com`; any other cannot be connected to.
//! Data stays when a PersistentVolume goes, and goes with the cluster.
//!
//! * `attributes`: what a request asks for, pure.
//! * `nfs`: what `mount.nfs` would make of it, pure.
//! * `mounts`: the folders and the bind mounts.
//! * `service`: the gRPC services, over `rpc` (methods on a Unix socket) and `csi` (the messages).

mod attributes;
mod csi;
mod mounts;
mod nfs;
mod rpc;
mod service;

use k8s_openapi::{
    api::storage::v1::{CSIDriver, CSIDriverSpec, CSINode},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};

pub(crate) use self::service::run;
use crate::{description::NODE_NAME, error::Result};

/// The driver's name.
pub const DRIVER: &str = "nasplugin.csi.alibabacloud.com";
/// The name of the driver's process and log.
pub(crate) const PROGRAM: &str = "csi-plugin-nas";

/// Makes the driver's CSIDriver object as ACK has it: nothing to attach, and the driver is told about the pod.
pub(crate) async fn prepare(client: &Client) -> Result<()> {
    let driver = CSIDriver {
        metadata: ObjectMeta { name: Some(DRIVER.to_owned()), ..ObjectMeta::default() },
        spec: CSIDriverSpec {
            attach_required: Some(false),
            pod_info_on_mount: Some(true),
            ..CSIDriverSpec::default()
        },
    };
    Api::all(client.clone()).create(&PostParams::default(), &driver).await?;
    Ok(())
}

/// Whether the kubelet has taken the driver in.
pub(crate) async fn is_registered(client: &Client) -> bool {
    let nodes: Api<CSINode> = Api::all(client.clone());
    let Ok(Some(node)) = nodes.get_opt(NODE_NAME).await else { return false };
    node.spec.drivers.iter().any(|driver| driver.name == DRIVER)
}
