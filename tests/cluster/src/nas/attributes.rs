//! What a request to publish a volume asks for, taken and refused as ACK's driver does it.

use tonic::Status;

use super::{
    csi::{MULTI_NODE_READER_ONLY, NodePublishVolumeRequest, SINGLE_NODE_READER_ONLY},
    nfs::Mount,
};

/// The options of a mount for which nobody gave any, NFSv3.
const DEFAULT_OPTIONS_V3: &str =
    "nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport";
/// The same for the other versions.
const DEFAULT_OPTIONS: &str = "noresvport";
/// How the name of every mount target ends.
const MOUNT_TARGETS: &str = ".nas.aliyuncs.com";
/// How that of an Extreme NAS ends.
const EXTREME: &str = "extreme.nas.aliyuncs.com";

/// A volume to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) mount: Mount,
    pub(super) read_only: bool,
    /// A mode for the folder, in chmod's words, and whether all below it gets it too.
    pub(super) mode: Option<(String, bool)>,
}

/// The attributes of a PersistentVolume, by their names in lower case: the driver does not care about it.
#[derive(Default)]
struct Attributes {
    server: String,
    path: String,
    vers: String,
    options: Vec<String>,
    mode: String,
    mode_type: String,
    mount_protocol: String,
    file_system_type: String,
}

impl Attributes {
    fn read(request: &NodePublishVolumeRequest) -> Result<Self, Status> {
        let mut attributes = Self::default();
        for (key, value) in &request.volume_context {
            match key.to_lowercase().as_str() {
                "server" => attributes.server.clone_from(value),
                "path" => attributes.path.clone_from(value),
                "vers" => attributes.vers.clone_from(value),
                "options" => attributes.options = split(value).collect(),
                "mode" => attributes.mode.clone_from(value),
                "modetype" => attributes.mode_type.clone_from(value),
                "mountprotocol" => value.trim().clone_into(&mut attributes.mount_protocol),
                "filesystemtype" => attributes.file_system_type.clone_from(value),
                // Ways to other products, which have no stand-in; the driver would not fail here.
                "accesspoint" | "containernetworkfilesystem" | "mounttype" => {
                    return Err(Status::unimplemented(format!("the local cluster has no {key} ({value})")));
                }
                _ => {}
            }
        }
        attributes.take_mount_options(request);
        Ok(attributes)
    }

    /// What stands in the PersistentVolume's mountOptions wins over its attributes.
    fn take_mount_options(&mut self, request: &NodePublishVolumeRequest) {
        let mount = request.volume_capability.as_ref().and_then(|capability| capability.mount.as_ref());
        let mut others = Vec::new();
        for option in mount.iter().flat_map(|mount| &mount.mount_flags).flat_map(|flags| split(flags)) {
            match option.split_once('=') {
                Some(("vers", value)) => value.clone_into(&mut self.vers),
                // Credentials, which are no option of the mount.
                Some(("access_key_id" | "access_key_secret", _)) => {}
                _ => others.push(option),
            }
        }
        if !others.is_empty() {
            self.options = others;
        }
    }

    fn is_extreme(&self) -> bool {
        if self.file_system_type.is_empty() {
            self.server.contains(EXTREME)
        } else {
            self.file_system_type == "extreme"
        }
    }
}

/// The words of a list of mount options.
fn split(options: &str) -> impl Iterator<Item = String> {
    options.split(',').map(str::trim).filter(|option| !option.is_empty()).map(str::to_owned)
}

