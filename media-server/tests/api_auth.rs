//! What changes something through the API needs the token where there is one, and is not done for pages of other sites.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

mod common;

use std::net::SocketAddr;

use common::{TestServer, media, publish, request, wait_until};
use media_server::cli::Running;
use media_server::conf;
use media_server::server::{Service, Version};

const RAW: &str = "raw_api { enabled on; allow_reload on; }";

/// A server whose configuration and token are files.
fn with_token(dir: &std::path::Path) -> (Running, SocketAddr) {
    let path = dir.join("srs.conf");
    let token = dir.join("token");
    std::fs::write(&token, "first-token\n").unwrap();
    let text = format!(
        "listen 127.0.0.1:0; http_api {{ enabled on; listen 127.0.0.1:0; {RAW}
            auth {{ enabled on; token_file {}; }} }} vhost __defaultVhost__ {{ }}",
        token.display()
    );
    std::fs::write(&path, text).unwrap();
    let settings = conf::load(&path).unwrap();
    let running = Running::start_from(settings, Version::parse("4.0.271").unwrap(), Some(path)).unwrap();
    let api = running.address(Service::Api).unwrap();
    (running, api)
}

fn status(answer: &(String, String)) -> &str {
    &answer.0["HTTP/1.1 ".len()..][..3]
}

#[test]
fn changes_need_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let (running, api) = with_token(dir.path());
    let publisher =
        publish(&media(), &format!("rtmp://{}/live/livestream", running.address(Service::Rtmp).unwrap()));
    wait_until("somebody publishes", || running.server.stat.client_count() == 1);
    let id = running.server.stat.clients()[0].id.clone();
    let client = format!("/api/v1/clients/{id}");
    let first = "Authorization: Bearer first-token";
    for (method, path) in [
        ("DELETE", client.clone()),
        ("GET", format!("{client}?callback=f&method=DELETE")),
        ("GET", format!("{client}/?method=DELETE")),
        ("GET", "/api/v1/raw?rpc=reload".into()),
    ] {
        for fields in [&[][..], &["Authorization: Bearer wrong"], &["Authorization: Basic first-token"]] {
            let answer = request(api, method, &path, fields);
            assert_eq!(status(&answer), "401", "{method} {path} {fields:?}");
            assert!(answer.0.contains("Www-Authenticate: Bearer"), "{}", answer.0);
        }
    }
    assert_eq!(running.server.stat.client_count(), 1);
    for path in
        ["/api/v1/clients/", "/api/v1/summaries", "/api/v1/raw?rpc=raw", "/metrics", "/api/v1/versions"]
    {
        let answer = request(api, "GET", path, &[]);
        assert_eq!(status(&answer), "200", "{path}");
        assert!(!answer.1.contains("first-token"), "{path}");
    }
    let preflight = request(api, "OPTIONS", &client, &["Origin: http://console.example"]);
    assert!(preflight.0.contains("Access-Control-Allow-Headers: authorization"), "{}", preflight.0);
    // The token is enough, wherever the page is from.
    let answer = request(api, "DELETE", &client, &[first, "Origin: http://console.example"]);
    assert_eq!(status(&answer), "200");
    assert!(answer.0.contains("Access-Control-Allow-Origin: *"), "{}", answer.0);
    wait_until("the publisher has gone", || running.server.stat.client_by_id(&id).is_none());
    drop(publisher);
    running.stop();
}

#[test]
fn a_reload_reads_the_token_again() {
    let dir = tempfile::tempdir().unwrap();
    let (running, api) = with_token(dir.path());
    let reload = |token: &str| {
        let field = format!("Authorization: Bearer {token}");
        request(api, "GET", "/api/v1/raw?rpc=reload", &[&field])
    };
    std::fs::write(dir.path().join("token"), "second-token").unwrap();
    assert_eq!(reload("first-token").1, "{\"code\":0}");
    assert_eq!(status(&reload("first-token")), "401");
    std::fs::remove_file(dir.path().join("token")).unwrap();
    let refused = reload("second-token").1;
    assert!(refused.contains("1023") && refused.contains("token_file"), "{refused}");
    // The old token stays with the old configuration.
    std::fs::write(dir.path().join("token"), "third-token").unwrap();
    assert_eq!(reload("second-token").1, "{\"code\":0}");
    running.stop();
}

#[test]
fn without_a_token_other_sites_may_look_and_not_touch() {
    let server = TestServer::start("", "");
    let api = server.address(Service::Api);
    let evil = "Origin: http://evil.example";
    let browser = "User-Agent: Mozilla/5.0";
    let answer = request(api, "GET", "/api/v1/versions?callback=f", &[evil, browser]);
    assert_eq!(status(&answer), "200");
    assert!(
        answer.1.starts_with("f({") && answer.0.contains("X-Content-Type-Options: nosniff"),
        "{answer:?}"
    );
    assert_eq!(status(&request(api, "DELETE", "/api/v1/clients/x", &[evil])), "403");
    assert_eq!(status(&request(api, "GET", "/api/v1/clients/x?callback=f&method=DELETE", &[browser])), "403");
    assert_eq!(status(&request(api, "GET", "/api/v1/raw?rpc=reload", &[browser])), "403");
    // As SRS answers those who are no page.
    assert_eq!(request(api, "DELETE", "/api/v1/clients/x", &[]).1, "{\"code\":2049}");
    let own = format!("Origin: http://{api}");
    assert_eq!(request(api, "DELETE", "/api/v1/clients/x", &[&own, browser]).1, "{\"code\":2049}");
    let answer = request(api, "GET", "/api/v1/versions?callback=alert(1)//", &[]);
    assert!(answer.1.starts_with('{') && answer.0.contains("application/json"), "{answer:?}");
}
