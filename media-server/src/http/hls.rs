//! HLS on the HTTP port: who may have a playlist or a key is decided before the file is looked for, and a player's
//! first request gets a master playlist with a context: from then on it can be told from the others.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::files::{M3U8, content_type};
use super::proxy::{Asks, Lack, Proxy};
use super::statics::{self, Folder};
use super::viewers::judges::{self, Place};
use super::viewers::{self, Admission, Refused, Visit};
use super::volume::{Stalled, Volumes};
use super::{answer, playlist};
use crate::conf::Settings;
use crate::conf::settings::Vhost;
use crate::hls::names;
use crate::server::Server;

/// The longest playlist that is changed for its viewer.
const MAX_PLAYLIST: u64 = 4 << 20;

/// What answers requests for HLS.
#[derive(Debug)]
pub(super) struct Hls {
    server: Arc<Server>,
    proxy: Proxy,
    volumes: Volumes,
}

/// A request for a file of HLS.
#[derive(Clone, Copy)]
struct Asked<'a> {
    settings: &'a Settings,
    /// The vhost that the client names, where there is one.
    named: Option<&'a Vhost>,
    uri: &'a Uri,
    visit: Visit<'a>,
    /// Where its file is looked for, if it is no other server's.
    folder: &'a Folder<'a>,
}

impl Hls {
    /// Of a server.
    pub(super) fn new(server: Arc<Server>) -> Self {
        Hls { server, proxy: Proxy::default(), volumes: Volumes::new() }
    }

