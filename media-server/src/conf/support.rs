//! Directives that SRS knows and this server does not do, or needs no switch for.
//!
//! Each of the first kind warns by name when it is used; the tests see to it that every directive of [`super::known`]
//! is read by the code or stands here.

use super::Directive;
use crate::rtmp::CHUNK_SIZES;

/// When a directive that is not done is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    /// When it stands in the file.
    Set,
    /// When it says `on`.
    On,
    /// When it says `off`.
    Off,
    /// When it is a block with `enabled on`.
    Enabled,
    /// Never: what it asks for is so anyway.
    Never,
}

impl Missed {
    fn by(self, directive: &Directive) -> bool {
        match self {
            Missed::Set => true,
            Missed::On => directive.arg() == Some("on"),
            Missed::Off => directive.arg() == Some("off"),
            Missed::Enabled => directive.on("enabled"),
            Missed::Never => false,
        }
    }
}

/// Directives of one block that are not done for one reason.
struct Gap {
    /// The block's path, as in [`super::known`].
    path: &'static str,
    /// The directives.
    names: &'static str,
    missed: Missed,
    /// What is so instead.
    because: &'static str,
}

const fn gap(path: &'static str, names: &'static str, missed: Missed, because: &'static str) -> Gap {
    Gap { path, names, missed, because }
}

const GAPS: &[Gap] = &[
    gap("", "stream_caster srt_server rtc_server", Missed::Enabled, "this protocol is not supported"),
    gap("", "pithy_print_ms", Missed::Set, "nothing is logged periodically, /metrics tells the same"),
    gap("", "tcmalloc_release_rate", Missed::Set, "the allocator has no such rate"),
    gap("", "query_latest_version first_wait_for_qlv", Missed::On, "nobody is asked for newer versions"),
    gap(
        "",
        "circuit_breaker",
        Missed::Enabled,
        "SRS 4 saves the work of WebRTC alone by it; a core that has too much to do sends later and drops nothing",
    ),
    gap("", "threads max_streams_per_thread", Missed::Set, "there is a thread for each CPU"),
    gap("", "empty_ip_ok", Missed::Never, "every client has an address"),
    gap("http_api.raw_api", "allow_query allow_update", Missed::On, "SRS 4 does not allow it either"),
    gap("vhost", "dash hds transcode bandcheck rtc srt", Missed::Enabled, "this is not supported"),
    gap("vhost.publish", "mr mr_latency", Missed::Never, "a read takes all that has come"),
    gap("vhost.publish", "parse_sps", Missed::Off, "the picture's size is always read"),
    gap(
        "vhost.hls",
        "hls_acodec",
        Missed::Never,
        "the codec is the stream's, as in SRS from the first frame on",
    ),
    gap("vhost.hls", "hls_storage hls_mount", Missed::Set, "segments are files"),
    gap("vhost.security", "seo", Missed::Set, "SRS does nothing with it either"),
];

/// What the file asks for in vain, a sentence each with its line.
pub fn warnings(root: &Directive) -> Vec<String> {
    let mut found = Vec::new();
    look(root, "", "", &mut found);
    found
}

