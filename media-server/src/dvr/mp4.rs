//! An MP4 file (ISO 14496-12, -14 and -15) with its `moov` at the end, as SRS writes it.
//!
//! H.264, HEVC and AV1 as legacy or enhanced RTMP bring them, AAC and MP3; what else comes is left out.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::moov;
use super::samples::{Sample, Samples};
use crate::codec;
use crate::flv::{Role, TagKind};

/// What is written at a time.
const BUFFER: usize = 64 << 10;
/// Where `mdat` with its 64 bits of length begins, behind `ftyp`.
const FTYP: &[u8] = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41";

/// How a track's samples are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Coding {
    /// Video: names of sample entry and configuration box, the record in it, width and height.
    Video { entry: [u8; 4], config: [u8; 4], record: Vec<u8>, size: (u16, u16) },
    /// Audio: object type (ISO 14496-1, 8.6.6.2), AudioSpecificConfig if any, rate and channels.
    Audio { object: u8, record: Vec<u8>, rate: u32, channels: u16 },
}

/// A track of the file.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) coding: Coding,
    pub(super) samples: Samples,
}

/// A file that is being written.
#[derive(Debug)]
pub struct Mp4 {
    file: BufWriter<File>,
    length: u64,
    tracks: Vec<Track>,
    /// What the sequence headers said.
    video: Option<Coding>,
    audio: Option<Coding>,
    folder: std::path::PathBuf,
}

impl Mp4 {
    /// Begins a file in a folder, with the sequence headers.
    pub fn new(file: File, folder: &Path, headers: &[(TagKind, &[u8])]) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(BUFFER, file);
        file.write_all(FTYP)?;
        file.write_all(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\0")?;
        let header = |wanted| headers.iter().find(|(kind, _)| *kind == wanted).map(|(_, payload)| *payload);
        Ok(Mp4 {
            file,
            length: FTYP.len() as u64 + 16,
            tracks: Vec::new(),
            video: header(TagKind::Video).and_then(video),
            audio: header(TagKind::Audio).and_then(aac),
            folder: folder.to_owned(),
        })
    }

    /// Appends a frame; `timestamp` in milliseconds.
    pub fn write(&mut self, kind: TagKind, role: Role, timestamp: u64, payload: &[u8]) -> io::Result<()> {
        let (coding, composition, data) = match kind {
            TagKind::Video => {
                let (Some(coding), Some((composition, data))) = (&self.video, video_data(payload)) else {
                    return Ok(());
                };
                (coding.clone(), composition, data)
            }
            TagKind::Audio => {
                let Some(data) = audio_data(payload) else { return Ok(()) };
                let Some(coding) = self.audio.clone().or_else(|| mp3(payload)) else { return Ok(()) };
                (coding, 0, data)
            }
            TagKind::Script => return Ok(()),
        };
        let sync = kind == TagKind::Audio || role == Role::Keyframe;
        let (offset, size) = (self.length, data.len() as u32);
        let track = self.track(coding)?;
        // The table's times only grow.
        let dts = timestamp.max(track.samples.last);
        track.samples.push(Sample { offset, dts, size, composition, sync })?;
        self.file.write_all(data)?;
        self.length += u64::from(size);
        Ok(())
    }

    fn track(&mut self, coding: Coding) -> io::Result<&mut Track> {
        let is_video = |coding: &Coding| matches!(coding, Coding::Video { .. });
        let at = self.tracks.iter().position(|track| is_video(&track.coding) == is_video(&coding));
        if at.is_none() {
            self.tracks.push(Track { coding, samples: Samples::new(&self.folder)? });
        }
        let last = self.tracks.len() - 1;
        Ok(&mut self.tracks[at.unwrap_or(last)])
    }

    /// Completes the file.
    pub fn finish(mut self) -> io::Result<()> {
        moov::write(&mut self.file, &mut self.tracks)?;
        let mdat = FTYP.len() as u64;
        self.file.seek(SeekFrom::Start(mdat + 8))?;
        self.file.write_all(&(self.length - mdat).to_be_bytes())?;
        self.file.flush()
    }
}

