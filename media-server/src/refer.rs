//! `refer { … }`: from which pages a stream may be published and played.
//!
//! As in SRS: where it is enabled, the page's host must end with an entry of `all` and with one of `publish` or
//! `play`; a directive that is not there asks for nothing. The page is RTMP's pageUrl, or HTTP's Referer.

use crate::conf::Directive;

/// The rules of a vhost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refer {
    all: Option<Vec<String>>,
    publish: Option<Vec<String>>,
    play: Option<Vec<String>>,
}

impl Refer {
    /// Reads the block.
    pub fn read(block: Option<&Directive>) -> Self {
        let Some(block) = block.filter(|block| block.on("enabled")) else { return Refer::default() };
        let entries = |name| block.get(name).map(|directive| directive.args.clone());
        Refer { all: entries("all"), publish: entries("publish"), play: entries("play") }
    }

    /// Whether there are rules.
    pub fn is_enabled(&self) -> bool {
        *self != Refer::default()
    }

    /// Whether a stream may be published (or else played) from a page.
    pub fn permits(&self, publish: bool, page_url: &str) -> bool {
        let host = host(page_url);
        let own = if publish { &self.publish } else { &self.play };
        let permits =
            |entries: &Vec<String>| entries.iter().any(|entry| host.ends_with(&entry.to_ascii_lowercase()));
        [&self.all, own].into_iter().flatten().all(permits)
    }
}

/// The host of a URL, in lower case.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // What stands before an @ is a name the page's author chose.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_s_host_ends_with_an_entry() {
        for (rules, publish, page, expected) in [
            ("enabled off; all a.com;", false, "http://b.com/", true),
            ("enabled on;", false, "", true),
            ("enabled on; all a.com;", false, "http://a.com/x", true),
            ("enabled on; all a.com;", false, "https://www.A.com:8080/x?y=http://b.com/", true),
            ("enabled on; all a.com;", false, "http://b.com/a.com", false),
            ("enabled on; all a.com;", false, "http://a.com.b.com/", false),
            ("enabled on; all a.com;", false, "http://a.com@b.com/", false),
            ("enabled on; all a.com;", false, "http://b.com?a.com", false),
            ("enabled on; all a.com;", false, "", false),
            ("enabled on; all a.com b.com;", true, "http://b.com", true),
            ("enabled on; publish a.com;", true, "http://b.com", false),
            ("enabled on; publish a.com;", false, "http://b.com", true),
            ("enabled on; play a.com;", false, "http://b.com", false),
            ("enabled on; all com; play a.com;", false, "http://a.com", true),
            ("enabled on; all org; play a.com;", false, "http://a.com", false),
        ] {
            let block = crate::conf::parse::parse(rules).unwrap();
            assert_eq!(Refer::read(Some(&block)).permits(publish, page), expected, "{rules} {page}");
        }
    }
}
