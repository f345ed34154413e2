//! http_hooks: what SRS asks and tells other services, as POSTs of JSON.
//!
//! Calls are made on a thread of their own. A call that decides (on_connect, on_publish, on_play) is answered to the
//! core that asked; the others are only made. What a dead service lets pile up is bounded, see [`queue`](mod@queue).

pub mod queue;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

pub use self::queue::{Job, Purpose, queue};
use crate::conf::Directive;
use crate::http_client;
use crate::server::{Command, Server};

/// A call, connecting and answering, may take this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 10;

/// `http_hooks { … }` of a vhost: the URLs of each event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Name and URLs.
    events: Vec<(String, Vec<String>)>,
}

impl Hooks {
    /// Reads the block; empty when it is not enabled.
    pub fn read(block: Option<&Directive>) -> Self {
        let Some(block) = block.filter(|block| block.on("enabled")) else { return Hooks::default() };
        let events = block.children.iter().filter(|child| child.name.starts_with("on_"));
        Hooks { events: events.map(|child| (child.name.clone(), child.args.clone())).collect() }
    }

    /// The URLs of an event.
    pub fn urls(&self, event: &str) -> &[String] {
        self.events.iter().find(|(name, _)| name == event).map_or(&[], |(_, urls)| urls)
    }
}

/// Who a call is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The connection's id.
    pub client_id: String,
    /// Its address.
    pub ip: String,
    /// The vhost of the configuration.
    pub vhost: String,
    /// The app.
    pub app: String,
    /// The stream.
    pub stream: String,
    /// Parameters, with `?`.
    pub param: String,
    /// tcUrl.
    pub tc_url: String,
    /// pageUrl.
    pub page_url: String,
}

impl Subject {
    /// The body of an event, with SRS's fields for it.
    pub fn body(&self, server_id: &str, event: &str) -> Value {
        let mut body = json!({
            "server_id": server_id,
            "action": event,
            "client_id": self.client_id,
            "ip": self.ip,
            "vhost": self.vhost,
            "app": self.app,
        });
        let mut add = |name: &str, value: &str| body[name] = Value::String(value.to_owned());
        if event != "on_close" {
            add("stream", &self.stream);
            add("param", &self.param);
        }
        if matches!(event, "on_connect" | "on_publish") {
            add("tcUrl", &self.tc_url);
        }
        if matches!(event, "on_connect" | "on_play") {
            add("pageUrl", &self.page_url);
        }
        body
    }
}

/// A client, and the hooks that are told of what happens to it.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The vhost's hooks when it came.
    pub hooks: Arc<Hooks>,
    /// The client.
    pub subject: Subject,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Where.
    pub url: String,
    /// What is posted.
    pub body: Value,
    /// None for a POST; else it is a GET, so many bytes of whose answer are read and not judged.
    pub read: Option<usize>,
}

impl Call {
    /// The event's name.
    fn event(&self) -> &str {
        self.body["action"].as_str().unwrap_or("on_hls_notify")
    }
}

/// Who waits for an answer: core, place and id of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The core.
    pub core: usize,
    /// Its place there.
    pub index: usize,
    /// Its id.
    pub id: String,
}

/// The calls of an event.
pub fn calls(hooks: &Hooks, event: &str, body: &Value) -> Vec<Call> {
    hooks.urls(event).iter().map(|url| Call { url: url.clone(), body: body.clone(), read: None }).collect()
}

/// Makes calls until all senders are gone. Blocks its thread.
pub fn run(server: &Arc<Server>, jobs: Receiver<Job>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(queue::work(jobs, |asker, refused| {
        if let Some(core) = server.cores.get(asker.core) {
            core.send(Command::Decided(asker.index, asker.id, refused));
        }
    }));
    Ok(())
}

/// Makes calls that decide at once, for who can wait; the first that fails refuses, none is success.
pub async fn ask(calls: Vec<Call>) -> Result<(), String> {
    for call in &calls {
        make_in_time(call).await?;
    }
    Ok(())
}

async fn make_in_time(call: &Call) -> Result<(), String> {
    let result = tokio::time::timeout(PATIENCE, make(call)).await;
    let result = result.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
    result.map_err(|error| format!("{} {}: {error}", call.event(), call.url))
}

async fn make(call: &Call) -> Result<(), String> {
    // A cache in between fetches the whole file; what it is does not matter.
    if let Some(bytes) = call.read {
        return http_client::request(&call.url, None, bytes).await.map(drop);
    }
    let answer = http_client::request(&call.url, Some(&call.body), MAX_ANSWER).await?;
    judge(answer.status, &answer.body)
}

/// Success is HTTP 200 or 201 with `0`, or an object whose code is 0.
fn judge(status: u16, body: &[u8]) -> Result<(), String> {
    if status != 200 && status != 201 {
        return Err(format!("HTTP {status}"));
    }
    let text = String::from_utf8_lossy(body);
    let code = match serde_json::from_str::<Value>(text.trim()) {
        Ok(Value::Object(object)) => object.get("code").and_then(Value::as_i64),
        Ok(Value::Number(number)) => number.as_i64(),
        _ => None,
    };
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(format!("refused with code {code}")),
        None => Err("the answer is neither 0 nor an object with a code".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_as_srs_does() {
        for (status, body, good) in [
            (200, "0", true),
            (201, "{\"code\": 0, \"data\": null}", true),
            (200, "{\"code\": 1}", false),
            (200, "1", false),
            (200, "", false),
            (200, "ok", false),
            (403, "0", false),
            (302, "0", false),
        ] {
            assert_eq!(judge(status, body.as_bytes()).is_ok(), good, "{status} {body}");
        }
    }

    #[test]
    fn fields_are_those_of_each_event() {
        let subject = Subject { stream: "s".into(), param: "?token=a".into(), ..Subject::default() };
        let keys = |event: &str| -> Vec<String> {
            let body = subject.body("vid-x", event);
            body.as_object().unwrap().keys().cloned().collect()
        };
        let mut base = vec!["action", "app", "client_id", "ip", "server_id", "vhost"];
        assert_eq!(keys("on_close"), base);
        base.extend(["param", "stream"]);
        for (event, more) in [
            ("on_connect", &["pageUrl", "tcUrl"][..]),
            ("on_publish", &["tcUrl"]),
            ("on_play", &["pageUrl"]),
            ("on_stop", &[]),
            ("on_unpublish", &[]),
        ] {
            let mut expected = [&base[..], more].concat();
            expected.sort_unstable();
            assert_eq!(keys(event), expected, "{event}");
        }
    }
}
