//! The driver's gRPC services, and how the kubelet comes to know of them.

use std::path::Path;

use nix::sys::statvfs::{Statvfs, statvfs};
use tonic::Status;

use super::{
    DRIVER,
    attributes::volume,
    csi::{
        BYTES, BoolValue, Empty, GET_VOLUME_STATS, GetPluginInfoResponse, INODES,
        NodeGetCapabilitiesResponse, NodeGetInfoResponse, NodeGetVolumeStatsRequest,
        NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodeServiceCapability,
        NodeUnpublishVolumeRequest, PluginInfo, ProbeResponse, RegistrationStatus, RpcCapability,
        VolumeUsage,
    },
    mounts::Mounts,
    rpc::Methods,
};
use crate::{
    description::NODE_NAME,
    error::{Error, Result, at},
    paths::ClusterDir,
    progress::say,
};

/// Where the kubelet looks for new plug-ins, and where CSI drivers have their sockets.
const KUBELET: &str = "/var/lib/kubelet";

/// Runs the driver until it is ended, inside the cluster.
pub(crate) fn run(dir: &ClusterDir) -> Result<()> {
    let endpoint = format!("{KUBELET}/plugins/{DRIVER}/csi.sock");
    // The kubelet's gRPC takes a socket's path, percent-encoded, for the HTTP/2 authority. hyper takes percent signs
    // in an authority only before an `@`, so the name has one.
    let registration = format!("{KUBELET}/plugins_registry/csi@{DRIVER}-reg.sock");
    let driver = driver(&Mounts::at(dir.nas()));
    let registrar = registrar(endpoint.clone());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(at("start", "the runtime"))?
        .block_on(async {
            // In this order: the kubelet calls the driver as soon as it finds the registration's socket.
            tokio::try_join!(driver.serve(Path::new(&endpoint)), registrar.serve(Path::new(&registration)))
        })
        .map(drop)
}

/// The services Identity and Node. A static volume needs nothing of a Controller.
fn driver(mounts: &Mounts) -> Methods {
    let mounts = mounts.clone();
    Methods::new()
        .method("/csi.v1.Identity/GetPluginInfo", |_: &Empty| {
            Ok(GetPluginInfoResponse {
                name: DRIVER.to_owned(),
                vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            })
        })
        .method("/csi.v1.Identity/GetPluginCapabilities", |_: &Empty| Ok(Empty {}))
        .method("/csi.v1.Identity/Probe", |_: &Empty| {
            Ok(ProbeResponse { ready: Some(BoolValue { value: true }) })
        })
        .method("/csi.v1.Node/NodeGetInfo", |_: &Empty| {
            Ok(NodeGetInfoResponse { node_id: NODE_NAME.to_owned() })
        })
        .method("/csi.v1.Node/NodeGetCapabilities", |_: &Empty| {
            let rpc = Some(RpcCapability { kind: GET_VOLUME_STATS });
            Ok(NodeGetCapabilitiesResponse { capabilities: vec![NodeServiceCapability { rpc }] })
        })
        .method("/csi.v1.Node/NodePublishVolume", move |request: &NodePublishVolumeRequest| {
            let volume = volume(request)?;
            mounts.publish(&volume, Path::new(&request.target_path)).map_err(internal)?;
            say(&format!(
                "volume {}: {}:{} is mounted on {}",
                request.volume_id, volume.mount.server, volume.mount.path, request.target_path
            ));
            Ok(Empty {})
        })
        .method("/csi.v1.Node/NodeUnpublishVolume", |request: &NodeUnpublishVolumeRequest| {
            if !request.target_path.starts_with('/') {
                return Err(Status::invalid_argument(format!(
                    "invalid target path {:?}",
                    request.target_path
                )));
            }
            Mounts::unpublish(Path::new(&request.target_path)).map_err(internal)?;
            say(&format!("{} is unmounted", request.target_path));
            Ok(Empty {})
        })
        .method("/csi.v1.Node/NodeGetVolumeStats", |request: &NodeGetVolumeStatsRequest| {
            let path = &request.volume_path;
            match statvfs(path.as_str()) {
                Ok(stats) => Ok(NodeGetVolumeStatsResponse { usage: usage(&stats) }),
                Err(error) => Err(Status::not_found(format!("{path}: {error}"))),
            }
        })
}

/// The registration's service (what node-driver-registrar does beside a driver on ACK).
fn registrar(endpoint: String) -> Methods {
    Methods::new()
        .method("/pluginregistration.Registration/GetInfo", move |_: &Empty| {
            Ok(PluginInfo {
                kind: "CSIPlugin".to_owned(),
                name: DRIVER.to_owned(),
                endpoint: endpoint.clone(),
                supported_versions: vec!["1.0.0".to_owned()],
            })
        })
        .method("/pluginregistration.Registration/NotifyRegistrationStatus", |status: &RegistrationStatus| {
            if status.plugin_registered {
                say("the kubelet has registered the driver");
            } else {
                say(&format!("the kubelet has not registered the driver: {}", status.error));
            }
            Ok(Empty {})
        })
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn internal(error: Error) -> Status {
    Status::internal(error.to_string())
}

fn usage(stats: &Statvfs) -> Vec<VolumeUsage> {
    let blocks =
        |blocks: u64| i64::try_from(blocks.saturating_mul(stats.fragment_size())).unwrap_or(i64::MAX);
    let files = |files: u64| i64::try_from(files).unwrap_or(i64::MAX);
    vec![
        VolumeUsage {
            available: blocks(stats.blocks_available()),
            total: blocks(stats.blocks()),
            used: blocks(stats.blocks().saturating_sub(stats.blocks_free())),
            unit: BYTES,
        },
        VolumeUsage {
            available: files(stats.files_available()),
            total: files(stats.files()),
            used: files(stats.files().saturating_sub(stats.files_free())),
            unit: INODES,
        },
    ]
}
