//! H.264's configuration record (ISO 14496-15 5.3.3) and sequence parameter set.

use super::VideoInfo;
use super::bits::{Bits, unescape};
use crate::flv::VideoCodec;

pub(super) fn info(record: &[u8]) -> Option<VideoInfo> {
    let (profile, level) = (avc_profile(*record.get(1)?), avc_level(*record.get(3)?));
    let (width, height) = sps_of(record).and_then(|sps| sps_size(&sps)).unwrap_or_default();
    Some(VideoInfo { codec: VideoCodec::Avc.name(), profile, level, width, height })
}

fn avc_profile(profile: u8) -> &'static str {
    match profile {
        66 => "Baseline",
        77 => "Main",
        88 => "Extended",
        100 => "High",
        110 => "High10",
        122 => "High422",
        144 => "High444",
        244 => "High444Predictive",
        44 => "CAVLC444Intra",
        _ => "Other",
    }
}

fn avc_level(level: u8) -> String {
    match (level / 10, level % 10) {
        (major, 0) => major.to_string(),
        (major, minor) => format!("{major}.{minor}"),
    }
}

/// The first SPS of an AVCDecoderConfigurationRecord, without its NAL header and emulation prevention bytes.
fn sps_of(record: &[u8]) -> Option<Vec<u8>> {
    let count = record.get(5)? & 0x1f;
    if count == 0 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([*record.get(6)?, *record.get(7)?]));
    let nal = record.get(8..8 + length)?;
    Some(unescape(nal, 1))
}

/// Width and height from an SPS (H.264 7.3.2.1.1).
fn sps_size(sps: &[u8]) -> Option<(u32, u32)> {
    let profile = *sps.first()?;
    let mut bits = Bits::new(sps.get(3..)?);
    bits.ue()?;
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = bits.ue()?;
        if chroma == 3 {
            bits.bit()?;
        }
        bits.ue()?;
        bits.ue()?;
        bits.bit()?;
        if bits.bit()? == 1 {
            for index in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.bit()? == 1 {
                    skip_scaling_list(&mut bits, if index < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.ue()?;
    match bits.ue()? {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.bit()?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue()?;
    bits.bit()?;
    let width = bits.ue()?.checked_add(1)?.checked_mul(16)?;
    let map_units = bits.ue()?.checked_add(1)?;
    let frame_only = bits.bit()?;
    if frame_only == 0 {
        bits.bit()?;
    }
    bits.bit()?;
    let height = map_units.checked_mul(16)?.checked_mul(2 - frame_only)?;
    let (mut crop_x, mut crop_y) = (0, 0);
    if bits.bit()? == 1 {
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = (if chroma == 1 { 2 } else { 1 }) * (2 - frame_only);
        crop_x = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
        crop_y = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?;
    }
    Some((width.checked_sub(crop_x)?, height.checked_sub(crop_y)?))
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.se()? + 256) % 256;
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}
