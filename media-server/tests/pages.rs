//! The pages in a real Chromium: they play, come back after the server was restarted, and show what happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail its test")]

#[allow(dead_code, reason = "only this test needs a browser, and not all of it")]
mod browser;
mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use browser::{Browser, Screen};
use common::{Reaped, media, publish, request, wait_until};
use media_server::cli::Running;
use media_server::conf;
use media_server::server::{Service, Version};

/// A server that can be started again at the same ports.
struct Site {
    text: String,
    ports: [u16; 3],
    running: Option<Running>,
    _dir: tempfile::TempDir,
}

impl Site {
    fn start(api: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // All three are held at once, so that they differ.
        let held: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = [0, 1, 2].map(|index: usize| held[index].local_addr().unwrap().port());
        drop(held);
        let [rtmp, api_port, http] = ports;
        let path = dir.path().display();
        let text = format!(
            "listen 127.0.0.1:{rtmp}; daemon off;
             http_api {{ enabled on; listen 127.0.0.1:{api_port}; {api} }}
             http_server {{ enabled on; listen 127.0.0.1:{http}; dir {path}; }}
             vhost __defaultVhost__ {{ http_remux {{ enabled on; }}
                hls {{ enabled on; hls_fragment 1; hls_window 10; hls_path {path}; }} }}"
        );
        let mut site = Site { text, ports, running: None, _dir: dir };
        site.restart();
        site
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    fn restart(&mut self) {
        self.stop();
        let settings = conf::from_text(&self.text).unwrap();
        self.running = Some(Running::start(settings, Version::parse("4.0.271").unwrap()).unwrap());
    }

    fn publish(&self) -> Reaped {
        let publisher = publish(&media(), &format!("rtmp://127.0.0.1:{}/live/livestream", self.ports[0]));
        wait_until("the stream is published", || {
            let sources = self.running.as_ref().unwrap().server.sources.all();
            sources.iter().any(|source| source.is_live() && source.head() > 5)
        });
        publisher
    }

    fn page(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.ports[2])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

const FRAMES: &str = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 10";
const PLAYS: &str = "document.querySelector('video').currentTime > 1.5 \
    && document.querySelector('#state').dataset.state === 'playing'";

async fn assert_plays(browser: &Browser) {
    browser.wait_until("time goes on", PLAYS).await;
    browser.wait_until("frames are decoded", FRAMES).await;
}

#[tokio::test]
async fn flv_plays_and_comes_back_after_a_restart() {
    let mut site = Site::start("");
    let publisher = site.publish();
    let browser = Browser::start(Screen::Desktop).await;
    // As links to SRS's own player are written.
    let query = format!("autostart=true&stream=livestream.flv&port={}&schema=http", site.ports[2]);
    browser.open(&site.page(&format!("players/srs_player.html?{query}"))).await;
    assert_plays(&browser).await;
    browser.picture("player").await;
    site.stop();
    drop(publisher);
    browser
        .wait_until("the player notices", "document.querySelector('#state').dataset.state === 'waiting'")
        .await;
    browser.picture("player-waiting").await;
    site.restart();
    let _publisher = site.publish();
    browser
        .wait_until(
            "it connects again",
            "!/^0$/.test(document.querySelector('[data-stat=reconnects]').textContent)",
        )
        .await;
    assert_plays(&browser).await;
    browser.close().await;
}

#[tokio::test]
async fn hls_plays_and_comes_back_after_a_restart() {
    let mut site = Site::start("");
    let publisher = site.publish();
    let browser = Browser::start(Screen::Desktop).await;
    browser.open(&site.page("players/?stream=livestream&format=hls&autostart=true")).await;
    assert_plays(&browser).await;
    site.stop();
    drop(publisher);
    site.restart();
    let _publisher = site.publish();
    // The window is 10 s: what plays for longer was made after the restart, even where hls.js needed no new start.
    let before = browser.value("document.querySelector('video').currentTime").await;
    let again = "document.querySelector('[data-stat=reconnects]').textContent !== '0'";
    let on = format!("document.querySelector('video').currentTime > {before} + 14");
    browser.wait_until("it goes on", &format!("{again} || {on}")).await;
    assert_plays(&browser).await;
    browser.close().await;
}

#[tokio::test]
async fn websocket_flv_plays() {
    let site = Site::start("");
    let _publisher = site.publish();
    let browser = Browser::start(Screen::Desktop).await;
    browser.open(&site.page("players/?stream=livestream&format=ws&autostart=true")).await;
    let url = browser.value("document.querySelector('#url').value").await;
    assert_eq!(url, format!("ws://127.0.0.1:{}/live/livestream.flv", site.ports[2]));
    assert_plays(&browser).await;
    browser.close().await;
}

#[tokio::test]
async fn pages_that_nginx_serves_play_from_the_media_server() {
    let site = Site::start("");
    let _publisher = site.publish();
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("html");
    let mut pages = std::process::Command::new(env!("CARGO_BIN_EXE_media-server"));
    assert!(pages.arg("pages").arg(&html).status().unwrap().success());
    let (_nginx, address) = nginx(dir.path(), &html);
    let browser = Browser::start(Screen::Desktop).await;
    let at = format!("server=127.0.0.1&port={}", site.ports[2]);
    for query in [
        format!("{at}&stream=livestream.flv"),
        format!("{at}&schema=http&stream=livestream&format=ws"),
        format!("{at}&stream=livestream.m3u8"),
    ] {
        browser.open(&format!("http://{address}/players/?{query}&autostart=true")).await;
        assert_plays(&browser).await;
    }
    browser.close().await;
}

/// Serves a folder.
fn nginx(dir: &Path, html: &Path) -> (Reaped, SocketAddr) {
    common::ensure_packages(&["nginx"]);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (root, conf) = (dir.display(), dir.join("nginx.conf"));
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {root}/{name};"))
        .concat();
    let text = format!(
        "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log; events {{ }}
         http {{ include /etc/nginx/mime.types; access_log off; {temporary}
            server {{ listen {address}; root {}; }} }}",
        html.display()
    );
    std::fs::write(&conf, text).unwrap();
    let nginx = Reaped(std::process::Command::new("nginx").arg("-c").arg(&conf).spawn().unwrap());
    wait_until("nginx listens", || TcpStream::connect(address).is_ok());
    (nginx, address)
}

/// Text and the contrast that it has with what is behind it, where that is less than WCAG's 4.5 (3 for large text).
const FAINT: &str = r"(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const bytes = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (color) => {
        const [r, g, b] = bytes(color).map((byte) => byte / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (bytes(color)[3] === 255) return color;
        }
        return 'white';
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
            || element.matches('input, select');
        if (!own || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const [a, b] = [light(style.color), light(behind(element))].sort((x, y) => y - x);
        const contrast = (a + 0.05) / (b + 0.05);
        const large = parseFloat(style.fontSize) >= 24;
        if (contrast < (large ? 3 : 4.5) && !element.disabled) {
            faint.push(`${element.tagName} ${element.className} ${element.textContent.slice(0, 40)}: ${contrast}`);
        }
    }
    return faint;
})()";

