//! The box `moov`: what an MP4 file holds, and where.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};

use super::mp4::{Coding, Track};

/// Units of time in a second: timestamps are milliseconds.
const TIMESCALE: u32 = 1000;
/// The matrix that changes nothing.
const IDENTITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Boxes whose lengths are filled in when they end.
struct Boxes<'a> {
    file: &'a mut BufWriter<File>,
    open: Vec<u64>,
}

impl Boxes<'_> {
    fn begin(&mut self, name: [u8; 4]) -> io::Result<()> {
        self.open.push(self.file.stream_position()?);
        self.file.write_all(&[0; 4])?;
        self.file.write_all(&name)
    }

    /// A box with version and flags.
    fn begin_full(&mut self, name: [u8; 4], version: u8, flags: u32) -> io::Result<()> {
        self.begin(name)?;
        self.u32(u32::from(version) << 24 | flags)
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(start) = self.open.pop() else { return Ok(()) };
        let end = self.file.stream_position()?;
        self.patch(start, (end - start) as u32)
    }

    /// Writes a number over one that stands there, and goes on at the end.
    fn patch(&mut self, at: u64, value: u32) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.u32(value)?;
        self.file.seek(SeekFrom::End(0)).map(|_| ())
    }

    fn u16(&mut self, value: u16) -> io::Result<()> {
        self.file.write_all(&value.to_be_bytes())
    }

    fn u32(&mut self, value: u32) -> io::Result<()> {
        self.file.write_all(&value.to_be_bytes())
    }

    fn u64(&mut self, value: u64) -> io::Result<()> {
        self.file.write_all(&value.to_be_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn words(&mut self, words: &[u32]) -> io::Result<()> {
        words.iter().try_for_each(|word| self.u32(*word))
    }
}

/// Writes `moov` at the end of the file.
pub(super) fn write(file: &mut BufWriter<File>, tracks: &mut [Track]) -> io::Result<()> {
    let mut boxes = Boxes { file, open: Vec::new() };
    let start = tracks.iter().map(|track| track.samples.first).min().unwrap_or(0);
    let end = tracks.iter().map(|track| track.samples.first + track.samples.duration()).max().unwrap_or(0);
    boxes.begin(*b"moov")?;
    boxes.begin_full(*b"mvhd", 1, 0)?;
    boxes.words(&[0, 0, 0, 0, TIMESCALE])?;
    boxes.u64(end - start)?;
    // Rate, volume, reserved; the matrix; predefined; the next track's number.
    boxes.words(&[0x1_0000, 0x0100_0000, 0, 0])?;
    boxes.words(&IDENTITY)?;
    boxes.words(&[0; 6])?;
    boxes.u32(tracks.len() as u32 + 1)?;
    boxes.end()?;
    for (index, track) in tracks.iter_mut().enumerate() {
        self::track(&mut boxes, track, index as u32 + 1, start)?;
    }
    boxes.end()
}

fn track(boxes: &mut Boxes<'_>, track: &mut Track, number: u32, start: u64) -> io::Result<()> {
    let delay = track.samples.first - start;
    let duration = track.samples.duration();
    let is_video = matches!(track.coding, Coding::Video { .. });
    boxes.begin(*b"trak")?;
    // Enabled, and in the movie.
    boxes.begin_full(*b"tkhd", 1, 3)?;
    boxes.words(&[0, 0, 0, 0, number, 0])?;
    boxes.u64(delay + duration)?;
    boxes.words(&[0, 0, 0, if is_video { 0 } else { 0x0100_0000 }])?;
    boxes.words(&IDENTITY)?;
    let (width, height) = match track.coding {
        Coding::Video { size, .. } => size,
        Coding::Audio { .. } => (0, 0),
    };
    boxes.words(&[u32::from(width) << 16, u32::from(height) << 16])?;
    boxes.end()?;
    if delay > 0 {
        // Nothing at first: this track begins after the other.
        boxes.begin(*b"edts")?;
        boxes.begin_full(*b"elst", 1, 0)?;
        boxes.u32(2)?;
        boxes.u64(delay)?;
        boxes.u64(u64::MAX)?;
        boxes.u32(0x1_0000)?;
        boxes.u64(duration)?;
        boxes.u64(0)?;
        boxes.u32(0x1_0000)?;
        boxes.end()?;
        boxes.end()?;
    }
    boxes.begin(*b"mdia")?;
    boxes.begin_full(*b"mdhd", 1, 0)?;
    boxes.words(&[0, 0, 0, 0, TIMESCALE])?;
    boxes.u64(duration)?;
    // The language `und`.
    boxes.words(&[0x55c4_0000])?;
    boxes.end()?;
    boxes.begin_full(*b"hdlr", 0, 0)?;
    boxes.u32(0)?;
    boxes.bytes(if is_video { b"vide" } else { b"soun" })?;
    boxes.words(&[0; 3])?;
    boxes.bytes(if is_video { b"VideoHandler\0" } else { b"SoundHandler\0" })?;
    boxes.end()?;
    boxes.begin(*b"minf")?;
    match is_video {
        true => boxes.begin_full(*b"vmhd", 0, 1)?,
        false => boxes.begin_full(*b"smhd", 0, 0)?,
    }
    boxes.words(if is_video { &[0, 0] } else { &[0] })?;
    boxes.end()?;
    boxes.begin(*b"dinf")?;
    boxes.begin_full(*b"dref", 0, 0)?;
    boxes.u32(1)?;
    // In this file.
    boxes.begin_full(*b"url ", 0, 1)?;
    boxes.end()?;
    boxes.end()?;
    boxes.end()?;
    table(boxes, track, number)?;
    boxes.end()?;
    boxes.end()?;
    boxes.end()
}

/// `stbl`: one sample a chunk.
fn table(boxes: &mut Boxes<'_>, track: &mut Track, number: u32) -> io::Result<()> {
    let samples = &mut track.samples;
    boxes.begin(*b"stbl")?;
    boxes.begin_full(*b"stsd", 0, 0)?;
    boxes.u32(1)?;
    entry(boxes, &track.coding, number)?;
    boxes.end()?;
    boxes.begin_full(*b"stts", 0, 0)?;
    counted(boxes, |boxes| {
        let mut entries = 0;
        samples.runs(
            |_, duration| duration,
            |count, duration| {
                entries += 1;
                boxes.words(&[count, duration])
            },
        )?;
        Ok(entries)
    })?;
    boxes.end()?;
    if samples.composed {
        boxes.begin_full(*b"ctts", 1, 0)?;
        counted(boxes, |boxes| {
            let mut entries = 0;
            samples.runs(
                |sample, _| sample.composition as u32,
                |count, composition| {
                    entries += 1;
                    boxes.words(&[count, composition])
                },
            )?;
            Ok(entries)
        })?;
        boxes.end()?;
    }
    if !samples.all_sync {
        boxes.begin_full(*b"stss", 0, 0)?;
        counted(boxes, |boxes| {
            let (mut entries, mut index) = (0, 0);
            samples.replay(|sample, _| {
                index += 1;
                entries += u32::from(sample.sync);
                if sample.sync { boxes.u32(index) } else { Ok(()) }
            })?;
            Ok(entries)
        })?;
        boxes.end()?;
    }
    boxes.begin_full(*b"stsc", 0, 0)?;
    boxes.words(&[1, 1, 1, 1])?;
    boxes.end()?;
    boxes.begin_full(*b"stsz", 0, 0)?;
    boxes.words(&[0, samples.count])?;
    samples.replay(|sample, _| boxes.u32(sample.size))?;
    boxes.end()?;
    boxes.begin_full(*b"co64", 0, 0)?;
    boxes.u32(samples.count)?;
    samples.replay(|sample, _| boxes.u64(sample.offset))?;
    boxes.end()?;
    boxes.end()
}

/// Entries with their number before them, which is known behind them.
fn counted(boxes: &mut Boxes<'_>, entries: impl FnOnce(&mut Boxes<'_>) -> io::Result<u32>) -> io::Result<()> {
    let at = boxes.file.stream_position()?;
    boxes.u32(0)?;
    let count = entries(boxes)?;
    boxes.patch(at, count)
}

