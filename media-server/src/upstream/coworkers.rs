//! The other origins of an origin cluster: who has a stream, asked of all side by side by `/api/v1/clusters`.
//!
//! A coworker may be a server or a name of many (a headless Service). What a name was resolved to is kept as long as
//! it answers, for a pod that drains leaves DNS while it still has streams. Queries carry the resolved address, and
//! a coworker that turns out to be this server is not asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Method;
use futures::future::join_all;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Endpoint, http};
use crate::resolve::Names;

/// The longest answer of a coworker.
const MAX_ANSWER: usize = 64 << 10;
/// The most coworkers that are asked.
const MAX_COWORKERS: usize = 256;
/// An address that was this server itself is asked again after that: it may be another's by then.
const SELF: Duration = Duration::from_mins(5);
/// A publisher that waits for its coworkers stands so long.
const CLAIM: Duration = Duration::from_secs(5);
/// What stays as it is in a query.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A stream that is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The vhost of the configuration.
    pub vhost: String,
    /// The app.
    pub app: String,
    /// The stream.
    pub stream: String,
    /// The host of the client's URL.
    pub host: String,
}

/// The server that has a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its RTMP.
    pub rtmp: Endpoint,
    /// Its HTTP server, when it says so; SRS does not.
    pub http: Option<Endpoint>,
}

/// What is remembered of coworkers.
#[derive(Debug, Default)]
pub struct Coworkers {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Addresses of each name, with those that DNS has no more.
    known: BTreeMap<Endpoint, BTreeSet<SocketAddr>>,
    /// Addresses of this server, and when that was seen.
    selves: BTreeMap<SocketAddr, Instant>,
    /// Streams whose publishers wait for the coworkers' answers.
    claims: BTreeMap<String, Instant>,
}

/// What a coworker said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Myself,
    Has(Owner),
}

impl Coworkers {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a publisher is about to begin here; an earlier one of the same stream stands.
    pub fn claim(&self, key: &str, now: Instant) {
        let mut memory = self.lock();
        memory.claims.retain(|_, since| now < *since + CLAIM);
        memory.claims.insert(key.to_owned(), now);
    }

    /// The publisher has begun or was refused.
    pub fn unclaim(&self, key: &str) {
        self.lock().claims.remove(key);
    }

    /// A publisher is about to begin here.
    pub fn is_claimed(&self, key: &str, now: Instant) -> bool {
        self.lock().claims.get(key).is_some_and(|since| now < *since + CLAIM)
    }

    /// The addresses of all coworkers but this server.
    pub async fn addresses(
        &self,
        names: &Names,
        coworkers: &[Endpoint],
        patience: Duration,
    ) -> Vec<SocketAddr> {
        let lookups = coworkers.iter().map(|name| async move {
            let found = names.lookup(&name.host, name.port, false, patience).await;
            (name, found)
        });
        let mut all = BTreeSet::new();
        for (name, found) in join_all(lookups).await {
            let mut memory = self.lock();
            let known = memory.known.entry(name.clone()).or_default();
            match found {
                Ok(found) => known.extend(found),
                Err(error) => tracing::debug!("coworkers: {error}"),
            }
            all.extend(known.iter().copied());
        }
        let mut memory = self.lock();
        memory.known.retain(|name, _| coworkers.contains(name));
        let now = Instant::now();
        memory.selves.retain(|_, seen| now < *seen + SELF);
        all.retain(|address| !memory.selves.contains_key(address));
        all.into_iter().take(MAX_COWORKERS).collect()
    }

    /// Whether this address is a coworker's, now or when its name was looked up before.
    pub async fn is_one(
        &self,
        names: &Names,
        coworkers: &[Endpoint],
        peer: IpAddr,
        patience: Duration,
    ) -> bool {
        let peer = peer.to_canonical();
        let is_peer = |address: &SocketAddr| address.ip().to_canonical() == peer;
        let known =
            self.lock().known.iter().any(|(name, all)| coworkers.contains(name) && all.iter().any(is_peer));
        if known {
            return true;
        }
        let lookups = coworkers.iter().map(|name| names.lookup(&name.host, name.port, false, patience));
        join_all(lookups).await.into_iter().flatten().flatten().any(|address| is_peer(&address))
    }