#[tokio::test]
async fn text_can_be_read_by_light_and_in_the_dark() {
    let site = Site::start("");
    let _publisher = site.publish();
    for screen in [Screen::Desktop, Screen::Dark] {
        let browser = Browser::start(screen).await;
        let dark = browser.value("matchMedia('(prefers-color-scheme: dark)').matches").await;
        assert_eq!(dark, matches!(screen, Screen::Dark));
        for (name, path, ready) in [
            ("home", "", "document.querySelectorAll('#live tbody tr').length === 1"),
            ("players", "players/?autostart=true", PLAYS),
            ("console", "console/", "document.querySelectorAll('#clients tbody tr').length === 1"),
        ] {
            browser.open(&site.page(path)).await;
            browser.wait_until("the page is ready", ready).await;
            if name == "console" {
                browser.click("#clients button").await;
                browser.wait_until("it asks", "document.querySelector('#kick-dialog').open").await;
            }
            assert_eq!(browser.value(FAINT).await, serde_json::json!([]), "{name}, dark: {dark}");
            if dark == true {
                browser.picture(&format!("dark-{name}")).await;
            }
        }
        browser.close().await;
    }
}

#[tokio::test]
async fn the_console_shows_streams_and_clients_and_disconnects_one() {
    let site = Site::start("");
    let _publisher = site.publish();
    let player = Reaped(
        common::ffmpeg("ffmpeg")
            .args([
                "-re",
                "-i",
                &format!("rtmp://127.0.0.1:{}/live/livestream", site.ports[0]),
                "-f",
                "null",
                "-",
            ])
            .spawn()
            .unwrap(),
    );
    let browser = Browser::start(Screen::Desktop).await;
    browser.open(&site.page("")).await;
    browser
        .wait_until("the stream is listed", "document.querySelectorAll('#live tbody tr').length === 1")
        .await;
    browser.picture("home").await;
    browser.open(&site.page("console/")).await;
    let stream = "document.querySelector('#streams tbody tr')?.innerText ?? ''";
    browser.wait_until("the stream is shown", &format!("({stream}).includes('live/livestream')")).await;
    browser
        .wait_until("its size", &format!("({stream}).includes('640×360') || /\\d+×\\d+/.test({stream})"))
        .await;
    browser.wait_until("its frames", &format!("/\\d+ fps/.test({stream})")).await;
    let plays = "[...document.querySelectorAll('#clients tbody tr')].filter((row) => row.innerText.includes('plays'))";
    browser.wait_until("its player is shown", &format!("({plays}).length === 1")).await;
    browser
        .wait_until(
            "health is shown",
            "/SRS 4.0.271/.test(document.querySelector('[data-value=version]').innerText)",
        )
        .await;
    browser.picture("console").await;
    browser.value(&format!("({plays})[0].querySelector('button').click()")).await;
    browser.wait_until("it asks", "document.querySelector('#kick-dialog').open").await;
    browser.picture("console-kick").await;
    browser.click("#kick-dialog button[value=yes]").await;
    browser.wait_until("the player has gone", &format!("({plays}).length === 0")).await;
    let mut player = player;
    wait_until("ffmpeg has noticed", || player.0.try_wait().unwrap().is_some());
    browser.close().await;
}

