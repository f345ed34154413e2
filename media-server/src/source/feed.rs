//! Who feeds a source: a publisher of this server, or a link that pulls the stream from another one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Source;

/// Where a source's media come from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// Nobody.
    #[default]
    None,
    /// A publisher.
    Publisher,
    /// A link to the stream's server. It stays while the link looks for another server, so that players stay too.
    Pull,
}

impl Source {
    /// Begins publishing; false when somebody does already. A pull ends by it: the stream has moved here.
    pub fn publish(&self) -> bool {
        let mut state = self.lock();
        if state.feed == Feed::Publisher {
            return false;
        }
        self.complete(&mut state);
        state.begin(Feed::Publisher);
        self.live.store(true, Ordering::Release);
        drop(state);
        self.forget_layouts();
        true
    }

    /// Begins pulling; false when somebody feeds the source already.
    pub fn begin_pull(&self) -> bool {
        let mut state = self.lock();
        if state.feed != Feed::None {
            return false;
        }
        self.complete(&mut state);
        state.begin(Feed::Pull);
        self.live.store(true, Ordering::Release);
        drop(state);
        self.forget_layouts();
        true
    }

    /// Other layouts start with the headers that come.
    fn forget_layouts(&self) {
        for remuxer in &self.remuxers {
            if let Some(remuxer) = &mut *remuxer.lock().unwrap_or_else(PoisonError::into_inner) {
                remuxer.forget_headers();
            }
        }
    }

    /// Ends pulling when no player is left, or in any case; false when it goes on. A player that comes at this moment
    /// is counted before it asks for a pull: either this one goes on, or it begins a new one.
    pub fn end_pull(&self, in_any_case: bool) -> bool {
        let mut state = self.lock();
        if !in_any_case && self.players() > 0 {
            return false;
        }
        if state.feed == Feed::Pull {
            self.end(&mut state);
        }
        true
    }

    /// A link pulls it.
    pub fn is_pulled(&self) -> bool {
        self.lock().feed == Feed::Pull
    }

    /// How long nothing has come.
    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.lock().heard)
    }

    /// Somebody publishes to this server.
    pub fn is_published(&self) -> bool {
        self.lock().feed == Feed::Publisher
    }

    /// The pull goes on from another connection: its timestamps start anew, the players' do not, and sequence headers
    /// that stay the same are not sent again. False when it is not pulled any more.
    pub fn resume(&self) -> bool {
        let mut state = self.lock();
        if state.feed != Feed::Pull {
            return false;
        }
        self.complete(&mut state);
        let absolute = state.builder.is_absolute();
        state.begin_time(absolute);
        state.resumed = true;
        true
    }

    /// The connection of its pull has ended, for good or until the next. The statistics then have nobody who sends it,
    /// unless that is a publisher who came here meanwhile.
    pub fn interrupt(&self) {
        let state = self.lock();
        if state.feed != Feed::Publisher {
            self.stat.active.store(false, Ordering::Relaxed);
        }
    }

    /// Begins publishing through this edge; false when somebody does already.
    pub fn begin_push(&self) -> bool {
        !self.pushed.swap(true, Ordering::AcqRel)
    }

    /// Ends publishing through this edge.
    pub fn end_push(&self) {
        self.pushed.store(false, Ordering::Release);
    }

    /// Ends publishing; players of RTMP wait for the next publisher.
    pub fn unpublish(&self) {
        let mut state = self.lock();
        self.end(&mut state);
    }

    /// All that came of a connection is in the ring.
    fn complete(&self, state: &mut super::State) {
        self.unmix(state);
        self.seal(state);
    }

    fn end(&self, state: &mut super::State) {
        self.complete(state);
        state.gop_start = None;
        state.headers = Arc::default();
        state.started = false;
        state.feed = Feed::None;
        state.trim();
        self.live.store(false, Ordering::Release);
    }
}

impl super::State {
    fn begin(&mut self, feed: Feed) {
        self.feed = feed;
        // Its time goes on: players and recorders may be in the middle of it.
        self.begin_time(self.policy.atc);
        self.heard = Instant::now();
        self.resumed = false;
        self.refused_header = false;
        self.headers = Arc::default();
        self.gop_start = None;
        self.started = false;
        self.audio_without_video = 0;
        self.session_start = self.head();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, Sources, View};
    use super::*;
    use crate::conf::settings::TimeJitter;
    use crate::flv::TagKind;
    use crate::rtmp::OUT_CHUNK_SIZE;
    use crate::stat::Stat;

