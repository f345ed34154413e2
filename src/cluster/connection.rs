//! One request and its answer: bounded in time, repeated where that is safe, and every «no» told in full.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT, WARNING};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use super::ClusterError;
use super::diagnosis::Peer;
use crate::observation::{Rejection, RejectionCause};

const OUR_USER_AGENT: &str = concat!("stackctl/", env!("CARGO_PKG_VERSION"));
/// The API server ends an ordinary request itself after 60 s (`--request-timeout`).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);
/// Five repetitions with the pauses below are about 3 s; a `Retry-After` makes it longer.
const REPETITIONS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// When a request that failed may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice is as good as once: it only reads, or the second time finds what the first one left.
    Always,
    /// Only if the server did not take it (429, or no connection): the answer to the second of two that both
    /// arrived would be misread, as "was already there" or "changed by somebody else".
    IfNotTaken,
    /// Never: the first contact, where waiting for a cluster that is not there helps nobody.
    Never,
}

/// A request.
#[derive(Clone)]
pub(super) struct Call {
    /// For messages: what is asked.
    pub(super) verb: &'static str,
    /// For messages: of which object or kind.
    pub(super) object: String,
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    pub(super) accept: Option<&'static str>,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Bytes,
    pub(super) repeat: Repeat,
}

impl Call {
    /// A request that reads.
    pub(super) fn get(verb: &'static str, object: impl Into<String>, target: String) -> Self {
        Self {
            verb,
            object: object.into(),
            method: Method::GET,
            target,
            accept: None,
            content_type: None,
            body: Bytes::new(),
            repeat: Repeat::Always,
        }
    }

    /// A request that sends JSON.
    pub(super) fn send(
        verb: &'static str,
        object: impl Into<String>,
        method: Method,
        target: String,
        content_type: &'static str,
        body: &impl serde::Serialize,
    ) -> Result<Self, ClusterError> {
        let object = object.into();
        match serde_json::to_vec(body) {
            Ok(body) => Ok(Self {
                content_type: Some(content_type),
                body: body.into(),
                method,
                repeat: Repeat::IfNotTaken,
                ..Self::get(verb, object, target)
            }),
            Err(error) => Err(ClusterError::Malformed { verb, object, message: error.to_string() }),
        }
    }
}

/// A good answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// The way to one API server.
pub(super) struct Connection {
    client: Client,
    peer: Peer,
    warnings: Mutex<BTreeSet<String>>,
}

