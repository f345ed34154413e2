//! What the value of an annotation may look like.

use std::net::Ipv4Addr;

/// The form of a value. Values are strings, whatever they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Any text but none.
    Anything,
    /// One of these, in this case.
    Enum(&'static [&'static str]),
    /// A whole number in this range.
    Int(i64, i64),
    /// A port, or this number for «the backend's port».
    PortOr(i64),
    /// `on` or `off`.
    OnOff,
    /// `true`; anything else means no, and only `false` says so.
    FlagTrue,
    /// An id that begins so.
    Prefixed(&'static str),
    /// Ids separated by commas, each beginning so.
    List(&'static str),
    /// `k=v,k2=v2`.
    Pairs,
    /// `a:b,c:d`; the first of each is one of these, if there are any.
    Map(&'static [&'static str]),
    /// A load balancer's name, so long at most.
    Name(usize),
    /// A path that begins with a slash, so long at most.
    Path(usize),
    /// A host name.
    Host,
    /// A host name or this word for «the server's address».
    Domain(&'static str),
    /// An IPv4 address.
    Ipv4,
    /// A cookie's name.
    Cookie,
    /// `http_2xx,http_3xx`.
    Codes,
    /// `zone:vswitch[:address[:eip]]`, separated by commas.
    Zones,
    /// `start-end:port`, separated by commas.
    Ranges,
}

impl Form {
    /// What is wrong with `value`; it says what the value must be.
    pub(super) fn check(&self, value: &str) -> Result<(), String> {
        let verdict = |fine: bool, must: &str| if fine { Ok(()) } else { Err(must.to_owned()) };
        match *self {
            Self::Anything => Ok(()),
            Self::Enum(values) => verdict(values.contains(&value), &one_of(values)),
            Self::Int(least, most) => {
                verdict(in_range(value, least, most), &format!("a whole number from {least} to {most}"))
            }
            Self::PortOr(special) => verdict(
                in_range(value, 1, 65_535) || value.parse() == Ok(special),
                &format!("a port from 1 to 65535, or {special} for the backend's own"),
            ),
            Self::OnOff => verdict(matches!(value, "on" | "off"), "on or off"),
            Self::FlagTrue => verdict(matches!(value, "true" | "false"), "\"true\", or \"false\" for no"),
            Self::Prefixed(prefix) => {
                verdict(is_id(value, prefix), &format!("an id that begins with {prefix}"))
            }
            Self::List(prefix) => {
                let must = if prefix.is_empty() {
                    "ids separated by commas".to_owned()
                } else {
                    format!("ids that begin with {prefix}, separated by commas")
                };
                verdict(value.split(',').all(|id| is_id(id, prefix)), &must)
            }
            Self::Pairs => {
                verdict(value.split(',').all(is_pair), "key=value pairs separated by commas, with one = each")
            }
            Self::Map(firsts) => {
                let fine = value.split(',').all(|entry| {
                    entry.split_once(':').is_some_and(|(first, second)| {
                        !first.is_empty()
                            && !second.is_empty()
                            && !second.contains(':')
                            && (firsts.is_empty() || firsts.contains(&first) && in_range(second, 1, 65_535))
                    })
                });
                let must = if firsts.is_empty() {
                    "a:b,c:d".to_owned()
                } else {
                    format!("protocol:port pairs separated by commas, the protocol being {}", one_of(firsts))
                };
                verdict(fine, &must)
            }
            Self::Name(most) => verdict(
                value.len() <= most
                    && value.starts_with(|c: char| c.is_ascii_alphabetic())
                    && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')),
                &format!("1 to {most} letters, digits, dots, underscores and hyphens, a letter first"),
            ),
            Self::Path(most) => verdict(
                value.starts_with('/') && value.len() <= most && value.chars().all(|c| c.is_ascii_graphic()),
                &format!("a path of 1 to {most} characters that begins with /"),
            ),
            Self::Host => verdict(is_host(value), "a host name"),
            Self::Domain(special) => verdict(
                value == special || is_host(value) && value.len() <= 80,
                &format!("a host name of up to 80 characters, or {special}"),
            ),
            Self::Ipv4 => verdict(value.parse::<Ipv4Addr>().is_ok(), "an IPv4 address"),
            Self::Cookie => verdict(
                value.len() <= 200
                    && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')),
                "1 to 200 letters, digits, underscores and hyphens",
            ),
            Self::Codes => verdict(
                value
                    .split(',')
                    .all(|code| matches!(code, "http_2xx" | "http_3xx" | "http_4xx" | "http_5xx")),
                "http_2xx, http_3xx, http_4xx or http_5xx, separated by commas",
            ),
            Self::Zones => verdict(
                value.split(',').all(is_zone),
                "zone:vswitch[:address[:eip]] for each zone, separated by commas",
            ),
            Self::Ranges => verdict(
                value.split(',').all(is_range),
                "start-end:port, start being less than end, separated by commas",
            ),
        }
    }
}

fn one_of(values: &[&str]) -> String {
    values.join(", ").chars().rev().collect::<String>().replacen(" ,", " ro ", 1).chars().rev().collect()
}

fn in_range(value: &str, least: i64, most: i64) -> bool {
    // CCM reads numbers with Go's Atoi, which takes a sign; a plus or leading zeros are no way to write one.
    value.parse::<i64>().is_ok_and(|number| (least..=most).contains(&number) && number.to_string() == value)
}

fn is_id(value: &str, prefix: &str) -> bool {
    value.strip_prefix(prefix).is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    })
}

