//! Packets (ISO 13818-1): one program with at most one video and one audio stream.
//!
//! The packet ids are SRS's: PMT 0x1001, video 0x100, audio 0x101.

/// Size of a packet.
pub const PACKET: usize = 188;
const PMT_PID: u16 = 0x1001;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;

/// A stream's coding, by its number in the PMT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamType {
    /// H.264.
    Avc = 0x1b,
    /// H.265.
    Hevc = 0x24,
    /// AAC in ADTS.
    Aac = 0x0f,
    /// MP3.
    Mp3 = 0x04,
}

/// What a program has: its video and its audio.
pub type Program = (Option<StreamType>, Option<StreamType>);

/// Writes packets; continuity goes on over all segments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writer {
    pat: u8,
    pmt: u8,
    video: u8,
    audio: u8,
    /// The PMT's version, which changes with the program.
    version: u8,
    announced: Option<Program>,
}

/// One access unit.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// It is video.
    pub video: bool,
    /// 90 kHz.
    pub pts: u64,
    /// 90 kHz.
    pub dts: u64,
    /// Decoding can start here.
    pub random_access: bool,
    /// The packet carries the clock.
    pub clock: bool,
    /// Annex B, ADTS or MP3 bytes.
    pub data: &'a [u8],
}

impl Writer {
    /// The program that the last tables announced.
    pub fn announced(&self) -> Option<Program> {
        self.announced
    }

    /// Where a writer stood that came here by what took another one from `from` to `to`.
    #[must_use]
    pub(crate) fn back(mut self, from: Writer, to: Writer) -> Self {
        let step = |here: u8, from: u8, to: u8| here.wrapping_sub(to.wrapping_sub(from)) & 15;
        self.pat = step(self.pat, from.pat, to.pat);
        self.pmt = step(self.pmt, from.pmt, to.pmt);
        self.video = step(self.video, from.video, to.video);
        self.audio = step(self.audio, from.audio, to.audio);
        self
    }

    /// The tables that stood last before this point, for a reader that joins here: continuity goes on behind them.
    /// Nothing when there were none.
    pub fn repeat_tables(mut self, out: &mut Vec<u8>) {
        let Some(program) = self.announced else { return };
        self.pat = self.pat.wrapping_sub(1) & 15;
        self.pmt = self.pmt.wrapping_sub(1) & 15;
        self.tables(out, program);
    }

    /// PAT and PMT, which stand at the start of each segment.
    pub fn tables(&mut self, out: &mut Vec<u8>, program: Program) {
        if self.announced.replace(program).is_some_and(|before| before != program) {
            self.version = (self.version + 1) & 31;
        }
        let (video, audio) = program;
        let [high, low] = (0xe000 | PMT_PID).to_be_bytes();
        section(out, 0, &mut self.pat, &[0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, high, low]);
        let clock_pid = if video.is_some() { VIDEO_PID } else { AUDIO_PID };
        let streams = [(video, VIDEO_PID), (audio, AUDIO_PID)];
        let count = streams.iter().filter(|(kind, _)| kind.is_some()).count();
        let [high, low] = (0xe000 | clock_pid).to_be_bytes();
        let version = 0xc1 | self.version << 1;
        let mut pmt = vec![2, 0xb0, 13 + 5 * count as u8, 0, 1, version, 0, 0, high, low, 0xf0, 0];
        for (kind, pid) in streams {
            let Some(kind) = kind else { continue };
            let [high, low] = (0xe000 | pid).to_be_bytes();
            pmt.extend_from_slice(&[kind as u8, high, low, 0xf0, 0]);
        }
        section(out, PMT_PID, &mut self.pmt, &pmt);
    }

