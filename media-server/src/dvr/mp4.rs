//! An MP4 file (ISO 14496-12, -14 and -15) with its `moov` at the end, as SRS writes it.
//!
//! H.264, HEVC and AV1 as legacy or enhanced RTMP bring them, AAC and MP3; what else comes is left out, and the log says
//! so. Of several tracks in a message the first one counts.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::moov;
use super::samples::{Sample, Samples};
use crate::codec;
use crate::flv::{Audio, AudioCodec, Packet, Role, TagKind, Video, VideoCodec};

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
    path: PathBuf,
    /// What was said to be left out, of video and of audio.
    warned: [bool; 2],
}

impl Mp4 {
    /// Begins the file of a path, with the sequence headers.
    pub fn new(file: File, path: &Path, headers: &[(TagKind, &[u8])]) -> io::Result<Self> {
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
            path: path.to_owned(),
            warned: [false; 2],
        })
    }

    /// Appends a frame; `timestamp` in milliseconds.
    pub fn write(&mut self, kind: TagKind, role: Role, timestamp: u64, payload: &[u8]) -> io::Result<()> {
        let (coding, composition, data) = match kind {
            TagKind::Video => {
                let Some(video) = Video::read(payload).filter(|video| video.packet == Packet::Frame) else {
                    return Ok(());
                };
                if names(video.codec).is_none() {
                    self.leave_out(kind, video.codec.name());
                    return Ok(());
                }
                let Some(coding) = &self.video else { return Ok(()) };
                (coding.clone(), video.composition, video.body)
            }
            TagKind::Audio => {
                let Some(audio) = Audio::read(payload).filter(|audio| audio.packet == Packet::Frame) else {
                    return Ok(());
                };
                let coding = match audio.codec {
                    AudioCodec::Aac => self.audio.clone(),
                    AudioCodec::Mp3 => mp3(audio.body),
                    _ => {
                        self.leave_out(kind, audio.codec.name());
                        None
                    }
                };
                let Some(coding) = coding else { return Ok(()) };
                (coding, 0, audio.body)
            }
            TagKind::Script => return Ok(()),
        };
        if data.is_empty() {
            return Ok(());
        }
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

    /// Says once what the file won't hold.
    fn leave_out(&mut self, kind: TagKind, codec: &str) {
        if !std::mem::replace(&mut self.warned[usize::from(kind == TagKind::Audio)], true) {
            tracing::warn!(
                "{}: {codec} is left out: MP4 recordings hold H.264, HEVC, AV1, AAC and MP3; a dvr_path that ends in \
                 .flv keeps all",
                self.path.display()
            );
        }
    }

    fn track(&mut self, coding: Coding) -> io::Result<&mut Track> {
        let is_video = |coding: &Coding| matches!(coding, Coding::Video { .. });
        let at = self.tracks.iter().position(|track| is_video(&track.coding) == is_video(&coding));
        if at.is_none() {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let samples = Samples::new(folder.unwrap_or(Path::new(".")))?;
            self.tracks.push(Track { coding, samples });
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

/// A codec's sample entry and configuration box; none for what MP4 files of this server don't hold.
fn names(codec: VideoCodec) -> Option<([u8; 4], [u8; 4])> {
    match codec {
        VideoCodec::Avc => Some((*b"avc1", *b"avcC")),
        VideoCodec::Hevc => Some((*b"hvc1", *b"hvcC")),
        VideoCodec::Av1 => Some((*b"av01", *b"av1C")),
        VideoCodec::Vp8 | VideoCodec::Vp9 | VideoCodec::Vvc | VideoCodec::Other => None,
    }
}

/// A video sequence header's coding.
fn video(header: &[u8]) -> Option<Coding> {
    let video = Video::read(header).filter(|video| video.packet == Packet::SequenceHeader)?;
    let (entry, config) = names(video.codec)?;
    let record = Some(video.body).filter(|record| !record.is_empty())?.to_vec();
    let size = codec::video_info(header).map_or((0, 0), |info| (info.width as u16, info.height as u16));
    Some(Coding::Video { entry, config, record, size })
}

fn aac(header: &[u8]) -> Option<Coding> {
    let audio = Audio::read(header).filter(|audio| audio.packet == Packet::SequenceHeader)?;
    let record =
        Some(audio.body).filter(|record| audio.codec == AudioCodec::Aac && record.len() >= 2)?.to_vec();
    let info = codec::audio_info(header)?;
    Some(Coding::Audio { object: 0x40, record, rate: info.sample_rate, channels: info.channels.into() })
}

/// MP3 has no sequence header: each frame says what it is (ISO 11172-3, 2.4.1.3).
fn mp3(frame: &[u8]) -> Option<Coding> {
    let header = frame.get(..4).filter(|header| header[0] == 0xff && header[1] >> 5 == 7)?;
    // MPEG 1 has the rates, MPEG 2 halves of them, and 2.5 quarters.
    let halved = match header[1] >> 3 & 3 {
        3 => 0,
        2 => 1,
        0 => 2,
        _ => return None,
    };
    let rate = [44_100, 48_000, 32_000].get(usize::from(header[2] >> 2 & 3))? >> halved;
    let channels = if header[3] >> 6 == 3 { 1 } else { 2 };
    Some(Coding::Audio { object: 0x6b, record: Vec::new(), rate, channels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn configurations_are_read_from_each_kind_of_header() {
        for (header, entry, config) in [
            (&b"\x1c\0\0\0\0\x01"[..], b"hvc1", b"hvcC"),
            (b"\x90hvc1\x01", b"hvc1", b"hvcC"),
            (b"\x90av01\x01", b"av01", b"av1C"),
            // One track of several, and a timestamp in nanoseconds before it.
            (b"\x96\x00hvc1\x00\x01", b"hvc1", b"hvcC"),
            (b"\x97\x02\0\0\x01\x00av01\x01", b"av01", b"av1C"),
        ] {
            let expected = Coding::Video { entry: *entry, config: *config, record: vec![1], size: (0, 0) };
            assert_eq!(video(header), Some(expected), "{header:x?}");
        }
        // The second track, VP9, a frame.
        for header in [&b"\x96\x00hvc1\x01\x01"[..], b"\x90vp09\x01", b"\x91av01\x01"] {
            assert_eq!(video(header), None, "{header:x?}");
        }
        let stereo = Coding::Audio { object: 0x40, record: vec![0x12, 0x10], rate: 44_100, channels: 2 };
        for header in [&b"\xaf\0\x12\x10"[..], b"\x90mp4a\x12\x10", b"\x95\x00mp4a\x00\x12\x10"] {
            assert_eq!(aac(header).as_ref(), Some(&stereo), "{header:x?}");
        }
        assert_eq!(aac(b"\x90Opus\x12\x10"), None);
    }

    #[test]
    fn mp3_frames_tell_rate_and_channels() {
        let coding =
            |rate, channels| Some(Coding::Audio { object: 0x6b, record: Vec::new(), rate, channels });
        assert_eq!(mp3(b"\xff\xfb\x90\x44"), coding(44_100, 2));
        assert_eq!(mp3(b"\xff\xf3\x84\xc4"), coding(24_000, 1));
        assert_eq!(mp3(b"\xff\xe3\x88\xc4"), coding(8000, 1));
        assert_eq!(mp3(b"\xff\xfb\x9c\x44"), None);
        assert_eq!(mp3(b"ID3\0"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(
            header in prop::collection::vec(any::<u8>(), 0..30),
            payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..30)), 0..10),
            avc: bool,
        ) {
            let path = std::env::temp_dir().join("never-made.mp4");
            let avc_header = [0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 66, 1, 0, 1, 0x68];
            let video = if avc { &avc_header[..] } else { &header[..] };
            let headers = [(TagKind::Video, video), (TagKind::Audio, &header[..])];
            let mut mp4 = Mp4::new(tempfile::tempfile().unwrap(), &path, &headers).unwrap();
            for (time, (is_video, payload)) in payloads.iter().enumerate() {
                let kind = if *is_video { TagKind::Video } else { TagKind::Audio };
                mp4.write(kind, crate::flv::role(kind, payload), time as u64, payload).unwrap();
            }
            mp4.finish().unwrap();
        }
    }
}
