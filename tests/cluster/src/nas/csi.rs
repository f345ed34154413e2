//! The messages of CSI (container-storage-interface/spec 1.9, `csi.proto`) and of the kubelet's plug-in registration
//! (`k8s.io/kubelet/pkg/apis/pluginregistration/v1`), as far as this driver reads and writes them: protobuf skips
//! fields that a reader does not know.

use std::collections::HashMap;

use prost::Message;

/// A request or response without fields that matter here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetPluginInfoResponse {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) vendor_version: String,
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BoolValue {
    #[prost(bool, tag = "1")]
    pub(super) value: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProbeResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) ready: Option<BoolValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MountVolume {
    #[prost(string, repeated, tag = "2")]
    pub(super) mount_flags: Vec<String>,
}

/// `VolumeCapability.AccessMode.Mode`, those that mean reading only.
pub(super) const SINGLE_NODE_READER_ONLY: i32 = 2;
/// See [`SINGLE_NODE_READER_ONLY`].
pub(super) const MULTI_NODE_READER_ONLY: i32 = 3;

#[derive(Clone, PartialEq, Message)]
pub(super) struct AccessMode {
    #[prost(int32, tag = "1")]
    pub(super) mode: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct VolumeCapability {
    /// Set when a block device is asked for.
    #[prost(message, optional, tag = "1")]
    pub(super) block: Option<Empty>,
    #[prost(message, optional, tag = "2")]
    pub(super) mount: Option<MountVolume>,
    #[prost(message, optional, tag = "3")]
    pub(super) access_mode: Option<AccessMode>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodePublishVolumeRequest {
    #[prost(string, tag = "1")]
    pub(super) volume_id: String,
    #[prost(string, tag = "4")]
    pub(super) target_path: String,
    #[prost(message, optional, tag = "5")]
    pub(super) volume_capability: Option<VolumeCapability>,
    #[prost(bool, tag = "6")]
    pub(super) readonly: bool,
    #[prost(map = "string, string", tag = "8")]
    pub(super) volume_context: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeUnpublishVolumeRequest {
    #[prost(string, tag = "2")]
    pub(super) target_path: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeGetVolumeStatsRequest {
    #[prost(string, tag = "2")]
    pub(super) volume_path: String,
}

/// `VolumeUsage.Unit.BYTES`.
pub(super) const BYTES: i32 = 1;
/// `VolumeUsage.Unit.INODES`.
pub(super) const INODES: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(super) struct VolumeUsage {
    #[prost(int64, tag = "1")]
    pub(super) available: i64,
    #[prost(int64, tag = "2")]
    pub(super) total: i64,
    #[prost(int64, tag = "3")]
    pub(super) used: i64,
    #[prost(int32, tag = "4")]
    pub(super) unit: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeGetVolumeStatsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) usage: Vec<VolumeUsage>,
}

/// `NodeServiceCapability.RPC.Type.GET_VOLUME_STATS`.
pub(super) const GET_VOLUME_STATS: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcCapability {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeServiceCapability {
    #[prost(message, optional, tag = "1")]
    pub(super) rpc: Option<RpcCapability>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeGetCapabilitiesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) capabilities: Vec<NodeServiceCapability>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeGetInfoResponse {
    #[prost(string, tag = "1")]
    pub(super) node_id: String,
}

/// What the registration socket tells the kubelet.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PluginInfo {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) endpoint: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) supported_versions: Vec<String>,
}

/// What the kubelet made of it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RegistrationStatus {
    #[prost(bool, tag = "1")]
    pub(super) plugin_registered: bool,
    #[prost(string, tag = "2")]
    pub(super) error: String,
}
