//! Names of streams: tcUrl, app, stream name and their parameters, as SRS reads them.

/// The longest app or stream name that is taken, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest parameter text that is kept.
pub const MAX_PARAM: usize = 4096;

/// What a client asks for: `rtmp://host:port/app/stream?param`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Host part of tcUrl, without port.
    pub host: String,
    /// Port part of tcUrl; 1935 when it has none.
    pub port: u16,
    /// The vhost asked for: a `vhost` parameter, else the host.
    pub vhost: String,
    /// The application.
    pub app: String,
    /// The stream's name.
    pub stream: String,
    /// Parameters with their leading `?`, or nothing.
    pub param: String,
}

/// Why a URL is not one of RTMP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `rtmp://`.
    #[error("{0:?} is not an RTMP URL: rtmp://HOST[:PORT]/APP/STREAM is expected")]
    Scheme(String),
    /// A part that is empty, too long or has control characters, `..` or backslashes.
    #[error(
        "{what} {name:?} is not allowed: it must be 1 to {MAX_NAME} bytes without control characters or `..`"
    )]
    Name {
        /// Which part.
        what: &'static str,
        /// The part, shortened.
        name: String,
    },
    /// The port is not a number.
    #[error("{0:?} is no port")]
    Port(String),
}

/// A name that can be part of a path, a log line and a header: no control characters, no way out of a folder.
pub fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    let leaves = name.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    // Whoever serves the files decodes these: a dot, both slashes and NUL.
    let lower = name.to_ascii_lowercase();
    let odd = name.contains('\\') || ["%2e", "%2f", "%5c", "%00"].iter().any(|code| lower.contains(code));
    if name.is_empty() || name.len() > MAX_NAME || leaves || odd || name.chars().any(char::is_control) {
        return Err(Error::Name { what, name: name.chars().take(80).collect() });
    }
    Ok(())
}

/// The value of a parameter in `?a=b&c=d`.
pub fn param<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.trim_start_matches('?').split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then_some(value)
    })
}

impl Target {
    /// From connect's tcUrl and app. Parameters of either are kept; `...vhost...NAME` is flash's old way to name a
    /// vhost.
    pub fn from_connect(tc_url: &str, app: &str) -> Result<Self, Error> {
        let (authority, path) = split_url(tc_url)?;
        let (host, port) = split_port(authority)?;
        let (mut app_name, mut query) = match app.is_empty() {
            true => split_query(path),
            false => split_query(app),
        };
        if query.is_empty() {
            query = split_query(path).1;
        }
        let mut vhost = param(&query, "vhost").map(str::to_owned);
        if let Some((name, rest)) = app_name.clone().split_once("...vhost...") {
            name.clone_into(&mut app_name);
            vhost = Some(rest.split("...").next().unwrap_or_default().to_owned());
        }
        let app_name = app_name.trim_matches('/').to_owned();
        check_name("app", &app_name)?;
        let vhost = vhost.filter(|name| !name.is_empty()).unwrap_or_else(|| host.clone());
        let query = clean_param(&query);
        Ok(Target { host, port, vhost, app: app_name, stream: String::new(), param: query })
    }

    /// With publish's or play's stream name, which may bring parameters and a vhost.
    pub fn with_stream(&self, name: &str) -> Result<Self, Error> {
        let (stream, query) = split_query(name);
        let stream = stream.trim_matches('/').to_owned();
        check_name("stream", &stream)?;
        let mut target = Target { stream, ..self.clone() };
        if let Some(vhost) = param(&query, "vhost").filter(|vhost| !vhost.is_empty()) {
            vhost.clone_into(&mut target.vhost);
        }
        if !query.is_empty() {
            target.param = clean_param(&query);
        }
        Ok(target)
    }

