//! The media playlist of a live stream (RFC 8216), as SRS writes it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use super::keys::Shown;

/// A finished segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its number.
    pub sequence: u64,
    /// Seconds.
    pub duration: f64,
    /// Its file, relative to the playlist, with `hls_entry_prefix`.
    pub uri: String,
    /// Its file on disk.
    pub file: std::path::PathBuf,
    /// A new sequence header came before it.
    pub discontinuity: bool,
    /// Its key, where it is encrypted.
    pub key: Option<Arc<Shown>>,
}

/// Takes those out that `window` seconds do not need: the newest segments stay, up to the one that fills the window.
pub fn shrink(segments: &mut VecDeque<Segment>, window: f64) -> Vec<Segment> {
    let mut total = 0.0;
    let mut keep = 0;
    for segment in segments.iter().rev() {
        keep += 1;
        total += segment.duration;
        if total > window {
            break;
        }
    }
    segments.drain(..segments.len() - keep).collect()
}

/// The playlist's text.
pub fn text(segments: &VecDeque<Segment>, least_target: f64) -> String {
    let longest = segments.iter().map(|segment| segment.duration).fold(least_target, f64::max);
    let first = segments.front().map_or(0, |segment| segment.sequence);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-TARGETDURATION:{}\n",
        longest.ceil() as u64
    );
    let mut key = None;
    for segment in segments {
        if segment.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        // SRS names a key once; here it stands in every list that needs it, also when its first segment has left.
        if segment.key.as_ref() != key {
            let line = segment.key.as_ref().map_or("#EXT-X-KEY:METHOD=NONE".to_owned(), |key| key.line());
            text.push_str(&line);
            text.push('\n');
            key = segment.key.as_ref();
        }
        // Writing to a String can't fail.
        let _ = write!(text, "#EXTINF:{:.3}, no desc\n{}\n", segment.duration, segment.uri);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(durations: &[f64]) -> VecDeque<Segment> {
        let make = |(index, duration): (usize, &f64)| Segment {
            sequence: index as u64,
            duration: *duration,
            uri: format!("livestream-{index}.ts"),
            file: format!("/x/livestream-{index}.ts").into(),
            discontinuity: index == 0,
            key: None,
        };
        durations.iter().enumerate().map(make).collect()
    }

    #[test]
    fn the_text_is_srs_s() {
        let expected = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:4\n\
                        #EXT-X-DISCONTINUITY\n#EXTINF:3.065, no desc\nlivestream-0.ts\n#EXTINF:2.261, no desc\n\
                        livestream-1.ts\n#EXTINF:2.907, no desc\nlivestream-2.ts\n";
        assert_eq!(text(&segments(&[3.065, 2.261, 2.907]), 3.0), expected);
    }

    #[test]
    fn a_key_is_named_where_it_begins_and_first() {
        let key = |name: &str| Some(Arc::new(Shown { file: name.into(), uri: name.into(), iv: [1; 16] }));
        let mut list = segments(&[4.0; 5]);
        let (a, b) = (key("a"), key("b"));
        for (segment, key) in list.iter_mut().zip([&a, &a, &b, &b, &None]) {
            segment.key.clone_from(key);
        }
        let keys = |list: &VecDeque<Segment>| -> Vec<String> {
            let text = text(list, 4.0);
            text.lines()
                .filter(|line| line.contains("KEY") || line.ends_with("ts"))
                .map(str::to_owned)
                .collect()
        };
        let line = |name| format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{name}\",IV=0x{}", "01".repeat(16));
        let file = |index| format!("livestream-{index}.ts");
        let tail = [line("b"), file(2), file(3), "#EXT-X-KEY:METHOD=NONE".into(), file(4)];
        assert_eq!(keys(&list), [&[line("a"), file(0), file(1)], &tail[..]].concat());
        list.pop_front();
        assert_eq!(keys(&list), [&[line("a"), file(1)], &tail[..]].concat());
    }

    #[test]
    fn the_window_is_just_filled() {
        let mut list = segments(&[4.0, 4.0, 4.0, 4.0]);
        let gone = shrink(&mut list, 10.0);
        assert_eq!(gone.iter().map(|segment| segment.sequence).collect::<Vec<_>>(), [0]);
        assert!(shrink(&mut list, 60.0).is_empty());
    }
}