/// What the request asks for.
///
/// # Errors
/// ACK's driver would refuse it; in its words.
pub(super) fn volume(request: &NodePublishVolumeRequest) -> Result<Volume, Status> {
    if !request.target_path.starts_with('/') {
        return Err(Status::invalid_argument(format!("invalid target path {:?}", request.target_path)));
    }
    let capability = request.volume_capability.clone().unwrap_or_default();
    if capability.block.is_some() {
        return Err(Status::invalid_argument("block volumes are not supported by NAS"));
    }
    let mut attributes = Attributes::read(request)?;
    let server = attributes.server.clone();
    if server.contains(':') && !(server.starts_with('[') && server.ends_with(']')) {
        return Err(Status::unknown(
            "invalid server address: mount path must be specified in the 'path' field",
        ));
    }
    attributes.path = match attributes.path.as_str() {
        "" | "/" => "/".to_owned(),
        path => path.strip_suffix('/').unwrap_or(path).to_owned(),
    };
    if attributes.path == "/" && !attributes.mode.is_empty() {
        return Err(Status::unknown(format!("NAS: root directory cannot set mode: {}", attributes.mode)));
    }
    if !attributes.path.starts_with('/') {
        return Err(Status::unknown("the path format is illegal"));
    }
    let vers = match attributes.vers.as_str() {
        "" | "3.0" => "3",
        "4" => "4.0",
        other => other,
    };
    if attributes.is_extreme() && vers != "3" {
        return Err(Status::unknown(format!("Extreme nas only support nfs v3 {server}")));
    }
    let options = match attributes.options.as_slice() {
        [] => split(if vers == "3" { DEFAULT_OPTIONS_V3 } else { DEFAULT_OPTIONS }).collect(),
        [only] if only.eq_ignore_ascii_case("none") => Vec::new(),
        options => options.to_vec(),
    };
    if !request.volume_context.contains_key("csi.storage.k8s.io/pod.uid") {
        return Err(Status::unknown(format!(
            "Cannot get poduid and cannot set volume limit: {}",
            request.volume_id
        )));
    }
    let protocol = match attributes.mount_protocol.as_str() {
        "" => "nfs",
        other => other,
    };
    // The driver connects to the mount target's port before it mounts.
    if !server.is_empty() && ["nfs", "alinas"].contains(&protocol) && !is_mount_target(&server) {
        return Err(Status::invalid_argument(format!(
            "cannot connect to nas host {server}: dial tcp: lookup {server}: no such host"
        )));
    }
    let access = capability.access_mode.map(|access| access.mode);
    let read_only =
        request.readonly || [Some(SINGLE_NODE_READER_ONLY), Some(MULTI_NODE_READER_ONLY)].contains(&access);
    let mount = Mount {
        protocol: protocol.to_owned(),
        vers: vers.to_owned(),
        options,
        is_extreme: attributes.is_extreme(),
        path: attributes.path,
        server,
    };
    mount.check(&request.target_path)?;
    let mode = Some(attributes.mode).filter(|mode| !mode.is_empty() && !read_only);
    Ok(Volume { mount, read_only, mode: mode.map(|mode| (mode, attributes.mode_type == "recursive")) })
}