    /// From a whole URL, as a client on the command line names it.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let (_, path) = split_url(url)?;
        let (path, query) = split_query(path);
        let (app, stream) = path.rsplit_once('/').ok_or_else(|| Error::Scheme(url.to_owned()))?;
        Target::from_connect(url, app)?.with_stream(&format!("{stream}{query}"))
    }

    /// The tcUrl of this target.
    pub fn tc_url(&self) -> String {
        match self.port {
            1935 => format!("rtmp://{}/{}", self.host, self.app),
            port => format!("rtmp://{}:{port}/{}", self.host, self.app),
        }
    }
}

fn clean_param(query: &str) -> String {
    query.chars().filter(|c| !c.is_control()).take(MAX_PARAM).collect()
}

fn split_url(url: &str) -> Result<(&str, &str), Error> {
    let rest = url.split_once("://").filter(|(scheme, _)| scheme.starts_with("rtmp"));
    let (_, rest) = rest.ok_or_else(|| Error::Scheme(url.chars().take(80).collect()))?;
    Ok(rest.split_once('/').unwrap_or((rest, "")))
}

fn split_query(path: &str) -> (String, String) {
    match path.find('?') {
        Some(at) => (path[..at].to_owned(), path[at..].to_owned()),
        None => (path.to_owned(), String::new()),
    }
}

/// The name or address of a `HOST[:PORT]`, without the brackets of IPv6 (RFC 3986, 3.2.2).
pub fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    host.trim_matches(['[', ']'])
}

fn split_port(authority: &str) -> Result<(String, u16), Error> {
    let host = host_of(authority);
    let port = match authority.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => {
            port.parse().map_err(|_| Error::Port(port.chars().take(20).collect()))?
        }
        _ => 1935,
    };
    if host.len() > MAX_NAME || host.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::Name { what: "host", name: host.chars().take(80).collect() });
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_read_as_srs_reads_them() {
        let cases = [
            ("rtmp://a/live", "live", "livestream", "a", "live", "livestream", ""),
            ("rtmp://a:1936/live?vhost=v", "live?vhost=v", "s", "v", "live", "s", "?vhost=v"),
            ("rtmp://a/live", "live...vhost...v.com", "s", "v.com", "live", "s", ""),
            ("rtmp://a/live", "live", "s?vhost=v&token=1", "v", "live", "s", "?vhost=v&token=1"),
            ("rtmp://a/live/room", "live/room", "s", "a", "live/room", "s", ""),
        ];
        for (tc_url, app, stream, vhost, app_name, stream_name, query) in cases {
            let target = Target::from_connect(tc_url, app).unwrap().with_stream(stream).unwrap();
            let got = (&*target.vhost, &*target.app, &*target.stream, &*target.param);
            assert_eq!(got, (vhost, app_name, stream_name, query), "{tc_url} {app} {stream}");
        }
    }

    #[test]
    fn hosts_lose_port_and_brackets() {
        for (authority, host) in
            [("v.com", "v.com"), ("v.com:80", "v.com"), ("[::1]", "::1"), ("[::1]:80", "::1"), ("", "")]
        {
            assert_eq!(host_of(authority), host);
        }
    }

    #[test]
    fn names_that_leave_their_folder_or_line_are_refused() {
        let base = Target::from_connect("rtmp://a/live", "live").unwrap();
        for name in ["", "..", "../x", "a/../b", "a\r\nb", "a\0b", "%2e%2e/x", "a\\b", &"x".repeat(300)] {
            assert!(base.with_stream(name).is_err(), "{name:?}");
            assert!(name.is_empty() || Target::from_connect("rtmp://a/x", name).is_err(), "{name:?}");
        }
        assert!(Target::from_connect("http://a/live", "live").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(tc_url in ".{0,60}", app in ".{0,40}", stream in ".{0,40}") {
            if let Ok(target) = Target::from_connect(&format!("rtmp://{tc_url}"), &app) {
                let _ = target.with_stream(&stream);
            }
            let _ = Target::from_url(&tc_url);
        }
    }
}