#[tokio::test]
async fn the_console_asks_for_the_token_where_the_api_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "let-me-in").unwrap();
    let site = Site::start(&format!("auth {{ enabled on; token_file {}; }}", token.display()));
    let _publisher = site.publish();
    let browser = Browser::start(Screen::Desktop).await;
    browser.open(&site.page("console/")).await;
    let rows = "document.querySelectorAll('#clients tbody tr').length";
    browser.wait_until("the publisher is shown", &format!("{rows} === 1")).await;
    browser.click("#clients button").await;
    browser.click("#kick-dialog button[value=yes]").await;
    browser.wait_until("it asks for the token", "document.querySelector('#token-dialog').open").await;
    assert_eq!(browser.value(rows).await, 1);
    browser.value("document.querySelector('#token').value = 'let-me-in'").await;
    browser.click("#token-dialog button[value=yes]").await;
    browser.wait_until("the publisher has gone", &format!("{rows} === 0")).await;
    browser.close().await;
}

#[tokio::test]
async fn pages_fit_a_phone() {
    let site = Site::start("");
    let _publisher = site.publish();
    let browser = Browser::start(Screen::Phone).await;
    for (name, path, ready) in [
        ("home", "", "document.querySelectorAll('#live tbody tr').length === 1"),
        ("players", "players/?autostart=true", PLAYS),
        (
            "console",
            "console/",
            "/\\d+ fps/.test(document.querySelector('#streams tbody tr')?.innerText ?? '')",
        ),
    ] {
        browser.open(&site.page(path)).await;
        browser.wait_until("the page is ready", ready).await;
        browser.assert_fits(name).await;
        browser.picture(&format!("phone-{name}")).await;
    }
    browser.close().await;
}

#[test]
fn pages_are_there_whatever_lies_in_the_folder() {
    let site = Site::start("");
    let running = site.running.as_ref().unwrap();
    let (http, api) = (running.address(Service::Http).unwrap(), running.address(Service::Api).unwrap());
    for (address, path, part) in [
        (http, "/", "<title>media-server"),
        (http, "/index.html", "<title>media-server"),
        (http, "/players/", "<title>Player"),
        (http, "/players/srs_player.html?vhost=a", "<title>Player"),
        (http, "/console/", "<title>Console"),
        (http, "/players/js/mpegts.js", "mpegts"),
        (http, "/players/js/hls.min.js", "Hls"),
        (api, "/console/", "<title>Console"),
        (api, "/players/", "<title>Player"),
        (api, "/", "the api root"),
    ] {
        let (head, body) = request(address, "GET", path, &[]);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body.contains(part), "{path}: {head}");
        assert_eq!(
            head.contains("Content-Security-Policy: default-src 'none'"),
            path != "/" || address == http
        );
    }
    let (head, _) = request(http, "GET", "/console?api=1", &[]);
    assert!(head.contains("301 Moved") && head.contains("Location: /console/?api=1"), "{head}");
    let (head, _) = request(http, "GET", "/players/../../etc/passwd", &[]);
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let (head, _) = request(http, "GET", "/console/style.css", &["Accept-Encoding: gzip"]);
    assert!(head.contains("Content-Encoding: gzip"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("Etag: ")).unwrap();
    let (head, body) = request(http, "GET", "/console/style.css", &[&format!("If-None-Match: {tag}")]);
    assert!(head.starts_with("HTTP/1.1 304") && body.is_empty(), "{head}");
}
