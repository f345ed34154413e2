//! `security { … }`: which addresses may publish and play.
//!
//! As in SRS: where it is enabled, an address must be allowed by a rule and denied by none.

use std::net::IpAddr;

use crate::conf::{Directive, Fault};
use crate::network::Network;

/// Whom a rule means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    All,
    Network(Network),
}

impl Who {
    fn parse(text: &str) -> Option<Self> {
        if text == "all" { Some(Who::All) } else { Network::parse(text).map(Who::Network) }
    }

    fn has(self, ip: IpAddr) -> bool {
        match self {
            Who::All => true,
            Who::Network(network) => network.has(ip),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    publish: bool,
    who: Who,
}

/// The rules of a vhost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// None when it is not enabled.
    rules: Option<Vec<Rule>>,
}

impl Security {
    /// Reads the block.
    pub fn read(block: Option<&Directive>) -> Result<Self, Fault> {
        let Some(block) = block.filter(|block| block.on("enabled")) else { return Ok(Security::default()) };
        let mut rules = Vec::new();
        for child in block.children.iter().filter(|child| matches!(&*child.name, "allow" | "deny")) {
            let action = child.args.first().map(String::as_str);
            let who = child.args.get(1).and_then(|text| Who::parse(text));
            let (Some(action @ ("publish" | "play")), Some(who)) = (action, who) else {
                let message =
                    format!("{} takes publish or play, and all, an address or a network", child.name);
                return Err(Fault::new(child.line, message));
            };
            rules.push(Rule { allow: child.name == "allow", publish: action == "publish", who });
        }
        Ok(Security { rules: Some(rules) })
    }

    /// Whether there are rules.
    pub fn is_enabled(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether an address may publish (or else play).
    pub fn permits(&self, publish: bool, ip: IpAddr) -> bool {
        let Some(rules) = &self.rules else { return true };
        let matches = |allow| rules.iter().any(|r| r.allow == allow && r.publish == publish && r.who.has(ip));
        matches(true) && !matches(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(rules: &str, publish: bool, ip: &str) -> bool {
        let block = crate::conf::parse::parse(rules).unwrap();
        Security::read(Some(&block)).unwrap().permits(publish, ip.parse().unwrap())
    }

    #[test]
    fn an_address_must_be_allowed_and_not_denied() {
        for (rules, publish, ip, expected) in [
            ("enabled off; deny play all;", false, "1.2.3.4", true),
            ("enabled on;", false, "1.2.3.4", false),
            ("enabled on; allow play all;", false, "1.2.3.4", true),
            ("enabled on; allow play all;", true, "1.2.3.4", false),
            ("enabled on; allow play all; deny play 1.2.3.4;", false, "1.2.3.4", false),
            ("enabled on; allow publish 10.0.0.0/8;", true, "10.9.8.7", true),
            ("enabled on; allow publish 10.0.0.0/8;", true, "11.9.8.7", false),
            ("enabled on; allow publish 0.0.0.0/0;", true, "11.9.8.7", true),
            ("enabled on; allow publish fd00::/8;", true, "fd12::1", true),
            ("enabled on; allow publish 10.0.0.0/8;", true, "::ffff:10.1.1.1", true),
        ] {
            assert_eq!(permits(rules, publish, ip), expected, "{rules} {ip}");
        }
        let block = crate::conf::parse::parse("enabled on; allow publish 10.0.0.0/33;").unwrap();
        assert!(Security::read(Some(&block)).is_err());
    }
}
