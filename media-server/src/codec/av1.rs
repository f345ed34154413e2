//! AV1's configuration record (av1C) and sequence header (AV1 5.5).

use super::VideoInfo;
use super::bits::Bits;
use crate::flv::VideoCodec;

const SEQUENCE_HEADER: u8 = 1;

pub(super) fn info(record: &[u8]) -> Option<VideoInfo> {
    let second = *record.get(1)?;
    let profile = match second >> 5 {
        0 => "Main",
        1 => "High",
        2 => "Professional",
        _ => "Other",
    };
    let index = second & 0x1f;
    let level = format!("{}.{}", 2 + index / 4, index % 4);
    let (width, height) = sequence_header(record.get(4..)?).and_then(size).unwrap_or_default();
    Some(VideoInfo { codec: VideoCodec::Av1.name(), profile, level, width, height })
}

/// The sequence header among the record's OBUs.
fn sequence_header(mut obus: &[u8]) -> Option<&[u8]> {
    loop {
        let (header, mut rest) = obus.split_first()?;
        if header & 4 != 0 {
            rest = rest.get(1..)?;
        }
        let mut length = rest.len();
        if header & 2 != 0 {
            // leb128
            let count = rest.iter().take(8).position(|byte| byte & 0x80 == 0)? + 1;
            let value =
                rest[..count].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
            rest = &rest[count..];
            length = usize::try_from(value).ok()?;
        }
        let (body, behind) = rest.split_at_checked(length)?;
        if header >> 3 & 15 == SEQUENCE_HEADER {
            return Some(body);
        }
        obus = behind;
    }
}

fn size(header: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(header);
    bits.skip(4)?;
    if bits.bit()? == 1 {
        bits.skip(5)?;
    } else {
        operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
    Some((bits.take(width_bits)? + 1, bits.take(height_bits)? + 1))
}

/// Moves over timing and operating points.
fn operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let mut delay_bits = None;
    if bits.bit()? == 1 {
        bits.skip(64)?;
        if bits.bit()? == 1 {
            bits.ue()?;
        }
        if bits.bit()? == 1 {
            delay_bits = Some(bits.take(5)? as usize + 1);
            bits.skip(42)?;
        }
    }
    let display_delay = bits.bit()? == 1;
    for _ in 0..=bits.take(5)? {
        bits.skip(12)?;
        if bits.take(5)? > 7 {
            bits.skip(1)?;
        }
        if let Some(delay_bits) = delay_bits
            && bits.bit()? == 1
        {
            bits.skip(2 * delay_bits + 1)?;
        }
        if display_delay && bits.bit()? == 1 {
            bits.skip(4)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// av1C of libaom for 320x180, Main, level 2.0.
    const RECORD: [u8; 17] =
        [0x81, 0, 0x0c, 0, 0x0a, 0x0b, 0, 0, 0, 4, 0x3c, 0xfe, 0xcc, 0xda, 0xf9, 0, 0x40];

    #[test]
    fn a_configuration_tells_profile_level_and_size() {
        let info = info(&RECORD).unwrap();
        assert_eq!((info.codec, info.profile, &*info.level), ("AV1", "Main", "2.0"));
        assert_eq!((info.width, info.height), (320, 180));
    }

    proptest! {
        #[test]
        fn arbitrary_records_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = info(&bytes);
            let _ = size(&bytes);
        }
    }
}
