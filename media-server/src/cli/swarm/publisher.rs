//! A publisher: sends a file in real time, and goes on with it over connections.

use std::time::{Duration, Instant};

use super::marks::{MARK, now_micros};
use super::{Job, Swarm};
use crate::flv::{self, Role, Tag, TagKind};

/// A publisher that comes back sends what was due so long ago at most.
const LATE: Duration = Duration::from_secs(2);

/// How a publisher sends.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Pace {
    /// Start again at the end.
    pub(in crate::cli) repeat: bool,
    /// Send what is due in bursts of this length; zero is tag by tag.
    pub(in crate::cli) burst: Duration,
    /// Append marks that tell players the time of sending.
    pub(in crate::cli) marked: bool,
}

/// What publishers send.
#[derive(Debug)]
pub(super) struct File<'a> {
    tags: &'a [Tag<'a>],
    /// The first timestamp of media.
    first: u32,
    /// How long the file lasts, up to where its next round starts.
    length: u32,
    video: bool,
    pace: Pace,
}

impl<'a> File<'a> {
    pub(super) fn new(tags: &'a [Tag<'a>], pace: Pace) -> Self {
        let media = tags.iter().filter(|tag| tag.kind != TagKind::Script).map(|tag| tag.timestamp);
        let (first, last) =
            media.fold((u32::MAX, 0), |(first, last), time| (first.min(time), last.max(time)));
        let video = tags.iter().any(|tag| tag.kind == TagKind::Video);
        File { tags, first: first.min(last), length: last.saturating_sub(first.min(last)) + 40, video, pace }
    }
}

/// How far a publisher is.
#[derive(Debug)]
pub(super) struct Progress {
    position: usize,
    round: u32,
    began: Option<Instant>,
    delay: Duration,
    /// It goes on over another connection: headers first, and then a keyframe.
    resumes: bool,
    /// The headers were sent over this connection.
    greeted: bool,
    /// It connects again with the next keyframe.
    moves: bool,
}

impl Progress {
    pub(super) fn new(delay: Duration) -> Self {
        Progress { position: 0, round: 0, began: None, delay, resumes: false, greeted: true, moves: false }
    }

    /// How long it waits after it may begin.
    pub(super) fn delay(&self) -> Duration {
        if self.began.is_none() { self.delay } else { Duration::ZERO }
    }

    /// Its connection has ended.
    pub(super) fn interrupted(&mut self) {
        self.resumes = self.began.is_some();
        self.greeted = self.began.is_none();
        self.moves = false;
    }

    /// The server asked it to connect again.
    pub(super) fn move_on(&mut self) {
        self.moves = true;
    }
}

impl Swarm<'_> {
    /// Sends a publisher's tags that are due.
    pub(super) fn feed(&mut self, index: usize, now: Instant) {
        let File { tags, first, length, video, pace } = self.file;
        let Some(member) = &mut self.members[index] else { return };
        let (Some(link), Job::Publish(progress)) = (&mut member.link, &mut member.job) else { return };
        let Some(client) = &link.client else { return };
        let start = *progress.began.get_or_insert(now);
        let mut next = None;
        loop {
            let Some(tag) = tags.get(progress.position) else {
                if !pace.repeat {
                    client.unpublish(&mut link.out);
                    self.counters.finished += 1;
                    // It has nothing to come back for.
                    member.again = None;
                    break;
                }
                progress.position = 0;
                progress.round += 1;
                continue;
            };
            let elapsed = tag.timestamp.saturating_sub(first);
            let time = u64::from(elapsed) + u64::from(progress.round) * u64::from(length);
            let mut due = start + Duration::from_millis(time);
            if !pace.burst.is_zero() {
                let burst = pace.burst.as_millis() as u64;
                due = start + Duration::from_millis(time / burst * burst);
            }
            if due > now {
                next = Some(due);
                break;
            }
            let role = flv::role(tag.kind, tag.payload);
            let header = role == Role::SequenceHeader || tag.kind == TagKind::Script;
            let clean_start = !header && (role == Role::Keyframe || !video);
            if progress.moves && clean_start {
                client.unpublish(&mut link.out);
                self.flush(index);
                return self.lost(index, "the server asks to connect again");
            }
            if progress.resumes && !(clean_start && due + LATE >= now) {
                progress.position += 1;
                continue;
            }
            progress.resumes = false;
            if !std::mem::replace(&mut progress.greeted, true) {
                for tag in headers(tags) {
                    client.send(&mut link.out, tag.kind, time as u32, &plain(tag));
                }
            }
            progress.position += 1;
            if progress.round > 0 && header {
                continue;
            }
            if pace.marked && !header {
                let payload = [tag.payload, MARK, &now_micros().to_be_bytes()].concat();
                client.send(&mut link.out, tag.kind, time as u32, &payload);
            } else {
                client.send(&mut link.out, tag.kind, time as u32, &plain(tag));
            }
        }
        self.flush(index);
        // Not where the connection was just lost: another time is planned then.
        if let Some(due) = next
            && self.members[index].as_ref().is_some_and(|member| member.link.is_some())
        {
            self.plan(index, due);
        }
    }
}

/// What stands before media: metadata and the first sequence header of each kind.
fn headers<'a>(tags: &'a [Tag<'a>]) -> impl Iterator<Item = &'a Tag<'a>> {
    [TagKind::Script, TagKind::Audio, TagKind::Video].into_iter().filter_map(|kind| {
        let header = |tag: &&Tag<'_>| {
            tag.kind == kind
                && (kind == TagKind::Script || flv::role(kind, tag.payload) == Role::SequenceHeader)
        };
        tags.iter().find(header)
    })
}

/// A tag's payload as encoders send it.
fn plain(tag: &Tag<'_>) -> Vec<u8> {
    match tag.kind {
        TagKind::Script => {
            [&crate::amf0::encode_all(&[crate::amf0::Value::string("@setDataFrame")]), tag.payload].concat()
        }
        _ => tag.payload.to_vec(),
    }
}
