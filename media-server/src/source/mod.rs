//! Live streams: a [`Source`] is what SRS calls one, a stream under its vhost, app and name.
//!
//! Its media lie in a ring of immutable, ready-muxed [`Batch`]es. The publisher's core appends messages, cores with
//! players copy references to new batches into their own [`View`] and never hold the lock while they send. What
//! is not yet a batch is sealed by whoever looks, once it is old enough: so batches are as long as players'
//! waiting allows, and nobody has to set a timer.

mod batch;
mod clock;
mod feed;
mod headers;
mod mix;
mod reader;
mod registry;
mod remux;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use batch::{Batch, Builder, Frame, SCRIPT, chunk_stream, kind_bit};
pub use clock::Clock;
pub use headers::{Headers, MAX_TRACKS, Track};
pub use reader::{MAX_HELD, Reader};
pub use registry::Sources;
pub use remux::{Layout, Remux};

use crate::conf::settings::{TimeJitter, Vhost};
use crate::flv::{self, Role, TagKind};
use crate::stat::StreamStat;
use mix::Mix;
use remux::Remuxer;

/// The longest batch, but for single messages that are longer. What is collected for one is memory that a stream
/// without players has for nothing, so it is less than the 64 KB that a write could use.
pub const MAX_BATCH: usize = 16 << 10;
/// The most bytes that one stream's ring holds; a GOP that is longer is not cached.
pub const MAX_RING: usize = 32 << 20;
/// The most bytes of metadata or of a sequence header: each player gets them before the first frame, and each stream
/// keeps them. Real ones have some kilobytes at most.
pub const MAX_HEADER: usize = 64 << 10;
/// After so many audio messages without video a stream counts as audio only, and its GOP is not kept (SRS).
const PURE_AUDIO: u32 = 115;

/// How a vhost wants its streams kept.
#[expect(clippy::struct_excessive_bools, reason = "they are the file's switches")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// `chunk_size`: that of the ring's layout.
    pub chunk_size: usize,
    /// `gop_cache`.
    pub gop_cache: bool,
    /// `queue_length`.
    pub queue_length: Duration,
    /// `time_jitter`.
    pub jitter: TimeJitter,
    /// `mix_correct`.
    pub mix_correct: bool,
    /// `atc`: players get the publisher's timestamps.
    pub atc: bool,
    /// `atc_auto`: so they do when the metadata ask for it.
    pub atc_auto: bool,
    /// `reduce_sequence_header`.
    pub reduce_headers: bool,
    /// `send_min_interval`: players of RTMP get one message at a time, so long after the one before; 0 for all at once.
    pub send_min_interval: Duration,
    /// `mw_latency`; players wait so long between sends.
    pub mw_latency: Duration,
    /// `mw_msgs`.
    pub mw_msgs: usize,
    /// `min_latency`, or an `mw_latency` too short to spread players over.
    pub realtime: bool,
    /// `tcp_nodelay`.
    pub nodelay: bool,
    /// `http_remux.fast_cache`: what a player of audio alone gets at its start.
    pub fast_cache: Duration,
}

impl Policy {
    /// A vhost's.
    pub fn of(vhost: &Vhost) -> Self {
        let realtime = vhost.min_latency || vhost.mw_latency < Duration::from_millis(32);
        Policy {
            chunk_size: vhost.sizes.chunk,
            gop_cache: vhost.gop_cache,
            queue_length: vhost.queue_length,
            jitter: vhost.time_jitter,
            mix_correct: vhost.mix_correct,
            atc: vhost.atc,
            atc_auto: vhost.atc_auto,
            reduce_headers: vhost.reduce_headers,
            send_min_interval: vhost.send_min_interval,
            mw_latency: vhost.mw_latency,
            mw_msgs: vhost.mw_msgs,
            realtime,
            nodelay: vhost.tcp_nodelay || vhost.min_latency,
            fast_cache: vhost.fast_cache,
        }
    }

    /// How long messages wait to become one batch.
    pub fn seal_after(&self) -> Duration {
        if self.realtime { Duration::ZERO } else { self.mw_latency / 8 }
    }
}

#[derive(Debug)]
struct State {
    policy: Policy,
    ring: VecDeque<Arc<Batch>>,
    /// The sequence number of the ring's first batch.
    tail: u64,
    ring_bytes: usize,
    builder: Builder,
    opened: Option<Instant>,
    clock: Clock,
    headers: Arc<Headers>,
    /// The last sequence headers that players got, of whatever publisher.
    told: Headers,
    /// Media that wait for their order.
    mix: Mix,
    gop_start: Option<u64>,
    /// Where the present publisher's media start.
    session_start: u64,
    /// Coded frames came since the publisher started.
    started: bool,
    feed: feed::Feed,
    /// When media came last, or the present publisher began.
    heard: Instant,
    /// The log knows of a header that is too large.
    refused_header: bool,
    /// The present pull has had a connection before.
    resumed: bool,
    audio_without_video: u32,
    /// The oldest batch that each core's players still need.
    needed: Vec<u64>,
    /// The oldest batch that each [`Reader`] still needs, by its id.
    held: Vec<(u64, u64)>,
    /// The last id of a reader.
    last_reader: u64,
}