fn entry(boxes: &mut Boxes<'_>, coding: &Coding, number: u32) -> io::Result<()> {
    match coding {
        Coding::Video { entry, config, record, size } => {
            boxes.begin(*entry)?;
            // Reserved, the data reference's number, reserved.
            boxes.words(&[0, 1, 0, 0, 0, 0])?;
            boxes.u16(size.0)?;
            boxes.u16(size.1)?;
            // 72 dpi, reserved, one frame a sample, a name of 32 bytes, 24 bits a pixel.
            boxes.words(&[0x48_0000, 0x48_0000, 0])?;
            boxes.u16(1)?;
            boxes.bytes(&[0; 32])?;
            boxes.u16(0x18)?;
            boxes.u16(0xffff)?;
            boxes.begin(*config)?;
            boxes.bytes(record)?;
            boxes.end()?;
        }
        Coding::Audio { object, record, rate, channels } => {
            boxes.begin(*b"mp4a")?;
            boxes.words(&[0, 1, 0, 0])?;
            boxes.u16(*channels)?;
            boxes.u16(16)?;
            boxes.u32(0)?;
            // 16 bits before the point: what is more is in the configuration.
            boxes.u32(u32::from(u16::try_from(*rate).unwrap_or(0)) << 16)?;
            boxes.begin_full(*b"esds", 0, 0)?;
            boxes.bytes(&descriptors(*object, record, number))?;
            boxes.end()?;
        }
    }
    boxes.end()
}

/// ES_Descriptor and what is in it (ISO 14496-1, 7.2.6).
fn descriptors(object: u8, record: &[u8], number: u32) -> Vec<u8> {
    let descriptor = |tag: u8, body: &[u8]| {
        // Longer records than this are not AAC's.
        let body = &body[..body.len().min(127)];
        [&[tag, body.len() as u8][..], body].concat()
    };
    // Audio stream; buffer and bit rates are not known.
    let mut config = vec![object, 0x15];
    config.extend_from_slice(&[0; 11]);
    if !record.is_empty() {
        config.extend(descriptor(5, &record[..record.len().min(64)]));
    }
    let mut stream = (number as u16).to_be_bytes().to_vec();
    stream.push(0);
    stream.extend(descriptor(4, &config));
    stream.extend(descriptor(6, &[2]));
    descriptor(3, &stream)
}
