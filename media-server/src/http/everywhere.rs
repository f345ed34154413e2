//! `?cluster=1`: an answer of the API for all origins of a cluster, from any of them.
//!
//! Lists are put together, each item with the `server` that it is of; anything else stands under `origins` as each
//! origin gave it. An origin that does not answer in time is named with its error.

use std::time::Duration;

use axum::http::Method;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::conf::Settings;
use crate::resolve::Names;
use crate::server::Server;
use crate::upstream::{Endpoint, http};

/// An origin must have answered by then.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer of an origin.
const MAX_ANSWER: usize = 4 << 20;
/// The lists of the API.
const LISTS: [&str; 3] = ["streams", "clients", "vhosts"];

/// What can be asked of all: it only tells.
const TELLS: [&str; 9] = [
    "streams",
    "clients",
    "vhosts",
    "summaries",
    "versions",
    "rusages",
    "self_proc_stats",
    "system_proc_stats",
    "meminfos",
];

/// Whether a request asks for the whole cluster.
pub(super) fn is_asked(method: &Method, path: &str, query: Option<&str>) -> bool {
    let what = path.strip_prefix("/api/v1/").unwrap_or_default().trim_end_matches('/');
    *method == Method::GET
        && TELLS.contains(&what)
        && super::answer::query(query, "method").is_none()
        && super::answer::query(query, "cluster") == Some("1")
}

/// Adds the other origins' answers to this one's.
pub(super) async fn add_others(
    server: &Server,
    names: &Names,
    path: &str,
    query: Option<&str>,
    mut own: Value,
) -> Value {
    let coworkers = coworkers(&server.settings());
    let addresses = server.coworkers.addresses(names, &coworkers, PATIENCE).await;
    let path = path_for_others(path, query);
    let asked = join_all(addresses.into_iter().map(|address| {
        let path = &path;
        async move {
            let asking = async {
                let request = http::request(Method::GET, &address.to_string(), path)?;
                let body = http::read(http::send(address, request).await?, MAX_ANSWER).await?;
                serde_json::from_slice::<Value>(&body).map_err(|error| format!("no JSON: {error}"))
            };
            let answer = tokio::time::timeout(PATIENCE, asking).await;
            (address, answer.unwrap_or_else(|_| Err("no answer in time".into())))
        }
    }))
    .await;
    let id = server.stat.server_id.as_str();
    name_items(&mut own, id);
    let mut origins = vec![json!({ "address": null, "server": id, "error": null })];
    for (address, answer) in asked {
        let answer = match answer {
            // Itself, by one of its addresses.
            Ok(answer) if answer["server"] == id => continue,
            Ok(answer) => answer,
            Err(error) => {
                origins.push(json!({ "address": address.to_string(), "server": null, "error": error }));
                continue;
            }
        };
        origins.push(merge(&mut own, &address.to_string(), answer));
    }
    own["origins"] = Value::Array(origins);
    own
}

/// Puts another origin's answer into this one's; gives how that origin is told of.
fn merge(own: &mut Value, address: &str, mut answer: Value) -> Value {
    let id = answer["server"].as_str().unwrap_or_default().to_owned();
    name_items(&mut answer, &id);
    let mut origin = json!({ "address": address, "server": id, "error": null });
    let mut listed = false;
    for list in LISTS {
        let items =
            |body: &'_ mut Value| body.get_mut(list).and_then(Value::as_array_mut).map(std::mem::take);
        if let (Some(theirs), Some(own)) =
            (items(&mut answer), own.get_mut(list).and_then(Value::as_array_mut))
        {
            own.extend(theirs);
            listed = true;
        }
    }
    if !listed && let Some(data) = answer.get_mut("data") {
        origin["data"] = data.take();
    }
    origin
}

/// Each item of a list says whose it is.
fn name_items(body: &mut Value, id: &str) {
    for list in LISTS {
        // Indexing would add what is not there.
        let items = body.get_mut(list).and_then(Value::as_array_mut);
        for item in items.into_iter().flatten().filter(|item| item.is_object()) {
            item["server"] = id.into();
        }
    }
}

/// Without `cluster`, so that an origin does not ask again, and without what is for a page.
fn path_for_others(path: &str, query: Option<&str>) -> String {
    let kept: Vec<&str> = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !name.is_empty() && !["cluster", "callback", "method", "token"].contains(&name)
        })
        .collect();
    match kept.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", kept.join("&")),
    }
}

/// The coworkers of all vhosts.
fn coworkers(settings: &Settings) -> Vec<Endpoint> {
    let mut all: Vec<Endpoint> =
        settings.vhosts.iter().filter_map(|vhost| vhost.cluster.coworkers.clone()).flatten().collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_asked_for_themselves_alone() {
        for (query, expected) in [
            (None, "/api/v1/streams/"),
            (Some("cluster=1"), "/api/v1/streams/"),
            (Some("start=5&cluster=1&count=20&callback=f"), "/api/v1/streams/?start=5&count=20"),
        ] {
            assert_eq!(path_for_others("/api/v1/streams/", query), expected);
        }
        assert!(is_asked(&Method::GET, "/api/v1/streams", Some("cluster=1")));
        assert!(!is_asked(&Method::DELETE, "/api/v1/clients/a", Some("cluster=1")));
        assert!(!is_asked(&Method::GET, "/api/v1/streams", Some("cluster=0")));
        assert!(!is_asked(&Method::GET, "/api/v1/raw", Some("cluster=1&rpc=reload")));
        assert!(!is_asked(&Method::GET, "/api/v1/clients", Some("cluster=1&method=DELETE")));
    }

    #[test]
    fn lists_are_put_together_and_the_rest_stands_apart() {
        let mut own = json!({ "code": 0, "server": "a", "streams": [{ "name": "x" }] });
        name_items(&mut own, "a");
        let theirs = json!({ "code": 0, "server": "b", "streams": [{ "name": "y" }, 7] });
        let told = merge(&mut own, "1.1.1.1:1985", theirs);
        assert_eq!(
            own["streams"],
            json!([{ "name": "x", "server": "a" }, { "name": "y", "server": "b" }, 7])
        );
        assert_eq!(told, json!({ "address": "1.1.1.1:1985", "server": "b", "error": null }));
        let mut own = json!({ "code": 0, "server": "a", "data": { "ok": true } });
        let told = merge(&mut own, "1.1.1.1:1985", json!({ "server": "b", "data": { "ok": false } }));
        assert_eq!(own["data"], json!({ "ok": true }));
        assert_eq!(told["data"], json!({ "ok": false }));
        // What is no answer of the API changes nothing.
        for odd in [json!(7), json!([]), json!({ "streams": { "a": 1 } }), Value::Null] {
            let mut own = json!({ "streams": [] });
            merge(&mut own, "x", odd);
            assert_eq!(own["streams"], json!([]));
        }
    }
}
