//! What a player needs before the first frame.

use std::sync::Arc;

use crate::flv::TagKind;

/// The most tracks beside the first whose headers are kept: each player gets them.
pub const MAX_TRACKS: usize = 8;

/// What a player needs before the first frame.
#[derive(Debug, Default, Clone)]
pub struct Headers {
    /// onMetaData.
    pub metadata: Option<Arc<[u8]>>,
    /// Video's sequence header.
    pub video: Option<Arc<[u8]>>,
    /// Audio's sequence header.
    pub audio: Option<Arc<[u8]>>,
    /// Those of Enhanced RTMP's further tracks, in the order in which they came.
    pub tracks: Vec<Track>,
}

/// The sequence header of a further track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Audio or video.
    pub kind: TagKind,
    /// Its number among those of its kind.
    pub id: u8,
    /// The message.
    pub header: Arc<[u8]>,
}

impl Headers {
    pub(super) fn slot(&mut self, kind: TagKind) -> &mut Option<Arc<[u8]>> {
        match kind {
            TagKind::Script => &mut self.metadata,
            TagKind::Video => &mut self.video,
            TagKind::Audio => &mut self.audio,
        }
    }

    /// Keeps a further track's header in the place of its last one; one track more than [`MAX_TRACKS`] is not kept.
    pub(super) fn keep_track(&mut self, kind: TagKind, id: u8, payload: &[u8]) {
        let header = payload.into();
        if let Some(track) = self.tracks.iter_mut().find(|track| (track.kind, track.id) == (kind, id)) {
            track.header = header;
        } else if self.tracks.len() < MAX_TRACKS {
            self.tracks.push(Track { kind, id, header });
        }
    }

    /// All of them, in the order in which players get them.
    pub fn all(&self) -> impl Iterator<Item = (TagKind, &[u8])> {
        let first =
            [(TagKind::Script, &self.metadata), (TagKind::Audio, &self.audio), (TagKind::Video, &self.video)];
        let first = first.into_iter().filter_map(|(kind, header)| Some((kind, &**header.as_ref()?)));
        first.chain(self.tracks.iter().map(|track| (track.kind, &*track.header)))
    }
}
