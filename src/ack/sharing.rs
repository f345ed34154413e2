//! Several Services on one load balancer: whose is the listener?

use std::collections::BTreeMap;

use serde_json::Value;

use super::annotation::{LEGACY_PREFIX, PREFIX, Settings, annotations};
use super::lint::{Finding, Severity};

/// A Service and its place among the given ones.
type Placed<'a> = (usize, &'a Value);

/// Listeners that more than one of these Services would make on the same load balancer. CCM lets them take it from each other, without an
/// error. TCP and UDP on one port are two listeners. Each finding comes with the place, among the given ones, of the last Service that is
/// part of it.
pub fn shared_listeners<'a>(services: impl IntoIterator<Item = &'a Value>) -> Vec<(usize, Finding)> {
    // By load balancer, port and transport.
    let mut owners: BTreeMap<(String, u64, &str), Vec<Placed<'a>>> = BTreeMap::new();
    for (place, service) in services.into_iter().enumerate() {
        let Some(settings) = Settings::of(service) else { continue };
        let Some(id) = settings.get("id").filter(|_| settings.is("force-override-listeners", "true")) else {
            continue;
        };
        for (port, protocol) in settings.protocols(service) {
            let transport = if protocol == "UDP" { "UDP" } else { "TCP" };
            owners.entry((id.to_owned(), port, transport)).or_default().push((place, service));
        }
    }
    owners
        .into_iter()
        .filter(|(_, services)| services.len() > 1)
        .filter_map(|((id, port, transport), services)| {
            let names: Vec<_> = services.iter().map(|(_, service)| name(service)).collect();
            let (last, service) = *services.last()?;
            let message = format!(
                "the Services {} all make the listener {transport} {port} of load balancer {id} and take it from each other",
                names.join(" and ")
            );
            let finding = Finding::new(Severity::Error, id_key(service), message);
            Some((last, finding.hint("give each a port of its own")))
        })
        .collect()
}

fn name(service: &Value) -> String {
    let text = |pointer: &str| service.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match text("/metadata/namespace") {
        "" => text("/metadata/name").to_owned(),
        namespace => format!("{namespace}/{}", text("/metadata/name")),
    }
}

fn id_key(service: &Value) -> String {
    let new = format!("{PREFIX}id");
    if annotations(service).contains_key(new.as_str()) { new } else { format!("{LEGACY_PREFIX}id") }
}
