//! on_hls, on_hls_notify and on_dvr: who is told of files.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::hls::playlist::Segment;
use crate::hooks::{self, Call, Job, Purpose, Watched};
use crate::server::Server;

/// on_hls and on_hls_notify, with SRS's fields. `m3u8` is the playlist's file and its name; `notify` how many bytes
/// are read of what on_hls_notify fetches.
pub(super) fn hls(server: &Server, watched: &Watched, segment: &Segment, m3u8: (&Path, &str), notify: usize) {
    let mut body = watched.subject.body(&server.stat.server_id, "on_hls");
    let folder = m3u8.1.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let whole = is_whole(&segment.uri);
    let url = if whole { segment.uri.clone() } else { format!("{folder}{}", segment.uri) };
    for (name, value) in [
        ("duration", json!((segment.duration * 100.0).round() / 100.0)),
        ("file", json!(absolute(&segment.file))),
        ("url", json!(url)),
        ("m3u8", json!(absolute(m3u8.0))),
        ("m3u8_url", json!(m3u8.1)),
        ("seq_no", json!(segment.sequence)),
        ("cwd", json!(std::env::current_dir().unwrap_or_default())),
    ] {
        body[name] = value;
    }
    send(server, "on_hls", hooks::calls(&watched.hooks, "on_hls", &body));
    let subject = &watched.subject;
    let calls = watched.hooks.urls("on_hls_notify").iter().map(|template| {
        // A segment that is named by a whole URL is fetched from there.
        let url = if whole { "[ts_url]" } else { template }
            .replace("[server_id]", &server.stat.server_id)
            .replace("[app]", &subject.app)
            .replace("[stream]", &subject.stream)
            .replace("[ts_url]", &segment.uri)
            .replace("[param]", &subject.param);
        Call { url, body: Value::Null, read: Some(notify) }
    });
    send(server, "on_hls_notify", calls.collect());
}

/// on_dvr, with SRS's fields.
pub(super) fn dvr(server: &Server, watched: &Watched, file: &Path) {
    let mut body = watched.subject.body(&server.stat.server_id, "on_dvr");
    body["cwd"] = json!(std::env::current_dir().unwrap_or_default());
    body["file"] = json!(absolute(file));
    send(server, "on_dvr", hooks::calls(&watched.hooks, "on_dvr", &body));
}

/// `hls_entry_prefix` makes a whole URL of a segment's.
fn is_whole(uri: &str) -> bool {
    uri.starts_with("http://") || uri.starts_with("https://")
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn send(server: &Server, event: &str, calls: Vec<Call>) {
    if !calls.is_empty() && server.hooks.try_send(Job { calls, purpose: Purpose::File }).is_err() {
        tracing::warn!("{event} is not told: too many hooks are waiting");
    }
}