/// A video sequence header's coding; none for what MP4 files of this server don't hold.
fn video(header: &[u8]) -> Option<Coding> {
    let first = *header.first()?;
    let fourcc: &[u8] = match first {
        0x80.. => header.get(1..5)?,
        _ => match first & 0x0f {
            7 => b"avc1",
            12 => b"hvc1",
            _ => return None,
        },
    };
    let config = match fourcc {
        b"avc1" => *b"avcC",
        b"hvc1" => *b"hvcC",
        b"av01" => *b"av1C",
        _ => return None,
    };
    let record = header.get(5..).filter(|record| !record.is_empty())?.to_vec();
    let size = codec::video_info(header).map_or((0, 0), |info| (info.width as u16, info.height as u16));
    Some(Coding::Video { entry: fourcc.try_into().ok()?, config, record, size })
}

/// A video message's data and how much later than decoded they are shown.
fn video_data(payload: &[u8]) -> Option<(i32, &[u8])> {
    let composition = |at: usize| {
        let bytes = payload.get(at..at + 3)?;
        // 24 bits with a sign.
        Some(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], 0]) >> 8)
    };
    let first = *payload.first()?;
    let (composition, data) = match (first & 0x80 != 0, first & 0x0f, payload.get(1)?) {
        (false, 7 | 12, 1) => (composition(2)?, payload.get(5..)?),
        (true, 1, _) if matches!(payload.get(1..5)?, b"hvc1" | b"avc1") => {
            (composition(5)?, payload.get(8..)?)
        }
        (true, 1 | 3, _) => (0, payload.get(5..)?),
        _ => return None,
    };
    (!data.is_empty()).then_some((composition, data))
}

fn aac(header: &[u8]) -> Option<Coding> {
    let record = header.get(2..).filter(|record| header[0] >> 4 == 10 && record.len() >= 2)?.to_vec();
    let info = codec::audio_info(header)?;
    Some(Coding::Audio { object: 0x40, record, rate: info.sample_rate, channels: info.channels.into() })
}

/// MP3 has no sequence header: each message says what it is.
fn mp3(payload: &[u8]) -> Option<Coding> {
    let first = *payload.first().filter(|first| **first >> 4 == 2)?;
    let rate = [5512, 11025, 22050, 44100][usize::from(first >> 2 & 3)];
    Some(Coding::Audio { object: 0x6b, record: Vec::new(), rate, channels: u16::from(first & 1) + 1 })
}

fn audio_data(payload: &[u8]) -> Option<&[u8]> {
    let data = match (payload.first()? >> 4, payload.get(1)?) {
        (10, 1) => &payload[2..],
        (2, _) => &payload[1..],
        _ => return None,
    };
    (!data.is_empty()).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn compositions_have_a_sign() {
        assert_eq!(video_data(&[0x27, 1, 0, 0, 80, 9]), Some((80, &[9][..])));
        assert_eq!(video_data(&[0x27, 1, 0xff, 0xff, 0xd8, 9]), Some((-40, &[9][..])));
        assert_eq!(video_data(b"\x91hvc1\0\0\x28x"), Some((40, &b"x"[..])));
        assert_eq!(video_data(b"\xa3hvc1x"), Some((0, &b"x"[..])));
        assert_eq!(video_data(b"\x91av01x"), Some((0, &b"x"[..])));
        assert_eq!(video_data(&[0x17, 2, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(
            header in prop::collection::vec(any::<u8>(), 0..30),
            payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..30)), 0..10),
            avc: bool,
        ) {
            let dir = std::env::temp_dir();
            let avc_header = [0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 66, 1, 0, 1, 0x68];
            let video = if avc { &avc_header[..] } else { &header[..] };
            let headers = [(TagKind::Video, video), (TagKind::Audio, &header[..])];
            let mut mp4 = Mp4::new(tempfile::tempfile().unwrap(), &dir, &headers).unwrap();
            for (time, (is_video, payload)) in payloads.iter().enumerate() {
                let kind = if *is_video { TagKind::Video } else { TagKind::Audio };
                mp4.write(kind, crate::flv::role(kind, payload), time as u64, payload).unwrap();
            }
            mp4.finish().unwrap();
        }
    }
}
