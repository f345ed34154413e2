//! Forms of SRS 1 and 2 that SRS 3 and 4 still take, rewritten to today's.

use super::Directive;

/// Rewrites a parsed configuration.
pub fn rewrite(root: &mut Directive) {
    for child in &mut root.children {
        match child.name.as_str() {
            "http_stream" => child.name = "http_server".into(),
            "vhost" => vhost(child),
            _ => {}
        }
    }
}

fn vhost(vhost: &mut Directive) {
    const MOVED: [(&str, &[&str]); 4] = [
        (
            "play",
            &[
                "time_jitter",
                "mix_correct",
                "atc",
                "atc_auto",
                "mw_latency",
                "gop_cache",
                "queue_length",
                "send_min_interval",
                "reduce_sequence_header",
            ],
        ),
        ("publish", &["publish_1stpkt_timeout", "publish_normal_timeout"]),
        ("cluster", &["mode", "origin", "token_traverse", "vhost", "debug_srs_upnode"]),
        ("refer", &["refer_play", "refer_publish"]),
    ];
    for child in std::mem::take(&mut vhost.children) {
        let Directive { name, args, children, line } = child;
        let target = MOVED.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(block, _)| *block);
        let leaf =
            |name: &str, args: Vec<String>| Directive { name: name.into(), args, children: Vec::new(), line };
        match (name.as_str(), target) {
            (_, Some(block)) => {
                let name = match name.as_str() {
                    "publish_1stpkt_timeout" => "firstpkt_timeout",
                    "publish_normal_timeout" => "normal_timeout",
                    "refer_play" => "play",
                    "refer_publish" => "publish",
                    same => same,
                };
                into_block(vhost, block, line).push(leaf(name, args));
            }
            ("http", None) => {
                vhost.children.push(Directive { name: "http_static".into(), args, children, line });
            }
            ("mr", None) => {
                let publish = into_block(vhost, "publish", line);
                for inner in children {
                    match inner.name.as_str() {
                        "enabled" => publish.push(leaf("mr", inner.args)),
                        "latency" => publish.push(leaf("mr_latency", inner.args)),
                        _ => publish.push(inner),
                    }
                }
            }
            ("nack" | "twcc", None) => into_block(vhost, "rtc", line).push(leaf(&name, args)),
            ("refer", None) if !args.is_empty() => {
                let refer = into_block(vhost, "refer", line);
                refer.push(leaf("enabled", vec!["on".into()]));
                refer.push(leaf("all", args));
            }
            ("forward", None) if !args.is_empty() => {
                let forward = into_block(vhost, "forward", line);
                forward.push(leaf("enabled", vec!["on".into()]));
                forward.push(leaf("destination", args));
            }
            ("http_remux", None) => {
                let children = children.into_iter().filter(|inner| inner.name != "hstrs").collect();
                vhost.children.push(Directive { name, args, children, line });
            }
            // A block that an older form opened already takes what the newer one adds.
            (block @ ("play" | "publish" | "cluster" | "refer" | "forward" | "rtc"), None) => {
                into_block(vhost, block, line).extend(children);
            }
            _ => vhost.children.push(Directive { name, args, children, line }),
        }
    }
}

fn into_block<'a>(vhost: &'a mut Directive, name: &str, line: usize) -> &'a mut Vec<Directive> {
    let found = vhost.children.iter().position(|child| child.name == name);
    let index = found.unwrap_or_else(|| {
        vhost.children.push(Directive { name: name.into(), line, ..Directive::default() });
        vhost.children.len() - 1
    });
    &mut vhost.children[index].children
}

#[cfg(test)]
mod tests {
    use crate::conf::from_text;

    #[test]
    fn older_forms_mean_the_same() {
        let old = "listen 1935; vhost a { gop_cache off; queue_length 10; publish_normal_timeout 7000;
            mode remote; origin o:1; forward x:1935 y; http { enabled on; } mr { enabled on; latency 500; } }
            http_stream { enabled on; }";
        let new =
            "listen 1935; vhost a { play { gop_cache off; queue_length 10; } publish { normal_timeout 7000;
            mr on; mr_latency 500; } cluster { mode remote; origin o:1; }
            forward { enabled on; destination x:1935 y; } http_static { enabled on; } }
            http_server { enabled on; }";
        let (mut old, mut new) = (from_text(old).unwrap(), from_text(new).unwrap());
        assert_eq!(old.vhosts[0].gop_cache, new.vhosts[0].gop_cache);
        old.root = crate::conf::Directive::default();
        new.root = crate::conf::Directive::default();
        assert_eq!(format!("{old:?}"), format!("{new:?}"));
    }
}