/// Whether the name is that of a mount target. The account is taken to have every one that is named.
fn is_mount_target(server: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    server.strip_suffix(MOUNT_TARGETS).is_some_and(|name| name.split('.').all(label))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;

    use super::super::csi::{AccessMode, Empty, MountVolume, VolumeCapability};
    use super::*;

    const SERVER: &str = "1abb5492f7-ubq80.cn-beijing.nas.aliyuncs.com";
    const EXTREME_SERVER: &str = "1a-b.cn-beijing.extreme.nas.aliyuncs.com";

    fn request(attributes: &[(&str, &str)], mount_options: &[&str]) -> NodePublishVolumeRequest {
        let mut volume_context: HashMap<String, String> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        volume_context.insert("csi.storage.k8s.io/pod.uid".to_owned(), "uid".to_owned());
        NodePublishVolumeRequest {
            volume_id: "pv-nas".to_owned(),
            target_path: "/var/lib/kubelet/pods/uid/volumes/kubernetes.io~csi/pv-nas/mount".to_owned(),
            volume_capability: Some(VolumeCapability {
                mount: Some(MountVolume {
                    mount_flags: mount_options.iter().map(ToString::to_string).collect(),
                }),
                ..VolumeCapability::default()
            }),
            readonly: false,
            volume_context,
        }
    }

    type Pairs<'a> = &'a [(&'a str, &'a str)];
    /// Attributes, mountOptions, and what is mounted: path, version, options.
    type Row<'a> = (Pairs<'a>, &'a [&'a str], &'a str, &'a str, &'a str);

    fn taken(attributes: &[(&str, &str)], mount_options: &[&str]) -> Mount {
        volume(&request(attributes, mount_options)).unwrap().mount
    }

    #[test]
    fn attributes_are_read_as_the_driver_reads_them() {
        let (v3, v4) = (DEFAULT_OPTIONS_V3, DEFAULT_OPTIONS);
        let server = ("server", SERVER);
        let table: &[Row<'_>] = &[
            (&[server], &[], "/", "3", v3),
            (&[server, ("path", "/k8s")], &[], "/k8s", "3", v3),
            (&[server, ("path", "/k8s/")], &[], "/k8s", "3", v3),
            (&[("Server", SERVER), ("PATH", "/k8s")], &[], "/k8s", "3", v3),
            (&[server, ("vers", "3.0")], &[], "/", "3", v3),
            (&[server, ("vers", "4")], &[], "/", "4.0", v4),
            (&[server, ("vers", "4")], &["vers=3"], "/", "3", v3),
            (&[server, ("options", "nolock,tcp,noresvport")], &[], "/", "3", "nolock,tcp,noresvport"),
            (&[server], &["nolock,tcp,noresvport", "vers=3"], "/", "3", "nolock,tcp,noresvport"),
            (&[server, ("options", "soft")], &["hard", "timeo=300"], "/", "3", "hard,timeo=300"),
            (&[server, ("options", "None")], &[], "/", "3", ""),
            (&[server, ("mountProtocol", " nfs ")], &[], "/", "3", v3),
            (&[("server", EXTREME_SERVER), ("path", "/share/a")], &[], "/share/a", "3", v3),
            (&[server, ("fileSystemType", "extreme"), ("path", "/share")], &[], "/share", "3", v3),
        ];
        for (attributes, mount_options, path, vers, options) in table {
            let mount = taken(attributes, mount_options);
            let found = (mount.path.as_str(), mount.vers.as_str(), mount.options.join(","));
            assert_eq!(found, (*path, *vers, (*options).to_owned()), "{attributes:?} {mount_options:?}");
        }
    }

    #[test]
    fn what_the_driver_refuses_is_refused_in_its_words() {
        let server = ("server", SERVER);
        let table: &[(Pairs<'_>, Code, &str)] = &[
            (
                &[("server", "a.nas.aliyuncs.com:/k8s")],
                Code::Unknown,
                "must be specified in the 'path' field",
            ),
            (&[server, ("path", "k8s")], Code::Unknown, "the path format is illegal"),
            (&[server, ("mode", "0755")], Code::Unknown, "NAS: root directory cannot set mode: 0755"),
            (
                &[("server", EXTREME_SERVER), ("path", "/share"), ("vers", "4")],
                Code::Unknown,
                "Extreme nas only support nfs v3",
            ),
            (
                &[("server", "nas.example.com")],
                Code::InvalidArgument,
                "cannot connect to nas host nas.example.com",
            ),
            (&[("server", ".nas.aliyuncs.com")], Code::InvalidArgument, "cannot connect to nas host"),
            (&[("server", "../x.nas.aliyuncs.com")], Code::InvalidArgument, "cannot connect to nas host"),
            (&[("path", "/k8s")], Code::Internal, "Failed to resolve server"),
            (&[server, ("vers", "5")], Code::Internal, "Protocol not supported"),
            (&[server, ("options", "nolocks")], Code::Internal, "incorrect mount option"),
            (&[server, ("mountProtocol", "efc")], Code::Internal, "unknown filesystem type 'efc'"),
            (&[server, ("mountType", "skipmount")], Code::Unimplemented, "mountType"),
        ];
        for (attributes, code, words) in table {
            let refused = volume(&request(attributes, &[])).unwrap_err();
            assert_eq!(refused.code(), *code, "{attributes:?}: {refused}");
            assert!(refused.message().contains(words), "{attributes:?}: {refused}");
        }
    }

    #[test]
    fn reading_only_is_asked_for_in_three_ways() {
        let base = request(&[("server", SERVER), ("path", "/a"), ("mode", "0777")], &[]);
        assert_eq!(volume(&base).unwrap().mode, Some(("0777".to_owned(), false)));
        assert!(!volume(&base).unwrap().read_only);
        let mut by_pod = base.clone();
        by_pod.readonly = true;
        for access in [SINGLE_NODE_READER_ONLY, MULTI_NODE_READER_ONLY] {
            let mut by_access = base.clone();
            by_access.volume_capability.as_mut().unwrap().access_mode = Some(AccessMode { mode: access });
            assert!(volume(&by_access).unwrap().read_only);
        }
        let read_only = volume(&by_pod).unwrap();
        assert!(read_only.read_only);
        assert_eq!(read_only.mode, None, "what is only read is not changed");
    }

    #[test]
    fn a_request_that_no_kubelet_would_send_is_refused() {
        let base = request(&[("server", SERVER)], &[]);
        let mut no_pod = base.clone();
        no_pod.volume_context.remove("csi.storage.k8s.io/pod.uid");
        assert!(volume(&no_pod).unwrap_err().message().contains("Cannot get poduid"));
        let mut no_target = base.clone();
        no_target.target_path.clear();
        assert_eq!(volume(&no_target).unwrap_err().code(), Code::InvalidArgument);
        let mut block = base;
        block.volume_capability.as_mut().unwrap().block = Some(Empty {});
        assert_eq!(volume(&block).unwrap_err().code(), Code::InvalidArgument);
    }
}
