//! Under which addresses a Service can be reached from outside.

use serde::Serialize;
use serde_json::Value;

use crate::graph::ObjectId;

/// What a load balancer gave to a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// The Service.
    pub id: ObjectId,
    /// IP addresses or host names, in the server's order.
    pub hosts: Vec<String>,
    /// Port numbers; protocols other than TCP as `8000/UDP`.
    pub ports: Vec<String>,
}

/// Reads the addresses out of a live object; `None` unless it is a LoadBalancer Service that has one.
pub fn addresses(object: &Value) -> Option<Addresses> {
    let id = ObjectId::of(object)?;
    let is = |pointer: &str, word: &str| object.pointer(pointer).and_then(Value::as_str) == Some(word);
    if !(id.group.is_empty() && id.kind == "Service" && is("/spec/type", "LoadBalancer")) {
        return None;
    }
    let hosts: Vec<String> = list(object, "/status/loadBalancer/ingress")
        .filter_map(|ingress| ingress.get("ip").or_else(|| ingress.get("hostname")))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let ports = list(object, "/spec/ports")
        .filter_map(|port| {
            let number = port.get("port")?.as_u64()?;
            match port.get("protocol").and_then(Value::as_str) {
                None | Some("TCP") => Some(number.to_string()),
                Some(protocol) => Some(format!("{number}/{protocol}")),
            }
        })
        .collect();
    (!hosts.is_empty()).then_some(Addresses { id, hosts, ports })
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_load_balancers_with_an_address() {
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "socs", "namespace": "live"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 1935}, {"port": 8000, "protocol": "UDP"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "127.64.0.1"}, {"hostname": "live.example.com"}]}},
        });
        let found = addresses(&service).unwrap();
        assert_eq!(found.hosts, ["127.64.0.1", "live.example.com"]);
        assert_eq!(found.ports, ["1935", "8000/UDP"]);
        service["status"] = json!({});
        assert_eq!(addresses(&service), None, "no address yet");
        service["spec"]["type"] = json!("ClusterIP");
        assert_eq!(addresses(&service), None);
        assert_eq!(addresses(&json!([])), None);
    }
}
