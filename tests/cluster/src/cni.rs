//! A CNI plug-in, last in the chain of every pod's network: lets the pod reach load balancers by the addresses that
//! are printed for use outside.
//!
//! Those lie in 127.64.0.0/10, and inside a pod all of 127.0.0.0/8 is the pod itself until this has run. CNI
//! specification 1.0.0: parameters come in the environment and as JSON on standard input; a chained plug-in answers
//! with the previous result.

use std::{fs::File, io::Read};

use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use crate::{
    error::{Error, Result, at, system},
    init,
};

/// The plug-in's name, which is also its file's.
pub(crate) const NAME: &str = "load-balancer-route";

/// Answers one call; the answer goes to standard output.
pub(crate) fn run() -> Result<Value> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(at("read", "standard input"))?;
    match variable("CNI_COMMAND").as_str() {
        "VERSION" => Ok(json!({ "cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"] })),
        "ADD" => {
            let config: Value = serde_json::from_str(&text).map_err(|error| Error::Format {
                path: "standard input".into(),
                reason: error.to_string(),
            })?;
            let path = variable("CNI_NETNS");
            let namespace = File::open(&path).map_err(at("open", path))?;
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .map_err(system("enter the pod's network namespace"))?;
            init::route_load_balancers()?;
            Ok(config["prevResult"].clone())
        }
        // The route goes with the pod's namespace.
        _ => Ok(Value::Null),
    }
}

/// An error as CNI wants it: code 100 and above are the plug-in's own.
pub(crate) fn failure(error: &Error) -> Value {
    json!({ "cniVersion": "1.0.0", "code": 100, "msg": error.to_string() })
}
