//! Playlists as viewers get them: the master that gives a viewer its `hls_ctx`, and the context at segments and keys.
//! Pure.

const CONTEXT: &str = "hls_ctx";
/// The longest query that a master playlist may send its viewer on with.
const MAX_QUERY: usize = 2048;

/// The master playlist of a viewer's first request; its player goes on with the context.
/// `param` is what it came with, with `?`, or nothing.
pub(super) fn master(path: &str, param: &str, context: &str) -> String {
    let sign = if param.is_empty() { '?' } else { '&' };
    format!(
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n{path}{param}{sign}{CONTEXT}={context}"
    )
}

/// The query that a master playlist sends its viewer on with; none when it lists segments.
pub(super) fn leads_to(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    if !text.contains("#EXT-X-STREAM-INF") {
        return None;
    }
    let uri = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty())?;
    let query = uri.trim().split_once('?')?.1;
    (query.len() <= MAX_QUERY && is_plain(query)).then(|| query.to_owned())
}

/// Whether a query can stand in a request and in a playlist as it is.
pub(super) fn is_plain(query: &str) -> bool {
    query.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>'))
}

/// A list of segments whose keys, and `segments` too, carry a context.
pub(super) fn with_context(text: &str, context: &str, segments: bool) -> String {
    change(text, segments, |uri| {
        let sign = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{sign}{CONTEXT}={context}")
    })
}

/// A list of segments without the contexts that another server gave this one.
pub(super) fn without_context(text: &str) -> String {
    change(text, true, |uri| {
        let Some((path, query)) = uri.split_once('?') else { return uri.to_owned() };
        let is_other = |pair: &&str| pair.split('=').next() != Some(CONTEXT);
        let kept: Vec<&str> = query.split('&').filter(is_other).collect();
        if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
    })
}

/// Changes the URIs of keys, and those of segments where they are meant too.
fn change(text: &str, segments: bool, uri: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        let end = &line[content.len()..];
        let quoted = content
            .starts_with("#EXT-X-KEY:")
            .then(|| content.split_once("URI=\""))
            .flatten()
            .and_then(|(before, rest)| Some((before, rest.split_once('"')?)));
        match quoted {
            Some((before, (key, after))) => {
                for part in [before, "URI=\"", &uri(key), "\"", after] {
                    out.push_str(part);
                }
            }
            None if segments && !content.is_empty() && !content.starts_with('#') => {
                out.push_str(&uri(content));
            }
            None => out.push_str(content),
        }
        out.push_str(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn master_playlists_give_a_context() {
        for (param, led) in [("", "hls_ctx=abc"), ("?token=a", "token=a&hls_ctx=abc")] {
            let master = master("/live/s.m3u8", param, "abc");
            assert!(master.ends_with(&format!("\n/live/s.m3u8?{led}")), "{master}");
            assert_eq!(leads_to(master.as_bytes()).as_deref(), Some(led));
        }
        assert_eq!(leads_to(b"#EXTM3U\n#EXTINF:1,\ns-0.ts\n"), None);
        for odd in ["/x?a b", "/x?a\r", "http://x/", "", "/x?\"<"] {
            let master = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{odd}\n");
            assert!(leads_to(master.as_bytes()).is_none_or(|query| query == "a"), "{odd:?}");
        }
    }

    #[test]
    fn segments_and_keys_carry_a_context() {
        let text = "#EXTM3U\n#EXT-X-VERSION:3\r\n\
                    #EXT-X-KEY:METHOD=AES-128,URI=\"http://k/s-0.key?a=b\",IV=0x1\n\
                    #EXTINF:1.0, no desc\nlive/s-0.ts\n\n#EPOCH:1";
        let keys = "#EXTM3U\n#EXT-X-VERSION:3\r\n\
                    #EXT-X-KEY:METHOD=AES-128,URI=\"http://k/s-0.key?a=b&hls_ctx=x-1\",IV=0x1\n\
                    #EXTINF:1.0, no desc\nlive/s-0.ts\n\n#EPOCH:1";
        assert_eq!(with_context(text, "x-1", false), keys);
        let both = with_context(text, "x-1", true);
        assert_eq!(both, keys.replace("s-0.ts", "s-0.ts?hls_ctx=x-1"));
        assert_eq!(without_context(&both), text);
    }

    proptest! {
        #[test]
        fn what_was_added_is_taken_away_again(text in "(#EXT-X-KEY:URI=\"[a-z?=&]{0,5}\"?|[a-z]{0,4}|\r|\n|#){0,20}") {
            if !text.contains('?') {
                prop_assert_eq!(without_context(&with_context(&text, "abc", true)), text.clone());
            }
            let _ = leads_to(text.as_bytes());
        }
    }
}
