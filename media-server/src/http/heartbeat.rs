//! `heartbeat`: the server tells a service that it is there, again and again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::api;
use super::process::Usage;
use crate::addresses;
use crate::conf::{Directive, Fault, settings};
use crate::http_client;
use crate::server::Server;

/// A beat may take this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// `heartbeat { … }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// `interval`: the time between two.
    pub interval: Duration,
    /// `url`: who is told.
    pub url: String,
    /// `device_id`.
    pub device_id: String,
    /// `summaries`: what `/api/v1/summaries` tells is told too.
    pub summaries: bool,
}

impl Heartbeat {
    /// Reads the block; none when it is not enabled.
    pub fn read(block: &Directive) -> Result<Option<Self>, Fault> {
        if !block.on("enabled") {
            return Ok(None);
        }
        let interval = settings::number(block, "interval", 9.9)?;
        if interval < 0.1 {
            return Err(Fault::new(block.line, "heartbeat's interval must be at least 0.1 seconds"));
        }
        Ok(Some(Heartbeat {
            interval: Duration::from_secs_f64(interval),
            url: block.value("url").unwrap_or("http://127.0.0.1:8085/api/v1/servers").to_owned(),
            device_id: block.value("device_id").unwrap_or_default().to_owned(),
            summaries: block.on("summaries"),
        }))
    }
}

/// Tells as the configuration of the time says; sleeps without wake-ups where it says nothing.
pub(super) async fn run(server: Arc<Server>) {
    let usage = Usage::default();
    let mut failing = false;
    loop {
        let heartbeat = server.settings().heartbeat.clone();
        let Some(heartbeat) = heartbeat else {
            server.reloaded.notified().await;
            continue;
        };
        let body = body(&server, &heartbeat, &usage);
        let beat = http_client::request(&heartbeat.url, Some(&body), 0);
        let result = tokio::time::timeout(PATIENCE, beat).await.unwrap_or_else(|_| Err("no answer".into()));
        // Once, not every ten seconds.
        match (&result, failing) {
            (Err(error), false) => tracing::warn!("heartbeat {}: {error}", heartbeat.url),
            (Ok(_), true) => tracing::info!("heartbeat {}: it is heard again", heartbeat.url),
            (Err(_), true) | (Ok(_), false) => {}
        }
        failing = result.is_err();
        tokio::select! {
            () = tokio::time::sleep(heartbeat.interval) => {}
            () = server.reloaded.notified() => {}
        }
    }
}

/// What SRS tells.
fn body(server: &Server, heartbeat: &Heartbeat, usage: &Usage) -> Value {
    let mut body = json!({ "device_id": heartbeat.device_id, "ip": own_address(server.settings().network) });
    if heartbeat.summaries {
        body["summaries"] = json!({ "data": api::summaries(server, usage) });
    }
    body
}

/// The address that `stats.network` chooses; interfaces may have gone since that was read.
fn own_address(index: usize) -> String {
    let own = addresses::own();
    let ip = index.checked_rem(own.len()).map(|index| own[index]);
    ip.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string())
}
