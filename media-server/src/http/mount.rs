//! Where streams are mounted in URLs: `[vhost]/[app]/[stream].flv`.

/// What SRS adds for pages of other sites.
pub const CORS: &str = "Access-Control-Allow-Headers: origin,range,accept-encoding,referer,Cache-Control,\
X-Proxy-Authorization,X-Requested-With,Content-Type\r\nAccess-Control-Allow-Methods: GET, POST, HEAD, PUT, DELETE, \
OPTIONS\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Server,range,Content-Length,Content-Range\r\n";

/// App and stream of a path under a mount; none when it does not fit.
///
/// The host decides about the vhost, so `[vhost]` takes no part of the path. An app may have several levels.
pub fn resolve<'a>(mount: &str, path: &'a str) -> Option<(&'a str, &'a str)> {
    let template = mount.strip_prefix("[vhost]").unwrap_or(mount);
    let (before, rest) = template.split_once("[app]")?;
    let (between, after) = rest.split_once("[stream]")?;
    let path = path.strip_prefix(before)?.strip_suffix(after)?;
    let (app, stream) = path.rsplit_once(between)?;
    let valid = !app.is_empty() && !stream.is_empty() && !stream.contains('/');
    valid.then_some((app, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_their_mount() {
        let default = "[vhost]/[app]/[stream].flv";
        assert_eq!(resolve(default, "/live/livestream.flv"), Some(("live", "livestream")));
        assert_eq!(resolve(default, "/live/room/s.flv"), Some(("live/room", "s")));
        for path in ["/live/livestream.ts", "/s.flv", "/live/.flv", "live/s.flv", "/", ""] {
            assert_eq!(resolve(default, path), None, "{path}");
        }
        assert_eq!(resolve("/[app]-[stream].flv", "/live-s.flv"), Some(("live", "s")));
        assert_eq!(resolve("[vhost]/x/[app]/[stream].flv", "/x/live/s.flv"), Some(("live", "s")));
    }
}
