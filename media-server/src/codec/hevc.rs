//! H.265's configuration record (ISO 14496-15 8.3.3) and sequence parameter set.

use super::VideoInfo;
use super::bits::{Bits, unescape};
use crate::flv::VideoCodec;

const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;

/// What a configuration record holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Configuration<'a> {
    /// How many bytes a NAL unit's length has.
    pub length_size: usize,
    /// VPS, SPS and PPS, in this order.
    pub parameter_sets: Vec<&'a [u8]>,
}

impl<'a> Configuration<'a> {
    /// Reads a record; none when it is cut off or has no parameter sets.
    pub fn read(record: &'a [u8]) -> Option<Self> {
        let length_size = usize::from(record.get(21)? & 3) + 1;
        let mut found = Vec::new();
        let mut rest = record.get(23..)?;
        for _ in 0..record[22] {
            let ([kind, high, low], behind) = rest.split_first_chunk()?;
            rest = behind;
            for _ in 0..u16::from_be_bytes([*high, *low]) {
                let (length, behind) = rest.split_first_chunk()?;
                let (nal, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
                rest = behind;
                if matches!(kind & 0x3f, VPS..=PPS) && nal.len() > 2 {
                    found.push(nal);
                }
            }
        }
        found.sort_by_key(|nal| nal_type(nal));
        let kinds: Vec<u8> = found.iter().map(|nal| nal_type(nal)).collect();
        let complete = [VPS, SPS, PPS].iter().all(|kind| kinds.contains(kind));
        complete.then_some(Configuration { length_size, parameter_sets: found })
    }
}

/// A NAL unit's type; 0 of an empty one.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |first| first >> 1 & 0x3f)
}

pub(super) fn info(record: &[u8]) -> Option<VideoInfo> {
    let profile = match record.get(1)? & 0x1f {
        1 => "Main",
        2 => "Main10",
        3 => "MainStillPicture",
        4 => "Rext",
        _ => "Other",
    };
    // Thirty times the level: 93 is 3.1.
    let (major, minor) = (record.get(12)? / 30, record[12] % 30 / 3);
    let level = if minor == 0 { major.to_string() } else { format!("{major}.{minor}") };
    let configuration = Configuration::read(record);
    let sps = configuration.iter().flat_map(|it| &it.parameter_sets).find(|nal| nal_type(nal) == SPS);
    let (width, height) = sps.and_then(|sps| size(&unescape(sps, 2))).unwrap_or_default();
    Some(VideoInfo { codec: VideoCodec::Hevc.name(), profile, level, width, height })
}

/// Width and height from an SPS (H.265 7.3.2.2.1).
fn size(sps: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(sps);
    bits.skip(4)?;
    let sub_layers = bits.take(3)?;
    bits.skip(1)?;
    // profile_tier_level: 88 bits of profile and 8 of level, then the same for sub-layers that have them.
    bits.skip(96)?;
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.bit()?, bits.bit()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers as usize))?;
    }
    for (profile, level) in present {
        bits.skip(88 * profile as usize + 8 * level as usize)?;
    }
    bits.ue()?;
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.bit()?;
    }
    let (width, height) = (bits.ue()?, bits.ue()?);
    let (mut crop_x, mut crop_y) = (0, 0);
    if bits.bit()? == 1 {
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma == 1 { 2 } else { 1 };
        crop_x = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
        crop_y = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?;
    }
    Some((width.checked_sub(crop_x)?, height.checked_sub(crop_y)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// VPS, SPS and PPS of libx265 for 320x180, Main, level 2.
    const SETS: [&[u8]; 3] = [
        &[
            0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03,
            0x00, 0x00, 0x03, 0x00, 0x3c, 0x95, 0x94, 0x09,
        ],
        &[
            0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03,
            0x00, 0x3c, 0xa0, 0x0a, 0x08, 0x0c, 0x1f, 0x3e, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0, 0x5a, 0x02,
            0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x32, 0x10,
        ],
        &[0x44, 0x01, 0xc0, 0x73, 0xc1, 0x89, 0x27],
    ];

    fn record() -> Vec<u8> {
        let mut record = vec![0; 23];
        (record[0], record[1], record[12], record[21], record[22]) = (1, 1, 93, 3, 3);
        for (kind, nal) in (VPS..).zip(SETS) {
            record.extend_from_slice(&[0x80 | kind, 0, 1, 0, nal.len() as u8]);
            record.extend_from_slice(nal);
        }
        record
    }

    #[test]
    fn a_configuration_tells_its_parameter_sets_and_size() {
        let record = record();
        let read = Configuration::read(&record).unwrap();
        assert_eq!((read.length_size, &read.parameter_sets[..]), (4, &SETS[..]));
        let info = info(&record).unwrap();
        assert_eq!((info.codec, info.profile, &*info.level), ("HEVC", "Main", "3.1"));
        assert_eq!((info.width, info.height), (320, 180));
        for length in 0..record.len() {
            assert_eq!(Configuration::read(&record[..length]), None, "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_records_never_panic(tail in prop::collection::vec(any::<u8>(), 0..80), cut in 0usize..60) {
            let mut record = record();
            record.truncate(cut);
            record.extend_from_slice(&tail);
            let _ = info(&record);
            let _ = size(&tail);
        }
    }
}
