//! Which stream a URL's path belongs to, by the names that `hls { … }` gives its files. Pure.

use super::Hls;
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

/// App and stream of a playlist's path; empty where its name does not say them.
pub fn playlist(hls: Option<&Hls>, vhost: &str, path: &str) -> Option<(String, String)> {
    stream(hls.map_or("[app]/[stream].m3u8", |hls| &hls.m3u8_file), vhost, path)
}

/// App and stream of a file's path by a template such as `[app]/[stream]-[seq].ts`; empty where the template lacks
/// them. Variables may stand several times, an app may have several levels, and variables other than `[vhost]` are
/// numbers.
pub fn stream(template: &str, vhost: &str, path: &str) -> Option<(String, String)> {
    let path = path.strip_prefix('/').filter(|path| path.len() <= MAX_PATH)?;
    let found = matched(relative(template), Found { vhost, app: None, stream: None }, path)?;
    Some((found.app.unwrap_or_default().to_owned(), found.stream.unwrap_or_default().to_owned()))
}

fn relative(template: &str) -> &str {
    template.trim_start_matches("./").trim_start_matches('/')
}

/// What stands behind the last dot of the last name of a path or template; none without a dot.
pub fn ending(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, ending)| ending)
}

/// Whether a path is a file of a stream by a template such as `[app]/[stream]-[seq].ts`: all other variables are
/// numbers.
pub fn is_part(template: &str, names: &Names<'_>, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/').filter(|path| path.len() <= MAX_PATH) else { return false };
    let known = Found { vhost: names.vhost, app: Some(names.app), stream: Some(names.stream) };
    matched(relative(template), known, path).is_some()
}

/// No longer path is a file's: it bounds what is tried.
const MAX_PATH: usize = 1024;

/// What a template's variables stand for, as far as it is known.
#[derive(Clone, Copy)]
struct Found<'a> {
    vhost: &'a str,
    app: Option<&'a str>,
    stream: Option<&'a str>,
}

/// Fits a path to a template; the longest app and stream count. What is in names is no template.
fn matched<'a>(template: &str, found: Found<'a>, path: &'a str) -> Option<Found<'a>> {
    let Some((before, rest)) = template.split_once('[') else { return (template == path).then_some(found) };
    let (variable, after) = rest.split_once(']')?;
    let path = path.strip_prefix(before)?;
    let known = match variable {
        "vhost" => Some(found.vhost),
        "app" => found.app,
        "stream" => found.stream,
        _ => {
            // Numbers without anything between are one, of which each has a digit.
            let (mut after, mut least) = (after, 1);
            while let Some((next, rest)) = after.strip_prefix('[').and_then(|next| next.split_once(']')) {
                if matches!(next, "vhost" | "app" | "stream") {
                    break;
                }
                (after, least) = (rest, least + 1);
            }
            let digits = path.bytes().take_while(u8::is_ascii_digit).count();
            return (least..=digits).rev().find_map(|count| matched(after, found, &path[count..]));
        }
    };
    if let Some(name) = known {
        return matched(after, found, path.strip_prefix(name)?);
    }
    let is_app = variable == "app";
    let most = if is_app { path.len() } else { path.find('/').unwrap_or(path.len()) };
    (1..=most).rev().filter(|end| path.is_char_boundary(*end)).find_map(|end| {
        let (name, rest) = path.split_at(end);
        let found = match is_app {
            true => Found { app: Some(name), ..found },
            false => Found { stream: Some(name), ..found },
        };
        matched(after, found, rest)
    })
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

    #[test]
    fn streams_are_found_by_any_template() {
        for (template, path, expected) in [
            ("[app]/[stream].m3u8", "/live/room/s.m3u8", Some(("live/room", "s"))),
            ("./[app]/[stream].m3u8", "/live/s.m3u8", Some(("live", "s"))),
            ("[stream].m3u8", "/s.m3u8", Some(("", "s"))),
            ("[stream].m3u8", "/live/s.m3u8", None),
            ("[app]/[stream]/[stream].m3u8", "/live/s/s.m3u8", Some(("live", "s"))),
            ("[app]/[stream]/[stream].m3u8", "/live/s/t.m3u8", None),
            ("[stream]-[app].m3u8", "/s-live.m3u8", Some(("live", "s"))),
            ("[vhost]/[app]/[stream].m3u8", "/v/live/s.m3u8", Some(("live", "s"))),
            ("[vhost]/[app]/[stream].m3u8", "/w/live/s.m3u8", None),
            ("all.m3u8", "/all.m3u8", Some(("", ""))),
            ("[app]/[stream]-[seq].ts", "/live/a-b-12.ts", Some(("live", "a-b"))),
            ("[app]/[2006][01][02]/[stream].m3u8", "/live/20261123/s.m3u8", Some(("live", "s"))),
            ("[app]/[2006][01][02]/[stream].m3u8", "/live/20/s.m3u8", None),
        ] {
            let expected = expected.map(|(app, stream)| (app.to_owned(), stream.to_owned()));
            assert_eq!(stream(template, "v", path), expected, "{template} {path}");
        }
        // Many numbers in many digits are no work.
        let path = format!("/live/{}x", "7".repeat(900));
        assert_eq!(stream("[app]/[2006][01][02][15][04][05][999][seq].ts", "v", &path), None);
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC{0,60}", template in "[a-z\\[\\]/.-]{0,30}") {
            let _ = clean(&path);
            is_part(&template, &Names { vhost: "v", app: "a", stream: "s" }, &path);
            let _ = stream(&template, "v", &path);
        }
    }
}
