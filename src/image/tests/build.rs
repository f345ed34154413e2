use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::SystemTime;

use flate2::read::GzDecoder;
use oci_spec::image::{ImageConfiguration, ImageManifest};

use super::super::binary::compile;
use super::*;

fn parts(image: &Image) -> (ImageManifest, ImageConfiguration) {
    let manifest: ImageManifest = serde_json::from_slice(image.manifest()).unwrap();
    let config = serde_json::from_slice(&image.blobs()[manifest.config().digest().as_ref()]).unwrap();
    (manifest, config)
}

fn layers(image: &Image) -> impl Iterator<Item = tar::Archive<GzDecoder<&[u8]>>> {
    let (manifest, _) = parts(image);
    let digests: Vec<_> = manifest.layers().iter().map(|layer| layer.digest().to_string()).collect();
    digests.into_iter().map(|digest| tar::Archive::new(GzDecoder::new(&image.blobs()[&digest][..])))
}

#[test]
fn twice_gives_the_same_bytes_whatever_the_files_times_modes_and_order() {
    let (first, second) = (content(), content());
    let stamp = |path: &str, mode: u32| {
        let path = second.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    stamp("conf/srs.conf", 0o600);
    stamp("doc", 0o700);
    stamp("html", 0o777);
    // Made again, so that the file system lists it elsewhere.
    fs::remove_file(second.path().join("conf/docker.conf")).unwrap();
    fs::write(second.path().join("conf/docker.conf"), "daemon off;\n").unwrap();

    let written = |content: &TempDir| {
        let archive = content.path().join("image.tar");
        build(&options(content.path()), &quiet).unwrap().write(&archive).unwrap();
        fs::read(archive).unwrap()
    };
    let bytes = written(&first);
    assert!(bytes == written(&second));
    fs::write(second.path().join("conf/srs.conf"), "listen 1936;\n").unwrap();
    assert!(bytes != written(&second), "what is in a file does matter");
}

#[test]
fn has_what_the_manifests_expect() {
    let image = image();
    let (manifest, config) = parts(&image);
    assert_eq!(manifest.layers().len(), 3);
    assert_eq!(config.created().as_deref(), Some("2023-11-14T22:13:20Z"));
    let run = config.config().as_ref().unwrap();
    assert_eq!(run.working_dir().as_deref(), Some("/usr/local/srs"));
    assert_eq!(run.cmd().as_deref(), Some(&["./objs/srs", "-c", "conf/srs.conf"].map(str::to_owned)[..]));
    let mut ports = run.exposed_ports().clone().unwrap();
    ports.sort();
    assert_eq!(ports, ["1935/tcp", "1985/tcp", "8080/tcp"]);

    let mut found = std::collections::BTreeMap::new();
    for mut layer in layers(&image) {
        for entry in layer.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            found.insert(entry.path().unwrap().display().to_string(), (header.mode().unwrap(), link));
        }
    }
    for (path, mode, link) in [
        ("usr/local/srs/objs/srs", 0o755, None),
        ("usr/local/srs/etc/init.d/srs", 0o777, Some("../../objs/srs")),
        ("usr/local/srs/conf/srs.conf", 0o644, None),
        ("usr/local/srs/doc/source.flv", 0o644, None),
        ("usr/local/srs/objs/nginx/html/index.html", 0o644, None),
        ("bin/busybox", 0o755, None),
        ("bin/sh", 0o777, Some("/bin/busybox")),
        ("tmp/", 0o1777, None),
        ("etc/passwd", 0o644, None),
    ] {
        assert_eq!(found.get(path), Some(&(mode, link.map(str::to_owned))), "{path}");
    }
    for tool in
        "cp sleep tail find ls cat ps grep awk mkdir rm date kill ping wget nc vi basename dirname".split(' ')
    {
        let has = ["bin", "sbin", "usr/bin", "usr/sbin"]
            .iter()
            .any(|folder| found.contains_key(&format!("{folder}/{tool}")));
        assert!(has, "{tool}");
    }
    assert!(!found.keys().any(|path| path.contains("Dockerfile")));
}

