//! The samples of an MP4 track, kept in a file without a name while the stream lasts: the table of a day is too long
//! for the memory of a server with many streams.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes of a sample in the file.
const RECORD: usize = 24;

/// A sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Where its data are in the file.
    pub(super) offset: u64,
    /// When it is decoded, in milliseconds of the file.
    pub(super) dts: u64,
    /// Bytes, less than 2^31.
    pub(super) size: u32,
    /// How much later it is shown, in milliseconds.
    pub(super) composition: i32,
    /// Decoding can start here.
    pub(super) sync: bool,
}

/// The samples so far, and what is known about all of them.
#[derive(Debug)]
pub(super) struct Samples {
    file: BufWriter<File>,
    pub(super) count: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    /// The time between the last two, which the last one is thought to last too.
    pub(super) step: u64,
    pub(super) all_sync: bool,
    pub(super) composed: bool,
}

impl Samples {
    /// None yet; the file is in a folder of the recording's volume.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Samples {
            file: BufWriter::new(tempfile::tempfile_in(folder)?),
            count: 0,
            first: 0,
            last: 0,
            step: 0,
            all_sync: true,
            composed: false,
        })
    }

    pub(super) fn push(&mut self, sample: Sample) -> io::Result<()> {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&sample.offset.to_le_bytes());
        record[8..16].copy_from_slice(&sample.dts.to_le_bytes());
        record[16..20].copy_from_slice(&(sample.size | u32::from(sample.sync) << 31).to_le_bytes());
        record[20..].copy_from_slice(&sample.composition.to_le_bytes());
        self.file.write_all(&record)?;
        match self.count {
            0 => self.first = sample.dts,
            _ => self.step = sample.dts - self.last,
        }
        self.last = sample.dts;
        self.count += 1;
        self.all_sync &= sample.sync;
        self.composed |= sample.composition != 0;
        Ok(())
    }

    /// How long the track lasts, in milliseconds.
    pub(super) fn duration(&self) -> u64 {
        self.last - self.first + self.step
    }

    /// Gives each sample to `each`, with its duration.
    pub(super) fn replay(&mut self, mut each: impl FnMut(Sample, u32) -> io::Result<()>) -> io::Result<()> {
        self.file.flush()?;
        let file = self.file.get_mut();
        file.seek(SeekFrom::Start(0))?;
        let mut file = BufReader::new(file);
        let mut before: Option<Sample> = None;
        for _ in 0..self.count {
            let mut record = [0; RECORD];
            file.read_exact(&mut record)?;
            let sample = sample(&record);
            if let Some(before) = before {
                each(before, u32::try_from(sample.dts - before.dts).unwrap_or(u32::MAX))?;
            }
            before = Some(sample);
        }
        match before {
            Some(last) => each(last, u32::try_from(self.step).unwrap_or(u32::MAX)),
            None => Ok(()),
        }
    }

    /// Gives runs of equal values: how many there are, and the value.
    pub(super) fn runs(
        &mut self,
        value: impl Fn(Sample, u32) -> u32,
        mut each: impl FnMut(u32, u32) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut run: Option<(u32, u32)> = None;
        self.replay(|sample, duration| {
            let value = value(sample, duration);
            match &mut run {
                Some((count, same)) if *same == value => *count += 1,
                _ => {
                    if let Some((count, before)) = run.replace((1, value)) {
                        each(count, before)?;
                    }
                }
            }
            Ok(())
        })?;
        run.map_or(Ok(()), |(count, value)| each(count, value))
    }
}

fn sample(record: &[u8; RECORD]) -> Sample {
    let long =
        |at: usize| record[at..at + 8].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let (offset, dts, rest) = (long(0), long(8), long(16));
    let size = rest as u32;
    Sample { offset, dts, size: size & 0x7fff_ffff, composition: (rest >> 32) as i32, sync: size >> 31 == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn samples_come_back_as_they_were(
            list in prop::collection::vec((0u64..100, 0u32..1_000_000, -500i32..500, any::<bool>()), 0..50),
        ) {
            let mut samples = Samples::new(&std::env::temp_dir()).unwrap();
            let mut expected = Vec::new();
            let (mut offset, mut dts) = (0, 7);
            for (step, size, composition, sync) in list {
                let sample = Sample { offset, dts, size, composition, sync };
                samples.push(sample).unwrap();
                expected.push(sample);
                offset += u64::from(size);
                dts += step;
            }
            let mut total = 0;
            let mut seen = Vec::new();
            samples.replay(|sample, duration| { total += u64::from(duration); seen.push(sample); Ok(()) }).unwrap();
            prop_assert_eq!(&seen, &expected);
            prop_assert_eq!(total, samples.duration());
            let mut counted = 0;
            samples.runs(|sample, _| sample.size, |count, _| { counted += count; Ok(()) }).unwrap();
            prop_assert_eq!(counted as usize, expected.len());
        }
    }
}
