//! What the HTTP API tells: vhosts, streams and clients with their counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::codec::{AudioInfo, VideoInfo};
use crate::ids;

/// Bytes in both directions, and how fast they went in the last 30 seconds.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes received.
    pub recv: AtomicU64,
    /// Bytes sent.
    pub send: AtomicU64,
    sample: Mutex<Sample>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sample {
    at: Option<Instant>,
    recv: u64,
    send: u64,
    recv_kbps: u64,
    send_kbps: u64,
}

impl Traffic {
    /// Counts received bytes.
    pub fn add_recv(&self, bytes: usize) {
        self.recv.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts sent bytes.
    pub fn add_send(&self, bytes: usize) {
        self.send.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// kbps received and sent over the last whole 30 seconds, 0 before.
    pub fn kbps_30s(&self, now: Instant) -> (u64, u64) {
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let (recv, send) = (self.recv.load(Ordering::Relaxed), self.send.load(Ordering::Relaxed));
        let Some(at) = sample.at else {
            *sample = Sample { at: Some(now), recv, send, ..Sample::default() };
            return (0, 0);
        };
        let elapsed = now.saturating_duration_since(at).as_millis() as u64;
        if elapsed >= 30_000 {
            sample.recv_kbps = (recv - sample.recv) * 8 / elapsed;
            sample.send_kbps = (send - sample.send) * 8 / elapsed;
            sample.at = Some(now);
            sample.recv = recv;
            sample.send = send;
        }
        (sample.recv_kbps, sample.send_kbps)
    }
}

/// A vhost.
#[derive(Debug)]
pub struct VhostStat {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Of all its clients.
    pub traffic: Traffic,
}

/// A stream.
#[derive(Debug)]
pub struct StreamStat {
    /// Its id.
    pub id: String,
    /// Its vhost.
    pub vhost: Arc<VhostStat>,
    /// Its app.
    pub app: String,
    /// Its name.
    pub name: String,
    /// Of all its clients.
    pub traffic: Traffic,
    /// Publishers and players.
    pub clients: AtomicU64,
    /// Video messages received.
    pub frames: AtomicU64,
    /// Somebody publishes.
    pub active: AtomicBool,
    /// What changes with the publisher.
    pub media: Mutex<Media>,
}

/// What a publisher sends.
#[derive(Debug, Default, Clone)]
pub struct Media {
    /// The publisher's connection.
    pub publisher: String,
    /// Its video.
    pub video: Option<VideoInfo>,
    /// Its audio.
    pub audio: Option<AudioInfo>,
}

impl StreamStat {
    /// What the publisher sends.
    pub fn media(&self) -> MutexGuard<'_, Media> {
        self.media.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `/app/stream`.
    pub fn url(&self) -> String {
        format!("/{}/{}", self.app, self.name)
    }
}

/// A client that publishes or plays.
#[derive(Debug)]
pub struct ClientStat {
    /// Its connection's id.
    pub id: String,
    /// Its stream.
    pub stream: Arc<StreamStat>,
    /// Its address.
    pub ip: String,
    /// pageUrl, or the Referer of HTTP.
    pub page_url: String,
    /// swfUrl.
    pub swf_url: String,
    /// tcUrl.
    pub tc_url: String,
    /// `rtmp-play`, `fmle-publish`, `flv-play`, `hls-play`, …
    pub kind: &'static str,
    /// It publishes.
    pub publish: bool,
    /// When it began.
    pub since: Instant,
    /// Its own bytes.
    pub traffic: Traffic,
    /// Which core has it, and where; none for a viewer of HLS, which comes and goes with its requests.
    pub place: Option<(usize, usize)>,
}

#[derive(Debug, Default)]
struct Tables {
    vhosts: BTreeMap<String, Arc<VhostStat>>,
    streams: BTreeMap<String, Arc<StreamStat>>,
    clients: BTreeMap<String, Arc<ClientStat>>,
}

/// The tables of a server.
#[derive(Debug)]
pub struct Stat {
    /// The server's id.
    pub server_id: String,
    /// Of all clients.
    pub traffic: Traffic,
    tables: Mutex<Tables>,
}

impl Stat {
    /// Empty tables.
    pub fn new(server_id: String) -> Self {
        Stat { server_id, traffic: Traffic::default(), tables: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vhost of that name, made when it is new.
    pub fn vhost(&self, name: &str) -> Arc<VhostStat> {
        let make = || VhostStat { id: ids::vid(), name: name.to_owned(), traffic: Traffic::default() };
        Arc::clone(self.lock().vhosts.entry(name.to_owned()).or_insert_with(|| Arc::new(make())))
    }

    /// A new stream.
    pub fn stream(&self, vhost: &str, app: &str, name: &str) -> Arc<StreamStat> {
        let vhost = self.vhost(vhost);
        let stream = Arc::new(StreamStat {
            id: ids::vid(),
            vhost,
            app: app.to_owned(),
            name: name.to_owned(),
            traffic: Traffic::default(),
            clients: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            active: AtomicBool::new(false),
            media: Mutex::default(),
        });
        self.lock().streams.insert(stream.id.clone(), Arc::clone(&stream));
        stream
    }

    /// How many publish, and how many play.
    pub fn publishers_and_players(&self) -> (usize, usize) {
        let tables = self.lock();
        let publishers = tables.clients.values().filter(|client| client.publish).count();
        (publishers, tables.clients.len() - publishers)
    }

    /// Takes a stream out.
    pub fn forget_stream(&self, id: &str) {
        self.lock().streams.remove(id);
    }

    /// Takes a client in.
    pub fn add_client(&self, client: &Arc<ClientStat>) {
        client.stream.clients.fetch_add(1, Ordering::Relaxed);
        self.lock().clients.insert(client.id.clone(), Arc::clone(client));
    }

    /// Takes a client out; what a player got is its stream's from then on.
    pub fn remove_client(&self, id: &str) {
        let Some(client) = self.lock().clients.remove(id) else { return };
        client.stream.clients.fetch_sub(1, Ordering::Relaxed);
        if !client.publish {
            let sent = client.traffic.send.load(Ordering::Relaxed) as usize;
            client.stream.traffic.add_send(sent);
            client.stream.vhost.traffic.add_send(sent);
            self.traffic.add_send(sent);
        }
    }

    /// All vhosts.
    pub fn vhosts(&self) -> Vec<Arc<VhostStat>> {
        self.lock().vhosts.values().cloned().collect()
    }

    /// All streams.
    pub fn streams(&self) -> Vec<Arc<StreamStat>> {
        self.lock().streams.values().cloned().collect()
    }

    /// All clients.
    pub fn clients(&self) -> Vec<Arc<ClientStat>> {
        self.lock().clients.values().cloned().collect()
    }

    /// The stream of that id.
    pub fn stream_by_id(&self, id: &str) -> Option<Arc<StreamStat>> {
        self.lock().streams.get(id).cloned()
    }

    /// The client of that id.
    pub fn client_by_id(&self, id: &str) -> Option<Arc<ClientStat>> {
        self.lock().clients.get(id).cloned()
    }

    /// How many clients publish or play.
    pub fn client_count(&self) -> usize {
        self.lock().clients.len()
    }
}