impl Connection {
    pub(super) fn new(client: Client, peer: Peer) -> Self {
        Self { client, peer, warnings: Mutex::default() }
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the server said in `Warning` headers since the last time, each once.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warnings).into_iter().collect()
    }

    /// Sends a request, and reads its whole answer.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, ClusterError> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..REPETITIONS {
            let wait = match self.once(call).await {
                Ok(Outcome::Answer(answer)) => return Ok(answer),
                Ok(Outcome::No { error, busy, retry_after }) => {
                    let again = match call.repeat {
                        Repeat::Always => busy.is_some(),
                        Repeat::IfNotTaken => busy == Some(Busy::NotTaken),
                        Repeat::Never => false,
                    };
                    if !again {
                        return Err(error);
                    }
                    retry_after.unwrap_or_default()
                }
                Err(Lost { error, sent }) => {
                    let again = match call.repeat {
                        Repeat::Always => true,
                        Repeat::IfNotTaken => !sent,
                        Repeat::Never => false,
                    };
                    if !again || !matches!(error, ClusterError::Unreachable { .. }) {
                        return Err(error);
                    }
                    Duration::ZERO
                }
            };
            tokio::time::sleep(wait.max(jitter(pause)).min(LONGEST_PAUSE)).await;
            pause *= 2;
        }
        match self.once(call).await {
            Ok(Outcome::Answer(answer)) => Ok(answer),
            Ok(Outcome::No { error, .. }) | Err(Lost { error, .. }) => Err(error),
        }
    }

    /// Sends a request whose answer is an object.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClusterError> {
        parse(call, &self.send(call).await?.body)
    }

    /// Sends a request whose answer goes on and on; the caller reads it. Not repeated: the caller has its own back-off.
    pub(super) async fn open(&self, call: &Call) -> Result<Body, ClusterError> {
        let exchange = async {
            let response = self.call(call).await.map_err(|lost| lost.error)?;
            if response.status().is_success() {
                return Ok(response.into_body());
            }
            match self.read(call, response).await {
                Ok(Outcome::No { error, .. }) | Err(Lost { error, .. }) => Err(error),
                Ok(Outcome::Answer(_)) => Err(malformed(call, "its status changed while it was read")),
            }
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => Err(self.silence()),
        }
    }

    async fn once(&self, call: &Call) -> Result<Outcome, Lost> {
        let span = tracing::debug_span!("request", method = %call.method, target = %call.target);
        let exchange = async {
            let response = self.call(call).await?;
            self.read(call, response).await
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange.instrument(span)).await {
            Ok(outcome) => outcome,
            // Asked again it would be another 70 s, and likely as silent.
            Err(_) => Ok(Outcome::No { error: self.silence(), busy: None, retry_after: None }),
        }
    }

    async fn call(&self, call: &Call) -> Result<Response<Body>, Lost> {
        let mut request = Request::new(Body::from(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call
            .target
            .parse()
            .map_err(|error| Lost { error: malformed(call, &format!("no path: {error}")), sent: false })?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(OUR_USER_AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static(call.accept.unwrap_or("application/json")));
        if let Some(content_type) = call.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let started = std::time::Instant::now();
        match self.client.send(request).await {
            Ok(response) => {
                tracing::debug!(status = response.status().as_u16(), elapsed = ?started.elapsed(), "answered");
                self.keep_warnings(response.headers());
                Ok(response)
            }
            Err(error) => {
                tracing::debug!(elapsed = ?started.elapsed(), "no answer");
                Err(Lost { sent: !is_connect(&error), error: self.peer.no_answer(&error, Timestamp::now()) })
            }
        }
    }

    async fn read(&self, call: &Call, response: Response<Body>) -> Result<Outcome, Lost> {
        let (head, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Err(Lost { sent: true, error: self.peer.no_answer(&error, Timestamp::now()) });
            }
        };
        if head.status.is_success() {
            return Ok(Outcome::Answer(Answer { status: head.status, body }));
        }
        let retry_after = head.headers.get(RETRY_AFTER).and_then(seconds);
        let busy = match head.status {
            StatusCode::TOO_MANY_REQUESTS => Some(Busy::NotTaken),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Some(Busy::Unknown),
            status if status.is_server_error() && retry_after.is_some() => Some(Busy::Unknown),
            _ => None,
        };
        Ok(Outcome::No { error: self.refusal(call, head.status, &body), busy, retry_after })
    }

    fn refusal(&self, call: &Call, status: StatusCode, body: &[u8]) -> ClusterError {
        let answer = serde_json::from_slice::<Status>(body).ok().filter(|answer| answer.kind == "Status");
        if status == StatusCode::UNAUTHORIZED {
            let words = answer.map_or_else(|| "Unauthorized".to_owned(), |answer| answer.message);
            return self.peer.unauthorized(&words, Timestamp::now());
        }
        if let Some(answer) = answer {
            let rejection = answer.into_rejection(status.as_u16());
            return ClusterError::Rejected { verb: call.verb, object: call.object.clone(), rejection };
        }
        // For paths that it does not know the API server answers in plain text.
        let text = String::from_utf8_lossy(body);
        if status == StatusCode::NOT_FOUND && text.trim() == "404 page not found" {
            let rejection = Rejection {
                code: status.as_u16(),
                reason: "NotFound".to_owned(),
                message: "the server does not serve this kind".to_owned(),
                causes: Vec::new(),
            };
            return ClusterError::Rejected { verb: call.verb, object: call.object.clone(), rejection };
        }
        let start: String = text.trim().chars().take(200).collect();
        malformed(call, &format!("HTTP {status}, and not from a Kubernetes API server: {start}"))
    }

    /// Each `Warning` is `299 - "text"` (RFC 7234 section 5.5; Kubernetes docs, "API concepts").
    fn keep_warnings(&self, headers: &HeaderMap) {
        for value in headers.get_all(WARNING) {
            let Ok(value) = value.to_str() else { continue };
            let text =
                value.split_once('"').map_or(value, |(_, text)| text.strip_suffix('"').unwrap_or(text));
            let text = text.replace("\\\"", "\"").replace("\\\\", "\\");
            self.warnings.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
        }
    }

    fn silence(&self) -> ClusterError {
        self.peer.timed_out(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
    }
}

/// Reads an answer's JSON. The parser's own words can quote the content, so only the place is told.
pub(super) fn parse<T: DeserializeOwned>(call: &Call, body: &[u8]) -> Result<T, ClusterError> {
    serde_json::from_slice(body).map_err(|error| {
        let what = if error.is_data() { "unexpected JSON" } else { "not JSON" };
        let (line, column) = (error.line(), error.column());
        malformed(call, &format!("{what} at line {line}, column {column} of {} bytes", body.len()))
    })
}

/// A random time between half of it and all of it, so that many clients do not come back at once.
pub(super) fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

enum Outcome {
    Answer(Answer),
    No { error: ClusterError, busy: Option<Busy>, retry_after: Option<Duration> },
}

/// What a busy server did with the request.
#[derive(PartialEq, Eq)]
enum Busy {
    NotTaken,
    Unknown,
}

/// No answer.
struct Lost {
    error: ClusterError,
    /// The request may have arrived.
    sent: bool,
}

fn is_connect(error: &kube::Error) -> bool {
    let kube::Error::Service(error) = error else { return false };
    error
        .downcast_ref::<hyper_util::client::legacy::Error>()
        .is_some_and(hyper_util::client::legacy::Error::is_connect)
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    Some(Duration::from_secs(value.to_str().ok()?.trim().parse().ok()?))
}

fn malformed(call: &Call, message: &str) -> ClusterError {
    ClusterError::Malformed { verb: call.verb, object: call.object.clone(), message: message.to_owned() }
}

/// `meta/v1` Status.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    kind: String,
    message: String,
    reason: String,
    code: u16,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    field: String,
    reason: String,
    message: String,
}

impl Status {
    fn into_rejection(self, code: u16) -> Rejection {
        let causes = self.details.unwrap_or_default().causes;
        Rejection {
            code,
            reason: self.reason,
            message: self.message,
            causes: causes
                .into_iter()
                .map(|Cause { field, reason, message }| RejectionCause { field, reason, message })
                .collect(),
        }
    }
}

/// Reads a Status that came inside a watch, where no HTTP status tells its code.
pub(super) fn rejection_of(status: &serde_json::Value) -> Rejection {
    let status = Status::deserialize(status).unwrap_or_default();
    let code = status.code;
    status.into_rejection(code)
}
