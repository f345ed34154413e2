//! What annotations need of each other and of the Service: the third column of Alibaba Cloud's tables, as rules.

use serde_json::Value;

use super::annotation::{Family, LEGACY_PREFIX, Layer, PREFIX, Settings, TABLE, annotations, ports};
use super::lint::{Finding, Severity};

/// Checks the settings of a Service against each other.
pub(super) fn check(settings: &Settings<'_>, service: &Value) -> Vec<Finding> {
    let mut check = Check { settings, service, findings: Vec::new() };
    check.reuse();
    check.listeners();
    check.layers();
    check.pairs();
    check.tags();
    match settings.family {
        Family::Clb => {
            check.clb_instance();
            check.clb_charges();
            check.clb_sessions();
            check.clb_health();
        }
        Family::Nlb => {
            check.nlb_instance();
            check.nlb_tls();
            check.nlb_health();
        }
    }
    check.findings
}

struct Check<'a> {
    settings: &'a Settings<'a>,
    service: &'a Value,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn has(&self, suffix: &str) -> bool {
        self.settings.get(suffix).is_some()
    }

    fn is(&self, suffix: &str, value: &str) -> bool {
        self.settings.is(suffix, value)
    }

    fn report(&mut self, severity: Severity, suffix: &str, message: &str, hint: &str) {
        // The key as the Service has it, so that the reader finds it.
        let legacy = format!("{LEGACY_PREFIX}{suffix}");
        let new = format!("{PREFIX}{suffix}");
        let present = annotations(self.service);
        let key = if present.contains_key(legacy.as_str()) && !present.contains_key(new.as_str()) {
            legacy
        } else {
            new
        };
        let finding = Finding::new(severity, key, message);
        self.findings.push(if hint.is_empty() { finding } else { finding.hint(hint) });
    }

    fn error(&mut self, suffix: &str, message: &str, hint: &str) {
        self.report(Severity::Error, suffix, message, hint);
    }

    fn warn(&mut self, suffix: &str, message: &str, hint: &str) {
        self.report(Severity::Warning, suffix, message, hint);
    }

    /// A load balancer that is not CCM's own.
    fn reuse(&mut self) {
        if self.has("id") {
            if !self.has("force-override-listeners") {
                self.error(
                    "id",
                    "without force-override-listeners CCM never makes a listener on a reused load balancer: no traffic arrives",
                    "add force-override-listeners: \"true\", or \"false\" if the listeners are somebody else's",
                );
            }
            let created = [
                "vswitch-id",
                "ip",
                "network-type",
                "master-zoneid",
                "slave-zoneid",
                "zone-maps",
                "preserve-lb-on-delete",
            ];
            for suffix in created {
                if self.has(suffix) {
                    self.warn(suffix, "it is of use only for a load balancer that CCM creates, but id names one that exists", "");
                }
            }
        } else {
            if self.has("force-override-listeners") {
                self.warn("force-override-listeners", "it means nothing without id", "");
            }
            if self.has("vgroup-port") {
                self.error("vgroup-port", "server groups of one's own need a reused load balancer (id)", "");
            }
        }
        if self.has("weight") && !self.has("vgroup-port") {
            self.error("weight", "it needs vgroup-port", "");
        }
        if let Some(value @ ("false" | "off" | "no" | "0")) = self.settings.get("preserve-lb-on-delete") {
            let message = format!("any value but none switches it on, {value:?} as well");
            self.error("preserve-lb-on-delete", &message, "leave the annotation out");
        }
    }

    /// `protocol-port` and the Service's ports.
    fn listeners(&mut self) {
        let offered = ports(self.service);
        for (protocol, port) in self.settings.map("protocol-port") {
            let Ok(number) = port.parse::<u64>() else { continue };
            let found: Vec<_> = offered.iter().filter(|(offered, _)| *offered == number).collect();
            if found.is_empty() {
                self.error("protocol-port", &format!("the Service has no port {port}"), "");
            } else if !protocol.eq_ignore_ascii_case("udp")
                && found.iter().all(|(_, protocol)| *protocol == "UDP")
            {
                self.error(
                    "protocol-port",
                    &format!("port {port} of the Service is UDP, which can't carry {protocol}"),
                    "",
                );
            }
        }
        let local =
            self.service.pointer("/spec/externalTrafficPolicy").and_then(Value::as_str) == Some("Local");
        if local && self.settings.family == Family::Clb && !self.is("scheduler", "wrr") {
            self.warn(
                "scheduler",
                "with externalTrafficPolicy Local a node's weight is its number of pods, which this scheduler ignores",
                "set scheduler: wrr",
            );
        }
    }

    /// Settings for listeners that the Service doesn't have.
    fn layers(&mut self) {
        let protocols = self.settings.protocols(self.service);
        let any = |wanted: &[&str]| protocols.iter().any(|(_, protocol)| wanted.contains(&protocol.as_str()));
        let (l4, l7) = (any(&["TCP", "UDP"]), any(&["HTTP", "HTTPS"]));
        let tls = any(&["HTTPS", "TCPSSL"]);
        for row in TABLE.iter().filter(|row| row.family == self.settings.family) {
            let useless = match row.layer {
                Layer::L4 if !l4 => "it is for TCP and UDP listeners, and there are none",
                Layer::L7 if !l7 => "it is for HTTP and HTTPS listeners, and there are none",
                Layer::Tls if !tls => "it is for TLS listeners, and there are none",
                _ => continue,
            };
            if self.has(row.suffix) && !protocols.is_empty() {
                self.warn(row.suffix, useless, "say which ports are which in protocol-port");
            }
        }
        if tls && !self.has("cert-id") {
            self.error("cert-id", "an HTTPS or TCPSSL listener needs a certificate", "");
        }
    }

    /// Two that go together.
    fn pairs(&mut self) {
        if self.is("connection-drain", "on") && !self.has("connection-drain-timeout") {
            self.error("connection-drain", "it needs connection-drain-timeout", "");
        }
        if !self.is("connection-drain", "on") && self.has("connection-drain-timeout") {
            self.error("connection-drain-timeout", "it needs connection-drain: on", "");
        }
    }

    fn tags(&mut self) {
        let Some(tags) = self.settings.get("additional-resource-tags") else { return };
        if tags.split(',').any(|tag| tag.trim().starts_with("acs:")) {
            self.warn(
                "additional-resource-tags",
                "tags that begin with acs: are the cloud's own and are ignored",
                "",
            );
        }
        if self.settings.family == Family::Clb && tags.split(',').count() > 10 {
            self.error("additional-resource-tags", "a CLB takes ten tags at most", "");
        }
    }

    fn clb_instance(&mut self) {
        let intranet = self.is("address-type", "intranet");
        if !intranet && !self.has("id") {
            for suffix in ["vswitch-id", "ip"] {
                if self.has(suffix) {
                    self.error(suffix, "it is for intranet load balancers", "set address-type: intranet");
                }
            }
        }
        if self.has("ip") && !self.has("vswitch-id") {
            self.error("ip", "it needs the vswitch-id of the vSwitch it is in", "");
        }
        if self.is("network-type", "classic") && self.has("vswitch-id") {
            self.warn("vswitch-id", "it is ignored with network-type: classic", "");
        }
        if self.has("external-ip-type") && !intranet && !self.has("id") {
            self.error(
                "external-ip-type",
                "only an intranet load balancer takes an elastic IP",
                "set address-type: intranet",
            );
        }
        for (one, other) in [("master-zoneid", "slave-zoneid"), ("slave-zoneid", "master-zoneid")] {
            if self.has(one) && !self.has(other) {
                self.warn(
                    one,
                    &format!("give {other}, too: the cloud chooses it otherwise, and it can't change later"),
                    "",
                );
            }
        }
        let acl = ["acl-status", "acl-id", "acl-type"];
        let given = acl.iter().filter(|suffix| self.has(suffix)).count();
        let off = self.settings.get("acl-status") == Some("off");
        if given > 0 && given < acl.len() && !off {
            let first = acl.iter().find(|suffix| self.has(suffix)).copied().unwrap_or_default();
            self.error(first, "an access control list needs acl-status, acl-id and acl-type together", "");
        }
    }

    fn clb_charges(&mut self) {
        let by_lcu = self.settings.get("instance-charge-type") == Some("PayByCLCU");
        let by_spec = self.settings.get("instance-charge-type") == Some("PayBySpec");
        let by_bandwidth = self.settings.get("charge-type") == Some("paybybandwidth");
        if by_lcu && self.has("spec") {
            self.error(
                "spec",
                "a load balancer paid by LCU has no specification",
                "leave out spec, or set instance-charge-type: PayBySpec",
            );
        }
        if by_bandwidth && !by_spec {
            self.error(
                "charge-type",
                "payment by bandwidth needs payment by specification, which is not the default any more",
                "set instance-charge-type: PayBySpec, or charge-type: paybytraffic",
            );
        }
        if self.has("bandwidth") && !by_bandwidth {
            self.warn("bandwidth", "it counts only with charge-type: paybybandwidth", "");
        }
        if self.has("charge-type") && self.is("address-type", "intranet") {
            self.warn("charge-type", "traffic of an intranet load balancer costs nothing: it is ignored", "");
        }
    }

    fn clb_sessions(&mut self) {
        let protocols = self.settings.protocols(self.service);
        let any = |wanted: &str| protocols.iter().any(|(_, protocol)| protocol == wanted);
        if matches!(self.settings.get("scheduler"), Some("sch" | "tch")) && (any("HTTP") || any("HTTPS")) {
            self.error("scheduler", "consistent hashing is for TCP and UDP listeners", "");
        }
        if self.has("forward-port") {
            let declared = self.settings.map("protocol-port");
            let is = |port: &str, wanted: &str| {
                declared.iter().any(|(protocol, number)| *protocol == wanted && *number == port)
            };
            let wrong = self
                .settings
                .map("forward-port")
                .into_iter()
                .any(|(from, to)| !is(from, "http") || !is(to, "https"));
            if wrong {
                self.error(
                    "forward-port",
                    "both of its ports must be in protocol-port, the first as http, the second as https",
                    "",
                );
            }
        }
        if self.is("sticky-session", "on") {
            match self.settings.get("sticky-session-type") {
                None => self.error("sticky-session", "it needs sticky-session-type: insert or server", ""),
                Some("insert") if !self.has("cookie-timeout") => {
                    self.error("sticky-session-type", "insert needs cookie-timeout", "");
                }
                Some("server") if !self.has("cookie") => {
                    self.error("sticky-session-type", "server needs cookie", "");
                }
                Some(_) => {}
            }
        }
    }

    fn clb_health(&mut self) {
        let http = self.is("health-check-type", "http") || self.is("health-check-flag", "on");
        self.http_only(http);
        for timeout in ["health-check-connect-timeout", "health-check-timeout"] {
            self.timeout_below_interval(timeout);
        }
    }

    fn timeout_below_interval(&mut self, timeout: &str) {
        let number = |suffix: &str| self.settings.get(suffix)?.parse::<u32>().ok();
        if let (Some(seconds), Some(interval)) = (number(timeout), number("health-check-interval"))
            && seconds < interval
        {
            self.warn(timeout, &format!("it is less than health-check-interval, so {interval} s count"), "");
        }
    }

    fn http_only(&mut self, http: bool) {
        for suffix in
            ["health-check-uri", "health-check-domain", "health-check-method", "health-check-httpcode"]
        {
            if self.has(suffix) && !http {
                self.warn(suffix, "it counts only for checks by HTTP", "set health-check-type: http");
            }
        }
    }

    fn nlb_instance(&mut self) {
        match self.settings.get("zone-maps") {
            None if !self.has("id") => {
                self.error(
                    "zone-maps",
                    "an NLB needs zones, each with a vSwitch",
                    "set zone-maps: zone:vsw-…,zone:vsw-…",
                );
            }
            Some(zones) => {
                let mut names: Vec<_> =
                    zones.split(',').filter_map(|zone| zone.trim().split(':').next()).collect();
                names.sort_unstable();
                names.dedup();
                if names.len() < 2 {
                    self.error("zone-maps", "an NLB needs two different zones at least", "");
                }
            }
            None => {}
        }
        if self.has("bandwidth-package-id") && self.is("address-type", "intranet") {
            self.error("bandwidth-package-id", "it is for public load balancers", "");
        }
        if self.has("ipv6-address-type") && !self.is("ip-version", "DualStack") {
            self.warn("ipv6-address-type", "it needs ip-version: DualStack", "");
        }
        for suffix in ["ppv2-pvl-ep-id-enabled", "ppv2-pvl-eps-id-enabled", "ppv2-pvl-vpc-id-enabled"] {
            if self.is(suffix, "on") && !self.is("proxy-protocol", "on") {
                self.error(suffix, "it needs proxy-protocol: on", "");
            }
        }
    }

    fn nlb_tls(&mut self) {
        let tls = self.settings.protocols(self.service).iter().any(|(_, protocol)| protocol == "TCPSSL");
        if tls && self.is("preserve-client-ip", "on") {
            self.error(
                "preserve-client-ip",
                "a TLS listener can't keep the client's address, and to keep it is the default",
                "set preserve-client-ip: off",
            );
        }
        for (switch, value) in [("cacert", "cacert-id"), ("alpn", "alpn-policy")] {
            if self.is(switch, "on") && !self.has(value) {
                self.error(switch, &format!("it needs {value}"), "");
            }
            if !self.is(switch, "on") && self.has(value) {
                self.error(value, &format!("it needs {switch}: on"), "");
            }
        }
    }

    fn nlb_health(&mut self) {
        let on = self.has("health-check-flag") && self.is("health-check-flag", "on");
        let off = self.has("health-check-flag") && !on;
        if !on {
            let given =
                TABLE.iter().filter(|row| row.family == Family::Nlb && row.suffix != "health-check-flag");
            for row in given.filter(|row| {
                row.suffix.starts_with("health-check-") || row.suffix.ends_with("healthy-threshold")
            }) {
                if self.has(row.suffix) {
                    self.error(
                        row.suffix,
                        "CCM ignores it unless health-check-flag: on is written, though on is the default",
                        "set health-check-flag: on",
                    );
                }
            }
        }
        let udp = self.settings.protocols(self.service).iter().any(|(_, protocol)| protocol == "UDP");
        let by_own_port = matches!(self.settings.effective("health-check-connect-port"), None | Some("0"));
        if udp && !off && self.is("health-check-type", "tcp") && by_own_port {
            self.error(
                "health-check-type",
                "servers of a UDP listener are checked by TCP on the same port, where nothing listens",
                "set health-check-type: udp, a health-check-connect-port that listens on TCP, or health-check-flag: off",
            );
        }
        self.http_only(self.is("health-check-type", "http"));
        self.timeout_below_interval("health-check-connect-timeout");
    }
}