/// The layers unpacked one over the other, and the tutorial's commands run in them.
#[test]
fn runs_the_tutorials_shell_commands() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = tempfile::tempdir().unwrap();
    fs::create_dir_all(workspace.path().join("media-server/src")).unwrap();
    fs::write(
        workspace.path().join("Cargo.toml"),
        "[workspace]\nmembers = [\"media-server\"]\nresolver = \"3\"\n",
    )
    .unwrap();
    let package = "[package]\nname = \"media-server\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
    fs::write(workspace.path().join("media-server/Cargo.toml"), package).unwrap();
    let program = "fn main() { println!(\"{}\", std::env::args().next().unwrap()); }\n";
    fs::write(workspace.path().join("media-server/src/main.rs"), program).unwrap();
    // A target folder of its own: the real media server has the same name.
    let target = workspace.path().join("target");
    let arguments = [OsStr::new("--target-dir"), target.as_os_str()];
    let binary = Binary::read(&compile(workspace.path(), &arguments, &quiet).unwrap()).unwrap();

    let content = content();
    let image = build(&BuildOptions { binary, ..options(content.path()) }, &quiet).unwrap();
    for mut layer in layers(&image) {
        layer.unpack(folder.path()).unwrap();
    }
    let in_image = |command: &str| {
        let output = Command::new("/usr/sbin/chroot")
            .arg(folder.path())
            .args(["/bin/sh", "-c", &format!("cd /usr/local/srs && {command}")])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(in_image("./objs/srs"), "./objs/srs");
    assert_eq!(in_image("./etc/init.d/srs grace"), "./etc/init.d/srs");
    let copy = "mkdir /tmp/html && \
                if [[ ! -f /tmp/html/index.html ]]; then cp -R ./objs/nginx/html/* /tmp/html; fi && cat /tmp/html/index.html";
    assert_eq!(in_image(copy), "<!doctype html>");
    assert_eq!(in_image("wc -c < doc/source.flv"), "70000");
}

#[test]
fn an_archive_reads_back_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    let image = image();
    image.write(&path).unwrap();
    let read = Image::read(&path).unwrap();
    assert_eq!((read.digest(), read.blobs()), (image.digest(), image.blobs()));
    let names: Vec<_> = read.names().iter().map(ImageName::whole).collect();
    assert_eq!(names, ["docker.io/ossrs/srs:3", "docker.io/ossrs/srs:4.0.5"]);

    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    // Inside the biggest blob, which lies somewhere in the second half.
    flipped[whole.len() / 2] ^= 1;
    for (damaged, why) in [
        (b"text".to_vec(), "is not an OCI image archive"),
        (whole[..1024].to_vec(), "it has no index.json"),
        (whole[..whole.len() / 2].to_vec(), "is not an OCI image archive"),
        (flipped, "has another digest than its name"),
    ] {
        fs::write(&path, damaged).unwrap();
        let error = Image::read(&path).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn what_cannot_be_in_an_image_is_named() {
    let content = content();
    let error = build(&options(&content.path().join("none")), &quiet).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot list {}/none", content.path().display()));

    let error = Binary::read(Path::new("/bin/ls")).unwrap_err().to_string();
    assert!(error.contains("dynamically linked"), "{error}");
    let error = find_busybox(Some(Path::new("/nowhere/busybox"))).unwrap_err().to_string();
    assert!(error.contains("apt-get install busybox-static"), "{error}");
    let error = find_binary(None, content.path(), &quiet).unwrap_err().to_string();
    assert!(error.contains("--binary PATH"), "{error}");

    symlink("../elsewhere", content.path().join("conf/link")).unwrap();
    build(&options(content.path()), &quiet).unwrap();
    let made = Command::new("mkfifo").arg(content.path().join("conf/fifo")).status().unwrap();
    assert!(made.success());
    let error = build(&options(content.path()), &quiet).unwrap_err();
    assert!(matches!(error, ImageError::SpecialFile { .. }), "{error}");
}

#[test]
fn names_are_those_of_docker() {
    for (name, whole) in [
        ("ossrs/srs:3", "docker.io/ossrs/srs:3"),
        ("nginx", "docker.io/library/nginx:latest"),
        ("registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v4", "registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v4"),
        ("127.0.0.1:5000/srs:3", "127.0.0.1:5000/srs:3"),
    ] {
        assert_eq!(parse_name(name).unwrap().whole(), whole);
    }
    for bad in [
        "",
        "ossrs/SRS",
        "a:b:c",
        "srs:3@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        assert!(matches!(parse_name(bad), Err(ImageError::Name { .. })), "{bad}");
    }
}