fn look(block: &Directive, path: &str, place: &str, found: &mut Vec<String>) {
    for child in &block.children {
        let gap = GAPS
            .iter()
            .find(|gap| gap.path == path && gap.names.split_whitespace().any(|name| name == child.name));
        if let Some(gap) = gap {
            if gap.missed.by(child) {
                let (name, line, because) = (&child.name, child.line, gap.because);
                found.push(format!("{place}{name} (line {line}) has no effect: {because}; the rest works"));
            }
            continue;
        }
        let size = child.arg().and_then(|arg| arg.parse().ok()).filter(|_| child.name == "chunk_size");
        if let Some(size) = size.filter(|size| !CHUNK_SIZES.contains(size)) {
            let (line, least, most) = (child.line, CHUNK_SIZES.start(), CHUNK_SIZES.end());
            found.push(format!(
                "{place}chunk_size (line {line}) is {size}: {least} to {most} is expected, the nearest is taken"
            ));
        }
        let inner = if path.is_empty() { child.name.clone() } else { format!("{path}.{}", child.name) };
        let place = match child.name.as_str() {
            "vhost" => format!("vhost {}: ", child.arg().unwrap_or_default()),
            name => format!("{place}{name}."),
        };
        look(child, &inner, &place, found);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::conf::known;

    /// The code without its tests, this table and the list of names.
    fn code(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                code(&path, text);
            } else if !matches!(name, "known.rs" | "support.rs" | "legacy.rs" | "tests.rs") {
                let whole = std::fs::read_to_string(&path).unwrap();
                text.push_str(whole.split("#[cfg(test)]").next().unwrap());
            }
        }
    }

    fn in_gaps(path: &str, name: &str) -> bool {
        GAPS.iter().any(|gap| gap.path == path && gap.names.split_whitespace().any(|one| one == name))
    }

    #[test]
    fn every_directive_is_read_or_stands_in_the_table() {
        let mut text = String::new();
        code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        let all: Vec<(&str, &str)> = known::all().collect();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, name) in &all {
            *places.entry(name).or_default() += 1;
        }
        for (path, name) in all {
            // A block that stands in the table speaks for what is in it.
            let mut above = path;
            let mut covered = false;
            while let Some((parent, block)) =
                above.rsplit_once('.').or((!above.is_empty()).then_some(("", above)))
            {
                covered |= in_gaps(parent, block);
                above = parent;
            }
            if covered || name == "*" {
                continue;
            }
            // What a colon follows is a key of JSON.
            let literal = format!("\"{name}\"");
            let read =
                text.match_indices(&literal).any(|(at, _)| !text[at + literal.len()..].starts_with(':'));
            assert!(
                read || in_gaps(path, name),
                "{path} {name} is known, not read and not in the table of gaps"
            );
            // A name of several blocks says nothing about this one.
            if places[name] == 1 {
                assert!(
                    !(read && in_gaps(path, name)),
                    "{path} {name} is read by the code: take it out of the table of gaps"
                );
            }
        }
    }

    #[test]
    fn every_gap_is_known_and_warns_by_name_once() {
        for gap in GAPS {
            for name in gap.names.split_whitespace() {
                assert!(
                    known::all().any(|known| known == (gap.path, name)),
                    "{} {name} is not known",
                    gap.path
                );
                let used = match gap.missed {
                    Missed::Set | Missed::Never => format!("{name} x;"),
                    Missed::On => format!("{name} on;"),
                    Missed::Off => format!("{name} off;"),
                    Missed::Enabled => format!("{name} {{ enabled on; }}"),
                };
                let text =
                    gap.path.split('.').filter(|block| !block.is_empty()).rev().fold(used, |inner, block| {
                        let arg = if block == "vhost" { " v" } else { "" };
                        format!("{block}{arg} {{ {inner} }}")
                    });
                let warnings = warnings(&crate::conf::parse::parse(&text).unwrap());
                let expected = usize::from(gap.missed != Missed::Never);
                assert_eq!(warnings.len(), expected, "{text}: {warnings:?}");
                assert!(warnings.iter().all(|warning| warning.contains(name)), "{warnings:?}");
            }
        }
    }

    #[test]
    fn what_is_off_or_the_default_does_not_warn() {
        let text = "chunk_size 65536; heartbeat { enabled off; } vhost a { dash { enabled off; } \
                    hls { hls_ts_ctx off; } }";
        assert!(warnings(&crate::conf::parse::parse(text).unwrap()).is_empty());
        let text = "vhost a.com { security {\n seo on; } }";
        let warnings = warnings(&crate::conf::parse::parse(text).unwrap());
        assert!(
            warnings[0].starts_with("vhost a.com: security.seo (line 2) has no effect: "),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_chunk_size_that_others_would_refuse_is_told() {
        let text = "listen 1; chunk_size 100; vhost a { chunk_size 70000; } vhost b { }";
        let warnings = warnings(&crate::conf::parse::parse(text).unwrap());
        assert!(warnings[0].starts_with("chunk_size (line 1) is 100: "), "{warnings:?}");
        assert!(warnings[1].starts_with("vhost a: chunk_size (line 1) is 70000: "), "{warnings:?}");
        let settings = crate::conf::from_text(text).unwrap();
        let sizes: Vec<usize> = settings.vhosts.iter().map(|vhost| vhost.sizes.chunk).collect();
        assert_eq!(sizes, [65_536, 128]);
    }
}
