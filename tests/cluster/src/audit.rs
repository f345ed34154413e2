//! Reading the API server's audit log: every request with its user.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    error::{Error, Result, at},
    paths::ClusterDir,
};

/// How long a request may take to be answered after everybody has their answers.
const ANSWERED: Duration = Duration::from_secs(10);

/// One request to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The user who sent it.
    pub user: String,
    /// Kubernetes' verb: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// Path and query, as they were sent: `dryRun=All` stands here.
    pub uri: String,
    /// The API group, empty for the core group; empty as well when the request is for no object.
    pub group: String,
    /// The resource in the plural (`services`), or empty.
    pub resource: String,
    /// `status`, `scale`, `log` and the like, or empty.
    pub subresource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The object's name, or empty.
    pub name: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// The answer's HTTP status; `None` for a watch that still runs.
    pub code: Option<u16>,
}

impl Request {
    /// Whether the request was only a question: the server was told to change nothing.
    pub fn is_dry_run(&self) -> bool {
        self.uri.split_once('?').is_some_and(|(_, query)| query.split('&').any(|part| part == "dryRun=All"))
    }

    /// Whether the request could change something: no read, no dry-run, no review of rights.
    pub fn is_write(&self) -> bool {
        let changes =
            matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        let review = self.group == "authorization.k8s.io" || self.group == "authentication.k8s.io";
        changes && !self.is_dry_run() && !review
    }
}

/// The parts of an audit event (audit.k8s.io/v1) that are used here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    id: String,
    stage: String,
    #[serde(rename = "requestURI")]
    uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Deserialize)]
struct Status {
    code: Option<u16>,
}

/// All requests of a user up to now, in the order in which they arrived.
///
/// The API server writes a request to the log before it works on it. So a request whose answer somebody has is in
/// here; this waits only until the answers are recorded as well.
///
/// # Errors
/// The log cannot be read, or a request stays without an answer.
pub fn requests(dir: &ClusterDir, user: &str) -> Result<Vec<Request>> {
    let until = Instant::now() + ANSWERED;
    loop {
        let requests = parse(&read(dir)?, user)?;
        let Some(open) = requests.iter().find(|request| request.code.is_none() && request.verb != "watch")
        else {
            return Ok(requests);
        };
        if Instant::now() >= until {
            return Err(Error::Timeout {
                what: format!("the answer to {} {} in the audit log", open.verb, open.uri),
                seconds: ANSWERED.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The log and its older parts, oldest first.
fn read(dir: &ClusterDir) -> Result<String> {
    let current = dir.audit_log();
    let folder = current.parent().unwrap_or(dir.path()).to_owned();
    let mut parts: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(at("read", &folder))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| *path != current)
        .collect();
    // Their names hold the time at which they were put aside.
    parts.sort();
    parts.push(current);
    let mut text = String::new();
    for part in parts {
        text.push_str(&fs::read_to_string(&part).map_err(at("read", part))?);
    }
    Ok(text)
}

fn parse(log: &str, user: &str) -> Result<Vec<Request>> {
    let mut requests: Vec<Request> = Vec::new();
    let mut by_id: BTreeMap<String, usize> = BTreeMap::new();
    // Most lines are other users': this is much cheaper than reading them as JSON.
    let quoted = serde_json::Value::from(user).to_string();
    let complete = log.rfind('\n').map_or("", |end| &log[..end]);
    for line in complete.lines().filter(|line| line.contains(&quoted)) {
        let event: Event = serde_json::from_str(line)
            .map_err(|error| Error::Format { path: "audit.log".into(), reason: error.to_string() })?;
        if event.user.username != user {
            continue;
        }
        let code = event.response_status.and_then(|status| status.code);
        let answered = event.stage != "RequestReceived";
        if let Some(index) = by_id.get(&event.id) {
            if answered {
                requests[*index].code = code;
            }
            continue;
        }
        by_id.insert(event.id, requests.len());
        requests.push(Request {
            user: event.user.username,
            verb: event.verb,
            uri: event.uri,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            user_agent: event.user_agent,
            code: if answered { code } else { None },
        });
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, stage: &str, user: &str, verb: &str, uri: &str, code: Option<u16>) -> String {
        let mut event = serde_json::json!({
            "kind": "Event", "auditID": id, "stage": stage, "requestURI": uri, "verb": verb,
            "user": { "username": user, "groups": ["a"] },
            "objectRef": { "resource": "services", "namespace": "n", "name": "x", "apiVersion": "v1" },
        });
        if let Some(code) = code {
            event["responseStatus"] = serde_json::json!({ "metadata": {}, "code": code });
        }
        format!("{event}\n")
    }

    #[test]
    fn both_records_of_a_request_are_one_and_other_users_are_not_seen() {
        let log = [
            line("1", "RequestReceived", "me", "patch", "/api/v1/x?dryRun=All&force=true", None),
            line("2", "RequestReceived", "you", "patch", "/api/v1/x", None),
            line("1", "ResponseComplete", "me", "patch", "/api/v1/x?dryRun=All&force=true", Some(200)),
            line("3", "RequestReceived", "me", "delete", "/api/v1/x", None),
        ]
        .concat();
        let requests = parse(&log, "me").unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(
            (requests[0].code, requests[0].is_dry_run(), requests[0].is_write()),
            (Some(200), true, false)
        );
        assert_eq!((requests[1].code, requests[1].is_write()), (None, true));
        assert_eq!(requests[0].resource, "services");
    }

    #[test]
    fn a_line_that_is_being_written_is_left_for_later() {
        let whole = line("1", "ResponseComplete", "me", "get", "/a", Some(200));
        let log = format!("{whole}{}", &whole[..whole.len() / 2]);
        assert_eq!(parse(&log, "me").unwrap().len(), 1);
    }

    #[test]
    fn reviews_and_reads_are_no_writes() {
        let mut request =
            parse(&line("1", "ResponseComplete", "me", "create", "/a", Some(201)), "me").unwrap().remove(0);
        assert!(request.is_write());
        request.group = "authorization.k8s.io".into();
        assert!(!request.is_write());
        request.group = String::new();
        request.verb = "list".into();
        assert!(!request.is_write());
    }
}
