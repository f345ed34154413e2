//! What the sequence headers say about a stream: codec, profile, size, sample rate, in the API's words of SRS.

/// Video of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoInfo {
    /// `H264`, `HEVC`, `AV1` or `Other`.
    pub codec: &'static str,
    /// Profile, for example `Baseline`.
    pub profile: &'static str,
    /// Level, for example `3` or `3.1`.
    pub level: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Audio of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioInfo {
    /// `AAC`, `MP3` or `Other`.
    pub codec: &'static str,
    /// Hertz.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Profile, for example `LC`.
    pub profile: &'static str,
}

/// From a video sequence header's payload; what can't be read stays 0 or empty.
pub fn video_info(payload: &[u8]) -> Option<VideoInfo> {
    let first = *payload.first()?;
    let plain = |codec| VideoInfo { codec, profile: "", level: String::new(), width: 0, height: 0 };
    if first & 0x80 != 0 {
        return Some(match payload.get(1..5)? {
            b"hvc1" => plain("HEVC"),
            b"av01" => plain("AV1"),
            _ => plain("Other"),
        });
    }
    if first & 0x0f != 7 {
        return Some(plain(if first & 0x0f == 12 { "HEVC" } else { "Other" }));
    }
    let record = payload.get(5..)?;
    let (profile, level) = (*record.get(1)?, *record.get(3)?);
    let (width, height) = sps_of(record).and_then(|sps| sps_size(&sps)).unwrap_or_default();
    Some(VideoInfo { codec: "H264", profile: avc_profile(profile), level: avc_level(level), width, height })
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
    let mut sps = Vec::with_capacity(length);
    for byte in nal.iter().skip(1) {
        if *byte == 3 && sps.ends_with(&[0, 0]) {
            continue;
        }
        sps.push(*byte);
    }
    Some(sps)
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    /// Exp-Golomb, unsigned.
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let mut value = 1u32;
        for _ in 0..zeros {
            value = value << 1 | self.bit()?;
        }
        Some(value - 1)
    }

    fn se(&mut self) -> Option<i64> {
        let value = i64::from(self.ue()?);
        Some(if value % 2 == 0 { -value / 2 } else { (value + 1) / 2 })
    }
}

/// Width and height from an SPS (H.264 7.3.2.1.1).
fn sps_size(sps: &[u8]) -> Option<(u32, u32)> {
    let profile = *sps.first()?;
    let mut bits = Bits { bytes: sps.get(3..)?, at: 0 };
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

/// From an audio sequence header's (or, for codecs without one, any) payload.
pub fn audio_info(payload: &[u8]) -> Option<AudioInfo> {
    const RATES: [u32; 13] =
        [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
    let first = *payload.first()?;
    let rate = [5512, 11025, 22050, 44100][usize::from(first >> 2 & 3)];
    let channels = 1 + (first & 1);
    match first >> 4 {
        10 => {
            let config = u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?]);
            let profile = match config >> 11 {
                1 => "Main",
                2 => "LC",
                3 => "SSR",
                5 => "HE",
                29 => "HEv2",
                _ => "Other",
            };
            let sample_rate = RATES.get(usize::from(config >> 7 & 15)).copied().unwrap_or(rate);
            let count = (config >> 3 & 15) as u8;
            Some(AudioInfo { codec: "AAC", sample_rate, channels: count.max(1), profile })
        }
        2 | 14 => Some(AudioInfo { codec: "MP3", sample_rate: rate, channels, profile: "Other" }),
        _ => Some(AudioInfo { codec: "Other", sample_rate: rate, channels, profile: "Other" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_avc_configuration_tells_profile_level_and_size() {
        // The sequence header of ffmpeg's libx264 for 640x360 constrained baseline, level 3.0.
        let payload = [
            0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 24, 0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02,
            0x80, 0xbf, 0xe5, 0xc0, 0x44, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xca, 0x3c, 0x58, 0xba, 0x80,
        ];
        let info = video_info(&payload).unwrap();
        assert_eq!((info.codec, info.profile, &*info.level), ("H264", "Baseline", "3"));
        assert_eq!((info.width, info.height), (640, 360));
    }

    #[test]
    fn an_aac_configuration_tells_rate_and_channels() {
        let info = audio_info(&[0xaf, 0, 0x12, 0x10]).unwrap();
        assert_eq!(info, AudioInfo { codec: "AAC", sample_rate: 44100, channels: 2, profile: "LC" });
        assert_eq!(audio_info(&[0xaf, 0]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), avc: bool) {
            if avc && bytes.len() > 12 { bytes[0] = 0x17; bytes[1] = 0; bytes[10] = 0xe1; bytes[11] = 0; }
            let _ = video_info(&bytes);
            let _ = audio_info(&bytes);
        }
    }
}