    /// An address does not answer: it is forgotten, and comes back if its name still has it.
    fn forget(&self, address: SocketAddr) {
        for known in self.lock().known.values_mut() {
            known.remove(&address);
        }
    }

    /// Who has the stream, of those that answer in time. `claim` says that this server, of that id, is about to have
    /// it itself.
    pub async fn find(
        &self,
        names: &Names,
        own_id: &str,
        coworkers: &[Endpoint],
        wanted: &Wanted,
        claim: bool,
        patience: Duration,
    ) -> Option<Owner> {
        let until = tokio::time::Instant::now() + patience;
        let mut asking = JoinSet::new();
        for address in self.addresses(names, coworkers, patience).await {
            let path = query(wanted, address, claim.then_some(own_id));
            let own_id = own_id.to_owned();
            asking.spawn(async move {
                let said = tokio::time::timeout_at(until, ask(address, &path, &own_id)).await;
                (address, said.unwrap_or_else(|_| Err("no answer in time".into())))
            });
        }
        while let Some(Ok((address, said))) = asking.join_next().await {
            match said {
                Ok(Said::Has(owner)) => return Some(owner),
                Ok(Said::Myself) => {
                    self.lock().selves.insert(address, Instant::now());
                }
                Ok(Said::Nothing) => {}
                Err(error) => {
                    tracing::debug!("coworker {address}: {error}");
                    self.forget(address);
                }
            }
        }
        None
    }
}

/// The path and query of a question, with SRS's names; `claim` is this server's addition.
fn query(wanted: &Wanted, coworker: SocketAddr, claim: Option<&str>) -> String {
    let plain = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    let mut path = format!(
        "/api/v1/clusters?vhost={}&ip={}&app={}&stream={}&coworker={coworker}",
        plain(&wanted.vhost),
        plain(&wanted.host),
        plain(&wanted.app),
        plain(&wanted.stream)
    );
    if let Some(id) = claim {
        path = format!("{path}&claim={}", plain(id));
    }
    path
}

async fn ask(address: SocketAddr, path: &str, own_id: &str) -> Result<Said, String> {
    // SRS posts.
    let request = http::request(Method::POST, &address.to_string(), path)?;
    let response = http::send(address, request).await?;
    understand(&http::read(response, MAX_ANSWER).await?, own_id)
}

