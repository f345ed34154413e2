//! Which stream a URL's path belongs to, by the names that `hls { … }` gives its files. Pure.

use super::Hls;
use crate::http::mount;
use crate::recorder::Names;

/// A request's path as a file server sees it: percent signs decoded, double slashes and single dots gone. None for
/// what no file of a stream is called.
pub fn clean(path: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    if decoded.chars().any(char::is_control) || decoded.contains('\\') {
        return None;
    }
    let mut cleaned = String::with_capacity(decoded.len());
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => {
                cleaned.push('/');
                cleaned.push_str(part);
            }
        }
    }
    Some(cleaned)
}

/// App and stream of a playlist's path.
pub fn playlist(hls: Option<&Hls>, vhost: &str, path: &str) -> Option<(String, String)> {
    let template = hls.map_or("[app]/[stream].m3u8", |hls| &hls.m3u8_file);
    let template = format!("/{}", template.trim_start_matches("./").replace("[vhost]", vhost));
    let (app, stream) = mount::resolve(&template, path)?;
    Some((app.to_owned(), stream.to_owned()))
}

/// What stands behind the last dot of the last name of a path or template; none without a dot.
pub fn ending(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, ending)| ending)
}

/// Whether a path is a file of a stream by a template such as `[app]/[stream]-[seq].ts`: all other variables are
/// numbers.
pub fn is_part(template: &str, names: &Names<'_>, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    // The names come last: what is in them is no template.
    matches(template.trim_start_matches("./").trim_start_matches('/'), names, path)
}

fn matches(template: &str, names: &Names<'_>, path: &str) -> bool {
    let Some((before, rest)) = template.split_once('[') else { return template == path };
    let (Some((variable, after)), Some(path)) = (rest.split_once(']'), path.strip_prefix(before)) else {
        return false;
    };
    let name = match variable {
        "vhost" => Some(names.vhost),
        "app" => Some(names.app),
        "stream" => Some(names.stream),
        _ => None,
    };
    if let Some(name) = name {
        return path.strip_prefix(name).is_some_and(|path| matches(after, names, path));
    }
    let digits = path.bytes().take_while(u8::is_ascii_digit).count();
    (1..=digits).rev().any(|count| matches(after, names, &path[count..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_what_a_file_server_takes_them_for() {
        for (path, cleaned) in [
            ("/live/s.m3u8", Some("/live/s.m3u8")),
            ("//live/./s.m3u8", Some("/live/s.m3u8")),
            ("/live/%73.m3u8", Some("/live/s.m3u8")),
            ("/live%2Fs.m3u8", Some("/live/s.m3u8")),
            ("/live/x/../s.m3u8", None),
            ("/live/x/%2e%2e/s.m3u8", None),
            ("/live/s.m3u8%00", None),
            ("/live/s%0d%0a.m3u8", None),
            ("/live/%ff.m3u8", None),
        ] {
            assert_eq!(clean(path).as_deref(), cleaned, "{path}");
        }
    }

    #[test]
    fn parts_belong_to_their_stream_alone() {
        let names = Names { vhost: "v.com", app: "live", stream: "s" };
        for (template, path, expected) in [
            ("[app]/[stream]-[seq].ts", "/live/s-0.ts", true),
            ("[app]/[stream]-[seq].ts", "/live/s-123.ts", true),
            ("[app]/[stream]-[seq].ts", "/live/s-2-0.ts", false),
            ("[app]/[stream]-[seq].ts", "/live/s-.ts", false),
            ("[app]/[stream]-[seq].ts", "/live/t-0.ts", false),
            ("[app]/[stream]-[seq].ts", "/live/s-0.ts.tmp", false),
            ("[app]/[stream]-[seq].ts", "live/s-0.ts", false),
            ("[vhost]/[app]/[2006][01]/[stream]-[timestamp]-[seq].ts", "/v.com/live/202611/s-17-0.ts", true),
            ("[vhost]/[app]/[2006][01]/[stream]-[timestamp]-[seq].ts", "/w.com/live/202611/s-17-0.ts", false),
            ("/keys/[app]/[stream]-[seq].bin", "/keys/live/s-5.bin", true),
            ("[app]/[broken", "/live/x", false),
        ] {
            assert_eq!(is_part(template, &names, path), expected, "{template} {path}");
        }
        for (path, expected) in
            [("/a/b.ts", Some("ts")), ("/a.b/c", None), ("[app]/[stream]-[seq].key", Some("key")), ("", None)]
        {
            assert_eq!(ending(path), expected, "{path}");
        }
        let bracket = Names { stream: "[seq]", ..names };
        assert!(!is_part("[app]/[stream].ts", &bracket, "/live/7.ts"));
        assert_eq!(playlist(None, "v", "/live/s.m3u8"), Some(("live".into(), "s".into())));
        assert_eq!(playlist(None, "v", "/s.m3u8"), None);
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC{0,60}", template in "[a-z\\[\\]/.-]{0,30}") {
            let _ = clean(&path);
            is_part(&template, &Names { vhost: "v", app: "a", stream: "s" }, &path);
        }
    }
}
