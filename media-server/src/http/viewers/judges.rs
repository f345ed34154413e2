//! Whose rules count for a file. A client chooses the Host that it sends, so the vhost that it names is not enough.
//!
//! Where a vhost has the stream now, it decides; else every vhost that calls files so and lets not everybody play: one
//! of them must let.
//!
//! An edge does not see whose a file is that it fetches. What it knows are its own vhosts that fetch from the same
//! servers, where a path is one file whichever of them is named. So these are asked as the vhosts of local files are; a
//! vhost has a stream while it pulls it. That refuses more than is needed where an open and a guarded vhost share their
//! servers and call files the same: `[vhost]` in the names of `hls { … }`, at the origin and on the edge, tells them
//! apart. An origin fetches only from the coworker that has the named vhost's stream, and so that vhost decides.

use crate::conf::settings::{Settings, Vhost};
use crate::hls::names;
use crate::server::Server;
use crate::source::Source;

/// Where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Place {
    /// In a folder of this server.
    Here,
    /// At another server, which the named vhost fetches it from.
    Elsewhere,
}

/// The vhosts of which one must let a playlist be fetched.
pub(in crate::http) fn of_playlist<'a>(
    server: &Server,
    settings: &'a Settings,
    named: &'a Vhost,
    path: &str,
    place: Place,
) -> Vec<&'a Vhost> {
    judges(server, settings, named, place, |vhost| names::playlist(vhost.hls.as_ref(), &vhost.name, path))
}

/// The vhosts of which one must let a segment or a key be fetched.
pub(in crate::http) fn of_part<'a>(
    server: &Server,
    settings: &'a Settings,
    named: &'a Vhost,
    path: &str,
    place: Place,
) -> Vec<&'a Vhost> {
    judges(server, settings, named, place, |vhost| {
        part_templates(vhost).iter().find_map(|template| names::stream(template, &vhost.name, path))
    })
}

fn judges<'a>(
    server: &Server,
    settings: &'a Settings,
    named: &'a Vhost,
    place: Place,
    stream: impl Fn(&Vhost) -> Option<(String, String)>,
) -> Vec<&'a Vhost> {
    let shares = |vhost: &Vhost| match place {
        Place::Here => vhost.hls.is_some(),
        Place::Elsewhere => match (&named.cluster.edge, &vhost.cluster.edge) {
            (Some(named), Some(edge)) => edge.http.iter().any(|server| named.http.contains(server)),
            _ => false,
        },
    };
    let others = settings.vhosts.iter().filter(|vhost| vhost.enabled && vhost.name != named.name);
    let fitting: Vec<_> = std::iter::once(named)
        .chain(others.filter(|vhost| shares(vhost)))
        .filter_map(|vhost| Some((vhost, stream(vhost)?)))
        .collect();
    let is_here = |(vhost, (app, stream)): &(&Vhost, (String, String))| {
        let has = |source: &Source| match place {
            Place::Here => source.is_published(),
            Place::Elsewhere => source.is_live(),
        };
        server.sources.look(&vhost.name, app, stream, has).unwrap_or_default()
    };
    let any_here = fitting.iter().any(is_here);
    let judges: Vec<_> = fitting
        .iter()
        .filter(|one| !any_here || is_here(one))
        .map(|(vhost, _)| *vhost)
        .filter(|vhost| is_guarded(vhost))
        .collect();
    if judges.is_empty() { vec![named] } else { judges }
}

/// Whether a vhost does not let everybody play.
pub(in crate::http) fn is_guarded(vhost: &Vhost) -> bool {
    let origin_decides = vhost.cluster.edge.as_ref().is_some_and(|edge| edge.token_traverse);
    !vhost.hooks.urls("on_play").is_empty()
        || vhost.security.is_enabled()
        || vhost.refer.is_enabled()
        || origin_decides
}

/// What the vhost calls its segments and keys, where that is not said.
const DEFAULT_PARTS: [&str; 2] = ["[app]/[stream]-[seq].ts", "[app]/[stream]-[seq].key"];

/// The templates of segments' and keys' names, as URLs' paths.
pub(super) fn part_templates(vhost: &Vhost) -> Vec<String> {
    let own = vhost.hls.iter().flat_map(|hls| {
        let keys = hls.keys.iter().flat_map(|keys| [keys.file.clone(), keys.url_path()]);
        std::iter::once(hls.ts_file.clone()).chain(keys)
    });
    let defaults = DEFAULT_PARTS.iter().skip(usize::from(vhost.hls.is_some()));
    own.chain(defaults.map(|template| (*template).to_owned())).collect()
}

/// Whether a path has the ending that segments or keys have.
pub(in crate::http) fn is_part(vhost: &Vhost, path: &str) -> bool {
    part_templates(vhost)
        .iter()
        .map(String::as_str)
        .chain(DEFAULT_PARTS)
        .any(|template| names::ending(template) == names::ending(path))
}