    /// A PES packet.
    pub fn unit(&mut self, out: &mut Vec<u8>, unit: Unit<'_>) {
        let (pid, counter, id) = match unit.video {
            true => (VIDEO_PID, &mut self.video, 0xe0),
            false => (AUDIO_PID, &mut self.audio, 0xc0),
        };
        let with_dts = unit.pts != unit.dts;
        let mut head = vec![0, 0, 1, id];
        let header: u8 = if with_dts { 10 } else { 5 };
        // Video's length may be unknown; audio's is known.
        let length = u16::try_from(unit.data.len() + 3 + usize::from(header)).unwrap_or(0);
        head.extend_from_slice(&(if unit.video { 0 } else { length }).to_be_bytes());
        head.extend_from_slice(&[0x80, if with_dts { 0xc0 } else { 0x80 }, header]);
        time(&mut head, if with_dts { 3 } else { 2 }, unit.pts);
        if with_dts {
            time(&mut head, 1, unit.dts);
        }
        let mut left = head.len() + unit.data.len();
        let mut data = unit.data;
        let mut first = true;
        while left > 0 {
            let start = out.len();
            let [high, low] = pid.to_be_bytes();
            out.extend_from_slice(&[0x47, high & 0x1f | if first { 0x40 } else { 0 }, low, 0]);
            let mut field = Vec::new();
            if first && (unit.clock || unit.random_access) {
                let flags = if unit.random_access { 0x40 } else { 0 } | if unit.clock { 0x10 } else { 0 };
                field.push(flags);
                if unit.clock {
                    clock(&mut field, unit.dts);
                }
            }
            // The adaptation field has one byte of length and fills the last packet up.
            let has_field = !field.is_empty();
            let room = PACKET - 4 - if has_field { 1 + field.len() } else { 0 };
            let take = left.min(room);
            let stuffing = room - take;
            if has_field || stuffing > 0 {
                let length = PACKET - 4 - take - 1;
                out[start + 3] = 0x30 | *counter;
                out.push(length as u8);
                if length > 0 {
                    if field.is_empty() {
                        field.push(0);
                    }
                    out.extend_from_slice(&field);
                    out.resize(start + PACKET - take, 0xff);
                }
            } else {
                out[start + 3] = 0x10 | *counter;
            }
            // The header is short: it is always in the first packet.
            let from_head = if first { head.len() } else { 0 };
            out.extend_from_slice(&head[..from_head]);
            let (part, rest) = data.split_at(take - from_head);
            out.extend_from_slice(part);
            data = rest;
            debug_assert_eq!(out.len(), start + PACKET);
            *counter = (*counter + 1) & 15;
            left -= take;
            first = false;
        }
    }
}

fn time(out: &mut Vec<u8>, prefix: u8, time: u64) {
    let time = time & 0x1_ffff_ffff;
    out.push(prefix << 4 | (time >> 29) as u8 & 0x0e | 1);
    out.push((time >> 22) as u8);
    out.push((time >> 14) as u8 & 0xfe | 1);
    out.push((time >> 7) as u8);
    out.push((time << 1) as u8 & 0xfe | 1);
}

fn clock(out: &mut Vec<u8>, time: u64) {
    let time = time & 0x1_ffff_ffff;
    out.extend_from_slice(&[
        (time >> 25) as u8,
        (time >> 17) as u8,
        (time >> 9) as u8,
        (time >> 1) as u8,
        ((time & 1) << 7) as u8 | 0x7e,
        0,
    ]);
}

fn section(out: &mut Vec<u8>, pid: u16, counter: &mut u8, body: &[u8]) {
    let start = out.len();
    let [high, low] = pid.to_be_bytes();
    out.extend_from_slice(&[0x47, 0x40 | high, low, 0x10 | *counter, 0]);
    *counter = (*counter + 1) & 15;
    out.extend_from_slice(body);
    out.extend_from_slice(&crc(body).to_be_bytes());
    out.resize(start + PACKET, 0xff);
}

/// CRC-32/MPEG-2.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xffff_ffff, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_mpeg_2_s() {
        assert_eq!(crc(b"123456789"), 0x0376_e6e7);
    }

    proptest! {
        /// Whole packets come out, counters go on, and the payload is found again.
        #[test]
        fn units_fill_packets(
            sizes in prop::collection::vec((0usize..2000, any::<bool>(), any::<bool>(), any::<bool>()), 1..10),
        ) {
            let mut writer = Writer::default();
            let mut next = [0u8; 2];
            for (size, video, clock, random_access) in sizes {
                let data: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
                let mut out = Vec::new();
                let (pts, dts) = (90_000, if video { 86_400 } else { 90_000 });
                writer.unit(&mut out, Unit { video, pts, dts, random_access, clock, data: &data });
                prop_assert_eq!(out.len() % PACKET, 0);
                let mut payload = Vec::new();
                for packet in out.chunks(PACKET) {
                    prop_assert_eq!(packet[0], 0x47);
                    let counter = &mut next[usize::from(video)];
                    prop_assert_eq!(packet[3] & 15, *counter);
                    *counter = (*counter + 1) & 15;
                    let skip = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
                    payload.extend_from_slice(&packet[skip..]);
                }
                let header = 9 + usize::from(payload[8]);
                prop_assert_eq!(&payload[header..], &data[..]);
            }
        }
    }
}