/// A stream.
#[derive(Debug)]
pub struct Source {
    /// Its counters, as the API shows them.
    pub stat: Arc<StreamStat>,
    state: Mutex<State>,
    remuxers: [Mutex<Option<Box<Remuxer>>>; Remux::COUNT],
    live: AtomicBool,
    /// Somebody publishes it through this edge.
    pushed: AtomicBool,
    head: AtomicU64,
    players: AtomicUsize,
}

/// A core's copy of a source's ring.
#[derive(Debug, Default)]
pub struct View {
    /// The batches.
    pub batches: VecDeque<Arc<Batch>>,
    /// The sequence number of the first.
    pub tail: u64,
    /// For players that join or jump.
    pub headers: Arc<Headers>,
    /// Where a player that joins starts; none before the first frame.
    pub join_at: Option<u64>,
    /// Whether somebody publishes.
    pub live: bool,
}

impl View {
    /// The sequence number behind the last batch.
    pub fn head(&self) -> u64 {
        self.tail + self.batches.len() as u64
    }

    /// The batch of that number.
    pub fn get(&self, sequence: u64) -> Option<&Arc<Batch>> {
        self.batches.get(usize::try_from(sequence.checked_sub(self.tail)?).ok()?)
    }
}

impl Source {
    /// A source without a publisher; `cores` is how many cores may have players.
    pub fn new(stat: Arc<StreamStat>, policy: Policy, cores: usize) -> Self {
        let state = State {
            policy,
            ring: VecDeque::new(),
            tail: 0,
            ring_bytes: 0,
            builder: Builder::new(policy.chunk_size),
            opened: None,
            clock: Clock::default(),
            headers: Arc::default(),
            told: Headers::default(),
            mix: Mix::default(),
            gop_start: None,
            session_start: 0,
            started: false,
            feed: feed::Feed::None,
            heard: Instant::now(),
            refused_header: false,
            resumed: false,
            audio_without_video: 0,
            needed: vec![u64::MAX; cores],
            held: Vec::new(),
            last_reader: 0,
        };
        Source {
            stat,
            state: Mutex::new(state),
            remuxers: Default::default(),
            live: AtomicBool::new(false),
            pushed: AtomicBool::new(false),
            head: AtomicU64::new(0),
            players: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody publishes.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Counts a player in or out.
    pub fn count_player(&self, joined: bool) {
        match joined {
            true => self.players.fetch_add(1, Ordering::Relaxed),
            false => self.players.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// How many players there are, on all cores.
    pub fn players(&self) -> usize {
        self.players.load(Ordering::Relaxed)
    }

    /// The sequence number behind the last batch.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Keeps what comes from now on for a new reader; gives its id and where that starts.
    fn hold(&self) -> (u64, u64) {
        let mut state = self.lock();
        // A reader that starts between two batches has all of the next one's messages.
        self.seal(&mut state);
        let head = state.head();
        state.last_reader += 1;
        let id = state.last_reader;
        state.held.push((id, head));
        (id, head)
    }

    /// Keeps nothing any more for the reader of that id, which then loses what it has not seen.
    pub fn let_go(&self, reader: u64) {
        let mut state = self.lock();
        state.held.retain(|(id, _)| *id != reader);
        state.trim();
    }

    /// Bytes in the ring.
    pub fn ring_bytes(&self) -> usize {
        self.lock().ring_bytes
    }

    /// How its vhost wants it kept.
    pub fn policy(&self) -> Policy {
        self.lock().policy
    }

    /// Changes how it is kept; the ring follows with the next message.
    pub fn set_policy(&self, policy: Policy) {
        let mut state = self.lock();
        if state.policy.chunk_size != policy.chunk_size {
            self.seal(&mut state);
            state.builder.set_chunk_size(policy.chunk_size);
        }
        let before = std::mem::replace(&mut state.policy, policy);
        if before.mix_correct && !policy.mix_correct {
            self.unmix(&mut state);
        }
        if before.atc != policy.atc {
            self.set_absolute(&mut state, policy.atc);
            // A GOP would begin in one time and end in the other (SRS).
            state.gop_start = None;
        }
    }

    /// Makes another layout of a batch of the view, unless it was made; then [`Batch::layout`] gives it.
    pub fn lay_out(&self, remux: Remux, view: &View, sequence: u64) {
        if view.get(sequence).is_none_or(|batch| batch.layout(remux).is_some()) {
            return;
        }
        let mut remuxer = self.remuxers[remux as usize].lock().unwrap_or_else(PoisonError::into_inner);
        remuxer.get_or_insert_with(|| Box::new(Remuxer::new(remux))).lay_out(view, sequence);
    }

    /// Takes note of metadata or a sequence header that is larger than [`MAX_HEADER`] and not relayed.
    pub fn refuse_header(&self, kind: TagKind, size: usize) {
        self.warn_of_header(&mut self.lock(), kind, size);
    }

    /// Once a publisher: it may send as many as it likes.
    fn warn_of_header(&self, state: &mut State, kind: TagKind, size: usize) {
        if !std::mem::replace(&mut state.refused_header, true) {
            let what = if kind == TagKind::Script { "metadata" } else { "a sequence header" };
            tracing::warn!(
                "{}: {what} of {size} bytes is left out, {MAX_HEADER} are the most",
                self.stat.url()
            );
        }
    }

    /// Appends a message; `timestamp` is the publisher's, in milliseconds. Metadata must be as it is relayed.
    pub fn push(&self, kind: TagKind, timestamp: u32, payload: &[u8], now: Instant) {
        let mut state = self.lock();
        state.heard = now;
        if !state.policy.mix_correct || kind == TagKind::Script {
            return self.append(&mut state, kind, timestamp, payload, now);
        }
        state.mix.push(kind, timestamp, payload);
        while let Some(next) = state.mix.pop() {
            self.append(&mut state, next.kind, next.timestamp, &next.payload, now);
        }
    }

    /// Nothing more comes that would say in which order the waiting media are.
    fn unmix(&self, state: &mut State) {
        while let Some(next) = state.mix.take() {
            self.append(state, next.kind, next.timestamp, &next.payload, Instant::now());
        }
    }

    /// Passes the publisher's timestamps on from now on, or goes on from the last one.
    fn set_absolute(&self, state: &mut State, absolute: bool) {
        if state.builder.is_absolute() == absolute {
            return;
        }
        self.seal(state);
        if absolute {
            state.begin_time(true);
        } else {
            state.builder.set_absolute(false);
        }
    }

    fn append(&self, state: &mut State, kind: TagKind, timestamp: u32, payload: &[u8], now: Instant) {
        let role = flv::role(kind, payload);
        let is_metadata = kind == TagKind::Script;
        if is_metadata || role == Role::SequenceHeader {
            if payload.len() > MAX_HEADER {
                self.warn_of_header(state, kind, payload.len());
                return;
            }
            let reduce = state.policy.reduce_headers;
            let slot = Arc::make_mut(&mut state.headers).slot(kind);
            if state.resumed && slot.as_deref() == Some(payload) {
                return;
            }
            let again = slot.is_some();
            let changed = slot.as_deref().is_some_and(|old| old != payload);
            let told = state.told.slot(kind);
            // Of metadata players get none but the first, whatever it says (SRS); who joins later gets the newest.
            let known = if is_metadata { again } else { told.as_deref() == Some(payload) };
            let header: Arc<[u8]> = payload.into();
            *slot = Some(Arc::clone(&header));
            *told = Some(header);
            if is_metadata {
                let absolute = state.policy.atc || state.policy.atc_auto && flv::asks_for_atc(payload);
                self.set_absolute(state, absolute);
            }
            if reduce && known {
                return;
            }
            if changed && kind == TagKind::Video {
                // Frames before the change can't be decoded with the new header.
                self.seal(state);
                state.gop_start = None;
            }
        } else if let Some(track) = flv::further_track(kind, payload) {
            if payload.len() > MAX_HEADER {
                self.warn_of_header(state, kind, payload.len());
                return;
            }
            Arc::make_mut(&mut state.headers).keep_track(kind, track, payload);
        } else {
            state.started = true;
        }
        match kind {
            TagKind::Audio => state.audio_without_video = state.audio_without_video.saturating_add(1),
            TagKind::Video => state.audio_without_video = 0,
            TagKind::Script => {}
        }
        if state.audio_without_video > PURE_AUDIO {
            state.gop_start = None;
        }
        let keyframe = kind == TagKind::Video && role == Role::Keyframe;
        if keyframe || state.builder.len() + payload.len() > MAX_BATCH {
            self.seal(state);
        }
        if keyframe {
            state.gop_start = state.policy.gop_cache.then(|| state.head());
        }
        let timestamp = match kind {
            TagKind::Script => state.clock.now(),
            TagKind::Audio | TagKind::Video => {
                let jitter = if state.builder.is_absolute() { TimeJitter::Off } else { state.policy.jitter };
                state.clock.correct(jitter, kind, timestamp)
            }
        };
        state.builder.push(kind, role, timestamp, payload);
        state.opened.get_or_insert(now);
        if !state.policy.send_min_interval.is_zero() {
            self.seal(state);
        }
    }

    /// Makes a batch of what is waiting, for publishers of realtime streams after each read.
    pub fn flush(&self) {
        let mut state = self.lock();
        self.seal(&mut state);
    }

    fn seal(&self, state: &mut State) {
        let Some(batch) = state.builder.finish() else { return };
        state.opened = None;
        state.ring_bytes += batch.bytes.len();
        state.ring.push_back(Arc::new(batch));
        self.head.store(state.head(), Ordering::Release);
        state.trim();
    }

    /// Brings a core's view up to date. `needed` is the oldest batch its players still need, none without players.
    pub fn sync(&self, core: usize, needed: Option<u64>, view: &mut View, now: Instant) {
        let mut state = self.lock();
        if let Some(slot) = state.needed.get_mut(core) {
            *slot = needed.unwrap_or(u64::MAX);
        }
        self.refresh(&mut state, view, now);
    }

    /// Brings a reader's view up to date; `next` is what it reads next.
    fn sync_reader(&self, reader: u64, next: u64, view: &mut View, now: Instant) {
        let mut state = self.lock();
        if let Some((_, slot)) = state.held.iter_mut().find(|(id, _)| *id == reader) {
            *slot = next;
        }
        self.refresh(&mut state, view, now);
    }

    fn refresh(&self, state: &mut State, view: &mut View, now: Instant) {
        let due = |opened: Instant| now.saturating_duration_since(opened) >= state.policy.seal_after();
        if state.opened.is_some_and(due) {
            self.seal(state);
        }
        view.live = self.is_live();
        view.headers = Arc::clone(&state.headers);
        view.join_at = state.join_at();
        let head = state.head();
        let have = view.head();
        if have < state.tail || have > head {
            view.batches.clear();
            view.tail = state.tail;
        }
        let from = usize::try_from(view.head() - state.tail).unwrap_or(usize::MAX);
        view.batches.extend(state.ring.iter().skip(from).cloned());
        while view.tail < state.tail {
            view.batches.pop_front();
            view.tail += 1;
        }
    }
}

impl State {
    /// What comes next has another connection's time. Where players are not to get just that, it counts as the frame
    /// after the last one.
    fn begin_time(&mut self, absolute: bool) {
        match absolute {
            true => self.clock = Clock::default(),
            false => self.clock.discontinue(),
        }
        self.builder.set_absolute(absolute);
    }

    fn head(&self) -> u64 {
        self.tail + self.ring.len() as u64
    }

    fn join_at(&self) -> Option<u64> {
        if !self.started {
            return None;
        }
        // Before the first keyframe of a new publisher its whole short past is a good start.
        let early = (self.headers.video.is_none() && self.audio_without_video <= PURE_AUDIO)
            .then_some(self.session_start.max(self.tail));
        Some(self.gop_start.or(early).unwrap_or_else(|| self.head()))
    }

    /// Drops what neither a joining player nor, within `queue_length` and [`MAX_RING`], a present one needs.
    fn trim(&mut self) {
        let head = self.head();
        let gop = self.join_at().unwrap_or(head);
        let played = self.needed.iter().copied().min().unwrap_or(u64::MAX).min(gop);
        let needed = self.held.iter().map(|(_, next)| *next).min().unwrap_or(u64::MAX).min(played);
        let newest = self.ring.back().map_or(0, |batch| batch.last_timestamp);
        let queue_ms = self.policy.queue_length.as_millis() as i64;
        let cache_ms = self.policy.fast_cache.as_millis() as i64;
        while let Some(oldest) = self.ring.front() {
            // Metadata have no time of their own before the first frame.
            let timed = self.ring.iter().find(|batch| batch.kinds != SCRIPT).unwrap_or(oldest);
            let age = newest - timed.last_timestamp;
            let late = age > queue_ms && self.tail < gop;
            // It is negative where another publisher's time has begun.
            let cached = (0..cache_ms).contains(&age);
            let played = self.tail >= played || cached;
            let full = self.ring_bytes > if played { MAX_RING } else { MAX_HELD };
            if (self.tail >= needed || cached) && !full && !late {
                break;
            }
            self.ring_bytes -= oldest.bytes.len();
            if self.gop_start == Some(self.tail) {
                self.gop_start = None;
            }
            self.ring.pop_front();
            self.tail += 1;
        }
    }
}

#[cfg(test)]
mod tests;