    /// The file; none when the one of `folder` may be given as it is. `path` is the request's, cleaned.
    pub(super) async fn answer(
        &self,
        settings: &Settings,
        ip: IpAddr,
        uri: &Uri,
        headers: &HeaderMap,
        path: &str,
        folder: &Folder<'_>,
    ) -> Result<Option<Bytes>, StatusCode> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let visit = Visit {
            path,
            query: uri.query(),
            ip,
            agent: text(header::USER_AGENT),
            referer: text(header::REFERER),
        };
        let asked = Asked { settings, named: settings.vhost(host_of(uri, headers)), uri, visit, folder };
        let given = match content_type(path) == Some(M3U8) {
            true => self.playlist(asked).await,
            false => self.part(asked).await,
        };
        given.map_err(|refused| {
            tracing::warn!("HLS {ip} may not have {path}: {refused:?}");
            match refused {
                Refused::Forbidden(_) => StatusCode::FORBIDDEN,
                Refused::Hook(_) => StatusCode::UNAUTHORIZED,
                // As SRS says of a stream that is at its end.
                Refused::Ended => StatusCode::NOT_FOUND,
                Refused::Full | Refused::Stalled => StatusCode::SERVICE_UNAVAILABLE,
            }
        })
    }

    async fn playlist(&self, asked: Asked<'_>) -> Result<Option<Bytes>, Refused> {
        let Asked { settings, named: Some(named), visit, folder, .. } = asked else { return Ok(None) };
        let server = &self.server;
        if let Some(path) = Proxy::concerns(server, named, visit.path) {
            let judges = judges::of_playlist(server, settings, named, &path, Place::Elsewhere);
            let (judge, admission) = self.admit(&judges, visit).await?;
            let asks = if admission.is_first() { Asks::First } else { Asks::Again };
            match self.proxy.fetch(server, named, &path, visit.query, asks).await {
                Ok(body) => return self.give(asked, judge, admission, Some(body)).await,
                Err(lack) => {
                    admission.give_up(server);
                    refuse(lack)?;
                }
            }
        }
        let mounted = if folder.mounted { self.written_path(settings, folder).await? } else { None };
        let path = match (&mounted, folder.mounted) {
            (Some(path), _) => path,
            (None, false) => visit.path,
            (None, true) => return Ok(None),
        };
        let (visit, asked) = (Visit { path, ..visit }, Asked { visit: Visit { path, ..visit }, ..asked });
        // Only what this server wrote: a player of another's files gets them as they are.
        let mut written = Vec::new();
        for judge in judges::of_playlist(server, settings, named, visit.path, Place::Here) {
            let Some(hls) = &judge.hls else { continue };
            let file = hls.path.join(visit.path.trim_start_matches('/'));
            if self.ask(move || file.is_file()).await? {
                written.push(judge);
            }
        }
        if written.is_empty() {
            return Ok(None);
        }
        let (judge, admission) = self.admit(&written, visit).await?;
        self.give(asked, judge, admission, None).await
    }

    /// Lets a viewer in by the rules of one of these vhosts.
    async fn admit<'a>(
        &self,
        judges: &[&'a Vhost],
        visit: Visit<'_>,
    ) -> Result<(&'a Vhost, Admission), Refused> {
        // The one whose context it is has let it in before.
        let own = judges.iter().position(|judge| viewers::has_context(&self.server, judge, visit));
        let judges = own.map_or(judges, |own| &judges[own..=own]);
        let mut verdict = Err(Refused::Forbidden("no vhost has this file".into()));
        for judge in judges {
            let gives = judge.hls.as_ref().is_none_or(|hls| hls.ctx);
            verdict =
                viewers::admit(&self.server, judge, visit, gives).await.map(|admission| (*judge, admission));
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    /// The playlist for a viewer that is let in: `body`, else the folder's file.
    async fn give(
        &self,
        asked: Asked<'_>,
        judge: &Vhost,
        admission: Admission,
        body: Option<Bytes>,
    ) -> Result<Option<Bytes>, Refused> {
        let Asked { uri, visit, folder, .. } = asked;
        let context = admission.context.clone();
        admission.enter(&self.server)?;
        let Some(context) = context else { return Ok(body) };
        if viewers::context(visit.query).is_none() {
            let param = viewers::own_param(visit.query);
            return Ok(Some(playlist::master(uri.path(), &param, &context).into()));
        }
        if !judges::is_guarded(judge) {
            return Ok(body);
        }
        let file = folder.file();
        let body = match body {
            Some(body) => Some(body),
            None => self.ask(move || read(&file)).await?,
        };
        let Some(body) = body else { return Ok(None) };
        let segments = judge.hls.as_ref().is_none_or(|hls| hls.ts_ctx);
        Ok(Some(match std::str::from_utf8(&body) {
            Ok(text) => playlist::with_context(text, &context, segments).into(),
            Err(_) => body,
        }))
    }

    /// A segment, a key or any other file.
    async fn part(&self, asked: Asked<'_>) -> Result<Option<Bytes>, Refused> {
        let Asked { settings, named, visit, folder, .. } = asked;
        let server = &self.server;
        let remote = named.and_then(|named| Some((named, Proxy::concerns(server, named, visit.path)?)));
        if let Some((named, path)) = remote {
            if names::ending(&path) == Some("key") {
                let visit = Visit { path: &path, ..visit };
                let mut verdict = Ok(());
                for judge in judges::of_part(server, settings, named, &path, Place::Elsewhere) {
                    verdict = viewers::part(server, judge, visit);
                    if verdict.is_ok() {
                        break;
                    }
                }
                verdict?;
            }
            match self.proxy.fetch(server, named, &path, visit.query, Asks::Again).await {
                Ok(body) => return Ok(Some(body)),
                Err(lack) => refuse(lack)?,
            }
        }
        viewers::key(server, &self.volumes, folder.file(), visit).await?;
        Ok(None)
    }

    /// The path of a mount's file as its writer knows it; none when it is no file of HLS.
    async fn written_path(
        &self,
        settings: &Settings,
        folder: &Folder<'_>,
    ) -> Result<Option<String>, Refused> {
        let folders: Vec<PathBuf> =
            settings.vhosts.iter().filter_map(|vhost| Some(vhost.hls.as_ref()?.path.clone())).collect();
        let file = folder.file();
        self.ask(move || statics::written_path(&file, &folders)).await
    }

    async fn ask<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
        self.volumes.ask(work).await.map_err(|Stalled| Refused::Stalled)
    }
}

/// What another server lets not have is refused here; what it has not may be in the folder.
fn refuse(lack: Lack) -> Result<(), Refused> {
    match lack {
        Lack::Missing => Ok(()),
        Lack::Refused(401) => Err(Refused::Hook("its server refuses".into())),
        Lack::Refused(_) => Err(Refused::Forbidden("its server refuses".into())),
        Lack::Full => Err(Refused::Full),
    }
}

/// A playlist; none when it is not there or too long.
fn read(file: &Path) -> Option<Bytes> {
    let mut body = Vec::new();
    let read = std::fs::File::open(file).ok()?.take(MAX_PLAYLIST + 1).read_to_end(&mut body).ok()?;
    (read as u64 <= MAX_PLAYLIST).then(|| body.into())
}

/// The vhost's name that a request says: a parameter, else its host.
pub(super) fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    answer::query(uri.query(), "vhost").unwrap_or(crate::rtmp::url::host_of(host))
}
