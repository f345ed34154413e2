//! Against a real containerd of its own, in a folder of its own.

use super::*;

#[tokio::test]
async fn a_loaded_image_is_there_under_all_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let address = path("containerd.sock");
    let config = format!(
        "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n\
         [grpc]\naddress = '{address}'\n[ttrpc]\naddress = '{address}.ttrpc'\n",
        path("root"),
        path("state")
    );
    fs::write(path("config.toml"), config).unwrap();
    let image = image();
    let archive = folder.path().join("image.tar");
    image.write(&archive).unwrap();
    let ctr = |arguments: &[&str]| {
        Command::new("ctr")
            .args(["--address", &address, "--namespace", LoadOptions::NAMESPACE])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("ctr: {error}; this test needs it: apt-get install containerd"))
    };
    let options = LoadOptions { address: address.clone(), namespace: LoadOptions::NAMESPACE.to_owned() };

    let error = load(&archive, &options, &quiet).await.unwrap_err().to_string();
    assert!(error.contains("ctr") && error.contains(&address), "{error}");

    let arguments = ["--config", &path("config.toml")];
    let mut server = Server::start("containerd", &arguments, folder.path());
    server.wait_for("containerd", || ctr(&["version"]).status.success());
    load(&archive, &options, &quiet).await.unwrap();

    let list = String::from_utf8(ctr(&["images", "ls"]).stdout).unwrap();
    for name in ["docker.io/ossrs/srs:3", "docker.io/ossrs/srs:4.0.5"] {
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(name));
        assert!(line.is_some_and(|line| line.contains(&image.digest())), "{name}: {list}");
    }
    let check = String::from_utf8(ctr(&["images", "check"]).stdout).unwrap();
    assert_eq!(check.matches("complete").count(), 2, "{check}");
}