fn is_pair(pair: &str) -> bool {
    let (key, value) = pair.trim().split_once('=').unwrap_or((pair.trim(), ""));
    !key.is_empty() && !value.contains('=')
}

fn is_host(value: &str) -> bool {
    value.len() <= 253
        && value.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}

fn is_zone(entry: &str) -> bool {
    let parts: Vec<_> = entry.trim().split(':').collect();
    let (Some(zone), Some(vswitch)) = (parts.first(), parts.get(1)) else { return false };
    let address =
        parts.get(2).is_none_or(|address| address.is_empty() || address.parse::<Ipv4Addr>().is_ok());
    let eip = parts.get(3).is_none_or(|eip| is_id(eip, "eip-"));
    parts.len() <= 4 && !zone.is_empty() && is_id(vswitch, "vsw-") && address && eip
}

fn is_range(entry: &str) -> bool {
    let parsed = entry.trim().split_once(':').and_then(|(range, port)| {
        let (start, end) = range.split_once('-')?;
        Some((start.parse::<u16>().ok()?, end.parse::<u16>().ok()?, port.parse::<u16>().ok()?))
    });
    parsed.is_some_and(|(start, end, port)| start < end && start > 0 && port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (form, good, bad) in [
            (Form::Int(1, 50), vec!["1", "50"], vec!["0", "51", "1.5", " 1", "+1", "01", "ten"]),
            (Form::PortOr(-520), vec!["-520", "1", "65535"], vec!["0", "65536", "-1"]),
            (Form::OnOff, vec!["on", "off"], vec!["On", "true", "yes"]),
            (Form::FlagTrue, vec!["true", "false"], vec!["True", "on", "1"]),
            (Form::Prefixed("lb-"), vec!["lb-2ze"], vec!["lb-", "nlb-2ze", "2ze", "lb-a b"]),
            (Form::List("sg-"), vec!["sg-a", "sg-a,sg-b"], vec!["sg-a,", "acl-a"]),
            (Form::Pairs, vec!["a=b", "a=b,c=", "a"], vec!["a=b=c", "=b", "a=b,"]),
            (
                Form::Map(&["tcp"]),
                vec!["tcp:80", "tcp:80,tcp:81"],
                vec!["TCP:80", "tcp:0", "tcp", "tcp:80:81"],
            ),
            (Form::Map(&[]), vec!["rsp-x:80"], vec![":80", "rsp-x:"]),
            (Form::Name(80), vec!["srs", "a.b_c-d"], vec!["1srs", "a b", "ä"]),
            (Form::Path(80), vec!["/", "/api/v1/versions"], vec!["api", "/a b"]),
            (
                Form::Domain("$_ip"),
                vec!["$_ip", "live.example.org"],
                vec!["$SERVER_IP", "-a", "a..b", "UPPER"],
            ),
            (Form::Ipv4, vec!["192.168.0.1"], vec!["192.168.0", "::1"]),
            (Form::Cookie, vec!["srs_id-1"], vec!["a=b", "a;b"]),
            (
                Form::Codes,
                vec!["http_2xx", "http_2xx,http_3xx"],
                vec!["200", "http_1xx", "http_2xx, http_3xx"],
            ),
            (
                Form::Zones,
                vec!["z:vsw-a", "z:vsw-a:10.0.0.1:eip-x,y:vsw-b", "z:vsw-a::eip-x"],
                vec!["z", "z:a", "z:vsw-a:x", "z:vsw-a:10.0.0.1:x"],
            ),
            (Form::Ranges, vec!["100-200:80"], vec!["200-100:80", "100:80", "100-200"]),
            (Form::Enum(&["a", "b"]), vec!["a"], vec!["A", "c"]),
        ] {
            for value in good {
                assert_eq!(form.check(value), Ok(()), "{form:?} {value}");
            }
            for value in bad {
                assert!(form.check(value).is_err(), "{form:?} {value}");
            }
        }
        assert_eq!(Form::Enum(&["a", "b", "c"]).check("d"), Err("a, b or c".to_owned()));
    }
}