/// Reads a coworker's answer, of which nothing is believed that does not look like a server.
fn understand(body: &[u8], own_id: &str) -> Result<Said, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    if value["code"] != 0 {
        return Err(format!("code {}", value["code"]));
    }
    if value["server"].as_str() == Some(own_id) {
        return Ok(Said::Myself);
    }
    let origin = match &value["data"]["origin"] {
        Value::Null => return Ok(Said::Nothing),
        origin => origin,
    };
    let server = |host: &Value, port: &Value| {
        let port = u16::try_from(port.as_u64()?).ok().filter(|port| *port > 0)?;
        let endpoint = Endpoint::parse(host.as_str()?, port)?;
        (endpoint.port == port).then_some(endpoint)
    };
    let rtmp = server(&origin["ip"], &origin["port"]).ok_or("its origin is no server")?;
    let http = server(&origin["ip"], &origin["http"]);
    Ok(Said::Has(Owner { rtmp, http }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_are_understood_or_refused() {
        let owner = |text: &str, http: Option<&str>| {
            Said::Has(Owner {
                rtmp: Endpoint::parse(text, 1).unwrap(),
                http: http.map(|http| Endpoint::parse(http, 1).unwrap()),
            })
        };
        for (body, expected) in [
            (r#"{"code":0,"data":{"query":{},"origin":null}}"#, Some(Said::Nothing)),
            (
                r#"{"code":0,"data":{"origin":{"ip":"10.0.0.1","port":1935,"vhost":"v","api":"10.0.0.1:1985"}}}"#,
                Some(owner("10.0.0.1:1935", None)),
            ),
            (
                r#"{"code":0,"server":"vid-b","data":{"origin":{"ip":"10.0.0.1","port":1935,"http":8080}}}"#,
                Some(owner("10.0.0.1:1935", Some("10.0.0.1:8080"))),
            ),
            (r#"{"code":0,"server":"vid-a","data":{"origin":{"ip":"a","port":1}}}"#, Some(Said::Myself)),
            (r#"{"code":100}"#, None),
            ("", None),
            ("<html>", None),
            ("[1]", None),
            (r#"{"code":0,"data":{"origin":{"ip":"a b","port":1935}}}"#, None),
            (r#"{"code":0,"data":{"origin":{"ip":"a:99","port":1935}}}"#, None),
            (r#"{"code":0,"data":{"origin":{"ip":"10.0.0.1","port":0}}}"#, None),
            (r#"{"code":0,"data":{"origin":{"ip":"10.0.0.1","port":70000}}}"#, None),
            (r#"{"code":0,"data":{"origin":{"ip":"a/../b","port":1935}}}"#, None),
            (r#"{"code":0,"data":{"origin":7}}"#, None),
        ] {
            assert_eq!(understand(body.as_bytes(), "vid-a").ok(), expected, "{body}");
        }
    }

    #[test]
    fn questions_are_srs_s() {
        let wanted = Wanted {
            vhost: "__defaultVhost__".into(),
            app: "live".into(),
            stream: "a&b c".into(),
            host: "h".into(),
        };
        let address = "127.0.0.1:1985".parse().unwrap();
        assert_eq!(
            query(&wanted, address, Some("vid-a")),
            "/api/v1/clusters?vhost=__defaultVhost__&ip=h&app=live&stream=a%26b%20c&coworker=127.0.0.1:1985\
             &claim=vid-a"
        );
    }

    #[tokio::test]
    async fn an_address_is_kept_as_long_as_it_answers() {
        let coworkers = Coworkers::default();
        let names = Names::default();
        // RFC 6761: nobody has this name, so what is known of it is from before.
        let headless = Endpoint::parse("origins.invalid", 1985).unwrap();
        let fixed = Endpoint::parse("127.0.0.1:7", 1985).unwrap();
        let old: SocketAddr = "10.0.0.9:1985".parse().unwrap();
        coworkers.lock().known.entry(headless.clone()).or_default().insert(old);
        let asked = [headless, fixed.clone()];
        let patience = Duration::from_millis(200);
        let kept = coworkers.addresses(&names, &asked, patience).await;
        assert_eq!(kept, [old, "127.0.0.1:7".parse().unwrap()]);
        coworkers.forget(old);
        assert_eq!(coworkers.addresses(&names, &asked, patience).await, ["127.0.0.1:7".parse().unwrap()]);
        // Itself is not asked again.
        coworkers.lock().selves.insert("127.0.0.1:7".parse().unwrap(), Instant::now());
        assert!(coworkers.addresses(&names, &[fixed], patience).await.is_empty());
    }

    #[test]
    fn claims_end_by_themselves() {
        let coworkers = Coworkers::default();
        let now = Instant::now();
        coworkers.claim("v/live/a", now);
        coworkers.claim("v/live/b", now);
        assert!(coworkers.is_claimed("v/live/a", now) && !coworkers.is_claimed("v/live/c", now));
        assert!(!coworkers.is_claimed("v/live/a", now + CLAIM));
        coworkers.unclaim("v/live/b");
        assert!(!coworkers.is_claimed("v/live/b", now));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = understand(&body, "vid-a");
        }
    }
}