    const VIDEO_HEADER: [u8; 6] = [0x17, 0, 0, 0, 0, 1];
    const KEYFRAME: [u8; 6] = [0x17, 1, 0, 0, 0, 2];

    fn source(jitter: TimeJitter) -> Arc<Source> {
        let policy = Policy {
            chunk_size: OUT_CHUNK_SIZE,
            gop_cache: true,
            queue_length: Duration::from_secs(30),
            jitter,
            mix_correct: false,
            atc: false,
            atc_auto: false,
            reduce_headers: false,
            send_min_interval: Duration::ZERO,
            mw_latency: Duration::from_millis(350),
            mw_msgs: 8,
            fast_cache: Duration::ZERO,
            realtime: false,
            nodelay: false,
        };
        Sources::new(1).get_or_create(&Stat::new("vid".into()), "v", "live", "s", policy)
    }

    fn timestamps(source: &Source) -> Vec<i64> {
        let mut view = View::default();
        source.flush();
        source.sync(0, Some(0), &mut view, Instant::now());
        view.batches.iter().flat_map(|batch| batch.frames.iter().map(|frame| frame.timestamp)).collect()
    }

    #[test]
    fn one_feeds_at_a_time_and_a_publisher_goes_before_a_pull() {
        let source = source(TimeJitter::Full);
        assert!(source.begin_pull() && source.is_pulled() && source.is_live());
        assert!(!source.begin_pull());
        assert!(source.resume());
        assert!(source.publish() && !source.is_pulled());
        assert!(!source.resume(), "a pull that connects now comes too late");
        assert!(!source.publish() && !source.begin_pull());
        // The pull that was replaced ends nothing.
        assert!(source.end_pull(true) && source.is_live());
        source.unpublish();
        assert!(!source.is_live() && source.begin_pull());
    }

    #[test]
    fn a_pull_goes_on_while_there_are_players() {
        let source = source(TimeJitter::Full);
        assert!(source.begin_pull());
        source.count_player(true);
        assert!(!source.end_pull(false) && source.is_live());
        source.count_player(false);
        assert!(source.end_pull(false) && !source.is_live());
    }

    #[test]
    fn time_goes_on_over_connections() {
        for jitter in [TimeJitter::Full, TimeJitter::Zero, TimeJitter::Off] {
            let source = source(jitter);
            assert!(source.begin_pull());
            source.hold();
            let now = Instant::now();
            for start in [5000, 0, 90_000, 4900] {
                source.push(TagKind::Video, start, &VIDEO_HEADER, now);
                source.push(TagKind::Video, start, &KEYFRAME, now);
                source.push(TagKind::Video, start + 40, &[0x27, 1, 0, 0, 0, 2], now);
                assert!(source.resume());
            }
            let times = timestamps(&source);
            // The unchanged header is sent once; the ring keeps all, as a reader holds it.
            assert_eq!(times.len(), 9, "{jitter:?} {times:?}");
            let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(steps.iter().all(|step| (0..=40).contains(step)), "{jitter:?} {times:?}");
        }
    }

    #[test]
    fn time_goes_on_over_publishers() {
        for jitter in [TimeJitter::Full, TimeJitter::Zero, TimeJitter::Off] {
            let source = source(jitter);
            source.hold();
            for start in [5000, 0, 90_000] {
                assert!(source.publish());
                source.push(TagKind::Video, start, &KEYFRAME, Instant::now());
                source.push(TagKind::Video, start + 40, &[0x27, 1, 0, 0, 0, 2], Instant::now());
                source.unpublish();
            }
            let times = timestamps(&source);
            let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(steps, [40, 10, 40, 10, 40], "{jitter:?}");
        }
    }

    #[test]
    fn another_codec_after_a_reconnect_is_told() {
        let source = source(TimeJitter::Full);
        assert!(source.begin_pull());
        source.hold();
        let now = Instant::now();
        source.push(TagKind::Video, 0, &VIDEO_HEADER, now);
        source.push(TagKind::Video, 0, &KEYFRAME, now);
        assert!(source.resume());
        source.push(TagKind::Video, 0, &[0x1c, 0, 0, 0, 0, 9], now);
        let mut view = View::default();
        source.flush();
        source.sync(0, Some(0), &mut view, now);
        assert_eq!(view.headers.video.as_deref(), Some(&[0x1c, 0, 0, 0, 0, 9][..]));
        assert_eq!(timestamps(&source).len(), 3);
    }
}
