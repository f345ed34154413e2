//! Against a real registry: Debian's docker-registry.

use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;

use super::*;

/// bcrypt of `alice`'s password, which is `correct horse`.
const HTPASSWD: &str = "alice:$2b$05$stackctlregistrytest.eUwPViRfRH9exVFGm9A33HEuVBCIMyiO\n";

struct Registry {
    _server: Server,
    address: String,
    _folder: TempDir,
}

fn registry(htpasswd: Option<&str>) -> Registry {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut config = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
        path("storage")
    );
    if let Some(htpasswd) = htpasswd {
        fs::write(path("htpasswd"), htpasswd).unwrap();
        config = format!("{config}auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("htpasswd"));
    }
    fs::write(path("config.yml"), config).unwrap();
    let arguments = ["serve", &path("config.yml")];
    let mut server = Server::start("docker-registry", &arguments, folder.path());
    server.wait_for("registry", || TcpStream::connect(&address).is_ok());
    Registry { _server: server, address, _folder: folder }
}

#[tokio::test]
async fn a_pushed_image_pulls_back_the_same_and_is_not_uploaded_twice() {
    let (registry, image) = (registry(None), image());
    let name = parse_name(&format!("{}/ossrs/srs:3", registry.address)).unwrap();
    let news = Mutex::new(Vec::new());
    let pushed =
        push(&image, &name, &PushOptions::default(), &|step| news.lock().unwrap().push(step)).await.unwrap();
    assert_eq!(pushed.uploaded, image.blobs().len());
    assert_eq!(pushed.by_digest, format!("{}/ossrs/srs@{}", registry.address, image.digest()));
    let uploads =
        news.lock().unwrap().iter().filter(|step| matches!(step, Progress::Uploading { .. })).count();
    assert_eq!(uploads, image.blobs().len());

    let protocol = ClientProtocol::Http;
    let client = Client::try_from(ClientConfig { protocol, ..ClientConfig::default() }).unwrap();
    let types = ["application/vnd.oci.image.manifest.v1+json"];
    let (manifest, digest) = client.pull_manifest_raw(&name, &RegistryAuth::Anonymous, &types).await.unwrap();
    assert_eq!((&manifest, digest), (image.manifest(), image.digest()));
    for (digest, blob) in image.blobs() {
        let mut pulled = Vec::new();
        client.pull_blob(&name, digest.as_str(), &mut pulled).await.unwrap();
        assert!(pulled == *blob, "{digest}");
    }

    let again = parse_name(&format!("{}/ossrs/srs:again", registry.address)).unwrap();
    assert_eq!(push(&image, &again, &PushOptions::default(), &quiet).await.unwrap().uploaded, 0);
}

#[tokio::test]
async fn credentials_open_it_and_wrong_ones_are_named_without_the_password() {
    let (registry, image) = (registry(Some(HTPASSWD)), image());
    let name = parse_name(&format!("{}/ossrs/srs:3", registry.address)).unwrap();
    let with = |user: &str, password: &str| PushOptions {
        credentials: Credentials::Password { user: user.into(), password: password.into() },
        insecure: false,
    };
    for (options, who) in
        [(with("alice", "wrong horse"), "\"alice\""), (PushOptions::default(), "an anonymous user")]
    {
        let error = push(&image, &name, &options, &quiet).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "{0} refuses to let {who} push ossrs/srs; log in with `docker login {0}` as a user who may",
                registry.address
            )
        );
        assert!(!shown.contains("horse"), "{shown}");
    }
    push(&image, &name, &with("alice", "correct horse"), &quiet).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let name = parse_name(&format!("127.0.0.1:{port}/srs:3")).unwrap();
    let error = push(&image(), &name, &PushOptions::default(), &quiet).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot push 127.0.0.1:{port}/srs:3; the registry cannot be reached")),
        "{error}"
    );
}
