//! Aggregate messages (RTMP 7.1.6): several media messages in the body of one, as FLV tags. Some encoders of Adobe's
//! send their media so.

use super::Error;
use crate::flv::{TAG_HEADER, TagKind};

/// The length of a tag that follows it.
const BACK_POINTER: usize = 4;

/// The messages of an aggregate that are not read yet.
#[derive(Debug)]
pub(super) struct Aggregate {
    body: Vec<u8>,
    at: usize,
    timestamp: u32,
    /// Added to each tag's time: the first is that of the aggregate.
    shift: Option<u32>,
}

impl Aggregate {
    /// Of the message's time and body.
    pub(super) fn new(timestamp: u32, body: Vec<u8>) -> Self {
        Aggregate { body, at: 0, timestamp, shift: None }
    }

    /// The next message; what is no media is left out, other aggregates too.
    pub(super) fn next(&mut self) -> Result<Option<(TagKind, u32, Vec<u8>)>, Error> {
        while self.at < self.body.len() {
            let rest = &self.body[self.at..];
            let Some(header) = rest.get(..TAG_HEADER) else { return Err(Error::Aggregate(self.at)) };
            let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
            let time = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
            let Some(payload) = rest.get(TAG_HEADER..TAG_HEADER + length) else {
                return Err(Error::Aggregate(self.at));
            };
            let shift = *self.shift.get_or_insert(self.timestamp.wrapping_sub(time));
            // Some writers leave the last back pointer out.
            self.at += TAG_HEADER + length + BACK_POINTER;
            let kind = match header[0] {
                8 => TagKind::Audio,
                9 => TagKind::Video,
                18 => TagKind::Script,
                _ => continue,
            };
            // Chunks know no empty messages either.
            if !payload.is_empty() {
                return Ok(Some((kind, time.wrapping_add(shift) & 0x7fff_ffff, payload.to_vec())));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::push_tag;
    use proptest::prelude::*;

    fn read(timestamp: u32, body: &[u8]) -> Result<Vec<(TagKind, u32, Vec<u8>)>, Error> {
        let mut aggregate = Aggregate::new(timestamp, body.to_vec());
        let mut all = Vec::new();
        while let Some(message) = aggregate.next()? {
            all.push(message);
        }
        Ok(all)
    }

    #[test]
    fn times_are_relative_to_the_first_and_what_is_no_media_is_left_out() {
        let mut body = Vec::new();
        push_tag(&mut body, TagKind::Script, 90, b"");
        push_tag(&mut body, TagKind::Video, 100, b"v");
        let nested = body.len();
        push_tag(&mut body, TagKind::Audio, 110, b"inside");
        body[nested] = 22;
        push_tag(&mut body, TagKind::Audio, 123, b"a");
        let expected = [(TagKind::Video, 5010, b"v".to_vec()), (TagKind::Audio, 5033, b"a".to_vec())];
        assert_eq!(read(5000, &body).unwrap(), expected);
        assert_eq!(read(5000, &body[..body.len() - 4]).unwrap(), expected, "without the last back pointer");
        assert!(matches!(read(5000, &body[..body.len() - 5]), Err(Error::Aggregate(_))));
        assert_eq!(read(0, &[]).unwrap(), []);
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_taken_apart(
            start: u32,
            tags in prop::collection::vec((0..3usize, 0..1000u32, prop::collection::vec(any::<u8>(), 1..50)), 0..20),
        ) {
            let mut body = Vec::new();
            let mut time = 0;
            let mut expected = Vec::new();
            for (kind, step, payload) in tags {
                let kind = [TagKind::Audio, TagKind::Video, TagKind::Script][kind];
                time += step;
                push_tag(&mut body, kind, time, &payload);
                let first = expected.first().map_or(time, |(_, _, _, first)| *first);
                expected.push((kind, start.wrapping_add(time - first) & 0x7fff_ffff, payload, first));
            }
            let expected: Vec<_> = expected.into_iter().map(|(kind, at, payload, _)| (kind, at, payload)).collect();
            prop_assert_eq!(read(start, &body).unwrap(), expected);
        }

        #[test]
        fn any_body_is_read_or_refused(start: u32, body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(all) = read(start, &body) {
                prop_assert!(all.iter().map(|(_, _, payload)| payload.len() + TAG_HEADER).sum::<usize>() <= body.len());
            }
        }
    }
}
