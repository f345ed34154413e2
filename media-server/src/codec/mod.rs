//! What the sequence headers say about a stream: codec, profile, size, sample rate, in the API's words of SRS.

mod av1;
mod avc;
mod bits;
pub mod hevc;

use crate::flv::{Audio, AudioCodec, Packet, Video, VideoCodec};

/// Video of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoInfo {
    /// `H264`, `HEVC`, `AV1`, … or `Other`.
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
    /// `AAC`, `MP3`, … or `Other`.
    pub codec: &'static str,
    /// Hertz.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Profile, for example `LC`.
    pub profile: &'static str,
}

/// From a video sequence header's (or, for codecs without one, any) payload; what can't be read stays 0 or empty.
pub fn video_info(payload: &[u8]) -> Option<VideoInfo> {
    let Video { codec, packet, body, .. } = Video::read(payload)?;
    let read = match codec {
        _ if packet != Packet::SequenceHeader => None,
        VideoCodec::Avc => avc::info(body),
        VideoCodec::Hevc => hevc::info(body),
        VideoCodec::Av1 => av1::info(body),
        _ => None,
    };
    let plain = VideoInfo { codec: codec.name(), profile: "", level: String::new(), width: 0, height: 0 };
    Some(read.unwrap_or(plain))
}

/// From an audio sequence header's (or, for codecs without one, any) payload.
pub fn audio_info(payload: &[u8]) -> Option<AudioInfo> {
    const RATES: [u32; 13] =
        [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
    let Audio { codec, body, packet } = Audio::read(payload)?;
    let first = *payload.first()?;
    // Enhanced headers do not tell what the old ones do.
    let (rate, channels) = match first >> 4 {
        9 => (0, 0),
        _ => ([5512, 11025, 22050, 44100][usize::from(first >> 2 & 3)], 1 + (first & 1)),
    };
    let plain = AudioInfo { codec: codec.name(), sample_rate: rate, channels, profile: "Other" };
    if codec != AudioCodec::Aac || packet != Packet::SequenceHeader {
        return Some(plain);
    }
    let config = u16::from_be_bytes([*body.first()?, *body.get(1)?]);
    let profile = match config >> 11 {
        1 => "Main",
        2 => "LC",
        3 => "SSR",
        5 => "HE",
        29 => "HEv2",
        _ => "Other",
    };
    let sample_rate = RATES.get(usize::from(config >> 7 & 15)).copied().unwrap_or(rate);
    let channels = ((config >> 3 & 15) as u8).max(1);
    Some(AudioInfo { sample_rate, channels, profile, ..plain })
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
