//! Other layouts of a stream's batches: transport stream and elementary audio. Each is made once, when a viewer first
//! asks for it, and shared by the viewers of all cores.
//!
//! Times of a transport stream are the ring's, where SRS lets each viewer begin at 0: they stand inside of the packets,
//! so other times would be other bytes for each viewer. Players take the first time that they see as the beginning.

use super::{Batch, Headers, View};
use crate::flv::{self, Role, TagKind};
use crate::ts::{Config, Unit, Writer, access::ticks};

/// What a batch can be laid out as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remux {
    /// A transport stream.
    Ts,
    /// AAC in ADTS.
    Aac,
    /// MP3.
    Mp3,
}

impl Remux {
    /// How many there are.
    pub(super) const COUNT: usize = 3;
}

/// A batch in another layout. It may be empty: there is no audio in a batch of video.
#[derive(Debug)]
pub struct Layout {
    /// The bytes.
    pub bytes: Box<[u8]>,
    before: Writer,
}

impl Layout {
    /// What a viewer that begins with this batch needs before it.
    pub fn lead(&self, out: &mut Vec<u8>) {
        // A batch that begins with tables says it itself: packet 0 is the PAT.
        if !self.bytes.starts_with(&[0x47, 0x40, 0]) {
            self.before.repeat_tables(out);
        }
    }
}

/// The state between two batches.
#[derive(Debug)]
pub(super) struct Remuxer {
    remux: Remux,
    /// The batch that is laid out next.
    next: u64,
    config: Config,
    writer: Writer,
    unit: Vec<u8>,
}

impl Remuxer {
    pub(super) fn new(remux: Remux) -> Self {
        Remuxer { remux, next: 0, config: Config::default(), writer: Writer::default(), unit: Vec::new() }
    }

    /// A new publisher's headers are not those of the one before.
    pub(super) fn forget_headers(&mut self) {
        self.config = Config::default();
    }

    /// Lays out a batch of the view, after those before it that have not been: continuity counters go on.
    pub(super) fn lay_out(&mut self, view: &View, sequence: u64) {
        if sequence < self.next {
            self.lay_out_older(view, sequence);
            return;
        }
        let mut from = self.next;
        if !(view.tail..=sequence).contains(&from) {
            // Nobody has asked for a while.
            from = sequence;
            self.config.take_headers(&view.headers);
        }
        for at in from..=sequence {
            let Some(batch) = view.get(at) else { continue };
            batch.layout_slot(self.remux).get_or_init(|| Box::new(self.layout(batch, &view.headers)));
        }
        self.next = sequence + 1;
    }

    /// Lays out batches before those that were, for a core whose view is older: their counters end where those of the
    /// next one begin, and what comes next is not touched.
    fn lay_out_older(&mut self, view: &View, sequence: u64) {
        for at in (sequence..self.next).rev() {
            let Some(batch) = view.get(at) else { continue };
            let slot = batch.layout_slot(self.remux);
            if slot.get().is_some() {
                continue;
            }
            let following = view.get(at + 1).and_then(|batch| batch.layout(self.remux));
            let end = following.map_or(self.writer, |layout| layout.before);
            let (config, writer) = (self.config.clone(), self.writer);
            let trial = self.layout(batch, &view.headers);
            self.writer = end.back(trial.before, self.writer);
            self.config.clone_from(&config);
            let layout = self.layout(batch, &view.headers);
            (self.config, self.writer) = (config, writer);
            slot.get_or_init(|| Box::new(layout));
        }
    }

    fn layout(&mut self, batch: &Batch, headers: &Headers) -> Layout {
        // Not every publisher's headers stand in the ring (`reduce_sequence_header`).
        if let (None, Some(header)) = (self.config.video(), &headers.video) {
            self.config.set_video(header);
        }
        if let (None, Some(header)) = (self.config.audio(), &headers.audio) {
            self.config.set_audio(header);
        }
        let before = self.writer;
        let mut out = Vec::new();
        for (index, frame) in batch.frames.iter().enumerate() {
            let payload = batch.whole_payload(index);
            let role = flv::role(frame.kind, &payload);
            match (frame.kind, role) {
                (TagKind::Video, Role::SequenceHeader) => self.config.set_video(&payload),
                (TagKind::Audio, Role::SequenceHeader) => self.config.set_audio(&payload),
                (TagKind::Video, _) if self.remux == Remux::Ts => {
                    self.video(role, frame.timestamp, &payload, &mut out, batch);
                }
                (TagKind::Audio, _) => self.audio(frame.timestamp, &payload, &mut out),
                (TagKind::Video | TagKind::Script, _) => {}
            }
        }
        Layout { bytes: out.into_boxed_slice(), before }
    }

    fn video(&mut self, role: Role, timestamp: i64, payload: &[u8], out: &mut Vec<u8>, batch: &Batch) {
        self.unit.clear();
        let Some(composition) = self.config.annex_b(payload, &mut self.unit) else { return };
        let keyframe = role == Role::Keyframe;
        if keyframe {
            // Audio without a header of its own is known by its first frame: it should stand in the first tables.
            let audio = batch.frames.iter().position(|frame| frame.kind == TagKind::Audio);
            if let Some(audio) = audio {
                self.config.see_audio(&batch.whole_payload(audio));
            }
            self.writer.tables(out, self.config.program());
        }
        self.announce(out);
        let dts = ticks(timestamp);
        let pts = dts + u64::from(composition) * 90;
        let unit = Unit { video: true, pts, dts, random_access: keyframe, clock: true, data: &self.unit };
        self.writer.unit(out, unit);
    }

    fn audio(&mut self, timestamp: i64, payload: &[u8], out: &mut Vec<u8>) {
        self.unit.clear();
        if self.config.audio_frame(payload, &mut self.unit).is_none() {
            return;
        }
        let kind = self.config.audio();
        match self.remux {
            Remux::Ts => {
                self.announce(out);
                let pts = ticks(timestamp);
                let clock = self.config.video().is_none();
                let unit =
                    Unit { video: false, pts, dts: pts, random_access: false, clock, data: &self.unit };
                self.writer.unit(out, unit);
            }
            Remux::Aac if kind == Some(crate::ts::StreamType::Aac) => out.extend_from_slice(&self.unit),
            Remux::Mp3 if kind == Some(crate::ts::StreamType::Mp3) => out.extend_from_slice(&self.unit),
            Remux::Aac | Remux::Mp3 => {}
        }
    }

    /// Tables, where the program is not what the last ones said.
    fn announce(&mut self, out: &mut Vec<u8>) {
        let program = self.config.program();
        if self.writer.announced() != Some(program) {
            self.writer.tables(out, program);
        }
    }
}
