//! A real Chromium without a screen, driven over WebDriver.

#![allow(unreachable_pub, reason = "a part of one test program")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::Reaped;

/// The width of a screen, how tall it is, and whether its owner likes it dark.
#[derive(Clone, Copy)]
pub enum Screen {
    Desktop,
    Dark,
    Phone,
}

/// A browser of its own for each test, with a fresh profile.
pub struct Browser {
    pub client: Client,
    _driver: Reaped,
    profile: tempfile::TempDir,
}

impl Drop for Browser {
    /// A test that fails does not close its browser, which would outlive its driver.
    fn drop(&mut self) {
        let lock = std::fs::read_link(self.profile.path().join("SingletonLock")).unwrap_or_default();
        let pid = lock.to_str().and_then(|lock| lock.rsplit_once('-')?.1.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Browser {
    pub async fn start(screen: Screen) -> Self {
        debian_packages::ensure(&["chromium", "chromium-driver"]).unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let driver = Reaped(driver);
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let profile = tempfile::tempdir().unwrap();
        let mut args = vec![
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            // /dev/shm is small in containers.
            "--disable-dev-shm-usage".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let mut options = json!({});
        match screen {
            Screen::Desktop => args.push("--window-size=1280,900".to_owned()),
            Screen::Dark => {
                args.push("--window-size=1280,900".to_owned());
                args.push("--blink-settings=preferredColorScheme=0".to_owned());
            }
            Screen::Phone => {
                options["mobileEmulation"] =
                    json!({ "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 2.0 } });
            }
        }
        options["args"] = json!(args);
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".into(), options);
        capabilities.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", port.expect("chromedriver says its port")))
            .await
            .unwrap();
        Browser { client, _driver: driver, profile }
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// The value of an expression of JavaScript.
    pub async fn value(&self, expression: &str) -> Value {
        self.client.execute(&format!("return ({expression});"), Vec::new()).await.unwrap()
    }

    /// Waits for a minute at most until an expression is true.
    pub async fn wait_until(&self, what: &str, expression: &str) {
        let until = Instant::now() + Duration::from_mins(1);
        while self.value(expression).await != Value::Bool(true) {
            if Instant::now() > until {
                let text = self.value("document.body.innerText").await;
                panic!("waited 60 s until {what} ({expression}); the page says:\n{}", text.as_str().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn click(&self, selector: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Nothing sticks out sideways.
    pub async fn assert_fits(&self, page: &str) {
        let widths = self.value("[document.documentElement.scrollWidth, innerWidth]").await;
        assert!(widths[0].as_u64() <= widths[1].as_u64(), "{page} is wider than the screen: {widths}");
    }

    /// Keeps a picture of the page among the build's own files, for human eyes.
    pub async fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await.unwrap()).unwrap();
    }

    pub async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}
