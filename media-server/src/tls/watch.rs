//! Reading certificates again when their files change.
//!
//! Their folders are watched, not the files: Kubernetes mounts a Secret as links into a folder `..data` that is
//! swapped, and tools for certificates write beside and rename.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use rustix::fs::inotify;

use super::certificates;
use crate::conf::Settings;
use crate::server::Server;

/// A certificate and its key are written one after the other.
const QUIET: Duration = Duration::from_millis(500);

/// The watch of a server's certificates; without HTTPS there is none.
#[derive(Debug, Default)]
pub struct Watch(OnceLock<Option<Arc<OwnedFd>>>);

impl Watch {
    /// Watches the folders of a configuration's certificates too.
    pub(crate) fn follow(&self, server: &Arc<Server>, settings: &Settings) {
        let api = settings.http_api.as_ref().and_then(|api| api.https.as_ref());
        let http = settings.http_server.as_ref().and_then(|http| http.https.as_ref());
        for https in [api, http].into_iter().flatten() {
            let watcher = self.0.get_or_init(|| {
                start(Arc::downgrade(server))
                    .inspect_err(|error| tracing::error!("certificates are not watched: {error}"))
                    .ok()
            });
            let Some(watcher) = watcher else { return };
            for path in [&https.cert, &https.key] {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                let flags = inotify::WatchFlags::CREATE
                    | inotify::WatchFlags::MOVED_TO
                    | inotify::WatchFlags::CLOSE_WRITE;
                if let Err(error) = inotify::add_watch(watcher.as_ref(), folder, flags) {
                    tracing::error!("{} is not watched: {error}", folder.display());
                }
            }
        }
    }
}

fn start(server: Weak<Server>) -> std::io::Result<Arc<OwnedFd>> {
    let watcher = Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC)?);
    let folders = Arc::clone(&watcher);
    std::thread::Builder::new().name("cert-watch".into()).spawn(move || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(folders.as_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!("certificates are not watched any more: {error}");
                    return;
                }
            }
            // What is known already belongs to the same change.
            while !events.is_buffer_empty() {
                if events.next().is_err() {
                    break;
                }
            }
            std::thread::sleep(QUIET);
            let Some(server) = server.upgrade() else { return };
            refresh(&server);
        }
    })?;
    Ok(watcher)
}

/// Reads the certificates of the configuration of now again; bad ones change nothing, and that is told as a reload
/// that was refused.
fn refresh(server: &Server) {
    let (changed, refused) = match certificates::load(&server.settings()) {
        Ok(new) => (server.certificates.set(new), None),
        Err(error) => (false, Some(error.to_string())),
    };
    let before = server.certificates.note_refused(refused.clone());
    match refused {
        // The folder may change often without the files getting better.
        Some(error) if before.as_ref() != Some(&error) => {
            tracing::error!("the certificate in use stays: {error}");
            server.note_reload(Some(error));
        }
        None if before.is_some() => server.note_reload(None),
        // What is wrong with the configuration stays wrong.
        None if changed && server.reloads().error.is_none() => server.note_reload(None),
        Some(_) | None => {}
    }
}
