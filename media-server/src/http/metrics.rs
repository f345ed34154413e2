//! `/metrics` for Prometheus, with the names of the exporter of SRS 5 where it has them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process;
use crate::server::Server;

/// The type of the answer.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
struct Now(Arc<Server>);

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let server = &self.0;
        let clients = server.stat.clients();
        let publishers = clients.iter().filter(|client| client.publish).count();
        let (received, sent) = super::api::total(server);
        let reloads = server.reloads();
        let live = server.sources.live();
        let recording = &server.recording;
        let status = server.drain.status();
        let stalled = recording.stalled.load(Ordering::Relaxed) as usize;
        let gauges = [
            ("recorder_stalled", "Folders that take no writes at the moment", stalled),
            ("streams", "Streams that are published", live),
            ("clients", "Clients that publish or play", clients.len()),
            ("publishers", "Clients that publish", publishers),
            ("players", "Clients that play", clients.len() - publishers),
            ("connections", "Open connections", server.connections.load(Ordering::Relaxed)),
            ("memory", "Resident memory in kilobytes", process::resident_kb() as usize),
            (
                "draining",
                "1 while the server waits for its clients to leave",
                usize::from(server.drain.has_begun()),
            ),
            (
                "drain_phase",
                "0 serving, 1 start wait, 2 waiting, 3 handover, 4 final wait",
                status.phase as usize,
            ),
            (
                "drain_since",
                "When quitting began, in seconds of 1970; 0 while serving",
                seconds(status.since),
            ),
            (
                "drain_deadline",
                "When the process is gone, in seconds of 1970; 0 without a deadline",
                seconds(status.deadline),
            ),
            ("drain_connections", "Connections that quitting waits for", server.drain.guests()),
            ("config_good", "0 when the last reload was refused", usize::from(reloads.error.is_none())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("receive_bytes", "Bytes received from publishers", received),
            ("send_bytes", "Bytes sent to players", sent),
            ("refused", "Connections that were refused as too many", server.refused.load(Ordering::Relaxed)),
            ("probes", "Connections that were closed without a word", server.probes.load(Ordering::Relaxed)),
            (
                "recorder_lost",
                "Parts of streams not recorded because their volume was too slow",
                recording.lost.load(Ordering::Relaxed),
            ),
            ("recorder_errors", "Writes of recordings that failed", recording.errors.load(Ordering::Relaxed)),
            ("log_lost", "Lines of the log that were lost to a full queue or disk", crate::log::lost()),
            ("reloads", "Reloads that were done", reloads.succeeded),
            ("reload_errors", "Reloads that were refused", reloads.failed),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

fn seconds(time: Option<SystemTime>) -> usize {
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs() as usize)
}

/// The registry of a server.
pub(super) fn registry(server: &Arc<Server>) -> Registry {
    let mut registry = Registry::with_prefix("srs");
    let labels = vec![
        ("version", server.version.text.clone()),
        ("media_server", env!("CARGO_PKG_VERSION").to_owned()),
        ("server_id", server.stat.server_id.clone()),
    ];
    registry.register("build", "The compatible version of SRS and this server's own", Info::new(labels));
    registry.register_collector(Box::new(Now(Arc::clone(server))));
    registry
}

/// The text of now.
pub(super) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = encode(&mut text, registry);
    text
}
