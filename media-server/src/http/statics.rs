//! `http_static`: folders of vhosts that the HTTP port serves, each under its mount.

use std::path::{Path, PathBuf};

use axum::http::{HeaderValue, Response, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::conf::Directive;
use crate::conf::settings::{DEFAULT_VHOST, Settings};

/// What stays as it is in a path.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `http_static { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpStatic {
    /// The host that a request must name; none for a mount that starts with `/`.
    host: Option<String>,
    /// `mount` behind the host, from `/` to `/`.
    path: String,
    /// `dir`.
    dir: PathBuf,
}

impl HttpStatic {
    /// Reads the block of a vhost; none where it is not enabled.
    pub fn read(block: Option<&Directive>, vhost: &str) -> Option<Self> {
        let block = block.filter(|block| block.on("enabled"))?;
        let text = |name, default| block.value(name).unwrap_or(default).replace("[vhost]", vhost);
        let mut mount = text("mount", "[vhost]/");
        if !mount.ends_with('/') {
            mount.push('/');
        }
        let (host, path) = mount.split_at(mount.find('/').unwrap_or(0));
        let host = Some(host).filter(|host| !host.is_empty() && *host != DEFAULT_VHOST);
        let dir = text("dir", "./objs/nginx/html").into();
        Some(HttpStatic { host: host.map(str::to_owned), path: path.to_owned(), dir })
    }

    /// The path below the mount of a request for a clean path; none for others.
    fn below(&self, host: &str, path: &str) -> Option<String> {
        if self.host.as_ref().is_some_and(|own| own != host) {
            return None;
        }
        let rest = format!("{path}/").strip_prefix(&self.path)?.trim_end_matches('/').to_owned();
        Some(format!("/{rest}"))
    }
}

/// Where a file is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folder<'a> {
    pub(super) dir: &'a Path,
    /// The file's path in it, decoded.
    pub(super) path: String,
    /// A mount's, not `http_server.dir`.
    pub(super) mounted: bool,
}

impl Folder<'_> {
    /// The file's path.
    pub(super) fn file(&self) -> PathBuf {
        self.dir.join(self.path.trim_start_matches('/'))
    }
}

/// The folder of the longest mount that has a clean path; a host's own goes before one of all hosts (SRS).
pub(super) fn find<'a>(settings: &'a Settings, root: &'a Path, host: &str, path: &str) -> Folder<'a> {
    let statics =
        settings.vhosts.iter().filter(|vhost| vhost.enabled).filter_map(|vhost| vhost.http_static.as_ref());
    let best = statics
        .filter_map(|one| Some((one, one.below(host, path)?)))
        .max_by_key(|(one, _)| (one.host.is_some(), one.path.len()));
    match best {
        Some((one, path)) => Folder { dir: &one.dir, path, mounted: true },
        None => Folder { dir: root, path: path.to_owned(), mounted: false },
    }
}

/// A file's path as the one who wrote it knows it: a mount gives it another one, and its vhost's rules count all the
/// same. `folders` are those that HLS is written to. Waits for the volume.
pub(super) fn written_path(file: &Path, folders: &[PathBuf]) -> Option<String> {
    let file = file.canonicalize().ok()?;
    folders.iter().filter_map(|folder| folder.canonicalize().ok()).find_map(|folder| {
        let path = file.strip_prefix(folder).ok()?.to_str()?;
        Some(format!("/{path}"))
    })
}

/// The address by which a file server finds a mount's file: a folder's slash at the end stays.
pub(super) fn inner(place: &Folder<'_>, uri: &Uri) -> Option<Uri> {
    let mut inner = utf8_percent_encode(&place.path, KEPT).to_string();
    if uri.path().ends_with('/') && !inner.ends_with('/') {
        inner.push('/');
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{inner}{query}").parse().ok()
}

/// A file server sends who asks for a folder to the same with a slash: here below the mount.
pub(super) fn redirect<T>(response: &mut Response<T>, uri: &Uri) {
    if !response.headers().contains_key(header::LOCATION) {
        return;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(value) = HeaderValue::try_from(format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_of_the_host_is_found() {
        let text =
            "listen 1; vhost __defaultVhost__ { http_static { enabled on; mount [vhost]/files; dir /all; } }
                    vhost a.com { http_static { enabled on; dir /of/[vhost]; } }
                    vhost b.com { http_static { enabled on; mount [vhost]/x/; dir /b; } }
                    vhost c.com { http_static { enabled on; mount /any/; dir /c; } }
                    vhost off.com { enabled off; http_static { enabled on; mount /off/; dir /off; } }
                    vhost d.com { http_static { mount /d/; dir /d; } }";
        let settings = crate::conf::from_text(text).unwrap();
        for (host, path, expected) in [
            ("x.com", "/files/a/b.txt", Some(("/all", "/a/b.txt"))),
            ("x.com", "/files", Some(("/all", "/"))),
            ("x.com", "/filesystem", None),
            ("a.com", "/files/a", Some(("/of/a.com", "/files/a"))),
            ("a.com", "", Some(("/of/a.com", "/"))),
            ("b.com", "/x/y", Some(("/b", "/y"))),
            ("b.com", "/y", None),
            ("b.com", "/any/y", Some(("/c", "/y"))),
            ("x.com", "/off/y", None),
            ("x.com", "/d/y", None),
        ] {
            let place = find(&settings, Path::new("/root"), host, path);
            let found = place.mounted.then(|| (place.dir.to_str().unwrap(), &*place.path));
            assert_eq!(found, expected, "{host}{path}");
            assert!(place.mounted || place.path == path && place.dir == Path::new("/root"));
        }
    }

    #[test]
    fn addresses_are_written_anew() {
        let place = Folder { dir: Path::new("/x"), path: "/a b/ü".into(), mounted: true };
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert_eq!(inner(&place, &uri("/m/a%20b/%C3%BC?q=1")), Some(uri("/a%20b/%C3%BC?q=1")));
        assert_eq!(inner(&place, &uri("/m/a%20b/%C3%BC/")), Some(uri("/a%20b/%C3%BC/")));
    }
}
