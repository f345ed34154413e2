//! A player that is to go on at another server: it gets everything up to a keyframe, with which it starts there.

use super::Player;
use crate::source::View;

/// How far a player is with leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Leaving {
    /// At the first keyframe from this batch on.
    From(u64),
    /// Before this batch, which is that keyframe.
    At(u64),
    /// Between two batches.
    Now,
}

impl Player {
    /// It is to leave at the next keyframe that it has not begun to get, or at once.
    pub(in crate::core) fn leave(&mut self, at_once: bool) {
        if at_once {
            self.leaving = Some(Leaving::Now);
        } else if self.leaving.is_none() {
            let next = self.next.unwrap_or_default();
            self.leaving = Some(Leaving::From(next + u64::from(!self.between_batches())));
        }
    }

    /// Whether it has got all that it gets; to be asked between batches.
    pub(super) fn has_left(&mut self, view: &View) -> bool {
        let (Some(leaving), Some(next)) = (self.leaving, self.next) else { return self.leaving.is_some() };
        let from = match leaving {
            Leaving::Now => return true,
            Leaving::At(at) => return next >= at,
            Leaving::From(from) => from.max(next),
        };
        if !view.live {
            // The stream has left before it: what is there is the end.
            return self.paused || next >= view.head();
        }
        let audio = self.format.container.is_audio() || view.headers.video.is_none();
        if self.paused || audio {
            return true;
        }
        let keyframe = (from..view.head()).find(|sequence| view.get(*sequence).is_some_and(|b| b.keyframe));
        self.leaving = Some(keyframe.map_or(Leaving::From(view.head().max(from)), Leaving::At));
        keyframe.is_some_and(|at| next >= at)
    }

    /// The end of what it gets of this view.
    pub(super) fn end(&self, view: &View) -> u64 {
        match self.leaving {
            Some(Leaving::At(at)) => at.min(view.head()),
            _ => view.head(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::player::Format;
    use crate::flv::{Role, TagKind};
    use crate::source::Builder;

    /// A live stream whose batches start at 10; true is a keyframe.
    fn view(keyframes: &[bool]) -> View {
        let mut builder = Builder::default();
        let mut view = View { tail: 10, live: true, ..View::default() };
        for (index, keyframe) in keyframes.iter().enumerate() {
            let role = if *keyframe { Role::Keyframe } else { Role::Frame };
            builder.push(TagKind::Video, role, index as i64 * 40, &[0x17, 1, 0, 0, 0]);
            view.batches.push_back(Arc::new(builder.finish().unwrap()));
        }
        Arc::make_mut(&mut view.headers).video = Some([0x17, 0].into());
        view
    }

    fn player(next: u64) -> Player {
        let mut player = Player::new(0, Format::RTMP, true, None);
        player.next = Some(next);
        player
    }

    #[test]
    fn it_leaves_before_the_next_keyframe() {
        let mut one = player(11);
        one.leave(false);
        let short = view(&[true, false]);
        assert!(!one.has_left(&short));
        assert_eq!(one.end(&short), 12);
        let long = view(&[true, false, false, true, false]);
        assert!(!one.has_left(&long));
        assert_eq!(one.end(&long), 13, "nothing of the next GOP is sent");
        one.next = Some(13);
        assert!(one.has_left(&long));
        // It stands before one already.
        let mut other = player(13);
        other.leave(false);
        assert!(other.has_left(&long));
    }

    #[test]
    fn a_keyframe_that_has_begun_is_sent_with_its_gop() {
        let frames = view(&[true, false, true]);
        let mut one = player(10);
        one.partial = frames.get(10).cloned();
        one.leave(false);
        one.partial = None;
        assert!(!one.has_left(&frames));
        assert_eq!(one.end(&frames), 12);
    }

    #[test]
    fn who_waits_for_nothing_leaves_at_once() {
        let frames = view(&[true, false]);
        let mut without_stream = Player::new(0, Format::RTMP, true, None);
        without_stream.leave(false);
        assert!(without_stream.has_left(&frames));
        let mut paused = player(11);
        paused.paused = true;
        paused.leave(false);
        assert!(paused.has_left(&frames));
        let mut late = player(11);
        late.leave(false);
        assert!(!late.has_left(&frames));
        late.leave(true);
        assert!(late.has_left(&frames));
        let mut ended = player(12);
        ended.leave(false);
        assert!(!ended.has_left(&frames));
        let over = View { live: false, headers: Arc::default(), ..view(&[true, false]) };
        assert!(ended.has_left(&over));
        let mut behind = player(11);
        behind.leave(false);
        assert!(!behind.has_left(&over), "what came before the end is still sent");
        let mut audio = player(11);
        audio.leave(false);
        assert!(audio.has_left(&View { headers: Arc::default(), ..view(&[true, false]) }));
        assert!(!player(11).has_left(&frames), "nobody asked it to");
    }
}
