//! The programs of Kubernetes: built once from their Go modules, kept in the user's cache.
//!
//! The modules (`programs/*/go.mod` and `go.sum`) are part of this crate, so that it builds the same binaries wherever
//! it runs; Go checks every download against the sums. One build serves every checkout and every later run: the
//! folder's name is the version and a digest of all that decides what is built.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use crate::{
    command,
    error::{Error, Result, at},
    lock, paths,
    progress::{self, Steps},
};

/// The version of Kubernetes.
pub const KUBERNETES: &str = "v1.34.4";

/// A Go module of this crate.
struct Module {
    name: &'static str,
    /// Its files, by name.
    files: &'static [(&'static str, &'static str)],
    /// The programs that it builds: the binary's name and the Go package.
    programs: &'static [(&'static str, &'static str)],
    /// Files that a program is given, put together from files of its Go module.
    data: &'static [Data],
}

/// A file that is kept beside the programs.
struct Data {
    name: &'static str,
    go_module: &'static str,
    files: &'static [&'static str],
}

/// How kwok plays nodes and pods, as its authors ship it.
pub(crate) const KWOK_STAGES: &str = "kwok-stages.yaml";

const MODULES: &[Module] = &[
    Module {
        name: "kubernetes",
        files: &[
            ("go.mod", include_str!("../programs/kubernetes/go.mod")),
            ("go.sum", include_str!("../programs/kubernetes/go.sum")),
        ],
        programs: &[
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ],
        data: &[],
    },
    Module {
        name: "coredns",
        files: &[
            ("go.mod", include_str!("../programs/coredns/go.mod")),
            ("go.sum", include_str!("../programs/coredns/go.sum")),
        ],
        programs: &[("coredns", "github.com/coredns/coredns")],
        data: &[],
    },
    Module {
        name: "kwok",
        files: &[
            ("go.mod", include_str!("../programs/kwok/go.mod")),
            ("go.sum", include_str!("../programs/kwok/go.sum")),
        ],
        programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
        data: &[Data {
            name: KWOK_STAGES,
            go_module: "sigs.k8s.io/kwok",
            files: &[
                "kustomize/stage/node/fast/node-initialize.yaml",
                "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
                "kustomize/stage/pod/fast/pod-ready.yaml",
                "kustomize/stage/pod/fast/pod-complete.yaml",
                "kustomize/stage/pod/fast/pod-delete.yaml",
            ],
        }],
    },
    Module {
        name: "pause",
        files: &[
            ("go.mod", include_str!("../programs/pause/go.mod")),
            ("main.go", include_str!("../programs/pause/main.go")),
        ],
        programs: &[("pause", ".")],
        data: &[],
    },
];

/// The folder of the built programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs(PathBuf);

impl Programs {
    /// Builds the programs unless they are there; says on standard error what it does. Two processes that ask at the
    /// same time build once.
    ///
    /// # Errors
    /// Go is missing, or a build failed.
    pub fn ensure() -> Result<Self> {
        let base = paths::programs()?;
        let dir = base.join(key());
        if !dir.is_dir() {
            let lock_path = base.join(format!("{}.lock", key()));
            let lock = if let Some(lock) = lock::try_exclusive(&lock_path)? {
                lock
            } else {
                progress::say("waiting for another process that builds Kubernetes");
                lock::exclusive(&lock_path)?
            };
            if !dir.is_dir() {
                build(&base, &dir)?;
            }
            drop(lock);
        }
        Ok(Self(dir))
    }

    /// The programs in a folder that an earlier [`Programs::ensure`] gave.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The path of one program, for example `kubectl`.
    pub fn path(&self, program: &str) -> PathBuf {
        self.0.join(program)
    }
}

/// The version, and a digest of all that decides what is built.
pub(crate) fn key() -> String {
    let mut digest = Sha256::new();
    for module in MODULES {
        digest.update(ldflags(module));
        for (_, content) in module.files {
            digest.update(content);
        }
        for data in module.data {
            digest.update(data.files.concat());
        }
    }
    format!("{KUBERNETES}-{}", hex(&digest.finalize()[..4]))
}

/// Bytes as lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn ldflags(module: &Module) -> String {
    let strip = "-s -w".to_owned();
    if module.name != "kubernetes" {
        return strip;
    }
    // Without these the server calls itself v0.0.0-master, and clients stumble over it.
    let mut numbers = KUBERNETES.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let variable = "-X k8s.io/component-base/version";
    format!(
        "{strip} {variable}.gitVersion={KUBERNETES} {variable}.gitMajor={major} {variable}.gitMinor={minor}"
    )
}

impl Data {
    /// The files, one YAML document after the other. Go has put the module where it says.
    fn read(&self, source: &Path) -> Result<String> {
        let find = ["list", "-m", "-f", "{{.Dir}}", self.go_module];
        let folder =
            command::run(Command::new("go").args(find).current_dir(source).env("GOFLAGS", "-mod=readonly"))?;
        let mut text = String::new();
        for file in self.files {
            let path = Path::new(folder.trim()).join(file);
            text.push_str("---\n");
            text.push_str(&fs::read_to_string(&path).map_err(at("read", path))?);
        }
        Ok(text)
    }
}

fn build(base: &Path, dir: &Path) -> Result<()> {
    if command::output(Command::new("go").arg("version")).is_err() {
        return Err(Error::NoGo);
    }
    progress::say(&format!(
        "building Kubernetes {KUBERNETES} once for this user (about ten minutes on two cores) into {}",
        dir.display()
    ));
    // What a build that was killed left; the lock says that there is no other one of this key.
    let prefix = format!(".build-{}-", key());
    for entry in fs::read_dir(base).map_err(at("read", base))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(entry.path()).map_err(at("remove", entry.path()))?;
        }
    }
    let work =
        tempfile::Builder::new().prefix(&prefix).tempdir_in(base).map_err(at("create a folder in", base))?;
    let bin = work.path().join("bin");
    let mut steps = Steps::new(MODULES.iter().map(|module| module.programs.len() as u64).sum());
    for module in MODULES {
        let source = work.path().join(module.name);
        fs::create_dir(&source).map_err(at("create", &source))?;
        for (name, content) in module.files {
            fs::write(source.join(name), content).map_err(at("write", source.join(name)))?;
        }
        for (program, package) in module.programs {
            steps.begin(program);
            command::run(
                Command::new("go")
                    .args(["build", "-trimpath", "-buildvcs=false"])
                    .arg(format!("-ldflags={}", ldflags(module)))
                    .arg("-o")
                    .arg(bin.join(program))
                    .arg(package)
                    .current_dir(&source)
                    .envs([("CGO_ENABLED", "0"), ("GOFLAGS", "-mod=readonly"), ("GOWORK", "off")]),
            )?;
            steps.end();
        }
        for data in module.data {
            fs::write(bin.join(data.name), data.read(&source)?).map_err(at("write", bin.join(data.name)))?;
        }
    }
    fs::rename(&bin, dir).map_err(at("move the programs to", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_name_the_version_that_the_binaries_will_tell() {
        let kubernetes = MODULES[0].files[0].1;
        assert!(kubernetes.contains(&format!("k8s.io/kubernetes {KUBERNETES}")));
        assert!(ldflags(&MODULES[0]).ends_with("gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"));
    }

    #[test]
    fn the_key_is_a_folder_name_with_the_version_in_it() {
        assert!(key().starts_with("v1.34.4-") && key().len() == "v1.34.4-".len() + 8);
    }
}
